"""A rule's trigger message as a template: compiled when the rule is loaded, filled for each event.

    the rule      name = "overheat"; two parameters: body.temp, and one that appends the source to the text "at "

    compiled      {"workflow":{"metadata":{"name":"overheat-%b",...,"value":%b,...,"value":"at %b",...},"attempt":%b,...
                                                            |              |                  |                   |
    its holes                                     CORRELATION   the first read   SOURCE, unquoted             ATTEMPT
                                                            |              |                  |                   |
    filled        {"workflow":{"metadata":{"name":"overheat-979c...",...,"value":"97.1",...,"value":"at boiler-1",...

Each hole takes one value as JSON; a hole inside a text takes it without quotes. The values that every trigger has come
first, in the order of `_Value`; after them those that the rule's arguments and parameters read. The correlation id is
hexadecimal digits, which need no quotes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from operator import itemgetter
from typing import Any, cast

import msgspec

from edgeagent.errors import MessageError
from edgeagent.events.event import Record, body, envelope
from edgeagent.lang.gjson.path import text_of
from edgeagent.lang.sjson import Hole, NotKnown
from edgeagent.rules.parameters import Argument, Parameters, Read, Setting
from edgeagent.wire import messages
from edgeagent.wire.messages import Trigger

_NAME_PREFIX_CHARS = 30
_HOLE = b"\0"  # a hole in the encoded message; JSON never contains this byte
_encode = msgspec.json.Encoder().encode


class _Value(IntEnum):
    """What fills holes. The negative ones are the same for all events of a source."""

    CORRELATION = 0
    ATTEMPT = 1
    EVENT_ID = 2
    EVENT_TIME = 3
    AGENT = -1
    SOURCE = -2
    REPLY_TO = -3


_FIRST_READ = 4  # the number of the first value that is read from the event
# The sources whose part of the message is remembered: 7 of 14 us less a trigger (`benchmarks rules`, the first row).
_MAX_SOURCES = 256
_ATTEMPTS = tuple(b"%d" % attempt for attempt in range(16))


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What a template needs of its rule. `workflow`: see `Rule.workflow`."""

    rule: str
    name_prefix: str
    namespace: str
    parameters: Parameters
    workflow: Callable[[Any, dict[str, Any], dict[str, Any], Sequence[Any]], dict[str, Any]]
    late_s: float  # an event is late when it is sent so long after it was accepted, or longer


def workflow_name(prefix: str, correlation: str) -> str:
    """The workflow's name: at most 63 characters, DNS-1123."""
    return f"{prefix[:_NAME_PREFIX_CHARS].rstrip('-.')}-{correlation}"


def compile_template(target: Target) -> Template | Document:
    """The trigger message of a rule: a template if all its holes are known now, otherwise built for each event."""
    try:
        return Template(target, target.parameters.settings)
    except (NotKnown, MessageError):  # the place of a value, or whether it has one, depends on the event
        return Document(target)


class Template:
    """The encoded message and its holes. Immutable; `fill` is one `%` instead of building a document."""

    def __init__(self, target: Target, settings: Sequence[Setting]) -> None:
        """Compile. `settings`: the rule's parameters that are put into the workflow.

        Raises:
            NotKnown: the place of a setting depends on the event.
            MessageError: a setting has no place in the workflow.
        """
        self._target = target
        compiler = _Compiler()
        message = compiler.message(target, settings)
        pieces = msgspec.json.Encoder(enc_hook=compiler.hole).encode(message).split(_HOLE)
        self._pieces = [piece.replace(b"%", b"%%") for piece in pieces]
        self._holes = compiler.holes
        self._patterns: dict[tuple[str, str, str], bytes] = {}
        self._reads = compiler.readers()
        self._body_only = compiler.body_only
        # A value without its quotes is one more value, after all others.
        count, order = _FIRST_READ + len(self._reads), list[int]()
        self._unquoted: list[int] = []
        for number, is_unquoted in compiler.holes:
            if number < 0:
                continue
            order.append(count + len(self._unquoted) if is_unquoted else number)
            if is_unquoted:
                self._unquoted.append(number)
        self._in_order = itemgetter(*order)

    def fill(self, event: Record, correlation: str, attempt: int, reply_to: str, age_s: float) -> bytes:
        """The message for an event that was accepted `age_s` seconds ago.

        Raises:
            MessageError: a parameter has no value in this event; names the parameter.
        """
        values = [
            correlation.encode(),
            _ATTEMPTS[attempt] if attempt < len(_ATTEMPTS) else b"%d" % attempt,
            _encode(event.id),
            _encode(event.time),
        ]
        if self._reads:
            try:
                seen = {"body": body(event)} if self._body_only else _seen(event, correlation, self._target, age_s)
                for read in self._reads:
                    values.append(_encode(read(seen)))  # noqa: PERF401  0.2 us less (`benchmarks rules`, the first row)
            except RecursionError as exc:
                raise _too_deep() from exc
        for number in self._unquoted:
            values.append(values[number][1:-1])
        source = event.agent, event.source, reply_to
        message: bytes = (self._patterns.get(source) or self._pattern(*source)) % self._in_order(values)
        return message

    def _pattern(self, agent: str, source: str, reply_to: str) -> bytes:
        """The message with those holes left that each event fills."""
        known = {_Value.AGENT: _encode(agent), _Value.SOURCE: _encode(source), _Value.REPLY_TO: _encode(reply_to)}
        pattern = self._pieces[0]
        for (number, is_unquoted), piece in zip(self._holes, self._pieces[1:], strict=True):
            value = known.get(_Value(number)) if number < 0 else None
            if value is None:
                pattern += b"%b"
            else:
                pattern += (value[1:-1] if is_unquoted else value).replace(b"%", b"%%")
            pattern += piece
        if len(self._patterns) >= _MAX_SOURCES:
            self._patterns.clear()
        self._patterns[agent, source, reply_to] = pattern
        return pattern


