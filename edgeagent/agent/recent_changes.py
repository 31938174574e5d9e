"""The latest changes of triggers, numbered, so that a subscriber that was away for a moment learns what it missed."""

from __future__ import annotations

from typing import Final

import msgspec

# So many are kept at most, and so many bytes of them.
MAX_CHANGES: Final = 4096
MAX_BYTES: Final = 2 << 20


class Change(msgspec.Struct, frozen=True):
    """The report of a trigger in its new state, encoded."""

    source: str
    data: bytes


class Told(msgspec.Struct, frozen=True):
    """Some changes, each with its number; and the number up to which there is nothing more of that kind."""

    changes: list[tuple[int, bytes]]
    up_to: int


class RecentChanges:
    """Owns the latest changes. Each has a number, one higher than that of the change before.

    Promises to say whether anything is missing between a number and what is kept. Must never grow beyond its bounds.
    """

    def __init__(self, newest: int) -> None:
        """`newest`: the number before the first one; higher than all that were given out by an earlier process."""
        self.newest = newest
        self._kept: dict[int, Change] = {}
        self._oldest = newest + 1  # the lowest number kept; one more than `newest` when there is none
        self._bytes = 0

    def add(self, change: Change) -> None:
        """Keep a change."""
        self.newest += 1
        self._kept[self.newest] = change
        self._bytes += len(change.data)
        while self._bytes > MAX_BYTES or len(self._kept) > MAX_CHANGES:
            self._bytes -= len(self._kept.pop(self._oldest).data)
            self._oldest += 1

    def skip(self) -> None:
        """Count a change that is not kept; what was kept before it is of no use any more."""
        self.newest += 1
        self._oldest = self.newest + 1
        if self._kept:
            self._kept.clear()
            self._bytes = 0

    def lacks(self, after: int) -> bool:
        """Whether there were changes after this number that are not kept, or whether the number is not one of ours."""
        return not self._oldest - 1 <= after <= self.newest

    @property
    def before_oldest(self) -> int:
        """The number after which everything is kept."""
        return self._oldest - 1

    def after(self, number: int, source: str, max_bytes: int) -> Told:
        """The changes after a number that does not lack any, of this source or of all if that is empty.

        They have about `max_bytes` together; one of them may have more.
        """
        found: list[tuple[int, bytes]] = []
        while number < self.newest and max_bytes > 0:
            number += 1
            change = self._kept[number]
            if source in {"", change.source}:
                found.append((number, change.data))
                max_bytes -= len(change.data)
        return Told(found, number)
