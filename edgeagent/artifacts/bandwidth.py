"""How fast a store may be filled: by the time of day, and shared by all uploads. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import NamedTuple
from zoneinfo import ZoneInfo

from edgeagent.config.tables import ArtifactsTable

# What may be sent at once after a silence, in seconds of the rate.
_BURST_S = 0.25


class _Span(NamedTuple):
    start: time
    stop: time
    rate: float

    def contains(self, at: time) -> bool:
        if self.start < self.stop:
            return self.start <= at < self.stop
        return at >= self.start or at < self.stop


class BandwidthSchedule:
    """The bandwidth at each time of day. Where clocks are put forward or back, a span goes by what the clock says."""

    def __init__(self, table: ArtifactsTable) -> None:
        """`table`: without problems."""
        self._usual = table.bandwidth
        self._zone = ZoneInfo(table.timezone) if table.timezone else UTC
        self._spans = [
            _Span(time.fromisoformat(span.start), time.fromisoformat(span.stop), span.rate)
            for span in table.bandwidth_at
        ]

    def bytes_per_s(self, at: datetime) -> float | None:
        """The bandwidth at an instant; None for no limit, 0 for no uploads. The first span that contains it counts."""
        if self._spans:
            clock = at.astimezone(self._zone).time()
            for span in self._spans:
                if span.contains(clock):
                    return span.rate
        return self._usual


class BandwidthShare:
    """When the next bytes may be sent, so that all that share it keep to a rate together.

    Who takes a place in the line waits until its bytes would have passed; a new rate counts for those who come then.
    """

    def __init__(self) -> None:
        self._free_at_s = 0.0

    def take(self, size: int, bytes_per_s: float, now_s: float) -> float:
        """Take a place for so many bytes; returns in how many seconds they may be sent."""
        begins_s = max(self._free_at_s, now_s - _BURST_S)
        self._free_at_s = begins_s + size / bytes_per_s
        return max(self._free_at_s - now_s, 0.0)
