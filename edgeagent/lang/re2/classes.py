r"""Sets of characters in patterns: ranges of code points, named classes, upper and lower case (RE2's meaning).

`\d`, `\s`, `\w` and `[[:alpha:]]` are ASCII, `\pL` is Unicode, and `(?i)` joins what Unicode's simple case folding
joins: `k` and the Kelvin sign, but not `i` and the dotless one.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

Ranges = tuple[tuple[int, int], ...]  # first and last code point of each; sorted, with gaps between them

LAST = 0x10FFFF
EVERYTHING: Ranges = ((0, LAST),)
NEWLINE: Ranges = ((10, 10),)

_LAST_ASCII = 0x7F
_LAST_WITH_CASE = 0x1E943  # Adlam is the last script that has upper and lower case


def ranges_of(pairs: Iterable[tuple[int, int]]) -> Ranges:
    """Sort ranges and join those that touch or overlap."""
    joined: list[tuple[int, int]] = []
    for low, high in sorted(pairs):
        if joined and low <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    return tuple(joined)


def negated(ranges: Ranges) -> Ranges:
    """Every character that is not in them."""
    result = []
    low = 0
    for first, last in ranges:
        if low < first:
            result.append((low, first - 1))
        low = last + 1
    if low <= LAST:
        result.append((low, LAST))
    return tuple(result)


def _signs(text: str) -> Ranges:
    return ranges_of((ord(sign), ord(sign)) for sign in text)


def _spans(*spans: str) -> Ranges:
    """`_spans("az", "09")`: the characters from a to z and from 0 to 9."""
    return ranges_of((ord(span[0]), ord(span[1])) for span in spans)


WORD = _spans("09", "AZ", "__", "az")
PERL = {"d": _spans("09"), "s": _signs("\t\n\f\r "), "w": WORD}
POSIX = {
    "alnum": _spans("09", "AZ", "az"),
    "alpha": _spans("AZ", "az"),
    "ascii": _spans("\0\x7f"),
    "blank": _signs("\t "),
    "cntrl": _spans("\0\x1f", "\x7f\x7f"),
    "digit": _spans("09"),
    "graph": _spans("!~"),
    "lower": _spans("az"),
    "print": _spans(" ~"),
    "punct": _spans("!/", ":@", "[`", "{~"),
    "space": _signs("\t\n\v\f\r "),
    "upper": _spans("AZ"),
    "word": WORD,
    "xdigit": _spans("09", "AF", "af"),
}
_MINOR = {"C": "cfos", "L": "lmotu", "M": "cen", "N": "dlo", "P": "cdefios", "S": "ckmo", "Z": "lps"}
CATEGORIES = frozenset(major + minor for major, minors in _MINOR.items() for minor in ("", *minors))


@lru_cache(maxsize=len(CATEGORIES))
def category(name: str) -> Ranges:
    """The characters of one of Unicode's general `CATEGORIES`; unassigned ones are in none."""
    return ranges_of((low, high) for kind, low, high in _kinds() if kind.startswith(name))


@lru_cache(maxsize=1)
def _kinds() -> tuple[tuple[str, int, int], ...]:
    """The two letters of each stretch of characters of one kind, in order; unassigned ones are left out.

    There are a few thousand, found in one pass over a million characters, which a gateway needs a second for.
    """
    kinds, low = [], 0
    for kind, run in itertools.groupby(map(unicodedata.category, map(chr, range(LAST + 1)))):
        high = low + sum(1 for _ in run)
        if kind != "Cn":
            kinds.append((kind, low, high - 1))
        low = high
    return tuple(kinds)


def folded(ranges: Ranges) -> Ranges:
    """The set, with the other cases of its members."""
    ascii_only = not ranges or ranges[-1][1] <= _LAST_ASCII
    cases = _ascii_cases() if ascii_only else _all_cases()
    added = [case for case in cases if any(low <= code <= high for code in case for low, high in ranges)]
    return ranges_of([*ranges, *((code, code) for case in added for code in case)])


@lru_cache(maxsize=1)
def _ascii_cases() -> tuple[tuple[int, ...], ...]:
    """The members of `_all_cases` that concern ASCII: nearly every pattern needs no others."""
    others = {"k": "\u212a", "s": "\u017f"}  # the Kelvin sign and the long s
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    return tuple(tuple(map(ord, (sign, sign.upper(), *others.get(sign, "")))) for sign in letters)


@lru_cache(maxsize=1)
def _all_cases() -> tuple[tuple[int, ...], ...]:
    """Code points that differ only in case, by Unicode's simple case folding."""
    cases: dict[str, list[int]] = {}
    for code in range(_LAST_WITH_CASE + 1):
        cases.setdefault(_simple_fold(chr(code)), []).append(code)
    return tuple(tuple(case) for case in cases.values() if len(case) > 1)


def _simple_fold(sign: str) -> str:
    """Python folds a few letters to several (the sharp s to "ss"); the simple folding of these is their lower case."""
    for result in (sign.casefold(), sign.lower()):
        if len(result) == 1:
            return result
    return sign
