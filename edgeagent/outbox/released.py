"""The released seqs of a log, in whatever order they are released: a cursor, and the ranges beyond it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable


class Released:
    """Owns the set of released seqs: everything below `cursor`, and the ranges above it. It never shrinks.

    Invariants: the ranges are sorted, do not touch, and begin above `cursor`; each is (start, end), end excluded. The
    number of ranges is bounded by the unreleased seqs below the highest released one, that is by those in flight; in
    the log `limited` by `outbox.limited`.
    """

    def __init__(self, cursor: int, ranges: Iterable[tuple[int, int]] = ()) -> None:
        """Restore a stored set: `cursor` is the smallest seq that is not released."""
        self.cursor = cursor
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in ranges:
            self.add(start, end - start)

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """The ranges above the cursor."""
        return list(zip(self._starts, self._ends, strict=True))

    def above(self, seq: int) -> tuple[int, int]:
        """How many ranges begin at this seq or above it, and how many seqs they have together."""
        first = bisect_left(self._starts, seq)
        return len(self._starts) - first, sum(self._ends[first:]) - sum(self._starts[first:])

    def count(self) -> int:
        """How many seqs are released, counted from seq 1."""
        return self.cursor - 1 + sum(self._ends) - sum(self._starts)

    def __contains__(self, seq: int) -> bool:
        """Whether a seq is released."""
        if seq < self.cursor:
            return True
        index = bisect_right(self._starts, seq) - 1
        return index >= 0 and seq < self._ends[index]

    def missing(self, start: int, count: int) -> list[tuple[int, int]]:
        """The parts of `start .. start+count` that are not released, as (start, end)."""
        result: list[tuple[int, int]] = []
        position, end = max(start, self.cursor), start + count
        index = max(bisect_right(self._starts, position) - 1, 0)
        for known_start, known_end in zip(self._starts[index:], self._ends[index:], strict=True):
            if known_start >= end or position >= end:
                break
            if position < known_start:
                result.append((position, known_start))
            position = max(position, known_end)
        if position < end:
            result.append((position, end))
        return result

    def add(self, start: int, count: int) -> int:
        """Release seqs; returns how many of them were not released before."""
        end = start + count
        new = sum(stop - begin for begin, stop in self.missing(start, count))
        if not new:
            return 0
        first = bisect_right(self._starts, start)
        if first and self._ends[first - 1] >= start:
            first -= 1
            start = self._starts[first]
        last = bisect_right(self._starts, end)
        if last > first:
            end = max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]
        if self._starts[0] <= self.cursor:
            self.cursor = self._ends.pop(0)
            self._starts.pop(0)
        return new
