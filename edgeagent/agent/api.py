"""What the agent offers to devices and to its operator: the ports of `ports` over ingest, ledger and outbox."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeagent.agent.clock import Clock
from edgeagent.agent.ingest import Ingest
from edgeagent.agent.lives import correlation_of
from edgeagent.agent.lookup import BUFFERED_LOGS, Lookup
from edgeagent.common.times import rfc3339
from edgeagent.errors import DeadLettersFull, Draining
from edgeagent.events.event import Draft
from edgeagent.ledger.ledger import Ledger
from edgeagent.outbox.files import OsFilesystem
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.recorded import recorded_page
from edgeagent.outbox.records import DEAD, DISCARDED, LOGS, Leased
from edgeagent.outbox.rescue import must_keep
from edgeagent.outbox.search import find
from edgeagent.outbox.store import Store
from edgeagent.outbox.transfer import release_exported, take_in, waiting, waiting_page
from edgeagent.outbox.verify import overview, verify_part
from edgeagent.ports.device import Accepted, TriggerQuery
from edgeagent.ports.operator import DeadLetter, Imported, RecordedPage, Reloaded, Waiting, WaitingPage
from edgeagent.ports.transfer import ExportedTrigger
from edgeagent.ports.verification import Overview, VerifiedPart
from edgeagent.rules.ruleset import RuleSet
from edgeagent.wire.lifecycle import Life
from edgeagent.wire.messages import Report, State

# Dead letters are listed whole; this many fit the memory of a small gateway.
_MAX_DEAD_LISTED = 10_000
# A search tells so many; who means one trigger must say more of its id.
MAX_FOUND = 10

_log = logging.getLogger(__name__)


class AgentApi:
    """`DevicePort` and `OperatorPort`."""

    def __init__(
        self,
        ingest: Ingest,
        outbox: Outbox,
        ledger: Ledger,
        rules: RuleSet,
        clock: Clock,
        *,
        directory: Path,
        ends_published: bool,
        stats: Callable[[], dict[str, Any]],
        reload: Callable[[], Awaitable[Reloaded]],
    ) -> None:
        """`directory`: the outbox's. `ends_published`: settle = "broker". `stats` puts all parts' figures together.

        `reload`: as `OperatorPort.reload`.
        """
        self._ingest = ingest
        self._outbox = outbox
        self._ledger = ledger
        self._rules = rules
        self._clock = clock
        self._directory = directory
        self._ends_published = ends_published
        self._stats = stats
        self._reload = reload
        self._lookup = Lookup(outbox)

    async def accept(self, drafts: Sequence[Draft]) -> list[Accepted]:
        """Take events; see `DevicePort`."""
        return await self._ingest.accept(drafts)

    async def trigger(self, correlation_id: str, wait_s: float) -> Report | None:
        """A trigger's report; see `DevicePort`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        life = await self._life(correlation_id)
        while life is not None and not life.final and loop.time() < deadline:
            await self._ledger.wait(correlation_id, deadline - loop.time())
            life = await self._ledger.get(correlation_id) or life
        return life.report if life is not None else None

    async def triggers(self, query: TriggerQuery) -> list[Report]:
        """Reports, newest first; see `DevicePort`. Those not yet published stand in the outbox only."""
        reports = await self._ledger.find(query) if query.state is not State.BUFFERED else []
        if query.state not in {None, State.BUFFERED}:
            return reports
        known = {report.correlation_id for report in reports}
        waiting = await self._pending(lambda leased: _wanted(leased, query), query.limit)
        buffered: list[Report] = []
        for life in reversed(waiting):
            if life.report.correlation_id in known or await self._ledger.get(life.report.correlation_id) is not None:
                continue
            known.add(life.report.correlation_id)  # one that was moved to another log meanwhile was found twice
            buffered.append(life.report)
        return (buffered + reports)[: query.limit]

    def stats(self) -> dict[str, Any]:
        """Figures; see `DevicePort`."""
        return self._stats()

    def not_ready(self) -> str | None:
        """Why no event can be accepted now; see `DevicePort`."""
        if self._ingest.draining:
            return "the agent is stopping"
        if self._outbox.health.failure:
            return self._outbox.health.failure
        if full := self._outbox.health.dead.full:
            return str(DeadLettersFull(full))
        return None if self._outbox.health.accepting else "the outbox is full (outbox.max_bytes)"

    async def dead_letters(self) -> list[DeadLetter]:
        """Every dead letter, oldest first; see `OperatorPort`."""
        found = await find(self._outbox, DEAD, lambda _: True, _MAX_DEAD_LISTED)
        return [dead_letter(leased) for leased in found]

    async def replay(self, correlation_ids: Sequence[str]) -> list[str]:
        """Put dead letters back; see `OperatorPort`."""
        wanted = frozenset(correlation_ids)
        found = await find(self._outbox, DEAD, lambda leased: correlation_of(leased) in wanted, len(wanted))
        for leased in found:
            await self._outbox.replay(leased)
        return [correlation_of(leased) for leased in found]

    async def discard(self, correlation_ids: Sequence[str]) -> list[str]:
        """Let go of dead letters; see `OperatorPort`."""
        discarded = await self._outbox.look(lambda store: discard_dead(store, frozenset(correlation_ids)))
        if discarded:
            self._outbox.on_change()  # what had no place among them may have one now
            _log.warning(
                "an operator discarded %d dead letters: %s",
                len(discarded),
                ", ".join(discarded),
                extra={"event": "dead_discarded", "correlation_ids": discarded},
            )
        return discarded

    async def waiting(self, log: str, seq: int, limit: int) -> WaitingPage:
        """Triggers that wait; see `OperatorPort`."""
        return await self._outbox.look(lambda store: waiting_page(store, log, seq, limit))

    async def find_waiting(self, text: str) -> list[Waiting]:
        """Triggers by correlation id or event id; see `OperatorPort`."""
        found = await self._lookup.search(LOGS, lambda leased: leased if named(leased, text) else None, MAX_FOUND)
        return await self._outbox.look(lambda store: [waiting(each, store.leased_seq(each.log)) for each in found])

    async def release_exported(self, ranges: Mapping[str, Sequence[tuple[int, int]]]) -> int:
        """Release what was exported; see `OperatorPort`."""
        count = await self._outbox.look(lambda store: release_exported(store, ranges))
        _log.warning(
            "an operator exported %d triggers: they are sent by whoever imports them",
            count,
            extra={"event": "outbox_exported", "count": count},
        )
        return count

    async def take_in(self, digest: str, first_number: int, triggers: Sequence[ExportedTrigger]) -> Imported:
        """Take in triggers of another outbox; see `OperatorPort`."""
        if self._ingest.draining:
            raise Draining
        now_ms = self._clock.now_ms()
        try:
            return await self._outbox.look(lambda store: take_in(store, digest, first_number, triggers, now_ms))
        finally:
            self._outbox.on_change()  # even when it raised, some of them may be there

    async def overview(self) -> Overview:
        """The outbox on disk; see `OperatorPort`."""
        return await self._outbox.look(lambda store: overview(store, OsFilesystem(), self._directory))

    async def verify(self, log: str, seq: int) -> VerifiedPart:
        """Read a part of a log; see `OperatorPort`."""
        return await self._outbox.look(lambda store: verify_part(store, log, seq))

    async def recorded(self, log: str, seq: int) -> RecordedPage:
        """Events that are still there; see `OperatorPort`."""
        return await self._outbox.look(lambda store: recorded_page(store, log, seq))

    async def reload(self) -> Reloaded:
        """Take the configuration's rules over; see `OperatorPort`."""
        return await self._reload()

    async def _life(self, correlation: str) -> Life | None:
        life = await self._ledger.get(correlation)
        if life is not None:
            return life
        found = await self._lookup.trigger(correlation)
        if found is not None:
            return self._buffered(found)
        return await self._ledger.get(correlation)  # published while we looked

    async def _pending(self, wanted: Callable[[Leased], bool], limit: int) -> list[Life]:
        """The newest `limit` triggers in the outbox, in the order of their events; nothing is kept of their data."""
        found = await self._lookup.search(
            BUFFERED_LOGS,
            lambda leased: self._buffered(leased) if wanted(leased) and not leased.is_doomed else None,
            limit,
        )
        found.sort(key=lambda life: life.accepted_ms)
        return found[-limit:]

    def _buffered(self, leased: Leased) -> Life:
        record = leased.record
        rule = self._rules.get(leased.rule)
        report = Report(
            correlation_of(leased),
            record.id,
            record.source,
            leased.rule,
            State.REJECTED if leased.is_doomed else State.BUFFERED,
            rfc3339(record.accepted_ms),
            namespace=rule.namespace if rule is not None else "",
            error=leased.moved.reason if leased.is_doomed and leased.moved is not None else "",
        )
        return Life(report, record.accepted_ms, ends_published=self._ends_published)


