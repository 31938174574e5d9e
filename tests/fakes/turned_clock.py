"""Clocks that a test turns."""

from __future__ import annotations

import asyncio

import pytest

from edgeagent.agent.clock import Clock, Moment
from edgeagent.common.times import rfc3339
from edgeagent.events.time_quality import SYNCHRONIZED

_BOOTED_MS = 1_790_000_000_000


class TurnedClock(Clock):
    """Both clocks go as the test says (`ms`, wall time), in the boot that an outbox of the tests is of."""

    ms = 1_800_000_000_000
    time_quality = SYNCHRONIZED  # of the wall clock

    def __init__(self) -> None:
        super().__init__()
        self.boot = bytes(16)

    def now_ms(self) -> int:
        """What the test says."""
        return self.ms

    def uptime_ms(self) -> int:
        """What the test says."""
        return self.ms - _BOOTED_MS

    def moment(self) -> Moment:
        """What the test says."""
        return Moment(self.ms, self.ms - _BOOTED_MS, rfc3339(self.ms), self.time_quality)


class LoopsClock(TurnedClock):
    """Both clocks go with the running loop's, which may be virtual; the wall clock is set `wall_ahead_ms` ahead."""

    def __init__(self) -> None:
        super().__init__()
        self.wall_ahead_ms = 0

    def now_ms(self) -> int:
        """As the loop, and as the test set it."""
        return _BOOTED_MS + self.uptime_ms() + self.wall_ahead_ms

    def uptime_ms(self) -> int:
        """As the loop."""
        return TurnedClock.ms - _BOOTED_MS + int(asyncio.get_running_loop().time() * 1000)

    def moment(self) -> Moment:
        """As the loop."""
        now_ms = self.now_ms()
        return Moment(now_ms, self.uptime_ms(), rfc3339(now_ms), self.time_quality)


class TurnedLoop:
    """The clock of the running loop, which goes on by itself and is turned on besides.

    For tests with sockets, whose time cannot be virtual: the limit keeps its length, so that no stall of the machine
    reaches it before the test does.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        self._ahead_s = 0.0
        real = loop.time
        monkeypatch.setattr(loop, "time", lambda: real() + self._ahead_s)

    def turn(self, seconds: float) -> None:
        """So much later."""
        self._ahead_s += seconds
