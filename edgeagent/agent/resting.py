"""Triggers that rest for a reason, and which of them to try when it may be gone. A state machine without I/O.

A backlog that waited for a dispatcher has long waits by the time it is back. So a success wakes those that rest for
what it disproves: two for each, so that one success becomes two tries, then four, and so on while they succeed (slow
start, as after a reconnect), and tries that fail again wake nobody.

And somebody must be the first: of each group one is tried about every minute, however long its own wait is.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Generic, Protocol, TypeVar

from edgeagent.agent.causes import Cause

# So many are woken by a success: with one, a try that ends in another way than by an answer would end the wave.
WOKEN_BY_SUCCESS = 2


class Sleeper(Protocol):
    """One that rests. `token` gives its place in the order; `due` is when its own wait ends.

    `wake_at`: before that no success wakes it, because it failed in spite of one not long ago.
    """

    token: int
    cause: Cause | None
    due: float
    wake_at: float


S = TypeVar("S", bound=Sleeper)


class _Group(Generic[S]):
    """Those that rest for one cause. The heaps may name some that are gone, or rest anew since."""

    __slots__ = ("later", "members", "now", "probe_at")

    def __init__(self) -> None:
        self.members: dict[int, S] = {}
        self.now: list[int] = []  # tokens of those that may be woken, a heap
        self.later: list[tuple[float, int]] = []  # when others may be, a heap
        self.probe_at = 0.0


class Resting(Generic[S]):
    """Those that rest, by cause. False when nobody does. Times are seconds of one monotonic clock.

    Owns the groups, not the members' own times. Promises that one which left is neither woken nor tried. Must never
    wake one before its `wake_at`.
    """

    def __init__(self) -> None:
        self._groups: dict[Cause, _Group[S]] = {}

    def __bool__(self) -> bool:
        return bool(self._groups)

    def join(self, sleeper: S, probe_at: float) -> None:
        """It rests for its cause, if it has one, which was seen just now.

        Nobody of its group is tried before `probe_at`, unless by its own time or because of a success.
        """
        if sleeper.cause is None:
            return
        group = self._groups.get(sleeper.cause)
        if group is None:
            group = self._groups[sleeper.cause] = _Group()
        group.members[sleeper.token] = sleeper
        heappush(group.later, (sleeper.wake_at, sleeper.token))
        group.probe_at = probe_at

    def leave(self, sleeper: S) -> None:
        """It rests no longer; again is harmless."""
        cause = sleeper.cause
        if cause is None or (group := self._groups.get(cause)) is None:
            return
        group.members.pop(sleeper.token, None)
        if not group.members:
            del self._groups[cause]

    def heard(self, cause: Cause, now: float, successes: int) -> Iterator[S]:
        """So many successes disproved a cause: whom they wake, in order. Take them all; each leaves."""
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
        """When `probes` has something to say; None: never."""
        return min((group.probe_at for group in self._groups.values()), default=None)

    def probes(self, now: float, every_s: float) -> list[S]:
        """Of each group of which nobody was tried for long: the one whose own time is next. It leaves."""
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