def named(leased: Leased, text: str) -> bool:
    """Whether a person means this trigger: by its correlation id or the beginning of it, or by its event's id."""
    return leased.record.id == text or correlation_of(leased).startswith(text)


def discard_dead(store: Store, correlation_ids: frozenset[str]) -> list[str]:
    """Let go of dead letters, kept when it returns; returns the correlation ids of those that were there."""
    must_keep(store)
    found = [leased for part in store.peek(DEAD) for leased in part if correlation_of(leased) in correlation_ids]
    for leased in found:
        store.release(DEAD, leased.seq, DISCARDED)
    store.checkpoint()
    return [correlation_of(leased) for leased in found]


def dead_letter(leased: Leased) -> DeadLetter:
    """A trigger in the log of dead letters, for people."""
    record, moved = leased.record, leased.moved
    data = record.data if record.is_json else base64.b64encode(record.data)
    return DeadLetter(
        correlation_of(leased),
        record.id,
        record.source,
        record.type,
        leased.rule,
        moved.reason if moved is not None else "",
        moved.code if moved is not None else 0,
        moved.attempts if moved is not None else 0,
        rfc3339(moved.at_ms) if moved is not None else "",
        record.time,
        data.decode(),
    )


def _wanted(leased: Leased, query: TriggerQuery) -> bool:
    return query.source in {"", leased.record.source} and query.rule in {"", leased.rule}
