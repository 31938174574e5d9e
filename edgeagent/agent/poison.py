"""Which publication is it that ends the connection? Without I/O.

A broker that announces no limits, or speaks MQTT 3.1.1, closes the connection over a packet that it does not take, and
says nothing. Sent again with all the others, such a publication would end every connection, and nothing else would get
through.

So, when two connections in a row ended with publications out and none of them acknowledged, the next one begins with a
single publication. If that connection ends over it too, it is the suspect: it rests, and another one goes first. A line
that is merely bad makes some publications wait a little; the first acknowledgement clears all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

_FRUITLESS = 2


class Poison:
    """Whether a publication is suspected of ending connections, and which.

    Owns how many connections in a row ended without an acknowledgement. Promises to name a suspect only when it was the
    only one out. Must never be taken for proof: a suspect rests and is tried again.
    """

    def __init__(self) -> None:
        self._fruitless = 0  # connections in a row that ended without an acknowledgement

    @property
    def is_raised(self) -> bool:
        """Whether the next connection should begin with a single publication."""
        return self._fruitless >= _FRUITLESS

    def acknowledged(self) -> None:
        """The broker acknowledged something."""
        self._fruitless = 0

    def ended(self, out: Sequence[T]) -> T | None:
        """A connection ended while these were out; the suspect among them, if there is one now."""
        if not out:
            return None
        suspect = out[0] if self.is_raised and len(out) == 1 else None
        self._fruitless += 1
        return suspect
