"""Intake: from a device's event to a synced record (contract section 2).

An event is checked, given an id and a time, compared with earlier ones, matched against the rules, and stored. It is
taken only when the outbox has synced it; that is the moment of acknowledgement (promise P1).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence

import msgspec

from edgeagent.agent.clock import Clock, Moment
from edgeagent.agent.completions import Completions
from edgeagent.agent.counts import RuleCounts
from edgeagent.agent.event_account import EventAccount
from edgeagent.agent.prepared import Prepared
from edgeagent.common.elapsed import Instant
from edgeagent.errors import DeadLettersFull, Draining, EventConflict, MessageError, OutboxError, RecordTooLarge
from edgeagent.events.dedupe import EXACTLY_ONCE, Dedupe, DedupeVerdict, Deliveries, event_key
from edgeagent.events.event import Draft, Record, check, record
from edgeagent.outbox.commit import pass_on
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import HIGH, NORMAL, Armed, Group, digest_of
from edgeagent.ports.account import EventCounts, EventWay
from edgeagent.ports.device import Accepted, RefusedEvent, TriggerRef
from edgeagent.rules.firing_decisions import FiringDecision, decide
from edgeagent.rules.firing_limits import FiringLimits, FiringStep
from edgeagent.rules.ruleset import RuleSet
from edgeagent.rules.trigger import correlation_id, render


class _Batch(msgspec.Struct, frozen=True):
    """Events that are stored together, as one group.

    `places`: the index of each among the drafts. `conflicts`: the indexes of those whose id is known with other data.
    `rests`: whether this would be decided otherwise if an event of another batch, not synced yet, were refused.
    """

    drafts: Sequence[Draft]
    places: Sequence[int]
    prepared: Sequence[Prepared]
    conflicts: Sequence[tuple[int, EventConflict]]
    group: Group
    rests: bool


class EventIntake:
    """The one way in for events: those of requests (`accept`), and those that messages bring (`take`; `EventPort`).

    It owns the known events (by id, and by MQTT delivery), the state of the firing limits, and the account of events.
    An event is taken when it is synced, or when nothing of it is to be stored. It must never be acknowledged before
    that, stored twice for one sending, or counted twice. What depends on an event that is not synced yet (its
    repetition, another one with its id, one that came too soon) is decided when that is. `draining`: it takes no more.
    """

    def __init__(
        self,
        agent: str,
        rules: RuleSet,
        outbox: Outbox,
        dedupe: Dedupe,
        clock: Clock,
        *,
        max_event_bytes: int,
        deliveries: Deliveries | None = None,
        refuse_when_dead_full: bool = False,
    ) -> None:
        """`dedupe`, `deliveries`: filled with what was stored before the start; from now on they belong to the intake.

        `refuse_when_dead_full`: refuse an event that a rule wants while there is no place for a dead letter.
        """
        self.draining = False
        self.firing_limits = FiringLimits(outbox.firings)
        self._agent = agent
        self._rules = rules
        self._outbox = outbox
        self._dedupe = dedupe
        self._deliveries = deliveries or Deliveries()
        self._completions = Completions(self._deliveries, outbox)
        self._clock = clock
        self._max_event_bytes = max_event_bytes
        self._refuse_when_dead_full = refuse_when_dead_full
        self._account = EventAccount(rules, outbox.events, clock.now)
        self._under_way: dict[int, Sequence[Prepared]] = {}  # batches submitted to the outbox, not decided yet
        self._batch_numbers = itertools.count(1)
        self._listeners: list[Callable[[Sequence[Prepared]], None]] = []

    @property
    def rule_counts(self) -> dict[str, RuleCounts]:
        """What each rule did, by its name."""
        return self._account.rule_counts

    @property
    def events_by_way(self) -> Mapping[EventWay, EventCounts]:
        """What became of events since the agent started; `received` is not counted there."""
        return self._account.by_way

    def listen(self, stored: Callable[[Sequence[Prepared]], None]) -> None:
        """Call `stored` with events that are accepted, once they are synced. It must neither block nor raise."""
        self._listeners.append(stored)

    async def accept(self, drafts: Sequence[Draft]) -> list[Accepted]:
        """Take events, all or none; see `DevicePort.accept`."""
        try:
            while (batch := self._prepare_together(drafts)).rests:
                await self._until_decided(batch)
            await self._store(batch, EventWay.HTTP)
        except (MessageError, EventConflict, OutboxError, Draining) as exc:
            self._account.refused(exc, EventWay.HTTP, len(drafts))
            raise
        self._account.taken(batch.prepared, EventWay.HTTP)
        return [self._accepted(event) for event in batch.prepared]

    async def take(self, drafts: Sequence[Draft], way: EventWay = EventWay.LOCAL) -> dict[int, RefusedEvent]:
        """Take events, each for itself; see `EventPort.take`."""
        refused: dict[int, RefusedEvent] = {}
        left: Sequence[int] = range(len(drafts))
        together = len(left)  # how many are stored in one group, at most
        while left:
            try:
                batch = self._prepare_each(drafts, left[:together], refused, way)
                if batch.rests:
                    await self._until_decided(batch)
                else:
                    await self._store(batch, way)
                    self._account.taken(batch.prepared, way)
                    self._refuse(batch.conflicts, refused, way)
                    left = left[together:]
                    continue
            except RecordTooLarge as exc:  # a group must fit into a segment: try fewer, or refuse the only one
                together = len(batch.prepared) // 2
                if not together:
                    self._refuse([(batch.places[0], exc)], refused, way)
                    together = len(left)
            except (OutboxError, Draining) as exc:
                refused.update({place: RefusedEvent(exc) for place in left if place not in refused})
                break
            left = [place for place in left if place not in refused]
        return refused

    def refuse(self, error: MessageError, way: EventWay = EventWay.LOCAL) -> None:
        """Count a message that cannot be made into a draft; see `EventPort`."""
        self._account.refused(error, way)

    def complete(self, session: str, packet_id: int, done: Callable[[], None]) -> bool:
        """Forget a delivery at QoS 2; see `EventPort`."""
        return self._completions.complete(session, packet_id, done)

    def end_session(self, session: str) -> None:
        """Forget the deliveries of a session; see `EventPort`."""
        self._deliveries.forget(session)

    def _prepare_together(self, drafts: Sequence[Draft]) -> _Batch:
        """Decide about all of these events.

        Raises:
            MessageError, EventConflict, RecordTooLarge, Draining: one is not taken; none of the others leaves a trace.
        """
        prepared: list[Prepared] = []
        conflicts: list[tuple[int, EventConflict]] = []
        try:
            moment = self._moment()
            for draft in drafts:
                prepared.append(self._prepare(draft, moment))  # noqa: PERF401  a failure takes back those before it
        except EventConflict as exc:
            conflicts.append((len(prepared), exc))
        except (MessageError, RecordTooLarge):
            self._take_back(prepared)
            raise
        batch = self._batch(drafts, range(len(prepared)), prepared, conflicts)
        if conflicts and not batch.rests:
            self._take_back(prepared)
            raise conflicts[0][1]
        return batch

    def _prepare_each(
        self, drafts: Sequence[Draft], places: Sequence[int], refused: dict[int, RefusedEvent], way: EventWay
    ) -> _Batch:
        """Decide about each of these events; one that is invalid by itself goes to `refused`.

        Raises:
            Draining: no event is taken any more.
        """
        prepared: list[Prepared] = []
        conflicts: list[tuple[int, EventConflict]] = []
        wrong: list[tuple[int, MessageError | RecordTooLarge]] = []
        moment = self._moment()
        for place in places:
            try:
                prepared.append(self._prepare(drafts[place], moment))
            except EventConflict as exc:
                conflicts.append((place, exc))
            except (MessageError, RecordTooLarge) as exc:
                wrong.append((place, exc))
        if wrong or conflicts:
            self._refuse(wrong, refused, way)
            others = {place for place, _ in (*wrong, *conflicts)}
            places = [place for place in places if place not in others]
        return self._batch(drafts, places, prepared, conflicts)

    def _moment(self) -> Moment:
        """The moment at which events are decided about.

        Raises:
            Draining: no event is taken any more.
        """
        if self.draining:
            raise Draining
        return self._clock.moment()

    def _prepare(self, draft: Draft, moment: Moment) -> Prepared:
        """Decide about one event, and fill in its id and time. It counts as known until it is taken back.

        Raises:
            MessageError, EventConflict, RecordTooLarge: it is not taken.
        """
        check(draft)
        if len(draft.data) > self._max_event_bytes:
            raise RecordTooLarge(len(draft.data), self._max_event_bytes)
        key, digest, duplicate = b"", b"", False
        if draft.delivery is not None:
            digest = digest_of(draft)
            duplicate = draft.redelivered and self._came_before(draft, draft.delivery, digest)
        elif draft.id:
            digest = digest_of(draft)
            key = event_key(draft.source, draft.id)
            verdict = self._dedupe.check(key, digest)
            if verdict is DedupeVerdict.CONFLICT:
                raise EventConflict(draft.source, draft.id)
            duplicate = verdict is DedupeVerdict.DUPLICATE
        draft.id = draft.id or self._clock.new_id(moment.now_ms)
        draft.time_quality = draft.time_quality if draft.time else moment.time_quality
        draft.time = draft.time or moment.time
        match = self._rules.match(draft)
        rules, high, decision, stored = match.rules, match.high, None, None
        if duplicate:
            rules = self._dedupe.rules(key) or rules
        elif self._rules.remembered:
            at = Instant(moment.now_ms, moment.uptime_ms, self._clock.boot)
            decision = decide(self.firing_limits, self._rules, draft, rules, at)
            rules, high = decision.rules, decision.high
        draft.value = msgspec.UNSET  # many times as large as its text, and not needed again
        if rules and not duplicate:
            stored = self._record(draft, rules, moment, decision)
            # An id that is given here is told only to who posts an event: nobody else can send the same one again.
            if draft.delivery is None and (key or draft.topic is None):
                if not key:
                    key, digest = event_key(draft.source, draft.id), digest_of(draft)
                self._dedupe.add(key, digest, rules if rules != match.rules else ())
        return Prepared(draft.id, draft.source, rules, stored, key, digest, high, duplicate, match.errors, decision)

    def _came_before(self, draft: Draft, delivery: tuple[str, int], digest: bytes) -> bool:
        """Whether this very delivery was taken before; if so, the draft gets that event's id."""
        if (known := self._deliveries.event_id(*delivery, digest)) is None:
            return False
        draft.id, draft.repeated = known, True
        return True

    def _record(self, draft: Draft, rules: tuple[str, ...], moment: Moment, decision: FiringDecision | None) -> Record:
        """The record to store for an event. Each rule that demands a trigger must be able to make one of it.

        Raises:
            MessageError: one rule cannot; the error names rule and parameter.
        """
        if draft.traceparent == "":
            self._account.untraced(draft)
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
                    self._take_steps_back(decision)
                self.rule_counts[name].errors += 1
                member = f"rule {name}: {exc.what} {exc.member}".rstrip()
                raise MessageError("event", member, exc.reason) from exc
        return stored

    def _batch(
        self,
        drafts: Sequence[Draft],
        places: Sequence[int],
        prepared: Sequence[Prepared],
        conflicts: Sequence[tuple[int, EventConflict]],
    ) -> _Batch:
        entries: list[Record | Armed] = []
        keys: list[tuple[bytes, bytes]] = []
        known = [event_key(exc.source, exc.event_id) for _, exc in conflicts]
        because: list[FiringStep] = []
        log = NORMAL
        for event in prepared:
            if event.record is not None:
                entries.append(event.record)
                keys.append((event.key, event.digest))
            elif event.duplicate:
                known.append(event.key)
                continue
            if event.decision is not None:
                because += event.decision.because
                if event.decision.armed:
                    entries.append(Armed(event.source, event.decision.armed))
            if event.high and (event.record is not None or event.decision is not None):
                log = HIGH  # one log for the whole group, so that it is stored whole or not at all, and in order
        rests = bool(known or because) and self._rests(known, because, prepared)
        spooled = self._outbox.spool is not None and any(draft.artifact is not None for draft in drafts)
        group = Group(log, entries, keys, self._rules.remembered, has_artifacts=spooled)
        return _Batch(drafts, places, prepared, conflicts, group, rests)

    def _rests(self, known: Sequence[bytes], because: Sequence[FiringStep], prepared: Sequence[Prepared]) -> bool:
        """Whether one of these keys, or a key of the undecided steps, belongs to an event of another batch."""
        under_way = {event.key for batch in self._under_way.values() for event in batch if event.record is not None}
        own = {step for event in prepared if event.decision is not None for step in event.decision.steps}
        return any(key in under_way for key in known if key) or any(step not in own for step in because)

    async def _until_decided(self, batch: _Batch) -> None:
        """Wait until what the batch depends on is decided; the batch must be prepared again then."""
        self._take_back(batch.prepared)
        await self._outbox.barrier()

    async def _store(self, batch: _Batch, way: EventWay) -> None:
        """Store what was prepared, all or nothing; it is synced when this returns.

        It is submitted before the first `await`, so that groups are stored in the order in which they were prepared.

        Raises:
            OutboxError: nothing is stored, and all of it is taken back.
        """
        group, prepared = batch.group, batch.prepared
        if self._refuse_when_dead_full and group.keys and (full := self._outbox.dead_full):
            self._take_back(prepared)
            raise DeadLettersFull(full)
        if not group.records:
            self._stored(batch, way)
            return
        waiter: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        number = next(self._batch_numbers)
        self._under_way[number] = prepared

        def decided(outcome: int | BaseException) -> None:
            del self._under_way[number]
            if isinstance(outcome, BaseException):  # handled here: the caller may have been cancelled by then
                self._take_back(prepared)
            else:
                self._stored(batch, way)
            pass_on(waiter, outcome)

        self._outbox.submit(group, decided)
        await waiter

    def _stored(self, batch: _Batch, way: EventWay) -> None:
        """Note that a batch is stored: count it for the rules, and remember its deliveries and firings."""
        self._account.stored(batch.prepared, way, len(batch.group.keys))
        drafts, add = batch.drafts, self._deliveries.add
        for place, event in zip(batch.places, batch.prepared, strict=True):
            delivery = drafts[place].delivery
            # At QoS 2 only what is on disk: with nothing there, nothing of it needs to be completed.
            if delivery is not None and (event.record is not None or event.duplicate or delivery[1] < EXACTLY_ONCE):
                add(*delivery, event.digest, event.event_id)
            if event.decision is not None:
                for step in event.decision.steps:
                    self.firing_limits.stored(step)
        for stored in self._listeners:
            stored(batch.prepared)

    def _take_back(self, prepared: Sequence[Prepared]) -> None:
        """Forget events that were prepared and are not stored."""
        for event in reversed(prepared):
            if event.record is not None and event.key:
                self._dedupe.forget(event.key)
            if event.decision is not None:
                self._take_steps_back(event.decision)

    def _take_steps_back(self, decision: FiringDecision) -> None:
        for step in reversed(decision.steps):
            self.firing_limits.take_back(step)

    def _refuse(
        self,
        errors: Sequence[tuple[int, MessageError | EventConflict | RecordTooLarge]],
        refused: dict[int, RefusedEvent],
        way: EventWay,
    ) -> None:
        """Count these events, given by their indexes, as refused for good."""
        for place, error in errors:
            self._account.refused(error, way)
            refused[place] = RefusedEvent(error)

    def _accepted(self, event: Prepared) -> Accepted:
        agent, source, event_id = self._agent, event.source, event.event_id
        triggers = tuple([TriggerRef(rule, correlation_id(agent, source, event_id, rule)) for rule in event.rules])
        return Accepted(event_id, source, event.duplicate, triggers)
