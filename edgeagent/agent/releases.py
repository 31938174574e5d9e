"""The ways in which triggers leave the set of those in flight: settled, expired, merged, buried or parked.

`agent.triggers` decides when. A dead letter and a parked copy are synced before the trigger is released from its log
(`Outbox.bury`, `Outbox.park`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeagent.agent import notices
from edgeagent.agent.counts import TriggerCounters
from edgeagent.agent.inflight import InFlightSet, TriggerInFlight
from edgeagent.agent.parked import ParkedTriggers
from edgeagent.errors import DeadLettersFull, OutboxError, StorageFailed
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import EXPIRED, MERGED, PARKED, SETTLED, Leased

if TYPE_CHECKING:
    from edgeagent.agent.uploading import Uploading

# That the dead letters are full is logged this often, not for each trigger.
_REPEATED_AFTER_S = 600.0


class Releases:
    """Takes triggers out of the set of those in flight; only `agent.triggers` calls it.

    Owns only when it was last logged that the dead letters are full. Promises that a trigger is removed from the set
    and from the outbox together, and counted once. Must never remove one whose copy is not synced: if the disk refuses,
    the trigger rests and leaves later.
    """

    def __init__(
        self,
        in_flight: InFlightSet[Leased],
        outbox: Outbox,
        parked: ParkedTriggers,
        counts: TriggerCounters,
        uploading: Uploading | None = None,
    ) -> None:
        """`uploading`: is told which triggers with large data have left; None: there are none."""
        self._in_flight = in_flight
        self._outbox = outbox
        self._parked = parked
        self._counts = counts
        self._uploading = uploading
        self._full_noticed_at: float | None = None
        self._now = asyncio.get_running_loop().time

    def settle(self, entries: Sequence[TriggerInFlight]) -> None:
        """Release triggers that the engine has, or the broker if no engine answers."""
        self._release(entries, SETTLED)
        self._counts.total.settled += len(entries)
        for rule, count in Counter([entry.item.rule for entry in entries]).items():
            self._counts.of(rule).settled += count

    def expire(self, entry: TriggerInFlight) -> None:
        """Release a trigger that is too old to be sent."""
        self._release([entry], EXPIRED)
        self._counts.total.expired += 1
        self._counts.of(entry.item.rule).expired += 1
        notices.expired(entry)

    def merge(self, entry: TriggerInFlight) -> None:
        """Release a trigger for which a newer one stands."""
        self._release([entry], MERGED)
        self._counts.total.merged += 1
        self._counts.of(entry.item.rule).merged += 1

    def put_back(self, entry: TriggerInFlight) -> None:
        """Return a parked trigger that got no answer: it stays in its log and is tried again another time."""
        self._in_flight.remove([entry])
        self._left([entry.item], for_good=False)
        self._parked.ended(entry, self._now(), answered=False)

    async def bury(self, entry: TriggerInFlight, reason: str, code: int) -> bool:
        """Make a trigger a dead letter, or park it with its reason while there is no place for one.

        Returns whether it has left; False if it had left before, or if the disk refuses.
        """
        if self._in_flight.by_token(entry.token) is None:
            return False  # an answer settled it meanwhile
        attempts = entry.tries or (entry.item.moved.attempts if entry.item.moved is not None else 0)
        try:
            await self._outbox.bury(entry.item, reason=reason, code=code, attempts=attempts)
        except DeadLettersFull as exc:
            return await self._park_with_reason(entry, reason, code, exc)
        except OutboxError as exc:
            self._in_flight.wake(entry, self._now())
            notices.not_buried(entry, exc)
            return False
        self._in_flight.remove([entry])
        self._left([entry.item], for_good=True)
        self._parked.ended(entry, self._now(), answered=True)
        self._counts.total.dead += 1
        self._counts.of(entry.item.rule).dead += 1
        notices.buried(entry, reason, code)
        return True

    async def park(self, entry: TriggerInFlight) -> None:
        """Move a trigger that got no answer to the log of parked triggers."""
        if self._in_flight.by_token(entry.token) is None:
            return  # an answer settled it meanwhile
        try:
            await self._outbox.park(entry.item, attempts=entry.tries)
        except StorageFailed as exc:
            self._in_flight.wake(entry, self._now())
            notices.not_parked(exc)
            return
        self._in_flight.remove([entry])
        self._left([entry.item], for_good=False)
        self._counts.total.parked += 1
        notices.parked(entry)

    async def _park_with_reason(self, entry: TriggerInFlight, reason: str, code: int, full: DeadLettersFull) -> bool:
        """Park a final trigger while there is no place for its dead letter; it is not in flight meanwhile."""
        known = entry.item.is_doomed
        if not known:
            try:
                await self._outbox.park(entry.item, attempts=entry.tries, reason=reason, code=code)
            except StorageFailed as exc:
                self._in_flight.wake(entry, self._now())
                notices.not_parked(exc)
                return False
            self._counts.total.parked += 1
            now = self._now()
            loud = self._full_noticed_at is None or now - self._full_noticed_at >= _REPEATED_AFTER_S
            self._full_noticed_at = now if loud else self._full_noticed_at
            notices.no_place(entry, reason, full, loud=loud)
        self._in_flight.remove([entry])
        self._left([entry.item], for_good=False)
        self._parked.ended(entry, self._now(), answered=not known)
        return True

    def _release(self, entries: Sequence[TriggerInFlight], way: str) -> None:
        self._in_flight.remove(entries)
        leased = [entry.item for entry in entries]
        for entry, one in zip(entries, leased, strict=True):
            if one.log == PARKED:
                self._parked.ended(entry, self._now(), answered=True)
        self._left(leased, for_good=True)
        self._outbox.release(leased, way)

    def _left(self, triggers: Sequence[Leased], *, for_good: bool) -> None:
        if self._uploading is not None:
            for leased in triggers:
                self._uploading.left(leased, for_good=for_good)
