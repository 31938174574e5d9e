"""Ingest: from a device's event to a synced record (contract section 2).

An event is checked, given an id and a time, compared with those before it, matched against the rules, and stored.
Only when the outbox has synced it does `accept` return; that is the moment of acknowledgement (promise P1).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import msgspec

from edgeagent.agent.clock import Clock, Moment
from edgeagent.agent.counts import RuleCounts
from edgeagent.core.dedupe import Dedupe, Verdict, event_key
from edgeagent.core.event import Draft, Record, check, record
from edgeagent.core.ports import Accepted, TriggerRef
from edgeagent.core.rules import Match, RuleSet
from edgeagent.core.trigger import correlation_id
from edgeagent.errors import Draining, EventConflict, MessageError, OutboxError, RecordTooLarge
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import HIGH, NORMAL, Group, digest_of
from edgeagent.outbox.turn import pass_on

_log = logging.getLogger(__name__)


class Prepared(msgspec.Struct, frozen=True, gc=False):
    """An event on its way to the outbox. `record` is None when there is nothing to store.

    `rules`: those that matched. `key` is empty when the event has no id of its own to be recognised by.
    """

    event_id: str
    source: str
    rules: tuple[str, ...]
    record: Record | None
    key: bytes
    digest: bytes
    high: bool
    duplicate: bool


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
        counts, moment = self._outbox.events, self._clock.moment()
        try:
            for draft in drafts:
                prepared.append(self.prepare(draft, moment))  # noqa: PERF401  what came before a failure is taken back
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
            await self.store(prepared)
        except OutboxError:
            counts.received += len(drafts)
            counts.refused += len(drafts)
            raise
        return [self._accepted(event) for event in prepared]

    def prepare(self, draft: Draft, moment: Moment) -> Prepared:
        """Decide about one event; fills in the draft's id and time. It counts as known until it is taken back.

        Raises:
            MessageError, EventConflict, RecordTooLarge, Draining: it is not taken.
        """
        if self.draining:
            raise Draining
        check(draft)
        if len(draft.data) > self._max_event_bytes:
            raise RecordTooLarge(len(draft.data), self._max_event_bytes)
        key, digest = b"", digest_of(draft)
        duplicate, conflict = draft.repeated, False
        if draft.id and draft.delivery is None:
            key = event_key(draft.source, draft.id)
            verdict = self._dedupe.check(key, digest)
            duplicate, conflict = verdict is Verdict.DUPLICATE, verdict is Verdict.CONFLICT
        draft.id = draft.id or self._clock.new_id(moment.now_ms)
        draft.time = draft.time or moment.time
        match = self._rules.match(draft)
        if match.errors:
            self._tell_errors(draft, match)
        if conflict:
            raise EventConflict(draft.source, draft.id)
        stored = None
        if match.rules and not duplicate:
            if draft.delivery is None:
                key = key or event_key(draft.source, draft.id)
                self._dedupe.add(key, digest)
            stored = record(draft, self._agent, match.rules, moment.now_ms, moment.uptime_ms)
        return Prepared(draft.id, draft.source, match.rules, stored, key, digest, match.high, duplicate)

    async def store(self, prepared: Sequence[Prepared]) -> None:
        """Store what was prepared, all or nothing; synced when it returns. Counts what became of the events.

        Raises:
            OutboxError: nothing is stored, and all of it is taken back.
        """
        records: list[Record] = []
        keys: list[tuple[bytes, bytes]] = []
        duplicates: list[Prepared] = []
        log = NORMAL
        for event in prepared:
            if event.record is not None:
                records.append(event.record)
                keys.append((event.key, event.digest))
                if event.high:
                    log = HIGH  # one log for all of them, so that they are stored whole or not at all, and in order
            elif event.duplicate:
                duplicates.append(event)
        if records:
            waiter: asyncio.Future[int] = asyncio.get_running_loop().create_future()

            def told(outcome: int | BaseException) -> None:
                if isinstance(outcome, BaseException):  # it decides about the keys even if the caller is gone by then
                    self.take_back(prepared)
                pass_on(waiter, outcome)

            self._outbox.submit(Group(log, records, keys), told)
            await waiter
        if duplicates:
            await self._first_stored(duplicates)
        self._count(prepared, len(duplicates), records)

    def take_back(self, prepared: Sequence[Prepared]) -> None:
        """Forget events that were prepared and are not stored; again is harmless."""
        for event in prepared:
            if event.record is not None and event.key:
                self._dedupe.forget(event.key)

    async def _first_stored(self, duplicates: Sequence[Prepared]) -> None:
        """A duplicate is acknowledged once the first is synced: wait for that, and see that it was not refused."""
        await self._outbox.barrier()
        for event in duplicates:
            if event.key and self._dedupe.check(event.key, event.digest) is Verdict.NEW:
                raise OutboxError(f"the first event with id {event.event_id!r} was refused; send it again")

    def _accepted(self, event: Prepared) -> Accepted:
        agent, source, event_id = self._agent, event.source, event.event_id
        triggers = [TriggerRef(rule, correlation_id(agent, source, event_id, rule)) for rule in event.rules]
        return Accepted(event_id, source, event.duplicate, tuple(triggers))

    def _tell_errors(self, draft: Draft, match: Match) -> None:
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

    def _count(self, prepared: Sequence[Prepared], duplicates: int, stored: Sequence[Record]) -> None:
        counts = self._outbox.events
        counts.duplicate += duplicates
        counts.filtered += len(prepared) - duplicates - len(stored)
        counts.received += len(prepared) - len(stored)  # the outbox counts what it stores itself
        times: dict[tuple[str, ...], int] = {}
        for one in stored:
            times[one.rules] = times.get(one.rules, 0) + 1
        for rules, matched in times.items():
            for rule in rules:
                self.rule_counts[rule].matched += matched
