"""Ingest: from a device's event to a synced record (contract section 2).

An event is checked, given an id and a time, compared with those before it, matched against the rules, and stored.
Only when the outbox has synced it does `accept` return; that is the moment of acknowledgement (promise P1).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence

import msgspec

from edgeagent.agent.clock import Clock, Moment
from edgeagent.agent.counts import RuleCounts
from edgeagent.agent.guarded import Decision, Guarded
from edgeagent.common.foreign import shown
from edgeagent.errors import DeadLettersFull, Draining, EventConflict, MessageError, OutboxError, RecordTooLarge
from edgeagent.events.dedupe import Dedupe, Verdict, event_key
from edgeagent.events.event import Draft, Record, check, record
from edgeagent.outbox.commit import pass_on
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import HIGH, NORMAL, Armed, Group, digest_of
from edgeagent.ports.device import Accepted, TriggerRef
from edgeagent.rules.firing_limits import Step
from edgeagent.rules.ruleset import Match, RuleSet
from edgeagent.rules.trigger import correlation_id, render

# A reason may have a part of the event in it: after so many different ones of a rule none is logged any more.
_MAX_TOLD_REASONS = 16

_log = logging.getLogger(__name__)


class Prepared(msgspec.Struct, frozen=True, gc=False):
    """An event on its way to the outbox. `record` is None when there is nothing to store.

    `rules`: those of which it has a trigger. `key` is empty when the event has no id of its own to be recognised by.
    `decision`: None when no rule that goes by its last firing was asked.
    """

    event_id: str
    source: str
    rules: tuple[str, ...]
    record: Record | None
    key: bytes
    digest: bytes
    high: bool
    duplicate: bool
    decision: Decision | None = None


class Ingest:
    """Takes events. `draining` refuses new ones."""

    def __init__(
        self,
        agent: str,
        rules: RuleSet,
        outbox: Outbox,
        dedupe: Dedupe,
        clock: Clock,
        *,
        max_event_bytes: int,
        refuse_when_dead_full: bool = False,
    ) -> None:
        """`refuse_when_dead_full`: take no event that a rule wants while there is no place for a dead letter."""
        self.draining = False
        self.rule_counts = {rule.name: RuleCounts() for rule in rules}
        self._agent = agent
        self._rules = rules
        self._outbox = outbox
        self._dedupe = dedupe
        self._clock = clock
        self._max_event_bytes = max_event_bytes
        self._told_errors: dict[str, set[tuple[str, str]]] = {}  # by rule, the reasons that were logged
        self._refuse_when_dead_full = refuse_when_dead_full
        self.guarded = Guarded(rules, self.rule_counts, clock.boot, outbox.firings)

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
            unfounded = await self.store(prepared)
        except OutboxError:
            counts.received += len(drafts)
            counts.refused += len(drafts)
            raise
        if unfounded is not None:  # those that are stored count as stored; the sender is told that it was refused
            refused = sum(event.record is None for event in prepared)
            counts.received += refused
            counts.refused += refused
            raise unfounded
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
        rules, high, decision, stored = match.rules, match.high, None, None
        if duplicate:
            rules = self._dedupe.rules(key) or rules
        elif self._rules.remembered:
            decision = self.guarded.decide(draft, rules, moment)
            rules, high = decision.rules, decision.high
        draft.value = msgspec.UNSET  # many times as large as its text, and nobody asks for it again
        if rules and not duplicate:
            stored = self._record(draft, rules, moment, decision)
            if draft.delivery is None:
                key = key or event_key(draft.source, draft.id)
                self._dedupe.add(key, digest, rules if rules != match.rules else ())
        return Prepared(draft.id, draft.source, rules, stored, key, digest, high, duplicate, decision)

    async def store(self, prepared: Sequence[Prepared]) -> OutboxError | None:
        """Store what was prepared, all or nothing; synced when it returns. Counts what became of the events.

        It is submitted before anything is waited for: who comes after it finds it at the outbox's barrier.

        Returns an error when one of the events stands on an earlier one that was refused: then the others are stored
        and counted as such, and known when they come again; what is not stored is the caller's to count.

        Raises:
            OutboxError: nothing is stored, and all of it is taken back.
        """
        group, duplicates, because = self._group(prepared)
        if self._refuse_when_dead_full and group.keys and (full := self._outbox.dead_full):
            self.take_back(prepared)
            raise DeadLettersFull(full)
        if group.records:
            waiter: asyncio.Future[int] = asyncio.get_running_loop().create_future()

            def told(outcome: int | BaseException) -> None:
                if isinstance(outcome, BaseException):  # it decides about the keys even if the caller is gone by then
                    self.take_back(prepared)
                else:
                    self._guard_stored(prepared)
                pass_on(waiter, outcome)

            self._outbox.submit(group, told)
            await waiter
        try:
            if duplicates:
                await self._first_stored(duplicates)
            if because:
                await self._swallowed_rightly(because)
        except OutboxError as exc:
            self._count_stored(prepared)
            return exc
        self._count(prepared, len(duplicates))
        return None

    def _group(self, prepared: Sequence[Prepared]) -> tuple[Group, list[Prepared], list[Step]]:
        """What is to be stored; the duplicates among the events; and the steps by which others did not fire."""
        entries: list[Record | Armed] = []
        keys: list[tuple[bytes, bytes]] = []
        duplicates: list[Prepared] = []
        because: list[Step] = []
        log = NORMAL
        for event in prepared:
            if event.record is not None:
                entries.append(event.record)
                keys.append((event.key, event.digest))
            elif event.duplicate:
                duplicates.append(event)
                continue
            if event.decision is not None:
                because += event.decision.because
                if event.decision.armed:
                    entries.append(Armed(event.source, event.decision.armed))
            if event.high and (event.record is not None or event.decision is not None):
                log = HIGH  # one log for all of them, so that they are stored whole or not at all, and in order
        return Group(log, entries, keys, self._rules.remembered), duplicates, because

    def take_back(self, prepared: Sequence[Prepared]) -> None:
        """Forget events that were prepared and are not stored; again is harmless."""
        for event in reversed(prepared):
            if event.record is not None and event.key:
                self._dedupe.forget(event.key)
            if event.decision is not None:
                self.guarded.take_back(event.decision)

    def _guard_stored(self, prepared: Sequence[Prepared]) -> None:
        for event in prepared:
            if event.decision is not None:
                self.guarded.stored(event.decision)

    async def _swallowed_rightly(self, steps: Sequence[Step]) -> None:
        """What came too soon after an event is acknowledged once that is synced: wait for it; it may be refused."""
        if any(not step.stored for step in steps):
            await self._outbox.barrier()
        if any(step.void for step in steps):
            raise OutboxError("an earlier event, after which this one came too soon, was refused; send it again")

    async def _first_stored(self, duplicates: Sequence[Prepared]) -> None:
        """A duplicate is acknowledged once the first is synced: wait for that, and see that it was not refused."""
        await self._outbox.barrier()
        for event in duplicates:
            if event.key and self._dedupe.check(event.key, event.digest) is Verdict.NEW:
                raise OutboxError(f"the first event with id {shown(event.event_id)} was refused; send it again")

    def _accepted(self, event: Prepared) -> Accepted:
        agent, source, event_id = self._agent, event.source, event.event_id
        triggers = tuple([TriggerRef(rule, correlation_id(agent, source, event_id, rule)) for rule in event.rules])
        return Accepted(event_id, source, event.duplicate, triggers)

    def _record(self, draft: Draft, rules: tuple[str, ...], moment: Moment, decision: Decision | None) -> Record:
        """What is stored of an event. Each rule that demands it must be able to make a trigger of it.

        Raises:
            MessageError: one cannot; names rule and parameter.
        """
        stored = record(draft, self._agent, rules, moment.now_ms, moment.uptime_ms)
        if not self._rules.demanding:
            return stored
        for name in self._rules.demanding.intersection(stored.rules):
            rule = self._rules.get(name)
            try:
                if rule is not None:
                    render(rule, stored, correlation_id(stored.agent, stored.source, stored.id, name), 1, "")
            except MessageError as exc:
                if decision is not None:
                    self.guarded.take_back(decision)
                self.rule_counts[name].errors += 1
                member = f"rule {name}: {exc.what} {exc.member}".rstrip()
                raise MessageError("event", member, exc.reason) from exc
        return stored

    def _tell_errors(self, draft: Draft, match: Match) -> None:
        """Count what rules cannot decide about; each rule's reason is logged once, since a mixed topic has it often."""
        for rule, error in match.errors:
            counts = self.rule_counts[rule]
            counts.errors += 1
            counts.last_error = shown(f"event {draft.id} of {draft.source}: {error}")
            known = self._told_errors.setdefault(rule, set())
            if len(known) >= _MAX_TOLD_REASONS or (reason := (error.member, error.reason)) in known:
                continue
            known.add(reason)
            _log.warning(
                "rule %s cannot decide about %s; taken as no match; more of the kind are only counted (/v1/stats)",
                rule,
                counts.last_error,
                extra={
                    "event": "rule_error",
                    "foreign": True,
                    "rule": rule,
                    "source": draft.source,
                    "event_id": draft.id,
                },
            )

    def _count(self, prepared: Sequence[Prepared], duplicates: int) -> None:
        counts = self._outbox.events
        stored, throttled = self._count_stored(prepared), 0
        for event in prepared:
            if event.decision is not None and event.decision.swallowed:
                self.guarded.count(event.decision)
                throttled += event.record is None
        counts.duplicate += duplicates
        counts.throttled += throttled
        counts.filtered += len(prepared) - duplicates - throttled - stored
        counts.received += len(prepared) - stored  # the outbox counts what it stores itself

    def _count_stored(self, prepared: Sequence[Prepared]) -> int:
        """Count for the rules what is stored; returns how many events that are."""
        times = Counter([event.rules for event in prepared if event.record is not None])
        for rules, matched in times.items():
            for rule in rules:
                self.rule_counts[rule].matched += matched
        return times.total()
