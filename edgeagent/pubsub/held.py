"""The messages that were pulled and not acknowledged yet: their receipts, and when their deadlines are extended. Pure.

A pulled message that is neither acknowledged nor extended before its deadline is delivered again. The deadline of a
subscription is 10 s at least; what it really is, an account that may only pull cannot ask.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from edgeagent.ports.link import PREFETCH

# Before the shortest deadline that a subscription can have, and then always in time for the deadline that we ask for.
FIRST_EXTENSION_S: Final = 4.0
EXTENDED_S: Final = 60
NEXT_EXTENSION_S: Final = 25.0
# The service takes request bodies up to 512 KiB for these calls; an acknowledgement id has some 200 characters.
MAX_ACK_IDS: Final = 1000


class _Entry(msgspec.Struct, gc=False):
    ack_id: str
    extend_at_s: float


class Held:
    """Owns the acknowledgement ids of what is held, by receipt. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._entries: dict[int, _Entry] = {}
        self._next_receipt = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def room(self) -> int:
        """How many more messages may be pulled."""
        return max(PREFETCH - len(self._entries), 0)

    def add(self, ack_id: str, now_s: float) -> int:
        """Hold a message; returns its receipt."""
        self._next_receipt += 1
        self._entries[self._next_receipt] = _Entry(ack_id, now_s + FIRST_EXTENSION_S)
        return self._next_receipt

    def release(self, receipts: Iterable[int | str | None]) -> list[str]:
        """No longer hold these; returns their acknowledgement ids. What is not held is ignored."""
        entries = [self._entries.pop(receipt, None) for receipt in receipts if isinstance(receipt, int)]
        return [entry.ack_id for entry in entries if entry is not None]

    def give_up(self) -> list[str]:
        """Hold nothing any more; returns the acknowledgement ids."""
        ids = [entry.ack_id for entry in self._entries.values()]
        self._entries.clear()
        return ids

    def due(self, now_s: float) -> list[str]:
        """The acknowledgement ids whose deadlines are to be extended now, by `EXTENDED_S`; at most `MAX_ACK_IDS`."""
        found: list[str] = []
        for entry in self._entries.values():
            if entry.extend_at_s <= now_s and len(found) < MAX_ACK_IDS:
                entry.extend_at_s = now_s + NEXT_EXTENSION_S
                found.append(entry.ack_id)
        return found

    def next_due(self) -> float | None:
        """When the next deadline is to be extended; None while nothing is held."""
        return min((entry.extend_at_s for entry in self._entries.values()), default=None)
