"""What the parts of a running agent know of triggers (`agent.where.Knowledge`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from edgeagent.agent.clock import Clock
from edgeagent.agent.facts import BrokerConnection, Flight, OpenWindow, RuleFacts, Surroundings
from edgeagent.agent.lines import RateWait
from edgeagent.agent.lookup import TriggerLookup
from edgeagent.agent.notes import correlation_of
from edgeagent.agent.notices import ConnectionNotices
from edgeagent.agent.uplink_parts import UplinkParts
from edgeagent.config.tables import AgentConfig
from edgeagent.ledger.followed import By, Followed
from edgeagent.ledger.ledger import Ledger
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import DEAD, LOGS, Leased
from edgeagent.ports.artifacts import UploadProgress
from edgeagent.rules.ruleset import RuleSet

if TYPE_CHECKING:
    from edgeagent.agent.uploading import Uploading


class LiveKnowledge:
    """Asks the parts of a running agent. It owns nothing, and must never change anything."""

    def __init__(
        self,
        config: AgentConfig,
        uplink: UplinkParts,
        outbox: Outbox,
        ledger: Ledger,
        lookup: TriggerLookup,
        rules: RuleSet,
        clock: Clock,
        local: ConnectionNotices | None,
        uploading: Uploading | None = None,
    ) -> None:
        """`local`: the notices of the local broker's connection, if there is one. `uploading`: with `[artifacts]`."""
        self._config = config
        self._uplink = uplink
        self._outbox = outbox
        self._ledger = ledger
        self._lookup = lookup
        self._rules = rules
        self._local = local
        self._uploading = uploading
        self._loop_time = asyncio.get_running_loop().time
        self.now_ms = clock.now_ms
        self._uptime_ms = clock.uptime_ms

    async def followed(self, by: By, text: str, limit: int) -> list[Followed]:
        """See `Knowledge`."""
        return await self._ledger.followed(by, text, limit)

    async def stored(self, correlation_id: str) -> Leased | None:
        """See `Knowledge`."""
        waiting = await self._lookup.trigger(correlation_id)
        if waiting is not None:
            return waiting
        dead = await self._lookup.search(
            (DEAD,), lambda leased: without_data(leased) if correlation_of(leased) == correlation_id else None, 1
        )
        return dead[0] if dead else None

    async def matching(self, wanted: Callable[[Leased], bool], limit: int) -> list[Leased]:
        """See `Knowledge`."""
        return await self._lookup.search(LOGS, lambda leased: without_data(leased) if wanted(leased) else None, limit)

    def flight(self, correlation_id: str) -> tuple[Flight, Leased] | None:
        """See `Knowledge`."""
        entry = self._uplink.triggers.find(correlation_id)
        if entry is None:
            return None
        rests_s = entry.due - self._loop_time()
        flight = Flight(
            entry.phase,
            entry.tries,
            round(self.now_ms() + rests_s * 1000),
            entry.cause,
            self._uplink.triggers.goes_behind(entry),
            entry.said,
        )
        return flight, entry.item

    def upload(self, leased: Leased) -> UploadProgress | None:
        """See `Knowledge`."""
        return self._uploading.progress(leased) if self._uploading is not None else None

    def window(self, leased: Leased) -> OpenWindow | None:
        """See `Knowledge`."""
        found = self._uplink.windows.open_for(leased)
        if found is None:
            return None
        deadline_ms, events = found
        return OpenWindow(self.now_ms() + deadline_ms - self._uptime_ms(), events)

    def rate(self, leased: Leased) -> RateWait | None:
        """See `Knowledge`."""
        return self._uplink.limited.wait_of(leased)

    def of_rule(self, name: str) -> RuleFacts:
        """See `Knowledge`."""
        return rule_facts(self._rules, name)

    def around(self) -> Surroundings:
        """See `Knowledge`."""
        uplink, parked_at = self._uplink, self._uplink.parked.next_deadline()
        places = len(uplink.triggers) + uplink.triggers.vacancy
        return Surroundings(
            _connection(uplink.notices)._replace(blocked=uplink.owner.blocked),
            uplink.addressing.route.topic,
            in_flight=len(uplink.triggers),
            places=places,
            one_at_a_time=uplink.sender.suspects,
            parked_next_ms=(
                round(self.now_ms() + (parked_at - self._loop_time()) * 1000) if parked_at is not None else None
            ),
            parked=self._outbox.parked,
            local=_connection(self._local) if self._local is not None else None,
            dead_full=self._outbox.dead_full,
            status_timeout_s=self._config.relay.status_timeout,
        )


def rule_facts(rules: RuleSet, name: str) -> RuleFacts:
    """What the rule of this name says of its triggers."""
    rule = rules.get(name)
    if rule is None:
        return RuleFacts(exists=False)
    window = rule.window
    return RuleFacts(
        tracks=rule.track,
        window_s=(window.time or 0.0) if window is not None else None,
        window_count=window.count if window is not None else 0,
        namespace=rule.namespace,
    )


def without_data(leased: Leased) -> Leased:
    """A trigger without its event's data, which may be large."""
    return msgspec.structs.replace(leased, record=msgspec.structs.replace(leased.record, data=b""))


def _connection(notices: ConnectionNotices) -> BrokerConnection:
    stats = notices.stats()
    return BrokerConnection(stats["connected"], notices.since_ms, stats["error"], stats["address"])
