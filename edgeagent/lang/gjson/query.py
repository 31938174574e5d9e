"""Queries in paths, `#(path operator value)`, parsed and compiled as by gjson.

The result of a comparison depends on the element's type: texts are compared with the value's text, numbers with the
number that the value's text is (0 if it is none), booleans with the words `true` and `false`. Null, objects and arrays
match no comparison, not even `!=`; a query without an operator tests only whether the path has a value.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import msgspec

from edgeagent.lang.gjson.values import MISSING, number_of
from edgeagent.lang.gjson.wildcard import Wildcard

Test = Callable[[Any], bool]

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
# The longer ones come first, because `<` is the start of `<=`.
_OPERATORS = ("==", "!=", "<=", ">=", "!%", "=", "<", ">", "%")
_OPERATOR_SIGNS = frozenset("!=<>%")
_NOT_IN_BARE_VALUES = frozenset('"\\()[]{}!=<>%')
_BLANKS = "".join(map(chr, range(33)))  # the characters that gjson trims


class Query(msgspec.Struct, frozen=True):
    """A query as written. `end`: the position after its `)` or `)#`; `wants_all`: whether it was `)#`."""

    path: str
    test: Test
    wants_all: bool
    end: int


def parse_query(text: str) -> Query:
    """Parse the query at the start of `text`, which begins with `#(`.

    Raises:
        ValueError: it is not closed, or its value might not be read alike everywhere.
    """
    comparison, close = _scan(text)
    end = close + 1
    wants_all = text[end : end + 1] == "#"
    path = text[2 : comparison or close].strip(_BLANKS)
    if comparison:
        test = _comparison(text[comparison:close].strip(_BLANKS))
    elif path:
        test = _exists
    else:
        raise ValueError("the query #() asks nothing")
    return Query(path, test, wants_all, end + wants_all)


def _scan(text: str) -> tuple[int, int]:
    """The position of the operator (0: there is none), and that of the closing bracket."""
    comparison, depth, place = 0, 1, 2
    while place < len(text):
        sign = text[place]
        if depth == 1 and not comparison and sign in _OPERATOR_SIGNS:
            comparison = place
        elif sign == "\\":
            place += 1
        elif sign in "([":
            depth += 1
        elif sign in ")]":
            depth -= 1
            if not depth:
                return comparison, place
        elif sign == '"':
            place = end_of_text(text, place) - 1
        place += 1
    raise ValueError("a query is not closed: ')' is missing")


def end_of_text(text: str, place: int) -> int:
    """The position after the quoted text that begins at `place`.

    Raises:
        ValueError: it has no end.
    """
    place += 1
    while place < len(text):
        if text[place] == '"':
            return place + 1
        place += 2 if text[place] == "\\" else 1
    raise ValueError("a quoted text is not closed: '\"' is missing")


def _exists(value: Any) -> bool:
    return value is not MISSING


def _comparison(text: str) -> Test:
    sign = next((sign for sign in _OPERATORS if text.startswith(sign)), None)
    if sign is None:  # a lone "!"
        raise ValueError(f"a query has no operator in {text!r}: {', '.join(_OPERATORS)} are known")
    wanted = _wanted(text[len(sign) :].strip(_BLANKS))
    if sign in {"%", "!%"}:
        return _like(Wildcard(wanted), fits=sign == "%")
    return _compared("=" if sign == "==" else sign, wanted)


def _wanted(written: str) -> str:
    """The value to compare with, as text: gjson does not distinguish `"5"` from `5`."""
    wanted = written
    if written.startswith('"'):
        try:
            wanted = msgspec.json.decode(written, type=str)
        except (msgspec.DecodeError, UnicodeError):
            raise ValueError(f"the value {written} of a query is not text in JSON") from None
    elif not written:
        raise ValueError('a query has no value behind its operator; write "" for the empty text')
    elif not _NOT_IN_BARE_VALUES.isdisjoint(written):
        raise ValueError(f"write the value {written} of a query in double quotes")
    if wanted.startswith("~"):
        raise ValueError(f"{wanted} is not supported in a query: compare with true, false or a value")
    if wanted[:3].strip("+-")[:2].lower() == "0x":
        raise ValueError(f"{wanted} is not supported in a query: write the number in decimal")
    return wanted


def _like(pattern: Wildcard, *, fits: bool) -> Test:
    return lambda value: isinstance(value, str) and pattern.matches(value) is fits


def _compared(sign: str, wanted: str) -> Test:
    compare = _COMPARE[sign]
    number = _number(wanted)
    # As in gjson: `true <= true` and `false >= false` are false.
    of_true = {"=": wanted == "true", "!=": wanted != "true", ">": wanted == "false", ">=": True}.get(sign, False)
    of_false = {"=": wanted == "false", "!=": wanted != "false", "<": wanted == "true", "<=": True}.get(sign, False)

    def test(value: Any) -> bool:
        if isinstance(value, str):
            return compare(value, wanted)
        if isinstance(value, bool):
            return of_true if value else of_false
        return isinstance(value, (int, float)) and compare(number_of(value), number)

    return test


def _number(text: str) -> float:
    """The number that a text is; 0 if it is none, as in gjson."""
    if text != text.strip() or not text.isascii():
        return 0.0
    try:
        return float(text)
    except ValueError:
        return 0.0
