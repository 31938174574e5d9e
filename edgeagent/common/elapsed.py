"""The time between two instants, on machines whose clock may be wrong and that may have been switched off.

Within one boot the machine's monotonic clock is right. Across boots there is only the wall clock, and many gateways
start with a wrong one until they get the time from the network.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

# The first of November 2026. A wall clock that is earlier than the making of this program is wrong.
_MADE_MS = 1_793_491_200_000
# A clock that went so much faster or slower than the machine's own was set.
SET_MS = 1000


class Instant(NamedTuple):
    """A point in time by both clocks, in milliseconds: Unix time, and the time since the start of the boot `boot`.

    `boot` empty: the boot is unknown, as for an event that another machine accepted; then `uptime_ms` means nothing.
    """

    wall_ms: int
    uptime_ms: int
    boot: bytes


class Elapsed(msgspec.Struct, frozen=True):
    """Seconds that passed, at least. `certain` False: it may be more, because one of the clocks was wrong."""

    s: float
    certain: bool


class Since:
    """The wall time of an instant of this boot, by a clock that may be set later: many gateways start in a wrong year.

    It keeps its value while the clock only drifts, so that what shows it does not change all the time.
    """

    def __init__(self, then: Instant) -> None:
        self._then = then

    def wall_ms(self, now: Instant) -> int:
        """When it was, by the clock as it is now."""
        off_ms = (now.wall_ms - now.uptime_ms) - (self._then.wall_ms - self._then.uptime_ms)
        if abs(off_ms) >= SET_MS:
            self._then = self._then._replace(wall_ms=self._then.wall_ms + off_ms)
        return self._then.wall_ms


def elapsed(then: Instant, now: Instant) -> Elapsed:
    """The time from one instant to a later one; a wall clock that went back counts as wrong.

    A clock that was right before and stood still while the machine was off cannot be distinguished from a right one.
    """
    if then.boot and then.boot == now.boot:
        return Elapsed(max(now.uptime_ms - then.uptime_ms, 0) / 1000, certain=True)
    least_ms = now.uptime_ms if then.boot else 0  # that boot ended before this one began
    wall_ms = now.wall_ms - then.wall_ms
    if is_set(then.wall_ms) and is_set(now.wall_ms) and wall_ms >= least_ms:
        return Elapsed(wall_ms / 1000, certain=True)
    return Elapsed(least_ms / 1000, certain=False)


def is_later(this: Instant, other: Instant, boot: bytes) -> bool:
    """Whether one instant was not before another one, as far as is known; `boot`: the present one."""
    if this.boot == other.boot:
        return this.uptime_ms >= other.uptime_ms
    if boot in {this.boot, other.boot}:
        return this.boot == boot
    return is_set(other.wall_ms) and this.wall_ms >= other.wall_ms


def is_set(wall_ms: int) -> bool:
    """Whether a wall clock can have been right when it showed this."""
    return wall_ms >= _MADE_MS
