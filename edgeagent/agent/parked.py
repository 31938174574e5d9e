"""Parked triggers, tried slowly: one at a time, so that those which nobody answers never hold the rest.

When one is answered the next follows at once: whatever was wrong has passed. When one is not, the next waits; less
long when other triggers are answered meanwhile.

Among them are some that are final, and wait for a place among the dead letters. They are passed over while there is
none, and never sent.
"""

from __future__ import annotations

from collections import deque

from edgeagent.agent.inflight import TriggerInFlight
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import Leased

# Between tries while nobody answers; a thousand parked triggers are then gone through in half a day.
_RETRY_S = 45.0
# While all of them wait for a place they are gone through this often, unless there is one before.
_NO_PLACE_S = 600.0
# When another trigger is answered, the next goes so soon after one that was not; twice as long each time that it was in
# vain, so that one which nobody ever answers is not tried all the time.
_WOKEN_S = 2.0
# After one over which the connection ended, which costs all the others time, the wait doubles, up to 96 minutes.
_MOST_DOUBLINGS = 7


class ParkedTriggers:
    """The log of parked triggers, and when the next of them is tried. Times are seconds of the loop's clock.

    Owns which one is in flight: at most one. Promises that each gets its turn before one is tried again. Must never let
    one go that is final: that waits here for a place among the dead letters.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._leased: deque[Leased] = deque()
        self._round_over = True
        self._tried = 0  # how many of this round
        self._waits_for_place = False  # some were passed over
        self._out: TriggerInFlight | None = None
        self._next_at = 0.0
        self._ended_at = 0.0
        self._in_vain = 0  # how often one was tried because others were answered, and was not answered itself
        self._is_woken = False
        self._suspected = 0  # how often the connection ended over one, since another one was answered
        self._is_suspect = False

    def wanted(self, now: float) -> bool:
        """Whether a parked trigger should be sent now."""
        if self._out is not None or not (self._leased or self._outbox.parked):
            return False
        return now >= self._next_at or (self._waits_for_place and not self._outbox.dead_full)

    def next_deadline(self) -> float | None:
        """When `wanted` may become true by itself."""
        return self._next_at if self._out is None and self._outbox.parked else None

    async def next(self) -> Leased | None:
        """The next parked trigger, from the oldest on again when all were tried.

        Raises:
            StorageFailed: the disk cannot be read now.
        """
        while True:
            if not self._leased:
                again, self._round_over = self._round_over, False
                if again:
                    self._tried, self._waits_for_place = 0, False
                self._leased.extend(await self._outbox.lease_parked(again=again))
                self._round_over = not self._leased
            if not self._leased:
                return None
            leased = self._leased.popleft()
            if leased.is_doomed:
                self._waits_for_place = bool(self._outbox.dead_full)
                if self._waits_for_place:
                    continue
            self._tried += 1
            return leased

    def heard(self, now: float) -> None:
        """Another trigger was answered: the engine is there."""
        if self._out is not None or self._is_woken or self._is_suspect:
            return
        woken_at = max(now, self._ended_at + _WOKEN_S * 2**self._in_vain)
        if woken_at < self._next_at:
            self._next_at, self._is_woken = woken_at, True

    def sent(self, entry: TriggerInFlight) -> None:
        """It is in flight."""
        self._out, self._is_suspect = entry, False

    def suspected(self, entry: TriggerInFlight) -> None:
        """The connection ended over a trigger; if it is the parked one, wait ever longer until the next."""
        if entry is self._out:
            self._suspected += 1
            self._is_suspect = True

    def ended(self, entry: TriggerInFlight, now: float, *, answered: bool) -> None:
        """A trigger is no longer in flight; if it was the parked one, see when the next is tried."""
        if entry is not self._out:
            return
        self._out = None
        self._ended_at = now
        woken, self._is_woken = self._is_woken, False
        if answered:
            self._next_at, self._suspected, self._in_vain = now, 0, 0
        else:
            self._in_vain = min(self._in_vain + 1, _MOST_DOUBLINGS) if woken else self._in_vain
            doublings = min(self._suspected, _MOST_DOUBLINGS) if self._is_suspect else 0
            self._next_at = now + _RETRY_S * 2**doublings

    def wait(self, now: float) -> None:
        """There was none after all: look again later."""
        self._next_at = now + (_NO_PLACE_S if self._waits_for_place and not self._tried else _RETRY_S)
