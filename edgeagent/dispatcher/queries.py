"""Answers gateways that ask for the present statuses of their workflows (contract section 5).

A gateway asks when its session was lost, or when it has heard nothing for long. A status that is found is published on
the usual topics; one that is not found is not answered. A query yields only statuses of the agent that it names, on
that agent's own topic: a query in another's name reveals nothing to its sender.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Sequence

from edgeagent.common.backoff import full_jitter
from edgeagent.dispatcher.progress import status_of
from edgeagent.dispatcher.watcher import Workflows
from edgeagent.errors import EngineRefused, EngineUnavailable, MessageError
from edgeagent.wire.messages import LABEL_AGENT, LABEL_CORRELATION_ID, Status, StatusQuery, parse_status_query

# Each id has 32 characters: the URL of a list stays below what proxies accept (8 KiB).
CHUNK_IDS = 100
# A gateway repeats a query that was dropped after an hour.
MAX_QUERIES = 1000
_BASE_S, _CAP_S = 1.0, 30.0

log = logging.getLogger(__name__)


class Queries:
    """Owns the waiting queries, which are answered one after another while this dispatcher leads.

    Attributes:
        answered: queries that were looked up.
        dropped: queries for which there was no room, or that could not be read.
    """

    def __init__(self, client: Workflows, namespaces: Sequence[str], publish: Callable[[Status], None]) -> None:
        """Begin with no query waiting.

        Args:
            client: the engine's client.
            namespaces: where to look workflows up.
            publish: called with each status that was asked for.
        """
        self.answered = 0
        self.dropped = 0
        self._client = client
        self._namespaces = tuple(namespaces)
        self._publish = publish
        self._waiting: deque[StatusQuery] = deque()
        self._asked = asyncio.Event()
        self._leads = False

    @property
    def waiting(self) -> int:
        """How many queries wait or are being answered."""
        return len(self._waiting)

    def ask(self, payload: bytes) -> None:
        """Add a query as it came from the broker."""
        try:
            query = parse_status_query(payload)
        except MessageError as exc:
            self.dropped += 1
            log.warning("%s", exc, extra={"event": "status_query_malformed", "foreign": True})
            return
        if len(self._waiting) >= MAX_QUERIES:
            self.dropped += 1
            log.warning(
                "a query of %s is not answered: %d others wait",
                query.agent,
                MAX_QUERIES,
                extra={"event": "status_query_dropped", "foreign": True, "agent": query.agent},
            )
            return
        self._waiting.append(query)
        self._asked.set()

    def lead(self, leads: bool) -> None:
        """Answer queries from now on, with those that came before the leader was known; or else forget them all."""
        self._leads = leads
        if leads:
            self._asked.set()
        else:
            self._waiting.clear()

    async def run(self) -> None:
        """Answer until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            while self._waiting and self._leads:
                query = self._waiting[0]
                await self._answer(query)
                if self._waiting and self._waiting[0] is query:  # otherwise they were forgotten
                    self._waiting.popleft()
                    self.answered += 1

    async def _answer(self, query: StatusQuery) -> None:
        missing = dict.fromkeys(query.correlation_ids)
        for namespace in self._namespaces:
            ids = tuple(missing)
            for start in range(0, len(ids), CHUNK_IDS):
                for status in await self._find(query, namespace, ids[start : start + CHUNK_IDS]):
                    if status.agent == query.agent and status.correlation_id in missing:
                        del missing[status.correlation_id]
                        if self._waiting and self._waiting[0] is query:
                            self._publish(status)

    async def _find(self, query: StatusQuery, namespace: str, ids: Sequence[str]) -> list[Status]:
        """The statuses of a chunk of ids; tried until the engine answers or the query is forgotten."""
        labels = f"{LABEL_AGENT}={query.agent},{LABEL_CORRELATION_ID} in ({','.join(ids)})"
        failures = 0
        while self._waiting and self._waiting[0] is query:
            try:
                workflows, _ = await self._client.list(namespace, labels=labels)
            except EngineUnavailable:  # the namespace's watcher has logged it
                fraction = random.random()  # noqa: S311  jitter is no secret
                await asyncio.sleep(full_jitter(failures, fraction, base_s=_BASE_S, cap_s=_CAP_S))
                failures += 1
            except EngineRefused as exc:
                extra = {"event": "status_query_refused", "namespace": namespace, "agent": query.agent}
                log.warning("cannot look up what %s asks for in %r: %s", query.agent, namespace, exc, extra=extra)
                break
            else:
                found = (status_of(namespace, workflow) for workflow in workflows)
                return [status for status in found if status is not None]
        return []
