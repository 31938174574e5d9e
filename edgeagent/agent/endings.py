"""How triggers leave the window: settled, expired, merged into another one, given up, or parked.

What must be synced first is done as a chore; until then the trigger stays in the window, where nothing else happens to
it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

from edgeagent.agent import told
from edgeagent.agent.chores import Chores
from edgeagent.agent.counts import ForwarderCounts, RuleCounts
from edgeagent.agent.inflight import Phase, Window
from edgeagent.agent.lives import Lives, Out
from edgeagent.agent.parking import ParkedLane
from edgeagent.common.foreign import line
from edgeagent.errors import DeadLettersFull, OutboxError, StorageFailed
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import EXPIRED, MERGED, PARKED, SETTLED, Leased
from edgeagent.wire.messages import State

# The operator is told this often, not for each trigger, that the dead letters are full.
_TOLD_AGAIN_S = 600.0
# What is kept of why a trigger was given up, in the dead letter and in the ledger: an answer's error and its detail.
MAX_REASON_CHARS = 2100


class Endings:
    """See the module."""

    def __init__(
        self,
        window: Window[Leased],
        outbox: Outbox,
        lane: ParkedLane,
        lives: Lives,
        chores: Chores,
        counts: ForwarderCounts,
        rule_counts: dict[str, RuleCounts],
        changed: Callable[[], None],
    ) -> None:
        """`changed` is called when a chore changed the window."""
        self._window = window
        self._outbox = outbox
        self._lane = lane
        self._lives = lives
        self._chores = chores
        self._counts = counts
        self._rule_counts = rule_counts
        self._changed = changed
        self._told_full_at: float | None = None
        self._now = asyncio.get_running_loop().time

    def count(self, rule: str) -> RuleCounts:
        """What is counted for a rule."""
        return self._rule_counts.get(rule) or self._rule_counts.setdefault(rule, RuleCounts())

    def settle(self, entries: Sequence[Out]) -> None:
        """The engine has them, or the broker if nobody else answers."""
        self._release(entries, SETTLED)
        self._counts.settled += len(entries)
        for rule, count in Counter([entry.item.rule for entry in entries]).items():
            self.count(rule).settled += count

    def expire(self, entry: Out) -> None:
        """It is too old to be sent."""
        self._release([entry], EXPIRED)
        self._counts.expired += 1
        self.count(entry.item.rule).expired += 1
        told.expired(entry)
        self._chores.leave(lambda: self._lives.ended(entry, State.EXPIRED, "older than its ttl"))

    def merge(self, entry: Out, into: str) -> None:
        """A newer one stands for it, with this correlation id."""
        self._release([entry], MERGED)
        self._counts.merged += 1
        self.count(entry.item.rule).merged += 1
        self._chores.leave(lambda: self._lives.merged(entry.item, into))

    def give_up(self, entry: Out, reason: str, code: int) -> None:
        """Move it to the dead letters; it is told, and stays in the window until that is synced."""
        if entry.phase is Phase.ENDING:
            return
        self._window.ending(entry)
        cut = line(reason, MAX_REASON_CHARS)
        self._chores.leave(lambda: self._bury(entry, cut, code))

    def tire(self, entry: Out) -> None:
        """Nobody answered it: to the parked ones, or, if it came from there, back among them."""
        if entry.item.log == PARKED:
            self._window.remove(entry)
            self._lane.ended(entry, self._now(), answered=False)
        else:
            self._chores.leave(lambda: self._park(entry))

    async def _bury(self, entry: Out, reason: str, code: int) -> None:
        if self._window.by_token(entry.token) is None:
            return  # settled after all, by an answer that came meanwhile
        attempts = entry.tries or (entry.item.moved.attempts if entry.item.moved is not None else 0)
        try:
            await self._outbox.bury(entry.item, reason=reason, code=code, attempts=attempts)
        except DeadLettersFull as exc:
            await self._set_aside(entry, reason, code, exc)
            return
        except OutboxError as exc:
            self._window.wake(entry, self._now())
            told.not_buried(entry, exc)
            self._changed()
            return
        self._window.remove(entry)
        self._lane.ended(entry, self._now(), answered=True)
        self._counts.dead += 1
        self.count(entry.item.rule).dead += 1
        told.buried(entry, reason, code)
        await self._lives.ended(entry, State.REJECTED, reason)
        self._changed()

    async def _set_aside(self, entry: Out, reason: str, code: int, full: DeadLettersFull) -> None:
        """There is no place for its dead letter: it waits for one among the parked, and holds none in the window."""
        known = entry.item.is_doomed
        if not known:
            try:
                await self._outbox.park(entry.item, attempts=entry.tries, reason=reason, code=code)
            except StorageFailed as exc:
                self._window.wake(entry, self._now())
                told.not_parked(exc)
                self._changed()
                return
            self._counts.parked += 1
            now = self._now()
            loud = self._told_full_at is None or now - self._told_full_at >= _TOLD_AGAIN_S
            self._told_full_at = now if loud else self._told_full_at
            told.no_place(entry, reason, full, loud=loud)
        self._window.remove(entry)
        self._lane.ended(entry, self._now(), answered=not known)
        await self._lives.ended(entry, State.REJECTED, reason)
        self._changed()

    async def _park(self, entry: Out) -> None:
        if self._window.by_token(entry.token) is None:
            return  # settled after all, by an answer that came meanwhile
        try:
            await self._outbox.park(entry.item, attempts=entry.tries)
        except StorageFailed as exc:
            self._window.wake(entry, self._now())
            told.not_parked(exc)
            self._changed()
            return
        self._window.remove(entry)
        self._counts.parked += 1
        told.parked(entry)
        self._changed()

    def _release(self, entries: Sequence[Out], way: str) -> None:
        remove = self._window.remove
        for entry in entries:
            remove(entry)
            if entry.item.log == PARKED:
                self._lane.ended(entry, self._now(), answered=True)
        self._outbox.release([entry.item for entry in entries], way)
