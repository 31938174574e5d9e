"""Where a stopped agent's triggers are: from its outbox, and from a copy of its ledger (`agent.where.Knowledge`)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from edgeagent.agent.facts import Flight, OpenWindow, RuleFacts, Surroundings
from edgeagent.agent.lines import RateWait
from edgeagent.agent.live_knowledge import rule_facts, without_data
from edgeagent.agent.notes import correlation_of
from edgeagent.agent.where import Where
from edgeagent.config.tables import AgentConfig
from edgeagent.ledger.copied import copied_ledger
from edgeagent.ledger.database import Database
from edgeagent.ledger.followed import By, Followed, Seek, sought
from edgeagent.outbox.records import LOGS, Leased
from edgeagent.outbox.store import Store
from edgeagent.ports.artifacts import UploadProgress
from edgeagent.ports.where import Courses, WhereQuery
from edgeagent.rules.ruleset import RuleSet
from edgeagent.wire.topics import with_agent


def where_stopped(
    config: AgentConfig, directory: Path, agent: str, store: Store, now_ms: Callable[[], int], asked: WhereQuery
) -> Courses:
    """Where the triggers are that a text names; changes nothing in the state directory.

    Raises:
        NotFound: nothing is known by this name.
        StorageFailed: the disk refuses.
    """
    with copied_ledger(directory) as ledger:
        return asyncio.run(Where(_StoppedKnowledge(config, agent, store, ledger, now_ms)).find(asked))


class _StoppedKnowledge:
    """See `Knowledge`; its coroutines never wait, because nothing else runs."""

    def __init__(
        self, config: AgentConfig, agent: str, store: Store, ledger: Database, now_ms: Callable[[], int]
    ) -> None:
        self.now_ms = now_ms
        self._topic = with_agent(config.uplink.trigger_topic, agent)
        self._status_timeout_s = config.relay.status_timeout
        self._rules = RuleSet(config.rule)
        self._store = store
        self._ledger = ledger

    async def followed(self, by: By, text: str, limit: int) -> list[Followed]:
        found: list[Followed] = []
        seek: Seek | None = Seek(by, text, limit)
        while seek is not None:
            page, seek = self._ledger.use(partial(sought, self._ledger, seek))
            found += page
        return found[:limit]

    async def stored(self, correlation_id: str) -> Leased | None:
        found = await self.matching(lambda leased: correlation_of(leased) == correlation_id, 1)
        return found[-1] if found else None

    async def matching(self, wanted: Callable[[Leased], bool], limit: int) -> list[Leased]:
        found: list[Leased] = []
        for log in LOGS:
            newest: deque[Leased] = deque(maxlen=limit)
            with closing(self._store.peek(log)) as parts:
                for part in parts:
                    newest += [without_data(leased) for leased in part if wanted(leased)]
            found += newest
        return found

    def flight(self, _correlation_id: str) -> tuple[Flight, Leased] | None:
        return None

    def window(self, _leased: Leased) -> OpenWindow | None:
        return None

    def rate(self, _leased: Leased) -> RateWait | None:
        return None

    def upload(self, _leased: Leased) -> UploadProgress | None:
        return None

    def of_rule(self, name: str) -> RuleFacts:
        return rule_facts(self._rules, name)

    def around(self) -> Surroundings:
        return Surroundings(None, self._topic, parked=self._store.parked, status_timeout_s=self._status_timeout_s)
