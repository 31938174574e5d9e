"""Answers gateways that ask for the present statuses of their workflows (contract section 5).

A gateway asks when its session was lost, or when it has heard nothing for long. A status that is found is published on
the usual topics; one that is not found is not answered. A query yields only statuses of the agent that it names, on
that agent's own topic: a query in another's name reveals nothing to its sender.

A broker that loses its sessions makes every gateway ask, over half a minute. Each list makes the engine go through all
workflows of a namespace, so that the questions of many gateways go into one. After a list there is a rest, in which
questions gather: otherwise the first questions of a fleet would get one list after another, of a few ids each, while
the engine has triggers to start. Nobody rests while enough wait to fill a list.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from contextlib import suppress

from edgeagent.common.backoff import full_jitter
from edgeagent.dispatcher.progress import status_of
from edgeagent.dispatcher.watcher import Workflows
from edgeagent.errors import EngineRefused, EngineUnavailable, MessageError
from edgeagent.wire.messages import LABEL_AGENT, LABEL_CORRELATION_ID, Status, StatusQuery, parse_status_query

# Each id has 32 characters: with the names of agents the URL of a list stays below what proxies accept (8 KiB).
CHUNK_IDS = 100
_MAX_AGENTS_CHARS = 2500
# At most 15 MB. A gateway repeats a query that was dropped: within minutes after a lost session, else after an hour.
MAX_WAITING_IDS = 100_000
_BASE_S, _CAP_S = 1.0, 30.0
# A rest lasts as long as the lists before it took, within these bounds.
_MIN_REST_S, _MAX_REST_S = 1.0, 10.0

log = logging.getLogger(__name__)


class Queries:
    """Owns the waiting queries, which are answered in order while this dispatcher leads, many with one list.

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
        self._waiting: dict[StatusQuery, None] = {}  # in order; one that comes again before its turn is the same
        self._waiting_ids = 0
        self._asked = asyncio.Event()
        self._leads = False
        self._term = 0  # another one when what waited was forgotten

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
        if query in self._waiting:
            return
        if self._waiting_ids + len(query.correlation_ids) > MAX_WAITING_IDS:
            self.dropped += 1
            log.warning(
                "a query of %s is not answered: %d others wait",
                query.agent,
                len(self._waiting),
                extra={"event": "status_query_dropped", "foreign": True, "agent": query.agent},
            )
            return
        self._waiting[query] = None
        self._waiting_ids += len(query.correlation_ids)
        self._asked.set()

    def lead(self, leads: bool) -> None:
        """Answer queries from now on, with those that came before the leader was known; or else forget them all."""
        self._leads = leads
        if leads:
            self._asked.set()
        else:
            self._term += 1
            self._waiting.clear()
            self._waiting_ids = 0

    async def run(self) -> None:
        """Answer until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._asked.wait()
            self._asked.clear()
            while self._waiting and self._leads:
                batch, term, began_s = self._batch(), self._term, loop.time()
                await self._answer(batch, term)
                if term == self._term:
                    for query in batch:
                        del self._waiting[query]
                        self._waiting_ids -= len(query.correlation_ids)
                    self.answered += len(batch)
                await self._rest(loop.time() - began_s)

    async def _rest(self, took_s: float) -> None:
        """Let questions gather for one list, after lists that took so long; not while those that wait fill one."""
        with suppress(TimeoutError):
            async with asyncio.timeout(min(max(took_s, _MIN_REST_S), _MAX_REST_S)):
                while self._waiting_ids < CHUNK_IDS:
                    self._asked.clear()
                    await self._asked.wait()

    def _batch(self) -> list[StatusQuery]:
        """The first query, and those after it that fit into one list with it."""
        batch, ids, agents_chars = list[StatusQuery](), 0, 0
        for query in self._waiting:
            ids += len(query.correlation_ids)
            agents_chars += len(query.agent) + 1
            if batch and (ids > CHUNK_IDS or agents_chars > _MAX_AGENTS_CHARS):
                break
            batch.append(query)
        return batch

    async def _answer(self, batch: Sequence[StatusQuery], term: int) -> None:
        missing = dict.fromkeys((query.agent, each) for query in batch for each in query.correlation_ids)
        for namespace in self._namespaces:
            wanted = tuple(missing)
            for start in range(0, len(wanted), CHUNK_IDS):
                for status in await self._find(namespace, wanted[start : start + CHUNK_IDS], term):
                    if (status.agent, status.correlation_id) in missing:
                        del missing[status.agent, status.correlation_id]
                        if term == self._term:
                            self._publish(status)

    async def _find(self, namespace: str, wanted: Sequence[tuple[str, str]], term: int) -> list[Status]:
        """The statuses of agents' ids; tried until the engine answers or the queries are forgotten."""
        agents, ids = (list(dict.fromkeys(each)) for each in zip(*wanted, strict=True))
        labels = f"{LABEL_AGENT} in ({','.join(agents)}),{LABEL_CORRELATION_ID} in ({','.join(ids)})"
        failures = 0
        while term == self._term:
            try:
                workflows, _ = await self._client.list(namespace, labels=labels)
            except EngineUnavailable:  # the namespace's watcher has logged it
                fraction = random.random()  # noqa: S311  jitter is no secret
                await asyncio.sleep(full_jitter(failures, fraction, base_s=_BASE_S, cap_s=_CAP_S))
                failures += 1
            except EngineRefused as exc:
                who = f"{agents[0]} and {len(agents) - 1} others" if len(agents) > 1 else agents[0]
                extra = {"event": "status_query_refused", "namespace": namespace, "agent": agents[0]}
                log.warning("cannot look up what was asked for by %s in %r: %s", who, namespace, exc, extra=extra)
                break
            else:
                found = (status_of(namespace, workflow) for workflow in workflows)
                return [status for status in found if status is not None]
        return []
