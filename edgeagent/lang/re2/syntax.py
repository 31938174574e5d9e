r"""Parses patterns: RE2 as Go's `regexp`, and so Argo Events, reads it (https://github.com/google/re2/wiki/Syntax).

`parse` turns a text into a tree of the five nodes below, or says what is wrong with it. What only affects where a match
begins and ends (greed, capturing, names of groups) is parsed and left out of the tree, because a filter only tests
whether there is a match.
"""

from __future__ import annotations

import re
import string
from typing import Literal, NamedTuple, TypeAlias

from edgeagent.lang.re2.classes import (
    CATEGORIES,
    EVERYTHING,
    LAST,
    NEWLINE,
    PERL,
    POSIX,
    Ranges,
    category,
    folded,
    negated,
    ranges_of,
)
from edgeagent.lang.re2.refused import PatternRefused

_MAX_REPEAT = 1000  # RE2's own bound
_MAX_DEPTH = 100
# The size of a pattern with its repetitions written out; each part costs time for every character searched.
_MAX_SIZE = 1000

_REPEAT = re.compile(r"\{(0|[1-9][0-9]*)(,(0|[1-9][0-9]*)?)?\}", re.ASCII)
_GROUP_NAME = re.compile(r"\?P?<[A-Za-z0-9_]+>", re.ASCII)
_FLAGS = re.compile(r"\?([imsU]*)(-[imsU]+)?([:)])", re.ASCII)
_HEXADECIMAL = re.compile(r"\{([0-9a-fA-F]+)\}|([0-9a-fA-F]{2})", re.ASCII)
_CONTROL = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_OCTAL_DIGITS = 3
_LOOK_AROUND = ("?=", "?!", "?<=", "?<!", "?>")


class Signs(NamedTuple):
    """Matches one character of a set."""

    ranges: Ranges


class Assertion(NamedTuple):
    """Matches between two characters, if a condition holds."""

    kind: Literal["start", "end", "line start", "line end", "word", "no word"]


class Sequence(NamedTuple):
    """Matches its parts one after the other; without parts, the empty text."""

    parts: tuple[Node, ...]


class Alternation(NamedTuple):
    """Matches any one of its parts."""

    parts: tuple[Node, ...]


class Repeat(NamedTuple):
    """Matches its part `least` to `most` times; `most` None: any number of times."""

    part: Node
    least: int
    most: int | None


Node: TypeAlias = Signs | Assertion | Sequence | Alternation | Repeat


def parse(pattern: str) -> Node:
    """Parse a pattern into a tree.

    Raises:
        ValueError: it is not RE2, or too large; the text says why and what to write instead.
    """
    parser = _Parser(pattern)
    node = parser.choice()
    if not parser.done():
        raise ValueError("has a ) without its (; write \\) for the character itself")
    if _size(node) > _MAX_SIZE:
        raise PatternRefused(f"is too large: with its repetitions written out it has more than {_MAX_SIZE} parts")
    return node


def _size(node: Node) -> int:
    if isinstance(node, (Sequence, Alternation)):
        return max(1, sum(map(_size, node.parts)))
    if isinstance(node, Repeat):
        return max(1, _size(node.part) * (node.most if node.most is not None else max(1, node.least)))
    return 1


