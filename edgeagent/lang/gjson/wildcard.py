"""Patterns with `*` (any characters, or none) and `?` (one character), for names and for the operator `%`."""

from __future__ import annotations

import re


class Wildcard:
    r"""A pattern that a whole text must match. A backslash makes the next character an ordinary one.

    Between two stars is a piece of fixed length, and its leftmost match is always right, so the time is linear in the
    text, whatever the text is.
    """

    __slots__ = ("_first", "_last", "_last_chars", "_middle")

    def __init__(self, pattern: str) -> None:
        """Compile a pattern.

        Raises:
            ValueError: it ends with a backslash that escapes nothing.
        """
        pieces, lengths = _pieces(pattern)
        only = len(pieces) == 1
        self._first = re.compile(pieces[0] + (r"\Z" if only else ""), re.DOTALL)
        self._middle = [re.compile(piece, re.DOTALL) for piece in pieces[1:-1] if piece]
        self._last = None if only else re.compile(pieces[-1], re.DOTALL)
        self._last_chars = lengths[-1]

    def matches(self, text: str) -> bool:
        """Whether the whole text matches."""
        found = self._first.match(text)
        if found is None or self._last is None:
            return found is not None
        end = len(text) - self._last_chars
        position = found.end()
        if end < position:
            return False
        for piece in self._middle:
            found = piece.search(text, position, end)
            if found is None:
                return False
            position = found.end()
        return self._last.match(text, end) is not None


def _pieces(pattern: str) -> tuple[list[str], list[int]]:
    """The pieces before, between and after the stars as regular expressions, and the length of each."""
    pieces, lengths = [""], [0]
    signs = iter(pattern)
    for sign in signs:
        if sign == "*":
            pieces.append("")
            lengths.append(0)
            continue
        literal = next(signs, "") if sign == "\\" else sign
        if not literal:
            raise ValueError("a pattern ends with a backslash that escapes nothing")
        pieces[-1] += "." if sign == "?" else re.escape(literal)
        lengths[-1] += 1
    return pieces, lengths
