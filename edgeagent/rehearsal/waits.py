"""How long the triggers of a rule with a `rate` would have waited, if the uplink had never been away. Pure."""

from __future__ import annotations

from collections import deque

from edgeagent.rules.rate import Allowance


class RateWaits:
    """The triggers of one rule, each as early as its rate allows. Those that a `ttl` ends meanwhile take no place.

    `triggers`: how many there were. `waited`: how many of them did not go at once. `expired`: how many would have been
    too old. `longest_ms`: how long one waited at most.
    """

    def __init__(self, allowed: Allowance, ttl_ms: int) -> None:
        self.triggers = self.waited = self.expired = self.longest_ms = 0
        self._allowed = allowed
        self._ttl_ms = ttl_ms
        self._went_ms: deque[int] = deque(maxlen=allowed.triggers)

    def add(self, at_ms: int) -> None:
        """Add a trigger that might go at this time."""
        goes_ms = at_ms
        if len(self._went_ms) == self._allowed.triggers:
            goes_ms = max(at_ms, self._went_ms[0] + self._allowed.time_ms)
        self.triggers += 1
        wait_ms = goes_ms - at_ms
        if wait_ms >= self._ttl_ms:
            self.expired += 1
            return
        self.waited += wait_ms > 0
        self.longest_ms = max(self.longest_ms, wait_ms)
        self._went_ms.append(goes_ms)
