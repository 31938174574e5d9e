"""Parameters: values of the event that become part of the workflow.

`arguments = { temp = "body.temp", site = { value = "north" } }`: a path into the envelope, or a constant. Values are
texts, as Argo's parameters are: a number in plain decimal, an object as its JSON text.

`parameters = [{ src = {...}, dest = "..." }]`: the same fields, with the same meaning, as in a Sensor of Argo Events.
They are put into the workflow in their order, after the arguments.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from edgeagent.errors import MessageError
from edgeagent.lang.gjson.path import MISSING, Path, reader_of, text_of
from edgeagent.lang.sjson import Dest, Hole, NotKnown, NotSettable, assign, compile_dest, current, has_hole
from edgeagent.rules.event_path import FILTER_MEMBERS, SENT_MEMBERS, compile_event_path, is_in_body
from edgeagent.rules.spec import ParameterSource, ParameterSpec
from edgeagent.workflows.names import is_parameter_name

Read = Callable[[dict[str, Any]], Any]

# The attributes of a CloudEvent that Argo Events has, in its order.
_CONTEXT = ("id", "source", "specversion", "type", "datacontenttype", "subject", "time")
_SPECVERSION = "1.0"
_MEMBERS = FILTER_MEMBERS | {"events", "correlation_id", "agent", "rule"} | SENT_MEMBERS
_JOINS = frozenset({"prepend", "append"})  # they make a text of the present value and the new one
_OWN_PREFIX = "edgeagent.io/"
_TEXT_TABLES = ("labels", "annotations")
_LABEL_DEPTH = 3


class Argument(msgspec.Struct, frozen=True):
    """One of `arguments`. `read` gives its text from an envelope; None: it is `constant` for every event.

    `body_only`: `read` needs only the data of the envelope.
    """

    name: str
    read: Read | None
    constant: str
    use_raw: bool = False
    body_only: bool = False


class Setting(msgspec.Struct, frozen=True):
    """One of `parameters`. `read` as in `Argument`; it gives a text, or with `use_raw` any value."""

    read: Read | None
    constant: str
    use_raw: bool
    dest: Dest
    operation: str
    key: str  # for messages: "parameters[0]"
    body_only: bool

    def put(self, workflow: dict[str, Any], value: Any) -> None:
        """Put the value that `read` gave, or a hole for it, in its place; this changes the workflow.

        Raises:
            MessageError: the workflow has no such place.
            NotKnown: that depends on the value of a hole.
        """
        try:
            if self.operation in _JOINS:
                present = current(workflow, self.dest)
                if present is not MISSING:
                    both = _text_parts(present, null=""), _text_parts(value, null="null")
                    value = _joined(*(both if self.operation == "append" else reversed(both)))
                elif self.dest.steps[0].name == "metadata":  # labels and annotations are texts
                    value = _joined(_text_parts(value, null="null"))
            assign(workflow, self.dest, value)
        except NotSettable as exc:
            raise MessageError("parameter", f"{self.key}.dest", str(exc)) from exc


class Parameters:
    """A rule's arguments and parameters, compiled."""

    def __init__(self, arguments: dict[str, Any], parameters: Sequence[ParameterSpec] = ()) -> None:
        """Compile arguments without `argument_problems` and parameters without `parameter_problems`."""
        self.arguments = tuple(_argument(name, value) for name, value in arguments.items())
        self.settings = tuple(_setting(index, parameter) for index, parameter in enumerate(parameters))
        self.names = tuple(argument.name for argument in self.arguments)


