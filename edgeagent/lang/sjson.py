r"""Sets a value in a document, at the paths of sjson that Sensors use as `dest`.

`spec.arguments.parameters.0.value`, `metadata.labels.example\.com/line` (a dot in a name). A number is an index, or a
name in an object; `-1` appends to an array; `:7` is a name even where an array would be made. Missing containers are
created. `#(name=="temp")` (the first element that matches) and `*` and `?` in names find existing places and create
nothing. What sjson ignores silently (`|`, `@this`) is refused, and so is what would set many places (`#`).
The meaning is that of https://github.com/tidwall/sjson, version 1.2.5.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from edgeagent.lang.gjson.path import MISSING, Path, compile_path, lookup

MAX_INDEX: Final = 999  # an array is filled up to the index: a typing error must not make a huge document
_MAX_PARTS: Final = 64
_REFUSED: Final = {
    "|": "sets nothing in Argo Events",
    "@": "sets nothing in Argo Events",
    "#": "sets many places or none; name one by its index or by #(...)",
    "[": "is not an index here: write .0",
    "]": "is not an index here: write .0",
    "{": "is not supported",
    "}": "is not supported",
    "!": "is not supported",
}
_WILD: Final = frozenset("*?")
# The member that a query compares. Any other form of query counts as needing the whole element.
_SUBJECT = re.compile(r"#\(([A-Za-z0-9_-]+)[.A-Za-z0-9_-]*\s*[=!<>%]")


class NotSettable(ValueError):
    """The document has no such place; the text says why."""


class NotKnown(Exception):
    """The document has a `Hole` on which the place depends."""


class Hole:
    """Stands in a document for a value that comes with an event.

    `parts`: fixed texts, and the numbers of values, in order. `is_text`: the place gets a text made of these; otherwise
    it gets the one value unchanged, of any kind.
    """

    __slots__ = ("is_text", "parts")

    def __init__(self, *parts: str | int, is_text: bool) -> None:
        self.parts = parts
        self.is_text = is_text


class DestStep(msgspec.Struct, frozen=True):
    """One part of a `Dest`. `finder`: a query or a wildcard, compiled as a path; None for a name or an index."""

    name: str
    number: int | None = None
    forced: bool = False
    finder: Path | None = None

    @property
    def makes_array(self) -> bool:
        """Whether an array is created for this step where nothing exists."""
        return not self.forced and (self.number is not None or self.name == "-1")

    @property
    def is_query(self) -> bool:
        """Whether it selects an element of an array."""
        return self.finder is not None and self.name.startswith("#(")


class Dest(msgspec.Struct, frozen=True):
    """A compiled path. `finds`: it has a query or a wildcard, and so creates nothing."""

    text: str
    steps: tuple[DestStep, ...]
    finds: bool


def compile_dest(text: str) -> Dest:
    """Compile a path.

    Raises:
        ValueError: the path is empty, has an empty part, or would set nothing or many places; the text says which.
    """
    steps = tuple(_step(part) for part in _parts(text))
    if len(steps) > _MAX_PARTS:
        raise ValueError(f"a dest of {len(steps)} parts is too long, at most {_MAX_PARTS}")
    finds = any(step.finder is not None for step in steps)
    for step in steps:
        if finds and (step.forced or step.name == "-1"):
            raise ValueError(f"{text!r}: beside #(...), * and ? the parts ':...' and -1 set nothing in Argo Events")
        if step.number is not None and step.number > MAX_INDEX:
            raise ValueError(f"{text!r}: the index {step.name} is too large, at most {MAX_INDEX}")
    return Dest(text, steps, finds)


def assign(document: dict[str, Any], dest: Dest, value: Any) -> None:
    """Set a value at its place, which is created if necessary. This changes the document.

    Raises:
        NotSettable: a query or wildcard finds nothing, or a name is used in an array.
        NotKnown: the place depends on a hole.
    """
    if dest.finds:
        place = next(_places(document, dest.steps), None)
        if place is None:
            raise NotSettable(f"{dest.text} is nowhere in the workflow")
        container, key = place
        container[key] = value
        return
    node: Any = document
    for depth, step in enumerate(dest.steps):
        rest = dest.steps[depth + 1 :]
        key = _key_in(node, step)
        if key is None:
            _add(node, step, _built(rest, value))
            return
        if not rest:
            node[key] = value
            return
        child = node[key]
        if isinstance(child, Hole) and not child.is_text:
            raise NotKnown
        if not isinstance(child, (dict, list)):
            child = node[key] = [] if rest[0].number is not None and not rest[0].forced else {}
        node = child


def current(document: dict[str, Any], dest: Dest) -> Any:
    """The value at the place, or `MISSING`.

    Raises:
        NotKnown: the place depends on a hole.
    """
    place = next(_places(document, dest.steps), None)
    return MISSING if place is None else place[0][place[1]]


def has_hole(value: Any) -> bool:
    """Whether a value contains a hole, at any depth."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Hole):
            return True
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return False


