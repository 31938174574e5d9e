"""Triggers that rest for a cause, and which of them to try when it may be gone. A state machine without I/O.

Triggers that waited long for a dispatcher have long waits left when it is back. So a success wakes two of those that
rest for what it disproves: one success becomes two tries, then four, and so on while they succeed (slow start, as after
a reconnect). A try that fails again wakes none.

One must be the first: of each group one is tried about every minute, however long its own wait is.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Generic, Protocol, TypeVar

from edgeagent.agent.causes import Cause

# How many one success wakes. With 1, a try that ends without an answer would stop the wave.
WOKEN_BY_SUCCESS = 2
# So many places in a group's heaps that mean nothing any more are tolerated, beyond one for each member.
_MAX_STALE = 64


class Sleeper(Protocol):
    """A trigger that rests. `token` gives its place in the order; `due` is when its own wait ends.

    `wake_at`: no success wakes it before this time, because it failed recently in spite of one.
    """

    token: int
    cause: Cause | None
    due: float
    wake_at: float


S = TypeVar("S", bound=Sleeper)


class _Group(Generic[S]):
    """The triggers that rest for one cause. The heaps may name some that left, or that rest anew since."""

    __slots__ = ("later", "members", "now", "probe_at")

    def __init__(self) -> None:
        self.members: dict[int, S] = {}
        self.now: list[int] = []  # tokens of those that may be woken, a heap
        self.later: list[tuple[float, int]] = []  # when others may be, a heap
        self.probe_at = 0.0

    def tidy(self) -> None:
        """Let go of places that mean nothing any more once they are the most: a cause may last for weeks."""
        if len(self.later) + len(self.now) > 2 * len(self.members) + _MAX_STALE:
            self.later = [(sleeper.wake_at, token) for token, sleeper in self.members.items()]
            heapify(self.later)
            self.now.clear()


class Resting(Generic[S]):
    """The triggers that rest, by cause. False if none rests. Times are seconds of one monotonic clock.

    Owns the groups, not the members' own times. Promises that a trigger which left is neither woken nor tried. Must
    never wake one before its `wake_at`.
    """

    def __init__(self) -> None:
        self._groups: dict[Cause, _Group[S]] = {}

    def __bool__(self) -> bool:
        return bool(self._groups)

    def join(self, sleeper: S, probe_at: float) -> None:
        """Let a trigger rest for its cause, if it has one; the cause was seen just now.

        None of its group is tried before `probe_at`, unless its own time has come or a success wakes it.
        """
        if sleeper.cause is None:
            return
        group = self._groups.get(sleeper.cause)
        if group is None:
            group = self._groups[sleeper.cause] = _Group()
        group.members[sleeper.token] = sleeper
        heappush(group.later, (sleeper.wake_at, sleeper.token))
        group.tidy()
        group.probe_at = probe_at

    def leave(self, sleeper: S) -> None:
        """Remove a trigger that rests no longer; removing it again is harmless."""
        cause = sleeper.cause
        if cause is None or (group := self._groups.get(cause)) is None:
            return
        group.members.pop(sleeper.token, None)
        if not group.members:
            del self._groups[cause]

    def heard(self, cause: Cause, now: float, successes: int) -> Iterator[S]:
        """Yield those that `successes` wake because a cause is disproved, in order. Exhaust it; each one leaves."""
        group = self._groups.get(cause)
        if group is None:
            return
        while group.later and group.later[0][0] <= now:
            heappush(group.now, heappop(group.later)[1])
        left = successes * WOKEN_BY_SUCCESS
        while left and group.now:
            sleeper = group.members.get(heappop(group.now))
            if sleeper is not None and sleeper.wake_at <= now:
                self.leave(sleeper)
                yield sleeper
                left -= 1

    def next_probe(self) -> float | None:
        """When `probes` will return something; None: never."""
        return min((group.probe_at for group in self._groups.values()), default=None)

    def probes(self, now: float, every_s: float) -> list[S]:
        """The member with the nearest due time, for each group of which none was tried for long. Each one leaves."""
        result: list[S] = []
        for group in list(self._groups.values()):
            if group.probe_at <= now:
                group.probe_at = now + every_s
                result.append(min(group.members.values(), key=_due))
        for sleeper in result:
            self.leave(sleeper)
        return result


def _due(sleeper: Sleeper) -> float:
    return sleeper.due
