"""Parked triggers: tried slowly, one at a time, so that triggers without an answer never hold up the others.

When one is answered, the next follows at once, because the fault has passed. When one is not, the next waits; less long
if other triggers are answered meanwhile.

Some parked triggers are final and wait for a place among the dead letters. While there is none they are passed over;
they are never sent.
"""

from __future__ import annotations

from collections import deque

from edgeagent.agent.inflight import TriggerInFlight
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import Leased

# The wait between tries while no answer comes; a thousand parked triggers then take half a day.
_RETRY_S = 45.0
# While all of them wait for a place, they are gone through this often, unless there is a place earlier.
_NO_PLACE_S = 600.0
# When another trigger is answered, the next one is tried this soon after one that was not; the wait doubles each time
# that this was in vain, so that a trigger which is never answered is not tried all the time.
_WOKEN_S = 2.0
# A connection that ends over one costs all the others time: then the wait doubles, up to 96 minutes.
_MOST_DOUBLINGS = 7


class ParkedTriggers:
    """The log of parked triggers, and when the next of them is tried. Times are seconds of the loop's clock.

    Owns which of them is in flight: at most one. Promises that each is tried once before any is tried again. Must never
    send one that is final: it waits here for a place among the dead letters.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._leased: deque[Leased] = deque()
        self._round_over = True
        self._tried = 0  # how many were tried in this round
        self._waits_for_place = False  # some were passed over
        self._out: TriggerInFlight | None = None
        self._next_at = 0.0
        self._ended_at = 0.0
        self._in_vain = 0  # how often one was tried because others were answered, and got no answer itself
        self._is_woken = False
        self._suspected = 0  # how often the connection ended over one since another one was answered
        self._is_suspect = False

    def wanted(self, now: float) -> bool:
        """Whether a parked trigger should be sent now."""
        if self._out is not None or not (self._leased or self._outbox.parked):
            return False
        return now >= self._next_at or (self._waits_for_place and not self._outbox.dead_full)

    def next_deadline(self) -> float | None:
        """When `wanted` may become true without anything else happening."""
        return self._next_at if self._out is None and self._outbox.parked else None

    async def next(self) -> Leased | None:
        """The next parked trigger; the oldest again when all were tried.

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
        """Note that another trigger was answered: the engine is there."""
        if self._out is not None or self._is_woken or self._is_suspect:
            return
        woken_at = max(now, self._ended_at + _WOKEN_S * 2**self._in_vain)
        if woken_at < self._next_at:
            self._next_at, self._is_woken = woken_at, True

    def sent(self, entry: TriggerInFlight) -> None:
        """Note that this parked trigger is in flight."""
        self._out, self._is_suspect = entry, False

    def suspected(self, entry: TriggerInFlight) -> None:
        """Note that the connection ended over a trigger; if it is the parked one, the wait for the next grows."""
        if entry is self._out:
            self._suspected += 1
            self._is_suspect = True

    def ended(self, entry: TriggerInFlight, now: float, *, answered: bool) -> None:
        """Note that a trigger is no longer in flight; if it was the parked one, decide when the next is tried."""
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
        """Wait before the next try, because none was found."""
        self._next_at = now + (_NO_PLACE_S if self._waits_for_place and not self._tried else _RETRY_S)
