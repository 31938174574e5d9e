"""The keep-alive: it detects a dead connection, and pings so that the broker does not take ours for dead."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

# Brokers wait as long for us (MQTT 5, 3.1.2.10): after one whole silent period a PINGREQ asks, and half a period is
# left for the answer.
_PATIENCE = 1.5


class KeepAlive:
    """The only timer of a connection: it compares the time with when something was last sent and received.

    So a message need not touch the timer. Nothing happens before `start`. It must never give up a connection on which
    something came within a keep-alive period, or on which reading is paused.

    Args:
        loop: the running loop.
        ping: writes a PINGREQ, and calls `sent` as every write does.
        give_up: called once, with the reason, when the broker does not answer; the timer has stopped then.

    Attributes:
        is_reading_paused: whether reading is paused, so that silence means nothing.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, ping: Callable[[], None], give_up: Callable[[str], None]
    ) -> None:
        self._loop = loop
        self._ping = ping
        self._give_up = give_up
        self._period_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._sent_s = self._received_s = loop.time()
        self.is_reading_paused = False
        self._asked_s: float | None = None  # when the first PINGREQ went out that was not followed by anything received

    def start(self, period_s: float) -> None:
        """Start the timer: something is sent in every period, and something must be received soon after it."""
        self._period_s = period_s
        self._timer = self._loop.call_later(period_s, self._check)

    def stop(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def sent(self) -> None:
        """Note that something was written."""
        self._sent_s = self._loop.time()

    def pause_reading(self, *, paused: bool) -> None:
        """Note that reading is paused or goes on."""
        self.is_reading_paused = paused
        if not paused:
            self.received()

    def received(self) -> None:
        """Something came."""
        self._received_s = self._loop.time()
        self._asked_s = None

    def _check(self) -> None:
        now_s, period_s = self._loop.time(), self._period_s
        if self.is_reading_paused:
            self.received()
        if self._asked_s is not None and now_s >= self._deadline_s(self._asked_s):
            silent_s = now_s - self._received_s
            self._give_up(f"nothing came from the broker for {silent_s:.0f} s, not even an answer to a ping")
            return
        silent = self._asked_s is None and now_s - self._received_s >= period_s
        if silent or now_s - self._sent_s >= period_s:
            if self._asked_s is None:
                self._asked_s = now_s
            self._ping()
        due_s = self._received_s + period_s if self._asked_s is None else self._deadline_s(self._asked_s)
        self._timer = self._loop.call_at(min(self._sent_s + period_s, due_s), self._check)

    def _deadline_s(self, asked_s: float) -> float:
        """When the broker counts as gone. If this process stood still and asked late, it still gets its time."""
        return max(self._received_s + _PATIENCE * self._period_s, asked_s + (_PATIENCE - 1) * self._period_s)