class _Compiler:
    """Builds the message with `Hole`s in it, and notes each one when the encoder reaches it."""

    def __init__(self) -> None:
        self.body_only = True  # whether all readers need only the data of the envelope
        self.holes: list[tuple[int, bool]] = []  # in the order of the message: which value, and whether it is unquoted
        self._reads: list[Read] = []
        self._raw: set[int] = set()  # the values that may be of any kind
        self._texts: set[int] = set()  # the values that are inside texts

    def message(self, target: Target, settings: Sequence[Setting]) -> Trigger:
        """The trigger message; raises the same errors as `Template`."""
        workflow = target.workflow(
            Hole(workflow_name(target.name_prefix, ""), _Value.CORRELATION, is_text=True),
            {
                messages.LABEL_AGENT: _text(_Value.AGENT),
                messages.LABEL_RULE: target.rule,
                messages.LABEL_CORRELATION_ID: _text(_Value.CORRELATION),
            },
            {
                messages.ANNOTATION_SOURCE: _text(_Value.SOURCE),
                messages.ANNOTATION_EVENT_ID: _text(_Value.EVENT_ID),
                messages.ANNOTATION_EVENT_TIME: _text(_Value.EVENT_TIME),
            },
            [self._value_of(argument) for argument in target.parameters.arguments],
        )
        for setting in settings:
            setting.put(workflow, self._value_of(setting))
        attempt: Any = Hole(_Value.ATTEMPT, is_text=False)
        return Trigger(
            namespace=target.namespace,
            workflow=workflow,
            correlation_id=_text(_Value.CORRELATION),
            agent=_text(_Value.AGENT),
            attempt=attempt,
            reply_to=_text(_Value.REPLY_TO),
        )

    def hole(self, hole: Hole) -> msgspec.Raw:
        """A hole in JSON. The encoder calls this for each remaining hole, in the order of the message."""
        numbers = [part for part in hole.parts if isinstance(part, int)]
        is_inside = len(hole.parts) > 1 or numbers == [_Value.CORRELATION]
        self.holes += [(number, is_inside and number != _Value.CORRELATION) for number in numbers]
        if hole.is_text:
            self._texts.update(numbers)
        if not is_inside:
            return msgspec.Raw(_HOLE)
        return msgspec.Raw(
            b'"%b"' % b"".join(_HOLE if isinstance(part, int) else _encode(part)[1:-1] for part in hole.parts)
        )

    def readers(self) -> list[Read]:
        """The readers of the values after those of `_Value`, in order; a value inside a text is read as text."""
        numbered = enumerate(self._reads, _FIRST_READ)
        return [_text_reader(read) if number in self._raw & self._texts else read for number, read in numbered]

    def _value_of(self, each: Argument | Setting) -> str | Hole:
        """The content of the message for a parameter: a constant, or a hole for what is read from the event."""
        if each.read is None:
            return each.constant
        number = _FIRST_READ + len(self._reads)
        self._reads.append(each.read)
        self.body_only = self.body_only and each.body_only
        if each.use_raw:
            self._raw.add(number)
        return Hole(number, is_text=not each.use_raw)


class Document:
    """A trigger message that is built for each event, because its parameters depend on the event."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._without_settings = Template(target, ())

    def fill(self, event: Record, correlation: str, attempt: int, reply_to: str, age_s: float) -> bytes:
        """The message for an event that was accepted `age_s` seconds ago.

        Raises:
            MessageError: a parameter has no value in this event, or no place in the workflow; names the parameter.
        """
        try:
            seen = _seen(event, correlation, self._target, age_s)
            text = self._without_settings.fill(event, correlation, attempt, reply_to, age_s)
            message: dict[str, Any] = msgspec.json.decode(text)
            for setting in self._target.parameters.settings:
                setting.put(message["workflow"], setting.read(seen) if setting.read else setting.constant)
            return _encode(message)
        except RecursionError as exc:
            raise _too_deep() from exc


def _seen(event: Record, correlation: str, target: Target, age_s: float) -> dict[str, Any]:
    """The envelope as parameters see it."""
    seen = envelope(event)
    seen["correlation_id"] = correlation
    seen["agent"] = event.agent
    seen["rule"] = target.rule
    seen["age_s"] = int(age_s)
    seen["late"] = age_s >= target.late_s
    if event.traceparent is not None:
        seen["traceparent"] = event.traceparent
    return seen


def _too_deep() -> MessageError:
    return MessageError("trigger", "workflow", "the data is nested too deep for a parameter")


def _text_reader(read: Read) -> Read:
    return lambda seen: text_of(read(seen))


def _text(value: _Value) -> str:
    """A hole for a text of the message."""
    return cast("str", Hole(value, is_text=True))
