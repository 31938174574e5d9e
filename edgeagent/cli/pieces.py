"""Lines for a terminal, made of pieces with a meaning; whoever prints them gives the meaning a colour, or none."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple


class Shade(Enum):
    """What a piece of a line means."""

    PLAIN = "plain"
    STRONG = "strong"
    FAINT = "faint"
    GOOD = "good"
    BAD = "bad"
    WAITING = "waiting"


class Piece(NamedTuple):
    """A part of a line. The text may come from anywhere; it is escaped when it is printed."""

    text: str
    shade: Shade = Shade.PLAIN


Line = Sequence[Piece]
