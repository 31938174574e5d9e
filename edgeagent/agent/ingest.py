"""Ingest: from a device's event to a synced record (contract section 2).

An event is checked, given an id and a time, compared with those before it, matched against the rules, and stored.
Only when the outbox has synced it does `accept` return; that is the moment of acknowledgement (promise P1).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import msgspec

from edgeagent.agent.clock import Clock
from edgeagent.agent.counts import RuleCounts
from edgeagent.core.dedupe import Dedupe, Verdict, event_key
from edgeagent.core.event import Draft, Record, check, record
from edgeagent.core.ports import Accepted, TriggerRef
from edgeagent.core.rules import RuleSet
from edgeagent.core.trigger import correlation_id
from edgeagent.errors import Draining, EventConflict, MessageError, OutboxError, RecordTooLarge
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import HIGH, NORMAL, Group, digest_of

_log = logging.getLogger(__name__)


class Prepared(msgspec.Struct, frozen=True, gc=False):
    """An event on its way to the outbox. `record` is None when there is nothing to store."""

    accepted: Accepted
    record: Record | None
    key: bytes
    digest: bytes
    high: bool


class Ingest:
    """Takes events. `draining` refuses new ones."""

    def __init__(
        self, agent: str, rules: RuleSet, outbox: Outbox, dedupe: Dedupe, clock: Clock, *, max_event_bytes: int
    ) -> None:
        self.draining = False
        self.rule_counts = {rule.name: RuleCounts() for rule in rules}
        self._agent = agent
        self._rules = rules
        self._outbox = outbox
        self._dedupe = dedupe
        self._clock = clock
        self._max_event_bytes = max_event_bytes

    async def accept(self, drafts: Sequence[Draft]) -> list[Accepted]:
        """Take events, all or none; see `DevicePort.accept`."""
        prepared: list[Prepared] = []
        counts = self._outbox.events
        try:
            for draft in drafts:
                prepared.append(self.prepare(draft))  # noqa: PERF401  what came before a failure is taken back
        except (MessageError, EventConflict, RecordTooLarge, Draining) as exc:
            self.take_back(prepared)
            counts.received += len(drafts)
            if isinstance(exc, EventConflict):
                counts.conflict += 1
                counts.refused += len(drafts) - 1
            else:
                counts.refused += len(drafts)
            raise
        try:
            return await self.store(prepared)
        except OutboxError:
            counts.received += len(drafts)
            counts.refused += len(drafts)
            raise

    def prepare(self, draft: Draft, *, answered: bool = True) -> Prepared:
        """Decide about one event; fills in the draft's id and time. It counts as known until it is taken back.

        `answered`: the sender is told the correlation ids; else they are left out of `accepted`.

        Raises:
            MessageError, EventConflict, RecordTooLarge, Draining: it is not taken.
        """
        if self.draining:
            raise Draining
        check(draft)
        if len(draft.data) > self._max_event_bytes:
            raise RecordTooLarge(len(draft.data), self._max_event_bytes)
        has_id = bool(draft.id)
        draft.id = draft.id or self._clock.new_id()
        draft.time = draft.time or self._clock.now()
        match = self._rules.match(draft)
        for rule, error in match.errors:
            self.rule_counts[rule].errors += 1
            _log.warning(
                "rule %s cannot decide about event %s of %s, taken as no match: %s",
                rule,
                draft.id,
                draft.source,
                error,
                extra={"event": "rule_error", "rule": rule, "source": draft.source, "event_id": draft.id},
            )
        triggers: tuple[TriggerRef, ...] = ()
        if answered:
            triggers = tuple(
                TriggerRef(rule, correlation_id(self._agent, draft.source, draft.id, rule)) for rule in match.rules
            )
        key, digest = event_key(draft.source, draft.id), digest_of(draft)
        verdict = self._dedupe.check(key, digest) if has_id else Verdict.NEW
        if verdict is Verdict.CONFLICT:
            raise EventConflict(draft.source, draft.id)
        accepted = Accepted(draft.id, draft.source, verdict is Verdict.DUPLICATE, triggers)
        if accepted.duplicate or not match.rules:
            return Prepared(accepted, None, key, digest, high=False)
        self._dedupe.add(key, digest)
        stored = record(draft, self._agent, match.rules, self._clock.now_ms(), self._clock.uptime_ms())
        return Prepared(accepted, stored, key, digest, match.high)

    async def store(self, prepared: Sequence[Prepared]) -> list[Accepted]:
        """Store what was prepared, all or nothing; synced when it returns. Counts what became of the events.

        Raises:
            OutboxError: nothing is stored, and all of it is taken back.
        """
        new = [event for event in prepared if event.record is not None]
        if new:
            # One log for all of them, so that they are stored whole or not at all, and stay in order.
            log = HIGH if any(event.high for event in new) else NORMAL
            records = [event.record for event in new if event.record is not None]
            future = self._outbox.submit(Group(log, records, [(event.key, event.digest) for event in new]))
            future.add_done_callback(lambda done: self.take_back(prepared) if done.exception() is not None else None)
            await asyncio.shield(future)  # the outcome decides about the keys, even if the caller is gone by then
        duplicates = [event for event in prepared if event.accepted.duplicate]
        if duplicates:
            await self._first_stored(duplicates)
        self._count(prepared, len(duplicates), len(new))
        return [event.accepted for event in prepared]

    def take_back(self, prepared: Sequence[Prepared]) -> None:
        """Forget events that were prepared and are not stored; again is harmless."""
        for event in prepared:
            if event.record is not None:
                self._dedupe.forget(event.key)

    async def _first_stored(self, duplicates: Sequence[Prepared]) -> None:
        """A duplicate is acknowledged once the first is synced: wait for that, and see that it was not refused."""
        await self._outbox.barrier()
        for event in duplicates:
            if self._dedupe.check(event.key, event.digest) is Verdict.NEW:
                raise OutboxError(f"the first event with id {event.accepted.id!r} was refused; send it again")

    def _count(self, prepared: Sequence[Prepared], duplicates: int, stored: int) -> None:
        counts = self._outbox.events
        counts.duplicate += duplicates
        counts.filtered += len(prepared) - duplicates - stored
        counts.received += len(prepared) - stored  # the outbox counts what it stores itself
        for event in prepared:
            if event.record is not None:
                for rule in event.record.rules:
                    self.rule_counts[rule].matched += 1
