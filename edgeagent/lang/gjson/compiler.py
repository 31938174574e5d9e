"""Compiles gjson paths to functions of decoded JSON.

The syntax: https://github.com/tidwall/gjson/blob/master/SYNTAX.md

A path is a chain of parts joined by dots, perhaps followed by a pipe. After a pipe, a modifier, a literal or a
multipath a new path begins, on the result of the previous one. After `#` and `#(…)` the rest up to the pipe is a path
of its own for each element. What gjson would read in an unexpected way is refused, with the reason.

The functions recurse with the path's parts, which are limited, never with the data. Each part visits each value at most
once, so the time is linear in the data.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from edgeagent.lang.gjson.modifiers import compile_modifier
from edgeagent.lang.gjson.query import parse_query
from edgeagent.lang.gjson.steps import (
    End,
    Find,
    all_matches,
    collect,
    count,
    first_match,
    fitting,
    member,
    nameless,
    wild,
)
from edgeagent.lang.gjson.syntax import begins_anew, closing, first_part, modifier_name, selectors, split_pipe
from edgeagent.lang.gjson.values import MISSING

_MAX_CHARS = 1024
_MAX_PARTS = 64


class _Chain(NamedTuple):
    """Parts joined by dots. `step`: gives a value, `MISSING` or an `End`; `then`: what comes after the pipe."""

    step: Find
    then: Find | None


def compile_find(text: str) -> Find:
    """A function that finds a path's value in decoded JSON, or `MISSING`.

    Raises:
        ValueError: the path is invalid, or uses something unsupported; the text says what.
    """
    if len(text) > _MAX_CHARS:
        raise ValueError(f"has {len(text)} characters, at most {_MAX_CHARS} are taken")
    return _Compiler().find(text)


class _Compiler:
    """Compiles one path, and counts its parts."""

    def __init__(self) -> None:
        self._parts = 0

    def find(self, text: str) -> Find:
        """Compile a path from its beginning, where `!` is special and `@` and brackets need no dot before them."""
        if text.startswith("!"):
            return self._literal(text)
        if text.startswith(("[", "{")):
            return self._multipath(text)
        name = modifier_name(text)
        return self._chained(text) if name is None else self._modifier(name, text)

    def _count(self) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise ValueError(f"has more than {_MAX_PARTS} parts")

    def _chained(self, text: str) -> Find:
        if text.startswith(".."):
            raise ValueError("begins with '..', JSON lines, which is not supported: an event is one value")
        step, then = self._chain(text)

        def find(value: Any) -> Any:
            found = step(value)
            if isinstance(found, End):
                if found is End.NONE_FIT:
                    return []
                if found is End.NOWHERE:
                    return MISSING
                found = MISSING
            return found if then is None else then(found)

        return find

    def _chain(self, text: str) -> _Chain:
        self._count()
        if text.startswith("#"):
            return self._query(text) if text.startswith("#(") else self._elements(text)
        part = first_part(text)
        step = wild if part.wild else member
        if not part.separator:
            return _Chain(step(part, None), None)
        if part.separator == "|" or begins_anew(part.rest):
            return _Chain(step(part, None), self.find(part.rest))
        following, then = self._chain(part.rest)
        return _Chain(step(part, following), then)

    def _elements(self, text: str) -> _Chain:
        each, then = self._behind(text[1:], "#")
        return _Chain(count if each is None else collect(each, anew=begins_anew(text[2:])), then)

    def _query(self, text: str) -> _Chain:
        query = parse_query(text)
        written, rest = text[: query.end], text[query.end :]
        each, then = self._behind(rest, "#(…)")
        fits = fitting(self.find(query.path) if query.path else None, query.test)
        in_object = nameless(each, reached={".", "|"}.isdisjoint(written), anew=begins_anew(rest[1:]))
        return _Chain((all_matches if query.wants_all else first_match)(fits, each, in_object), then)

    def _behind(self, text: str, what: str) -> tuple[Find | None, Find | None]:
        """The path for each element, and the one for the whole."""
        if not text:
            return None, None
        if text[0] == "|":
            return None, self.find(text[1:])
        if text[0] != ".":
            raise ValueError(f"{text[0]!r} behind {what} is not supported: a dot, a pipe or the end must follow")
        left, right = split_pipe(text[1:])
        return self.find(left), None if right is None else self.find(right)

    def _followed(self, make: Find, text: str) -> Find:
        """`make`, and then the path that follows, on its result; here a dot acts as a pipe."""
        if not text:
            return make
        if text[0] not in ".|":
            raise ValueError(f"{text!r} is misplaced: a dot, a pipe or the end must stand there")
        then = self.find(text[1:])
        return lambda value: then(make(value))

    def _literal(self, text: str) -> Find:
        self._count()
        end = _end_of_literal(text)
        literal = text[1:end]
        return self._followed(lambda _: msgspec.json.decode(literal), text[end:])  # a new value, for it may be changed

    def _modifier(self, name: str, text: str) -> Find:
        self._count()
        end = len(name) + 1
        argument = None
        if text[end : end + 1] == ":":
            start = end + 1
            end = closing(text, start) if text.startswith("{", start) else len(text)
            argument = text[start:end]
        return self._followed(compile_modifier(name, argument), text[end:])

    def _multipath(self, text: str) -> Find:
        self._count()
        end = closing(text, 0)
        chosen = [(name, self.find(path)) for name, path in selectors(text[:end])]
        if text[0] == "[":
            return self._followed(_array_of([find for _, find in chosen]), text[end:])
        if len({name for name, _ in chosen}) < len(chosen):
            raise ValueError(f'{text[:end]} has two members of one name: name them, as in {{"n":path}}')
        return self._followed(_object_of(chosen), text[end:])


def _array_of(finds: list[Find]) -> Find:
    return lambda value: [found for find in finds if (found := find(value)) is not MISSING]


def _object_of(chosen: list[tuple[str, Find]]) -> Find:
    return lambda value: {name: found for name, find in chosen if (found := find(value)) is not MISSING}


def _end_of_literal(text: str) -> int:
    """The end of the JSON that follows `!`: `!"text"`, `!5`, `!true`, `!{…}`."""
    if text.startswith(("![", "!{")):
        end = closing(text, 1)
    elif (word := text[1:].replace("|", ".").partition(".")[0]) in {"true", "false", "null"}:
        end = 1 + len(word)
    else:
        end = len(text)  # gjson takes everything after a text or a number as part of it
    literal = text[1:end]
    try:
        value = msgspec.json.decode(literal)
    except (ValueError, RecursionError):
        value = MISSING
    if value is MISSING or literal != literal.strip():
        raise ValueError(f"{text}: behind ! stands JSON; nothing can follow a text or a number")
    if isinstance(value, str) and _closes_early(literal):
        raise ValueError(f"{text}: gjson takes the bracket in this text as its end")
    return end


def _closes_early(literal: str) -> bool:
    depth = 0
    for sign in literal:
        depth += (sign in "[({") - (sign in "])}")
        if depth < 0:
            return True
    return False
