"""How long the outbox lasts: the free space, divided by the recent growth of what is waiting."""

from __future__ import annotations

from collections import deque

# Growth is measured over the last hour, in steps of a minute: a burst of seconds says nothing about hours.
_WINDOW_S = 3600.0
_STEP_S = 60.0
_HOUR_S = 3600.0


class Headroom:
    """Owns samples of how many triggers are waiting. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def sample(self, now: float, pending: int) -> None:
        """Record how many triggers are waiting; one sample a minute is kept."""
        if self._samples and now - self._samples[-1][0] < _STEP_S:
            return
        self._samples.append((now, pending))
        while self._samples[0][0] < now - _WINDOW_S:
            self._samples.popleft()

    def hours_left(self, now: float, pending: int, free_bytes: int, bytes_per_trigger: float) -> float | None:
        """The hours until the space is used up; None while nothing grows, or too little is known."""
        if not self._samples or now - self._samples[0][0] < _STEP_S:
            return None
        since, before = self._samples[0]
        grown_per_s = (pending - before) / (now - since)
        if grown_per_s <= 0 or bytes_per_trigger <= 0:
            return None
        return max(free_bytes, 0) / (grown_per_s * bytes_per_trigger) / _HOUR_S
