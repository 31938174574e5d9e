"""A rule's `rate`: how many of its triggers may be first published now (contract section 11). Without I/O.

The window slides: within any span of `time_ms`, wherever it begins, there are at most `count`. (A bucket that refills
would let nearly twice as many through when a burst meets a full one.) Times are those of the machine's uptime, in
milliseconds, so that a wall clock which is set changes nothing while the machine runs.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from edgeagent.common.elapsed import Instant, elapsed


class Allowance(NamedTuple):
    """So many triggers within so many milliseconds."""

    triggers: int
    time_ms: int


class SlidingWindow:
    """When the last triggers of one rule were first published; it owns these times, in order.

    A permit is given before its trigger is published, so it counts from then on: the caller says how many are `given`
    and not used yet. That keeps the promise however late each of them is published.
    """

    def __init__(self, published_ms: Iterable[int] = ()) -> None:
        """Begin with the times that are known, in order."""
        self._published_ms = list(published_ms)

    @property
    def times_ms(self) -> tuple[int, ...]:
        """The times that are known, in order."""
        return tuple(self._published_ms)

    def free(self, allowed: Allowance, given: int, now_ms: int) -> int:
        """How many more permits may be given."""
        return max(allowed.triggers - given - len(self._within(allowed, now_ms)), 0)

    def published(self, allowed: Allowance, now_ms: int) -> None:
        """Note that a trigger was first published. Only as many are remembered as the rate allows."""
        self._published_ms.append(now_ms)
        del self._published_ms[: -allowed.triggers]

    def wait_ms(self, allowed: Allowance, given: int, ahead: int, now_ms: int) -> int:
        """How long a trigger waits that has `ahead` others before it, if each goes as soon as it may."""
        taken = [*self._within(allowed, now_ms), *[now_ms] * given][: allowed.triggers]
        free = allowed.triggers - len(taken)
        if ahead < free:
            return 0
        turns, place = divmod(ahead - free, allowed.triggers)
        taken += [now_ms] * free
        return max(taken[place] + (turns + 1) * allowed.time_ms - now_ms, 0)

    def _within(self, allowed: Allowance, now_ms: int) -> list[int]:
        return self._published_ms[bisect_right(self._published_ms, now_ms - allowed.time_ms) :]


class PublishedTimes(msgspec.Struct, array_like=True, frozen=True):
    """When triggers of rules were first published, by the uptime of the boot of `at`, which is when this was noted."""

    wall_ms: int
    uptime_ms: int
    boot: bytes
    by_rule: dict[str, tuple[int, ...]]


def in_this_boot(kept: PublishedTimes, now: Instant) -> Mapping[str, tuple[int, ...]]:
    """The times that were kept, by the uptime of the boot of `now`: below 0 before it.

    If one of the clocks was wrong, it is not known how long ago that boot ended. Then its last times count from the
    start of this one: a rule may wait for longer than it must, at most once its `time`.
    """
    if kept.boot == now.boot:
        return kept.by_rule
    then = Instant(kept.wall_ms, kept.uptime_ms, kept.boot)
    shift_ms = now.uptime_ms - round(elapsed(then, now).s * 1000) - kept.uptime_ms
    return {rule: tuple([at_ms + shift_ms for at_ms in times]) for rule, times in kept.by_rule.items()}