def _parts(text: str) -> Iterator[str]:
    """The parts between dots, with their escapes; a query is one part."""
    start = position = 0
    while position < len(text):
        if text[position] == ".":
            yield text[start:position]
            start = position + 1
        elif text[position] == "\\":
            position += 1
        elif text.startswith("#(", position) and position == start:
            position = _query_end(text, position)
            if text[position + 1 : position + 2] not in ("", "."):
                raise ValueError(
                    f"{text!r}: after #(...) there must be a dot or the end; #(...)# would set many places"
                )
        position += 1
    yield text[start:]


def _query_end(text: str, start: int) -> int:
    """The position of the parenthesis that closes a query."""
    depth, quoted, position = 0, False, start
    while position < len(text):
        sign = text[position]
        if sign == "\\":
            position += 1
        elif sign == '"':
            quoted = not quoted
        elif not quoted:
            depth += (sign == "(") - (sign == ")")
            if sign == ")" and depth == 0:
                return position
        position += 1
    raise ValueError(f"{text!r}: a query has no end")


def _step(part: str) -> DestStep:
    if part.startswith("#("):
        return DestStep(part, finder=compile_path(part))
    forced = part.startswith(":")
    name, wild = "", False
    signs = iter(part[forced:])
    for sign in signs:
        if sign in _REFUSED:
            raise ValueError(f"{part!r}: {sign!r} {_REFUSED[sign]}; write \\{sign} for the character itself")
        wild = wild or sign in _WILD
        escaped = next(signs, "") if sign == "\\" else sign
        if not escaped:
            raise ValueError(f"{part!r} ends in a backslash")
        name += escaped
    if not name:
        raise ValueError("a dest must not be empty or have an empty part")
    if wild:
        return DestStep(part, forced=forced, finder=compile_path(part))
    return DestStep(name, int(name) if name.isdecimal() and name.isascii() else None, forced)


def _key_in(node: Any, step: DestStep) -> Any:
    """The key or index that a step without finder means in a container; None if it does not exist."""
    if isinstance(node, dict):
        return step.name if step.name in node else None
    if isinstance(node, list) and step.number is not None and step.number < len(node):
        return step.number
    return None


def _add(container: Any, step: DestStep, value: Any) -> None:
    if isinstance(container, dict):
        container[step.name] = value
    elif not step.makes_array:
        raise NotSettable(f"{step.name!r} is a name, but in its place in the workflow is an array")
    else:
        container.extend([None] * ((step.number or 0) - len(container) if step.number is not None else 0))
        container.append(value)


def _built(steps: tuple[DestStep, ...], value: Any) -> Any:
    """The value inside all containers that must be created for it."""
    for step in reversed(steps):
        value = [*[None] * (step.number or 0), value] if step.makes_array else {step.name: value}
    return value


def _places(node: Any, steps: tuple[DestStep, ...]) -> Iterator[tuple[Any, Any]]:
    """Container and key of every place that these steps find, in order; wildcards try each member."""
    if isinstance(node, Hole) and not node.is_text:
        raise NotKnown
    step, rest = steps[0], steps[1:]
    for key in _keys(node, step):
        if rest:
            yield from _places(node[key], rest)
        else:
            yield node, key


def _keys(node: Any, step: DestStep) -> Iterator[Any]:
    if step.finder is None:
        key = _key_in(node, step)
        if key is not None:
            yield key
    elif not step.is_query:
        if isinstance(node, dict):
            yield from (key for key in node if lookup(step.finder, {key: None}) is not MISSING)
    elif isinstance(node, list):
        for index, element in enumerate(node):
            if _is_open(step, element):
                raise NotKnown
            if lookup(step.finder, [element]) is not MISSING:
                yield index
                return


def _is_open(query: DestStep, element: Any) -> bool:
    """Whether what a query compares in an element is not known yet."""
    subject = _SUBJECT.match(query.name)
    if subject and isinstance(element, dict):
        element = element.get(subject[1])
    return has_hole(element)
