"""When the next attempt to connect is due, and what an ending means after those before it. Pure.

A broker that lets in one client of a name (AMQP) refuses ours while it believes that our last connection is open, as
after a power cut of this machine. It finds out within two heartbeats. Until then it is asked again soon; after that
there is another client of our name.
"""

from __future__ import annotations

import msgspec

from edgeagent.common.backoff import full_jitter
from edgeagent.errors import Denied, NameInUse, UplinkError

# After so many heartbeats without a sign of life, the broker has closed a dead connection; and as much again for
# a broker that is slow about it.
_HEARTBEATS = 2
_SLOW_S = 5.0


class ReconnectTimes(msgspec.Struct, frozen=True):
    """In seconds.

    `base_s`: the longest first wait after an ending, which doubles up to `cap_s` with each that follows. `stable_s`:
    how long a connection must last to begin with `base_s` again. `taken_over_s`: the shortest wait when another client
    has our name. `keepalive_s`: a heartbeat.
    """

    base_s: float
    cap_s: float
    stable_s: float
    taken_over_s: float
    keepalive_s: float


class Reconnecting:
    """Owns what the endings of one session's connections have in common. Times are monotonic seconds."""

    def __init__(self, times: ReconnectTimes) -> None:
        self._times = times
        self._in_use_from_s: float | None = None
        self._is_anothers = False
        self.failures = 0

    def judged(self, error: UplinkError, now_s: float) -> UplinkError:
        """The error for the owner: whether our name is in use for longer than it could be by a dead connection."""
        if not isinstance(error, NameInUse):
            self._in_use_from_s, self._is_anothers = None, False
            return error
        if self._in_use_from_s is None:
            self._in_use_from_s = now_s
        held_s = _HEARTBEATS * self._times.keepalive_s
        self._is_anothers = now_s - self._in_use_from_s > held_s + _SLOW_S
        if self._is_anothers:
            text = f"{error.reason}; it is open for longer than a dead connection could be: {error.remedy}"
            return Denied(error.address, text)
        text = (
            f"{error.reason}; it may be an earlier one of ours, as after a power cut: the broker then ends it within "
            f"{held_s:g} s (two heartbeats), and we are let in"
        )
        return NameInUse(error.address, text, error.remedy)

    def wait_s(self, up_s: float, *, taken_over: bool, fraction: float) -> float:
        """The wait after an attempt that `judged` was told of.

        Args:
            up_s: how long it was connected; 0: never.
            taken_over: another client took the session.
            fraction: a random number, 0 <= fraction <= 1.
        """
        times = self._times
        if up_s >= times.stable_s:
            self.failures = 0
        if self._in_use_from_s is not None and not self._is_anothers:
            return times.base_s * (1 + fraction) / 2
        wait_s = full_jitter(self.failures, fraction, base_s=times.base_s, cap_s=times.cap_s)
        self.failures += 1
        return max(wait_s, times.taken_over_s) if taken_over or self._is_anothers else wait_s
