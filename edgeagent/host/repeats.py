"""One log line of each kind a minute, so that a remote peer cannot fill a log with a line it can cause at will.

The first of a kind is logged, and the others of that minute are counted; the count is logged when the minute is over.
Kinds are defined by the program, so their number is bounded.
"""

from __future__ import annotations

from typing import Final, Generic, NamedTuple, TypeVar

PERIOD_S: Final = 60.0

T = TypeVar("T")


class More(NamedTuple, Generic[T]):
    """How many of a kind were not logged."""

    kind: T
    more: int


class Repeats(Generic[T]):
    """Owns the counts of each kind. Times are seconds of any clock that does not go back."""

    def __init__(self) -> None:
        """Begin with nothing logged."""
        self._ends: dict[T, float] = {}
        self._counts: dict[T, int] = {}

    def is_logged(self, kind: T, now: float) -> bool:
        """Whether to log one of this kind now; otherwise it is counted. Log what is `due` first."""
        if now < self._ends.get(kind, now):
            self._counts[kind] = self._counts.get(kind, 0) + 1
            return False
        self._ends[kind] = now + PERIOD_S
        return True

    def due(self, now: float) -> list[More[T]]:
        """The counts of the minutes that are over."""
        return self._take([kind for kind in self._counts if self._ends[kind] <= now])

    def rest(self) -> list[More[T]]:
        """All counts that are left, for the end of the process."""
        return self._take(list(self._counts))

    def due_at(self) -> float | None:
        """When the next count is due; None if there is none."""
        return min((self._ends[kind] for kind in self._counts), default=None)

    def _take(self, kinds: list[T]) -> list[More[T]]:
        return [More(kind, self._counts.pop(kind)) for kind in kinds]
