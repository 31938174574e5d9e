"""One line of each kind a minute: what somebody far away can bring about as often as they like must not fill a log.

The first of a kind is told, then the others of that minute are counted; the count is told when the minute is over.
Kinds are made by the program, so there are only so many.
"""

from __future__ import annotations

from typing import Final, Generic, NamedTuple, TypeVar

PERIOD_S: Final = 60.0

T = TypeVar("T")


class More(NamedTuple, Generic[T]):
    """So many of a kind that were not told."""

    kind: T
    more: int


class Repeats(Generic[T]):
    """See the module. Times are seconds of any clock that does not go back."""

    def __init__(self) -> None:
        """Nothing was told yet."""
        self._ends: dict[T, float] = {}
        self._counts: dict[T, int] = {}

    def is_told(self, kind: T, now: float) -> bool:
        """Whether one of this kind is told now; else it is counted. What is `due` must be told first."""
        if now < self._ends.get(kind, now):
            self._counts[kind] = self._counts.get(kind, 0) + 1
            return False
        self._ends[kind] = now + PERIOD_S
        return True

    def due(self, now: float) -> list[More[T]]:
        """The counts of the minutes that are over."""
        return self._take([kind for kind in self._counts if self._ends[kind] <= now])

    def rest(self) -> list[More[T]]:
        """All counts, at the end."""
        return self._take(list(self._counts))

    def due_at(self) -> float | None:
        """When the next count is due; None while there is none."""
        return min((self._ends[kind] for kind in self._counts), default=None)

    def _take(self, kinds: list[T]) -> list[More[T]]:
        return [More(kind, self._counts.pop(kind)) for kind in kinds]
