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


class Allowance(msgspec.Struct, frozen=True):
    """So many triggers within so many milliseconds."""

    triggers: int
    time_ms: int


class FirstPublication(NamedTuple):
    """When a trigger was first published, and which one it was: its correlation id, 16 bytes."""

    at_ms: int
    trigger: bytes


class SlidingWindow:
    """When the last triggers of one rule were first published; it owns these publications, in order.

    A permit is given before its trigger is published, so it counts from then on: the caller says how many are `given`
    and not used yet. That keeps the promise however late each of them is published.
    """

    def __init__(self, published: Iterable[FirstPublication] = ()) -> None:
        """Begin with the publications that are known, in order."""
        self._published = list(published)

    @property
    def known(self) -> tuple[FirstPublication, ...]:
        """The publications that are known, in order."""
        return tuple(self._published)

    def free(self, allowed: Allowance, given: int, now_ms: int) -> int:
        """How many more permits may be given."""
        return max(allowed.triggers - given - len(self._within(allowed, now_ms)), 0)

    def published(self, allowed: Allowance, trigger: bytes, now_ms: int) -> None:
        """Note that a trigger was first published. Only as many are remembered as the rate allows."""
        self._published.append(FirstPublication(now_ms, trigger))
        del self._published[: -allowed.triggers]

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
        begin = bisect_right(self._published, now_ms - allowed.time_ms, key=lambda one: one.at_ms)
        return [one.at_ms for one in self._published[begin:]]


class Resumed:
    """The triggers of one rule that an earlier process had published, as far as they did not go again yet.

    One of them that is still pending goes again without another permit, as one that is sent again within a process
    does, while its first publication counts for the rate.
    """

    def __init__(self, published: Iterable[FirstPublication]) -> None:
        """Begin with those of the earlier process."""
        self._at_ms = {one.trigger: one.at_ms for one in published}

    def __contains__(self, trigger: bytes) -> bool:
        return trigger in self._at_ms

    def expect(self, allowed: Allowance, now_ms: int) -> bool:
        """Whether any may still come; those are forgotten whose publication does not count any more."""
        if self._at_ms:
            begin_ms = now_ms - allowed.time_ms
            self._at_ms = {trigger: at_ms for trigger, at_ms in self._at_ms.items() if at_ms > begin_ms}
        return bool(self._at_ms)

    def went(self, trigger: bytes) -> None:
        """Note that this one goes again."""
        self._at_ms.pop(trigger, None)


class PublishedTriggers(msgspec.Struct, array_like=True, frozen=True):
    """Which triggers of rules were first published last, and when, by the uptime of the boot `boot`.

    `wall_ms` and `uptime_ms`: when this was noted.
    """

    wall_ms: int
    uptime_ms: int
    boot: bytes
    by_rule: dict[str, tuple[FirstPublication, ...]]


def in_this_boot(kept: PublishedTriggers, now: Instant) -> Mapping[str, tuple[FirstPublication, ...]]:
    """The publications that were kept, by the uptime of the boot of `now`: below 0 before it.

    If one of the clocks was wrong, it is not known how long ago that boot ended. Then its last times count from the
    start of this one: a rule may wait for longer than it must, at most once its `time`.
    """
    if kept.boot == now.boot:
        return kept.by_rule
    then = Instant(kept.wall_ms, kept.uptime_ms, kept.boot)
    shift_ms = now.uptime_ms - round(elapsed(then, now).s * 1000) - kept.uptime_ms
    return {
        rule: tuple([FirstPublication(one.at_ms + shift_ms, one.trigger) for one in published])
        for rule, published in kept.by_rule.items()
    }
