r"""The tokens of an expression: numbers, texts, names and signs, split as by govaluate.

Three of its habits are surprising, and kept, because a Sensor's expression must keep its meaning:

* signs without a blank between them are one sign: `a==-1` and `a&&!b` are refused, `a == -1` is right;
* a backslash stands for the next character: the text `'\d'` is `d`, a regular expression's digit is `'\\d'`;
* a text that looks like a date is a number (`dates`).

What govaluate reads in an unexpected way is refused: a text that begins with `'` and ends with `"`, a backslash outside
texts and names, `0x` with a blank before the digits.
Source: https://github.com/Knetic/govaluate (parsing.go), revision 9aa49832a739.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

from edgeagent.lang.govaluate.dates import date_literal

MAX_CHARACTERS = 4096
# Go's unicode.IsSpace; Python's str.isspace takes four more.
_BLANKS = frozenset(
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
_QUOTES = "'\""
_NUMBER = re.compile(r"0x[0-9a-fA-F]+|[0-9.]+")
_MAX_HEX = 2**64 - 1
_HINTS = {"=": "==", "<>": "!="}


class TokenKind(Enum):
    """The kinds of tokens."""

    VALUE = "value"  # a number or true or false
    TEXT = "text"
    DATE = "date"  # its value: Unix seconds
    NAME = "name"
    SIGN = "sign"  # an operator, a parenthesis or a comma; its value: the text as written
    END = "end"


class Token(NamedTuple):
    """One token of an expression. `position` counts characters from 1, for messages."""

    kind: TokenKind
    value: Any
    position: int


def tokenize(text: str, signs: frozenset[str]) -> list[Token]:
    """Split an expression into tokens, with `END` as the last. `signs`: the operators, apart from `( ) ,`.

    Raises:
        ValueError: a part is not a valid token; the text says which and where.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"the expression has {len(text)} characters, at most {MAX_CHARACTERS} are taken")
    tokens: list[Token] = []
    start = 0
    while start < len(text):
        if text[start] in _BLANKS:
            start += 1
            continue
        kind, value, end = _reader(text[start])(text, start)
        if kind is TokenKind.SIGN and value not in signs and value not in {"(", ")", ","}:
            raise ValueError(f"character {start + 1}: {_no_operator(value)}")
        tokens.append(Token(kind, value, start + 1))
        start = end
    tokens.append(Token(TokenKind.END, "the end", len(text) + 1))
    return tokens


_Reader = Callable[[str, int], tuple[TokenKind, Any, int]]


def _reader(first: str) -> _Reader:
    if first.isdecimal() or first == ".":
        return _number
    if first.isalpha():
        return _name
    if first == "[":
        return _bracketed_name
    if first in _QUOTES:
        return _text
    if first in "(),]":
        return _mark
    return _sign


def _number(text: str, start: int) -> tuple[TokenKind, Any, int]:
    found = _NUMBER.match(text, start)
    written = found.group() if found else text[start]
    if written.startswith("0x"):
        whole = int(written, 16)
        if whole > _MAX_HEX:
            raise ValueError(f"character {start + 1}: {written[:24]} has more than 64 bits")
        return TokenKind.VALUE, float(whole), start + len(written)
    try:
        number = float(written) if written.isascii() else math.inf
    except ValueError:
        number = math.inf
    if math.isinf(number):
        raise ValueError(f"character {start + 1}: {written[:24]!r} is not a number, or too large for one")
    return TokenKind.VALUE, number, start + len(written)


def _name(text: str, start: int) -> tuple[TokenKind, Any, int]:
    name = ""
    end = start
    while end < len(text):
        if text[end] == "\\":
            name += _escaped(text, end)
            end += 2
        elif text[end].isalpha() or text[end].isdecimal() or text[end] in "_.":
            name += text[end]
            end += 1
        else:
            break
    if name in {"true", "false"}:
        return TokenKind.VALUE, name == "true", end
    if name in {"in", "IN"}:
        return TokenKind.SIGN, "in", end
    if "." in name:
        raise ValueError(
            f"character {start + 1}: {name}: members of a value cannot be read here; write [{name}] for a field "
            "of that name, or give the member a field of its own"
        )
    return TokenKind.NAME, name, end


def _bracketed_name(text: str, start: int) -> tuple[TokenKind, Any, int]:
    name, end = _until(text, start + 1, "]")
    if end == len(text):
        raise ValueError(f"character {start + 1}: the [ has no ]")
    return TokenKind.NAME, name, end + 1


def _text(text: str, start: int) -> tuple[TokenKind, Any, int]:
    content, end = _until(text, start + 1, _QUOTES)
    if end == len(text):
        raise ValueError(f"character {start + 1}: the text has no end; a quote is missing")
    if text[end] != text[start]:
        raise ValueError(f"character {end + 1}: write \\{text[end]} for this quote: either quote ends a text")
    try:
        instant = date_literal(content)
    except ValueError as exc:
        raise ValueError(f"character {start + 1}: {exc}") from None
    if instant is not None:
        return TokenKind.DATE, instant, end + 1
    return TokenKind.TEXT, content, end + 1


def _mark(text: str, start: int) -> tuple[TokenKind, Any, int]:
    return TokenKind.SIGN, text[start], start + 1


def _sign(text: str, start: int) -> tuple[TokenKind, Any, int]:
    end = start
    while end < len(text) and not (text[end].isalpha() or text[end].isdecimal() or text[end] in "()[]'\""):
        if text[end] in _BLANKS:
            break
        end += 1
    return TokenKind.SIGN, text[start:end], end


def _until(text: str, start: int, stops: str) -> tuple[str, int]:
    """The text up to the first of `stops`, without escapes, and the position of that, which may be the end."""
    parts: list[str] = []
    end = start
    while end < len(text) and text[end] not in stops:
        if text[end] == "\\":
            parts.append(_escaped(text, end))
            end += 2
        else:
            parts.append(text[end])
            end += 1
    return "".join(parts), end


def _escaped(text: str, backslash: int) -> str:
    if backslash + 1 == len(text):
        raise ValueError(f"character {backslash + 1}: nothing follows the backslash")
    return text[backslash + 1]


def _no_operator(sign: str) -> str:
    if sign in _HINTS:
        return f"{sign} is not an operator; write {_HINTS[sign]}"
    if len(sign) > 1:
        return f"{sign[:24]!r} is not an operator; if these are several, put a blank between them"
    return f"{sign!r} means nothing here"
