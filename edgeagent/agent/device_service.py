"""The agent's device port, implemented by intake, ledger and outbox."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from edgeagent.agent.figures import Figures
from edgeagent.agent.intake import EventIntake
from edgeagent.agent.lookup import BUFFERED_LOGS, TriggerLookup
from edgeagent.agent.notes import correlation_of
from edgeagent.agent.readiness import refusal
from edgeagent.agent.traces import UNSAMPLED, Traces
from edgeagent.common.times import rfc3339
from edgeagent.events.event import Draft
from edgeagent.ledger.ledger import Ledger
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import Leased
from edgeagent.ports.device import Accepted, ListedTrigger, Place, TriggerQuery
from edgeagent.rules.ruleset import RuleSet
from edgeagent.wire.lifecycle import Life
from edgeagent.wire.messages import Report, State


class DeviceService:
    """The agent's `DevicePort`: events go to the intake; queries are answered from the ledger and the outbox.

    It owns nothing, and must never change anything by itself.
    """

    def __init__(
        self,
        intake: EventIntake,
        outbox: Outbox,
        ledger: Ledger,
        rules: RuleSet,
        lookup: TriggerLookup,
        *,
        ends_published: bool,
        figures: Figures,
        canary: Callable[[], dict[str, Any] | None],
        traces: Traces = UNSAMPLED,
    ) -> None:
        """`ends_published`: settle = "broker". `figures`: of all parts; `canary` gives those of canaries.

        `traces`: what reports say of them.
        """
        self._intake = intake
        self._outbox = outbox
        self._ledger = ledger
        self._rules = rules
        self._ends_published = ends_published
        self._figures = figures
        self._canary = canary
        self._lookup = lookup
        self._traces = traces

    async def accept(self, drafts: Sequence[Draft]) -> list[Accepted]:
        """Take events; see `DevicePort`."""
        return await self._intake.accept(drafts)

    async def trigger(self, correlation_id: str, wait_s: float) -> Report | None:
        """A trigger's report; see `DevicePort`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        life = await self._life(correlation_id)
        while life is not None and not life.final and loop.time() < deadline:
            await self._ledger.wait(correlation_id, deadline - loop.time())
            life = await self._ledger.get(correlation_id) or life
        return life.report if life is not None else None

    async def triggers(self, query: TriggerQuery) -> list[ListedTrigger]:
        """Triggers, newest event first; see `DevicePort`. Unpublished triggers are only in the outbox."""
        # The outbox first: a trigger goes from there into the ledger, so that none is missed on its way.
        pending = await self._pending(query) if query.state in {None, State.BUFFERED} else []
        lives = await self._ledger.find(query) if query.state is not State.BUFFERED else []
        known = {life.report.correlation_id for life in lives}
        if pending:
            known |= await self._ledger.known([life.report.correlation_id for life in pending])
        for life in pending:
            if life.report.correlation_id not in known:
                known.add(life.report.correlation_id)  # one that moved to another log meanwhile was found twice
                lives.append(life)
        lives.sort(key=Place.of, reverse=True)
        return [ListedTrigger(life.report, Place.of(life)) for life in lives[: query.limit]]

    def stats(self) -> dict[str, Any]:
        """The figures; see `DevicePort`."""
        return self._figures.stats()

    async def metrics(self) -> bytes:
        """The same for Prometheus; see `DevicePort`."""
        return await self._figures.metrics()

    def canary(self) -> dict[str, Any] | None:
        """What is known by canaries; see `DevicePort`."""
        return self._canary()

    def not_ready(self) -> str | None:
        """Why no event can be accepted now; see `DevicePort`."""
        if self._intake.draining:
            return "the agent is stopping"
        return refusal(self._outbox.health) or None

    async def _life(self, correlation: str) -> Life | None:
        life = await self._ledger.get(correlation)
        if life is not None:
            return life
        found = await self._lookup.trigger(correlation)
        if found is not None:
            return self._buffered(found)
        return await self._ledger.get(correlation)  # it may have been published during the search

    async def _pending(self, query: TriggerQuery) -> list[Life]:
        """The first triggers in the outbox that match, newest event first; their data is not kept."""

        def pick(leased: Leased) -> Life | None:
            if not _wanted(leased, query) or leased.is_doomed:
                return None
            life = self._buffered(leased)
            return life if query.after is None or Place.of(life) < query.after else None

        found = await self._lookup.search(BUFFERED_LOGS, pick, query.limit)
        found.sort(key=Place.of, reverse=True)
        return found[: query.limit]

    def _buffered(self, leased: Leased) -> Life:
        record, correlation = leased.record, correlation_of(leased)
        rule = self._rules.get(leased.rule)
        report = Report(
            correlation,
            record.id,
            record.source,
            leased.rule,
            State.REJECTED if leased.is_doomed else State.BUFFERED,
            rfc3339(record.accepted_ms),
            namespace=rule.namespace if rule is not None else "",
            error=leased.moved.reason if leased.is_doomed and leased.moved is not None else "",
            traceparent=self._traces.told(record, correlation),
        )
        return Life(report, record.accepted_ms, ends_published=self._ends_published)


def _wanted(leased: Leased, query: TriggerQuery) -> bool:
    if query.after is not None and leased.record.accepted_ms > query.after.accepted_ms:
        return False  # so nothing is made of it
    return query.source in {"", leased.record.source} and query.rule in {"", leased.rule}
