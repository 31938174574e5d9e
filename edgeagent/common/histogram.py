"""Counts how often values fall between fixed bounds: the histograms of the metrics. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence


class Histogram:
    """Observed values, counted by the first of `bounds` (ascending) that is not below them.

    Only one thread may observe. Any other may read meanwhile: `counts` never lacks a value that it had before, and
    `total` may lack the latest one.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)  # the last one: above all bounds
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value
