"""Splits a gjson path into parts: names, brackets, the members of multipaths. Texts in, texts out."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from edgeagent.lang.gjson.modifiers import MODIFIER_NAMES
from edgeagent.lang.gjson.query import end_of_text

_PART = re.compile(r"((?:[^\\.|]|\\.)*+)([.|]?)", re.DOTALL)
_MODIFIER = re.compile(r"@([^.|:]+)")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_UNESCAPED_SPECIAL = re.compile(r"(?:[^\\#\[\]{}]|\\.)*+([#\[\]{}])", re.DOTALL)
_NOT_SIMPLE = frozenset("[]{}()#|!")


class Part(msgspec.Struct, frozen=True):
    """A name in a path as written, the separator after it ("" at the end), and the rest."""

    raw: str
    separator: str
    rest: str

    @property
    def name(self) -> str:
        """The name without escapes."""
        return _ESCAPE.sub(r"\1", self.raw)

    @property
    def wild(self) -> bool:
        """Whether it is a pattern."""
        return not {"*", "?"}.isdisjoint(_ESCAPE.sub("", self.raw))


def first_part(text: str) -> Part:
    """The name at the start of `text`.

    Raises:
        ValueError: there is none, or it has characters that must be escaped.
    """
    found = _PART.match(text)
    if found is None or (found.end() < len(text) and not found[2]):
        raise ValueError("ends with a backslash that escapes nothing")
    part = Part(found[1], found[2], text[found.end() :])
    if not part.raw:
        raise ValueError("has an empty part: no event has such a value")
    if special := _UNESCAPED_SPECIAL.match(part.raw):
        raise ValueError(
            f"{special[1]!r} is not supported in a name: write \\{special[1]} for the character itself"
            " (elements of an array are a.0, all of them a.#)"
        )
    if part.wild and not {"*", "?", "\\"}.isdisjoint(_ESCAPE.findall(part.raw)):
        raise ValueError(f"{part.raw}: gjson cannot tell the escaped sign from the wildcard beside it")
    return part


def modifier_name(text: str) -> str | None:
    """The modifier at the start of `text`, None if there is none; any other `@name` is a member's name."""
    found = _MODIFIER.match(text)
    return found[1] if found and found[1] in MODIFIER_NAMES else None


def begins_anew(text: str) -> bool:
    """Whether the text after a dot is a path of its own: a multipath or a modifier."""
    return text[:1] in {"[", "{"} or modifier_name(text) is not None


def closing(text: str, start: int) -> int:
    """The position after the bracket that closes the one at `start`.

    Raises:
        ValueError: there is none.
    """
    depth, place = 0, start
    while place < len(text):
        sign = text[place]
        if sign == "\\":
            place += 1
        elif sign == '"':
            place = end_of_text(text, place) - 1
        elif sign in "[({":
            depth += 1
        elif sign in "])}":
            depth -= 1
            if not depth:
                return place + 1
        place += 1
    raise ValueError(f"{text[start]!r} is not closed")


def split_pipe(text: str) -> tuple[str, str | None]:
    """Split what follows `#.`: the path for each element, and the one for the whole after the pipe, None without one.

    Raises:
        ValueError: there is a pipe at which gjson would split unexpectedly.
    """
    if text.startswith("{"):
        end = closing(text, 0)
        return (text[:end], text[end + 1 :]) if text[end : end + 1] == "|" else (text, None)
    place = 0
    while place < len(text):
        sign = text[place]
        if sign == "|":
            return text[:place], text[place + 1 :]
        if sign == "\\":
            place += 1
        elif text.startswith(".#(", place):
            place = closing(text, place + 2) - 1
        elif sign in "[({":
            end = closing(text, place)
            if "|" in text[place:end]:
                raise ValueError("behind #, gjson would split at the | inside brackets: use a dot there")
            place = end - 1
        place += 1
    return text, None


def selectors(text: str) -> list[tuple[str, str]]:
    """The members of a multipath with brackets: the name of each (empty in an array), and its path.

    An entry without a path, as in `[a,,b]`, is left out.

    Raises:
        ValueError: a member has no path, or gjson would read it differently.
    """
    named = text[0] == "{"
    chosen = [_selector(name, path, named=named) for name, path in _members(text) if path]
    if not chosen:
        raise ValueError(f"{text} has an empty part: it names nothing")
    return chosen


def _members(text: str) -> Iterator[tuple[str | None, str]]:
    """Each name, None without one, and path: split at the commas, and each at its first colon outside a modifier."""
    start, place, last = 1, 1, len(text) - 1
    name: str | None = None
    in_modifier = False
    while place < last:
        sign = text[place]
        if sign == "\\":
            place += 1
        elif sign == '"':
            place = end_of_text(text, place) - 1
        elif sign in "[({":
            place = closing(text, place) - 1
        elif sign == "@":
            in_modifier = in_modifier or text[place - 1] in ".|"
        elif sign == ":" and name is None and not in_modifier:
            name, start = text[start:place], place + 1
        elif sign == ",":
            yield name, text[start:place]
            start, name, in_modifier = place + 1, None, False
        place += 1
    yield name, text[start:last]


def _selector(name: str | None, path: str, *, named: bool) -> tuple[str, str]:
    if path != path.strip():
        raise ValueError(f"{path!r} has blanks around it, which gjson takes as part of the name")
    if name is None:
        return _name_of_last(path) if named else "", path
    if not named or name.startswith("@"):
        raise ValueError(
            f"{name}:{path}: only members of {{ }} have a name; write \\: for a colon in a name, .@ before a modifier"
        )
    if name.startswith('"'):
        try:
            return msgspec.json.decode(name, type=str), path
        except msgspec.DecodeError:
            raise ValueError(f"{name} is not text in JSON") from None
    if name != name.strip() or not name or not {"\\", '"'}.isdisjoint(name):
        raise ValueError(f"write the name {name!r} in double quotes")
    return name, path


def _name_of_last(path: str) -> str:
    """The default name of a member of `{ }`: the last part as written, `_` for anything else."""
    last = re.split(r"(?<!\\)[.|]", path)[-1]
    return "_" if any(sign < " " or sign in _NOT_SIMPLE for sign in last) else last
