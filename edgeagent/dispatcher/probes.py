"""The dispatcher's own HTTP listener, for a supervisor: `/healthz`, `/readyz` and `/metrics`.

No token is needed: it shows the dispatcher's health and counters, and changes nothing. It names no workflow, gateway or
address, and of the configuration only the keys of `max_active`, so that it may be reached from other machines; a
firewall or a NetworkPolicy keeps it inside.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING

import edgeagent
from edgeagent.common.exposition import exposition
from edgeagent.dispatcher.gate import GateState
from edgeagent.dispatcher.metrics import dispatcher_families
from edgeagent.dispatcher.stats import DispatcherStats
from edgeagent.dispatcher.statuses import StatusesStats
from edgeagent.errors import ListenFailed
from edgeagent.host.process import process_families, python_version
from edgeagent.httpapi.budget import Budget
from edgeagent.httpapi.clients import Clients
from edgeagent.httpapi.connection import HttpConnection
from edgeagent.httpapi.plan import Plan
from edgeagent.httpapi.problem import PROMETHEUS, Answer, Refused, json_answer, problem
from edgeagent.httpapi.request import Request
from edgeagent.httpapi.timeouts import Timeouts
from edgeagent.links.servers import close_servers

if TYPE_CHECKING:
    from edgeagent.tracing.backlog import SpanCounts

# Supervisors are few and send short requests: a slower client is none.
PROBE_TIMEOUTS = Timeouts(request_s=5, idle_s=30, write_s=5, linger_s=1)
MAX_CONNECTIONS = 32
_CLOSE_S = 1.0

log = logging.getLogger(__name__)


class Probes:
    """Answers the probes of one dispatcher, with the values at the moment of the request. It changes nothing."""

    def __init__(
        self,
        stats: Callable[[], DispatcherStats],
        statuses: Callable[[], StatusesStats] | None,
        *,
        webhooks: Callable[[], Mapping[str, int]] | None = None,
        managed: Callable[[], Mapping[tuple[str, str], int]] | None = None,
        spans: SpanCounts | None = None,
        timeouts: Timeouts = PROBE_TIMEOUTS,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        """Create the listener; it listens after `start`.

        Args:
            stats: returns the dispatcher's counters.
            statuses: returns those of its statuses; None for an engine without any.
            webhooks: returns what became of deliveries, by outcome; None without webhooks.
            managed: returns the requests about workflows, by operation and outcome; None where none are taken.
            spans: what became of them; None without `[tracing]`.
            timeouts: how long a connection may take.
            max_connections: further ones are answered 503, or closed if very many come.
        """
        self._stats = stats
        self._statuses = statuses
        self._webhooks = webhooks
        self._managed = managed
        self._spans = spans
        self._timeouts = timeouts
        self._clients = Clients(max_connections, Budget())
        self._server: asyncio.Server | None = None
        self._stopping = False
        self._plans = {
            "/healthz": Plan(self._healthz),
            "/readyz": Plan(self._readyz),
            "/metrics": Plan(self._metrics),
        }

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port: port 0 takes any free one.

        Raises:
            ListenFailed: says why and what to do.
        """
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: HttpConnection(self.plan, self._clients, self._timeouts), host, port
            )
        except (OSError, UnicodeError) as exc:  # UnicodeError: a host that is no name, such as "a..b"
            raise ListenFailed(_shown(host, port), _reason(exc), "set http.listen to a free address here") from exc
        bound: int = self._server.sockets[0].getsockname()[1]
        log.info("probes are answered on %s", _shown(host, bound), extra={"event": "probes_listening", "port": bound})
        return bound

    def stop_being_ready(self) -> None:
        """From now on `/readyz` answers that the dispatcher is stopping."""
        self._stopping = True

    async def close(self) -> None:
        """Stop listening and close every connection; requests being answered get a second."""
        if self._server is not None:
            await close_servers([self._server])
            self._server = None
        await self._clients.close(_CLOSE_S)

    def plan(self, request: Request) -> Plan:
        """How to answer a request.

        Raises:
            Refused: 404 or 405.
        """
        plan = self._plans.get(request.path)
        if plan is None:
            raise Refused(HTTPStatus.NOT_FOUND, f"there is nothing here; try {', '.join(self._plans)}")
        if request.method not in {"GET", "HEAD"}:
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "takes only GET and HEAD", ((b"allow", b"GET, HEAD"),))
        return plan

    async def _healthz(self, _request: Request, _body: bytes) -> Answer:
        """Answer that the process is alive: if the event loop hung, no answer would come."""
        return json_answer({"status": "live"})

    async def _readyz(self, _request: Request, _body: bytes) -> Answer:
        reason = "the dispatcher is stopping" if self._stopping else not_ready(self._stats())
        if reason is not None:
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, reason)
        return json_answer({"status": "ready"})

    async def _metrics(self, _request: Request, _body: bytes) -> Answer:
        statuses = self._statuses() if self._statuses is not None else None
        webhooks = self._webhooks() if self._webhooks is not None else None
        managed = self._managed() if self._managed is not None else None
        version, python = edgeagent.__version__, python_version()
        counted = dispatcher_families(
            self._stats(), statuses, webhooks, managed=managed, spans=self._spans, version=version, python=python
        )
        return Answer(HTTPStatus.OK, exposition([*counted, *process_families()]), PROMETHEUS)


def not_ready(stats: DispatcherStats) -> str | None:
    """Why no triggers are taken, in one line; None while they are."""
    if not stats.connected:
        return "there is no connection to the broker"
    match stats.gate:
        case GateState.CLOSED:
            return "the workflow engine does not answer: no triggers are taken until it does"
        case GateState.UNAUTHORIZED:
            return "the workflow engine refuses our credentials: no triggers are taken until the token is corrected"
        case _:
            return None


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _reason(exc: OSError | UnicodeError) -> str:
    """The operating system's message, without asyncio's wrapping. Resolver errors have negative numbers."""
    number = exc.errno if isinstance(exc, OSError) else None
    return os.strerror(number).lower() if number is not None and number > 0 else str(exc)