def argument_problems(arguments: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the mistakes in a rule's `arguments`: parameter name and reason."""
    for name, value in arguments.items():
        if not is_parameter_name(name):
            yield name, "a parameter's name has letters, digits, '-' and '_' only"
        try:
            _argument(name, value)
        except ValueError as exc:
            yield name, str(exc)


def parameter_problems(parameters: Sequence[ParameterSpec]) -> Iterator[tuple[str, str]]:
    """Yield the mistakes in a rule's `parameters`, whatever its workflow: key path below the rule, and reason."""
    for index, parameter in enumerate(parameters):
        for key, compiled in (("src", _source), ("dest", _dest)):
            try:
                compiled(parameter)
            except ValueError as exc:
                yield f"parameters[{index}].{key}", str(exc)


def place_problems(parameters: Parameters, workflow: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what can never work with this workflow, which is changed: key path below the rule, and reason.

    What depends on the event is not a problem yet.
    """
    try:
        for setting in parameters.settings:
            setting.put(workflow, Hole(0, is_text=not setting.use_raw) if setting.read else setting.constant)
    except MessageError as exc:
        yield exc.member, exc.reason
        return
    except NotKnown:
        return
    spec = workflow["spec"]
    if not isinstance(spec, (dict, Hole)) or (isinstance(spec, Hole) and spec.is_text):
        yield "parameters", "make the workflow's spec a text; set useRawData"
    elif isinstance(spec, dict) and not _are_named(spec.get("arguments")):
        yield "parameters", "leave an argument of the workflow (spec.arguments.parameters) without a name"


def _are_named(arguments: Any) -> bool:
    parameters = arguments.get("parameters") if isinstance(arguments, dict) else None
    if not isinstance(parameters, list):
        return True
    return all(isinstance(each, Hole) or (isinstance(each, dict) and each.get("name")) for each in parameters)


def _argument(name: str, value: Any) -> Argument:
    if isinstance(value, str):
        path = _event_path(value)
        return Argument(name, _reader(name, path, value, None, use_raw=False), "", body_only=is_in_body(path))
    if isinstance(value, dict) and value.keys() == {"value"} and isinstance(value["value"], (str, int, float, bool)):
        return Argument(name, None, text_of(value["value"]))
    raise ValueError('must be a path such as "body.temp", or a constant such as { value = "north" }')


def _setting(index: int, parameter: ParameterSpec) -> Setting:
    key = f"parameters[{index}]"
    read = _source(parameter, key)
    source = parameter.src
    use_raw = source.use_raw_data and bool(source.data_key)
    body_only = bool(source.data_key) and is_in_body(_event_path(source.data_key))
    return Setting(
        read=read,
        constant=source.value or "",
        use_raw=use_raw,
        dest=_dest(parameter),
        operation=parameter.operation,
        key=key,
        body_only=body_only,
    )


def _source(parameter: ParameterSpec, key: str = "") -> Read | None:
    """The function that reads a parameter's value; None if it is `value` for every event."""
    source = parameter.src
    if source.data_key:  # it takes precedence, even if the data has no such value
        path = _event_path(source.data_key)
        return _reader(key, path, source.data_key, source.value, use_raw=source.use_raw_data)
    if source.context_key:
        return _context_reader(key, source)
    return None if source.value is not None else _whole_event


def _dest(parameter: ParameterSpec) -> Dest:
    dest = compile_dest(parameter.dest)
    joins = parameter.operation in _JOINS
    _check_owner(dest, use_raw=parameter.src.use_raw_data and not joins)
    if joins and any(step.forced for step in dest.steps):
        raise ValueError(f"{dest.text!r}: Argo Events does not {parameter.operation} at ':...', it overwrites; say so")
    return dest


def _check_owner(dest: Dest, *, use_raw: bool) -> None:
    """Check that a parameter sets the spec, a label or an annotation; edgeagent makes the rest of the workflow."""
    names = [step.name for step in dest.steps]
    if dest.steps[0].finder is not None or names[0] not in {"metadata", "spec"}:
        raise ValueError(f"{dest.text!r}: must be in spec, metadata.labels or metadata.annotations")
    if names[0] == "spec":
        return
    if names[1:2] not in [[table] for table in _TEXT_TABLES] or len(names) == _LABEL_DEPTH - 1:
        text = "name, namespace and the labels and annotations edgeagent.io/... are made by edgeagent"
        raise ValueError(f"{dest.text!r}: set one metadata.labels.NAME or metadata.annotations.NAME; {text}")
    if len(names) != _LABEL_DEPTH or dest.finds:
        raise ValueError(rf"{dest.text!r}: must be one name; a dot in it is written \., as in example\.com/line")
    if names[-1].startswith(_OWN_PREFIX):
        raise ValueError(f"{dest.text!r}: {_OWN_PREFIX}... is made by edgeagent")
    if use_raw:
        raise ValueError(f"{dest.text!r}: labels and annotations are texts; leave useRawData out")


def _event_path(text: str) -> Path:
    return compile_event_path(text, _MEMBERS)


def _reader(name: str, path: Path, text: str, default: str | None, *, use_raw: bool) -> Read:
    """A reader of the value at a path: its text, or with `use_raw` the value itself (a float as a plain number)."""
    find = reader_of(path)

    def read(seen: dict[str, Any]) -> Any:
        value = find(seen)
        kind = value.__class__  # exactly: true and false are not numbers here
        if kind is str:
            return value
        if kind is int:
            return value if use_raw else str(value)
        if value is MISSING:
            return _or_default(name, text, default)
        return _raw(value) if use_raw else text_of(value)

    return read


def _context_reader(key: str, source: ParameterSource) -> Read:
    name, default = source.context_key, source.value
    if name not in _CONTEXT:
        raise ValueError(f"contextKey must be one of {', '.join(_CONTEXT)}, is {name!r}")
    if name == "specversion":
        return lambda _: _SPECVERSION

    def read(seen: dict[str, Any]) -> Any:
        value = seen.get(name)
        return _or_default(key, name, default) if value is None else value

    return read


def _or_default(name: str, text: str, default: str | None) -> str:
    if default is None:
        raise MessageError("parameter", name, f"the event has no {text}")
    return default


def _whole_event(seen: dict[str, Any]) -> str:
    """The event as Argo Events writes it if no key is named: its context, and its data in base64."""
    attributes = {**seen, "specversion": _SPECVERSION}
    context = {name: attributes[name] for name in _CONTEXT if name in attributes}
    data = msgspec.json.encode({name: seen[name] for name in ("topic", "body") if name in seen})
    return msgspec.json.encode({"context": context, "data": base64.b64encode(data).decode()}).decode()


def _raw(value: Any) -> Any:
    """A copy of a value for a document, so that a later parameter does not change the event that it reads."""
    if isinstance(value, float) and value.is_integer():
        return int(value)  # 60.0 is written 60, as by Argo Events: a field that counts seconds takes no point
    if isinstance(value, (dict, list)):
        return msgspec.json.decode(msgspec.json.encode(value))
    return value


def _joined(*texts: tuple[str | int, ...]) -> str | Hole:
    """Texts, fixed or with holes, as one."""
    parts = tuple(part for text in texts for part in text)
    fixed = [part for part in parts if isinstance(part, str)]
    return "".join(fixed) if len(fixed) == len(parts) else Hole(*parts, is_text=True)


def _text_parts(value: Any, null: str) -> tuple[str | int, ...]:
    """A value's text, as the parts of a hole. `null`: the text for null, "" for a value that is in place already.

    Raises:
        NotKnown: the text differs from that of the hole's values, which write null as `null`.
    """
    if isinstance(value, Hole) and (value.is_text or null):
        return value.parts
    if has_hole(value):
        raise NotKnown
    return (text_of(value, null),)
