"""Whether the wall clock can be trusted: decided from what the system says of it, and from how it went.

Pure: takes readings of both clocks and returns a decision.
"""

from __future__ import annotations

from edgeagent.common.elapsed import SET_MS, is_set

# What the system says of its clock is asked this often, or at once when the clock was set.
_ASKED_AGAIN_MS = 10_000


class ClockTrust:
    """Decides whether the wall clock is right, from one reading of both clocks to the next.

    A clock that was synchronised in this boot stays trusted while it only drifts: without its time server it is off by
    some seconds after days, and a gateway may be offline for so long. One that was set and is not synchronised is not
    trusted, and neither is one that shows a time before this program was made, whatever the system says.
    """

    def __init__(self) -> None:
        self.is_trusted = False
        self._off_ms = 0
        self._ask_at_ms = 0  # by the uptime; 0: it was never asked

    def is_due(self, wall_ms: int, uptime_ms: int) -> bool:
        """Whether the system must be asked now: some time passed, or the clock was set."""
        return uptime_ms >= self._ask_at_ms or not -SET_MS < wall_ms - uptime_ms - self._off_ms < SET_MS

    def told(self, wall_ms: int, uptime_ms: int, says: bool | None) -> None:
        """Take what the system says at this reading: whether the clock is synchronised, None if it cannot say."""
        off_ms = wall_ms - uptime_ms
        was_set = self._ask_at_ms > 0 and abs(off_ms - self._off_ms) >= SET_MS
        self._off_ms, self._ask_at_ms = off_ms, uptime_ms + _ASKED_AGAIN_MS
        if not is_set(wall_ms):
            self.is_trusted = False
        elif says is not False:
            self.is_trusted = True
        elif was_set:
            self.is_trusted = False