class _Parser:
    """Parses a pattern from left to right; `(?i)` and the like hold to the end of the group in which they appear."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._flags = frozenset[str]()

    def done(self) -> bool:
        return self._at == len(self._text)

    def choice(self) -> Node:
        """`a|b|c`, to the end or to a `)`."""
        parts = [self._sequence()]
        while self._take("|"):
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else Alternation(tuple(parts))

    def _sequence(self) -> Node:
        parts: list[Node] = []
        repeated = False
        while not self.done() and self._text[self._at] not in "|)":
            times = self._times()
            if times is None:
                self._one(parts)
            elif not parts:
                raise ValueError(
                    f"has nothing to repeat before {self._text[self._at - 1]!r}; write it with a \\ before"
                )
            elif repeated:
                raise ValueError("repeats a repetition, such as a** or a++; RE2 does not: write (?:a*)* if it is meant")
            else:
                parts[-1] = Repeat(parts[-1], *times)
            repeated = times is not None
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _times(self) -> tuple[int, int | None] | None:
        """`*`, `+`, `?`, `{n,m}` and their lazy forms; None if there is none here."""
        times: tuple[int, int | None]
        if self._take("*"):
            times = (0, None)
        elif self._take("+"):
            times = (1, None)
        elif self._take("?"):
            times = (0, 1)
        elif match := _REPEAT.match(self._text, self._at):  # anything else in braces is plain text
            self._at = match.end()
            least, comma, most = match.groups()
            if max(len(least), len(most or "")) > len(str(_MAX_REPEAT)):
                raise ValueError(f"repeats more than {_MAX_REPEAT} times: {match[0]}")
            times = (int(least), int(most) if most else None if comma else int(least))
            if max(times[0], times[1] or 0) > _MAX_REPEAT:
                raise ValueError(f"repeats more than {_MAX_REPEAT} times: {match[0]}")
            if times[1] is not None and times[0] > times[1]:
                raise ValueError(f"repeats at least more often than at most: {match[0]}")
        else:
            return None
        self._take("?")
        return times

    def _one(self, parts: list[Node]) -> None:
        """The element here, without a repetition after it."""
        sign = self._next()
        if sign == "(":
            self._group(parts)
        elif sign == "[":
            parts.append(Signs(self._class()))
        elif sign == "\\":
            self._escaped(parts)
        elif sign == ".":
            parts.append(Signs(EVERYTHING if "s" in self._flags else negated(NEWLINE)))
        elif sign == "^":
            parts.append(Assertion("line start" if "m" in self._flags else "start"))
        elif sign == "$":
            parts.append(Assertion("line end" if "m" in self._flags else "end"))
        else:
            parts.append(self._literal(sign))

    def _literal(self, sign: str) -> Signs:
        return Signs(self._cased(((ord(sign), ord(sign)),)))

    def _cased(self, ranges: Ranges) -> Ranges:
        return folded(ranges) if "i" in self._flags else ranges

    def _group(self, parts: list[Node]) -> None:
        flags = self._flags
        if self._text.startswith("?", self._at) and self._group_start() == ")":
            return  # (?i): for the rest of its group
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise PatternRefused(f"has more than {_MAX_DEPTH} groups inside each other")
        parts.append(self.choice())
        if not self._take(")"):
            raise ValueError("has a ( without its ); write \\( for the character itself")
        self._depth -= 1
        self._flags = flags

    def _group_start(self) -> str:
        """The text after `(` if it begins with `?`; returns its last character."""
        if self._text.startswith(_LOOK_AROUND, self._at):
            raise ValueError(
                "looks around or is atomic, (?=, (?!, (?<=, (?<!, (?>, which RE2 does not have: use two filters"
            )
        match = _GROUP_NAME.match(self._text, self._at)
        if match is None and (match := _FLAGS.match(self._text, self._at)):
            self._flags = (self._flags | set(match[1])) - set(match[2] or "")
        if match is None:
            raise ValueError(f"has an unknown kind of group: ({self._text[self._at : self._at + 3]}")
        self._at = match.end()
        return match[0][-1]

    def _escaped(self, parts: list[Node]) -> None:
        """The element after a backslash, outside brackets."""
        sign = self._text[self._at : self._at + 1]
        gaps: dict[str, Assertion] = {
            "A": Assertion("start"),
            "z": Assertion("end"),
            "b": Assertion("word"),
            "B": Assertion("no word"),
        }
        if sign in gaps:
            self._at += 1
            parts.append(gaps[sign])
        elif sign == "Q":
            literal, _, _ = self._text[self._at + 1 :].partition("\\E")
            self._at = min(len(self._text), self._at + 1 + len(literal) + 2)
            parts.extend(map(self._literal, literal))
        else:
            ranges = self._class_escape()
            parts.append(Signs(ranges) if ranges is not None else self._literal(self._escape()))

    def _class(self) -> Ranges:
        """`[...]`, from after the opening bracket to after the closing one."""
        inverted = self._take("^")
        found: list[tuple[int, int]] = []
        first = True
        while first or not self._take("]"):
            first = False
            found.extend(self._class_member())
        return negated(ranges_of(found)) if inverted else ranges_of(found)

    def _class_member(self) -> Ranges:
        end = self._text.find(":]", self._at + 2)
        if self._text.startswith("[:", self._at) and end >= 0:
            name = self._text[self._at + 2 : end]
            self._at = end + 2
            ranges = POSIX.get(name.removeprefix("^"))
            if ranges is None:
                raise ValueError(f"has an unknown class: [:{name}:]")
            return negated(self._cased(ranges)) if name.startswith("^") else self._cased(ranges)
        if self._take("\\"):
            escaped = self._class_escape()
            if escaped is not None:
                return escaped
            self._at -= 1
        low = high = self._class_sign()
        if self._text.startswith("-", self._at) and self._text[self._at + 1 : self._at + 2] not in {"", "]"}:
            self._at += 1
            high = self._class_sign()
            if high < low:
                raise ValueError(f"has a range that runs backwards in brackets: {chr(low)}-{chr(high)}")
        return self._cased(((low, high),))

    def _class_sign(self) -> int:
        if self.done():
            raise ValueError("has a [ without its ]; write \\[ for the character itself")
        sign = self._next()
        return ord(self._escape() if sign == "\\" else sign)

    def _class_escape(self) -> Ranges | None:
        r"""The set after a backslash, if it is one: `\d`, `\pL`, `\P{Lu}` and the like."""
        sign = self._text[self._at : self._at + 1]
        if sign and sign in "dDsSwW":
            self._at += 1
            ranges = self._cased(PERL[sign.lower()])
            return negated(ranges) if sign.isupper() else ranges
        if not sign or sign not in "pP":
            return None
        self._at += 1
        name = self._next() if not self.done() else ""
        if name == "{":
            name, brace, _ = self._text[self._at :].partition("}")
            if not brace:
                raise ValueError(f"has \\{sign}{{ without its }}")
            self._at += len(name) + 1
        inverted = (sign == "P") != name.startswith("^")
        name = name.removeprefix("^")
        if name != "Any" and name not in CATEGORIES:
            raise PatternRefused(f"has \\{sign}{{{name}}}: only categories such as L, Lu, N are known, no scripts")
        ranges = self._cased(EVERYTHING if name == "Any" else category(name))
        return negated(ranges) if inverted else ranges

    def _escape(self) -> str:
        """The one character that an escape stands for."""
        if self.done():
            raise ValueError("ends in a single \\; write \\\\ for the character itself")
        sign = self._next()
        following = self._text[self._at : self._at + 1]
        if sign in _CONTROL:
            return _CONTROL[sign]
        if sign == "0" or (sign in "1234567" and following and following in string.octdigits):
            return self._octal(sign)
        if sign == "x":
            return self._hexadecimal()
        if sign.isascii() and not sign.isalnum():
            return sign
        if sign == "Z":
            raise ValueError("has \\Z, which RE2 does not have: write \\z or $, which mean the very end")
        if sign in string.digits:
            raise ValueError(f"has the backreference \\{sign}, which RE2 does not have")
        raise ValueError(f"has \\{sign}, which means nothing in RE2")

    def _octal(self, digits: str) -> str:
        while len(digits) < _OCTAL_DIGITS and not self.done() and self._text[self._at] in string.octdigits:
            digits += self._next()
        return chr(int(digits, 8))

    def _hexadecimal(self) -> str:
        match = _HEXADECIMAL.match(self._text, self._at)
        code = int(match[1] or match[2], 16) if match else LAST + 1
        if match is None or code > LAST:
            raise ValueError("has a \\x without a character: write \\x7f or \\x{10ffff}")
        self._at = match.end()
        return chr(code)

    def _next(self) -> str:
        self._at += 1
        return self._text[self._at - 1]

    def _take(self, sign: str) -> bool:
        """Consume a character if it comes next; returns whether it did."""
        if self._text.startswith(sign, self._at):
            self._at += len(sign)
            return True
        return False
