"""The ledger notes of triggers in flight: how each life begins, and how it ends without an answer."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from edgeagent.agent.chores import Chores
from edgeagent.agent.clock import Clock
from edgeagent.agent.inflight import TriggerInFlight
from edgeagent.agent.traces import UNSAMPLED, Traces
from edgeagent.ledger.ledger import Ledger
from edgeagent.outbox.records import Leased
from edgeagent.rules.ruleset import RuleSet
from edgeagent.rules.trigger import correlation_id
from edgeagent.wire import lifecycle
from edgeagent.wire.lifecycle import Life
from edgeagent.wire.messages import Report, State


class LedgerNotes:
    """Writes to the ledger what happens to triggers without an answer of the engine.

    Owns no state. Promises to write nothing about a rule that is not followed (`track = false`), and to continue a life
    that the ledger knows already instead of beginning it again. Must never end a trigger: it records what others
    decide.
    """

    def __init__(
        self,
        ledger: Ledger,
        rules: RuleSet,
        clock: Clock,
        chores: Chores,
        *,
        ends_published: bool,
        traces: Traces = UNSAMPLED,
    ) -> None:
        """`ends_published`: with settle = "broker" a published trigger is final. `traces`: what reports say of them."""
        self._ledger = ledger
        self._rules = rules
        self._clock = clock
        self._chores = chores
        self._ends_published = ends_published
        self._trace = traces.told

    def tracks(self, name: str) -> bool:
        """Whether the ledger follows a rule's triggers. The triggers of a removed rule are followed to their end."""
        rule = self._rules.get(name)
        return rule is None or rule.track

    def begun(self, entry: TriggerInFlight | None, state: State = State.PUBLISHED, error: str = "") -> Life | None:
        """A new life in this state; None if the trigger is not in flight, or not followed."""
        if entry is None or not self.tracks(entry.item.rule):
            return None
        return self._life(entry.item, entry.correlation_id, state, error)

    def published(self, entries: Iterable[TriggerInFlight]) -> None:
        """Note that the broker took these triggers, those of them that are followed."""
        at = self._clock.now()
        followed: dict[str, bool] = {}
        for entry in entries:
            item = entry.item
            tracks = followed.get(item.rule)
            if tracks is None:
                tracks = followed[item.rule] = self.tracks(item.rule)
            if not tracks:
                continue
            life = self._life(item, entry.correlation_id, State.PUBLISHED, at=at)
            if entry.attempt == 1:
                self._ledger.begin(life)  # it was never sent before, so nothing else has written about it
            else:
                self._chores.leave(partial(self._published_again, life))

    async def _published_again(self, life: Life) -> None:
        await self._ledger.change(
            life.report.correlation_id,
            lambda known: life if known is None else lifecycle.published(known, life.report.at),
        )

    async def merged(self, leased: Leased, into: str) -> None:
        """Note that a trigger ended in another one, which has the correlation id `into`."""
        rule = self._rules.get(leased.rule)
        if rule is not None and not rule.track:
            return
        correlation, at = correlation_of(leased), self._clock.now()

        def merge(known: Life | None) -> Life | None:
            return lifecycle.merged(known or self._life(leased, correlation, State.BUFFERED), into, at)

        await self._ledger.change(correlation, merge)

    async def ended(self, entry: TriggerInFlight, state: State, reason: str) -> None:
        """Note that a trigger was given up, with the reason."""
        begun = self.begun(entry, state, reason)
        if begun is None:
            return
        at = self._clock.now()

        def end(known: Life | None) -> Life | None:
            return begun if known is None else lifecycle.given_up(known, state, reason, at)

        await self._ledger.change(entry.correlation_id, end)

    def _life(self, leased: Leased, correlation: str, state: State, error: str = "", at: str = "") -> Life:
        record = leased.record
        rule = self._rules.get(leased.rule)
        report = Report(
            correlation,
            record.id,
            record.source,
            leased.rule,
            state,
            at or self._clock.now(),
            namespace=rule.namespace if rule is not None else "",
            error=error,
            traceparent=self._trace(record, correlation),
        )
        return Life(report, record.accepted_ms, ends_published=self._ends_published)


def correlation_of(leased: Leased) -> str:
    """The correlation id of a leased trigger."""
    record = leased.record
    return correlation_id(record.agent, record.source, record.id, leased.rule)
