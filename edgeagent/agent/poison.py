"""Finds the publication that ends the connection. Without I/O.

A broker that announces no limits, or speaks MQTT 3.1.1, closes the connection over a packet that it does not take, and
gives no reason. If such a publication were sent again with all the others, it would end every connection, and nothing
else would get through.

So, when two connections in a row ended with publications out and none of them acknowledged, the next one begins with a
single publication. If that connection ends too, this publication is the suspect: it rests, and another one goes first.
A line that is merely bad makes some publications wait a little; the first acknowledgement clears all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

_FRUITLESS = 2


class Poison:
    """The suspicion that one publication ends every connection.

    Owns how many connections in a row ended without an acknowledgement. Promises to name a suspect only if it was the
    only publication out. Must never be taken for proof: a suspect rests and is tried again.
    """

    def __init__(self) -> None:
        self._fruitless = 0  # how many connections in a row ended without an acknowledgement

    @property
    def is_raised(self) -> bool:
        """Whether the next connection should begin with a single publication."""
        return self._fruitless >= _FRUITLESS

    def acknowledged(self) -> None:
        """Note that the broker acknowledged a publication."""
        self._fruitless = 0

    def ended(self, out: Sequence[T]) -> T | None:
        """Note that a connection ended while these were out; returns the suspect among them, if there is one now."""
        if not out:
            return None
        suspect = out[0] if self.is_raised and len(out) == 1 else None
        self._fruitless += 1
        return suspect
