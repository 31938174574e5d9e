"""The operator's calls on a running agent: those of `Operator`, on the disk thread, and those of the agent itself.

Everything that a running agent adds to a call is here: it refuses an import while it stops, wakes the sender, and logs
what an operator took away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Generic

import msgspec

from edgeagent.agent.request_door import RequestDoor
from edgeagent.common.plural import counted
from edgeagent.errors import Draining, MessageError, NotFound
from edgeagent.host.log import recent_lines
from edgeagent.outbox.files import OsFilesystem
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.steps import NextStep, Steps
from edgeagent.outbox.store import Store
from edgeagent.ports.call import A, Call, R
from edgeagent.ports.manage import ManagedRequest, ManagedRequests, ManageOrder, RequestQuery
from edgeagent.ports.operator import (
    LOG_LINES,
    MANAGE,
    MANAGED,
    RELOAD,
    REPORT,
    REQUESTS,
    TAKE_IN,
    WHERE,
    DeadDiscarded,
    ExportReleased,
    LogLines,
    NoArguments,
    Reloaded,
)
from edgeagent.ports.report import DaysReport, ReportQuery
from edgeagent.ports.where import Courses, WhereQuery

_log = logging.getLogger(__name__)


class OperatorService:
    """The `OperatorPort` of a running agent.

    Owns the order of calls. Promises that calls which change the outbox run one after the other, while commits and
    sending continue between their steps. A call that needs the running agent is a coroutine of this class; every other
    one is a method of `Operator`. Must never block the event loop.
    """

    def __init__(
        self,
        outbox: Outbox,
        directory: Path,
        *,
        now_ms: Callable[[], int],
        wake: Callable[[], None],
        is_draining: Callable[[], bool],
        reload: Callable[[], Awaitable[Reloaded]],
        where: Callable[[WhereQuery], Awaitable[Courses]],
        report: Callable[[ReportQuery], Awaitable[DaysReport]],
        requests: RequestDoor,
    ) -> None:
        """`directory`: the outbox's. `now_ms`: the wall clock. `wake`: is called when new triggers may have come.

        `is_draining`: whether the agent is stopping. `reload`: reads the configuration again; see `OperatorPort`.
        `where`: finds triggers and says where they are. `report`: reports about days. `requests`: about workflows.
        """
        self._outbox = outbox
        self._directory = directory
        self._now_ms = now_ms
        self._wake = wake
        self._is_draining = is_draining
        self._reload = reload
        self._where = where
        self._report = report
        self._requests = requests
        self._one_change = asyncio.Lock()

    async def perform(self, call: Call[A, R], arguments: A) -> R:
        """Perform a call; see `OperatorPort`."""
        if (own := SERVICE_METHODS.get(call.name)) is not None:
            done: R = await own(self, arguments)
            return done
        if not call.changes:
            return await self._on_disk(call, arguments)
        async with self._one_change:
            if call.name == TAKE_IN.name and self._is_draining():
                raise Draining
            result = await self._on_disk(call, arguments)
        _log_removal(result)
        return result

    async def reload(self, _: NoArguments) -> Reloaded:
        """Load the rules of the configuration again; see `OperatorPort`."""
        return await self._reload()

    async def where(self, asked: WhereQuery) -> Courses:
        """Where the triggers are that a text names; see `Where.find`."""
        return await self._where(asked)

    async def report(self, asked: ReportQuery) -> DaysReport:
        """What happened in some days; see `DaysReporter.report`."""
        return await self._report(asked)

    async def manage(self, order: ManageOrder) -> ManagedRequest:
        """Make a request about the workflow of one trigger, or about one that the order itself names; it is synced.

        Raises:
            NotFound: no trigger is known by this name, and no namespace says where else to look.
            MessageError: it names several triggers, or none that can be managed.
            RequestsFull, StorageFailed: try again later.
        """
        if order.operation == "list":
            return await self._requests.ask(order, None)
        try:
            found = await self._where(WhereQuery(order.id))
        except NotFound:
            if not order.namespace:
                raise
            return await self._requests.ask(order, None)
        if len(found.triggers) != 1:
            ids = ", ".join(course.correlation_id for course in found.triggers[:3])
            raise MessageError("manage", "id", f"names {len(found.triggers)} triggers; name one: {ids}, ...")
        return await self._requests.ask(order, found.triggers[0])

    async def managed(self, query: RequestQuery) -> ManagedRequest:
        """A request and what became of it; see `RequestDoor.find`."""
        return self._requests.find(query)

    async def requests(self, _: NoArguments) -> ManagedRequests:
        """Every request about a workflow that is known."""
        return self._requests.newest()

    async def log_lines(self, _: NoArguments) -> LogLines:
        """The last lines of this process's log."""
        return LogLines(recent_lines())

    async def _on_disk(self, call: Call[A, R], arguments: A) -> R:
        from edgeagent.agent.operator import Operator  # noqa: PLC0415  few agents are ever asked

        work = _Work(
            lambda store: Operator(store, self._directory, OsFilesystem(), self._now_ms).perform(call, arguments)
        )
        needs: NextStep | None = NextStep.ALONE
        try:
            while needs is not None:
                lent = self._outbox.alone if needs is NextStep.ALONE else self._outbox.beside
                try:
                    needs = await lent(work.step)
                finally:
                    if call.changes:  # even if it failed, a part may have been done
                        self._wake()
        except BaseException:
            await self._outbox.beside(work.give_up)
            raise
        return work.results[0]


def _own(
    call: Call[A, R], method: Callable[[OperatorService, A], Coroutine[Any, Any, R]]
) -> tuple[str, Callable[[OperatorService, Any], Coroutine[Any, Any, Any]]]:
    """A call and the method for it, whose types the type checker compares here."""
    return call.name, method


SERVICE_METHODS = dict(
    (
        _own(RELOAD, OperatorService.reload),
        _own(LOG_LINES, OperatorService.log_lines),
        _own(REPORT, OperatorService.report),
        _own(WHERE, OperatorService.where),
        _own(MANAGE, OperatorService.manage),
        _own(MANAGED, OperatorService.managed),
        _own(REQUESTS, OperatorService.requests),
    )
)


class _Work(Generic[R]):
    """The steps of one call, done on the disk thread. `results`: the result, when the steps have ended."""

    def __init__(self, begin: Callable[[Store], Steps[R]]) -> None:
        self._begin = begin
        self._steps: Steps[R] | None = None
        self.results: list[R] = []

    def step(self, store: Store) -> NextStep | None:
        """Do the next step; returns what the step after it needs, None if there is none."""
        if self._steps is None:
            self._steps = self._begin(store)
        try:
            return next(self._steps)
        except StopIteration as end:
            self.results.append(end.value)
            return None

    def give_up(self, _: Store) -> None:
        """Close what the steps have open."""
        if self._steps is not None:
            self._steps.close()


def _log_removal(result: msgspec.Struct) -> None:
    """Log what an operator took away, so that it can be found out later where it went."""
    if isinstance(result, DeadDiscarded) and result.discarded:
        _log.warning(
            "an operator discarded %s: %s",
            counted(len(result.discarded), "dead letter"),
            ", ".join(result.discarded),
            extra={"event": "dead_discarded", "correlation_ids": result.discarded},
        )
    if isinstance(result, ExportReleased):
        _log.warning(
            "an operator exported %s: they are sent by the agent that imports the file",
            counted(result.released, "trigger"),
            extra={"event": "outbox_exported", "count": result.released},
        )
