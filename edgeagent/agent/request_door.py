"""The way to the agent's requests about workflows, whose modules are loaded only for an agent that has any."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeagent.agent.clock import Clock
from edgeagent.config.tables import Uplink
from edgeagent.errors import MessageError, NotFound, UplinkError
from edgeagent.outbox.files import Filesystem
from edgeagent.ports.link import Ack, Link
from edgeagent.ports.manage import ManagedRequest, ManagedRequests, ManageFigures, ManageOrder, RequestQuery
from edgeagent.ports.where import Course
from edgeagent.rules.ruleset import RuleSet
from edgeagent.wire.topics import with_agent

if TYPE_CHECKING:
    from edgeagent.agent.managing import Managing

_SETTLED_BY_BROKER = 'with uplink.settle = "broker" nothing answers this agent, so it can manage no workflow'


class RequestDoor:
    """Owns the `Managing` of an agent that has requests, and the link until there is one. `run` must be running."""

    def __init__(
        self,
        agent: str,
        uplink: Uplink,
        rules: RuleSet,
        clock: Clock,
        filesystem: Filesystem,
        directory: Path,
    ) -> None:
        """`directory`: the state directory."""
        self._agent = agent
        self._response_topic = with_agent(uplink.response_topic, agent)
        self._rules = rules
        self._clock = clock
        self._filesystem = filesystem
        self._path = directory / "requests"
        self._is_answered = uplink.settle == "engine"
        self._link: Link | None = None
        self._managing: Managing | None = None
        self._opened = asyncio.Event()

    # The connection's, see `Managing`.

    def up(self, link: Link) -> None:
        """The uplink is up."""
        self._link = link
        if self._managing is not None:
            self._managing.up(link)

    def down(self, error: UplinkError) -> None:
        """The uplink is down."""
        self._link = None
        if self._managing is not None:
            self._managing.down(error)

    def acknowledged(self, acks: Sequence[Ack]) -> None:
        """The broker answered publications."""
        if self._managing is not None:
            self._managing.acknowledged(acks)

    async def answered(self, payload: bytes, correlation_data: bytes | None = None) -> bool:
        """Take an answer to a request; False for any other message."""
        return await self._open().answered(payload, correlation_data)

    async def run(self) -> None:
        """Send requests until cancelled."""
        if self._filesystem.exists(self._path):
            self._open()
        await self._opened.wait()
        await self._open().run()

    # The operator's and the devices'.

    async def ask(self, order: ManageOrder, course: Course | None) -> ManagedRequest:
        """Make a request about the workflow of this trigger; None: about what the order itself names.

        Raises:
            MessageError: it names nothing that can be managed.
            RequestsFull, StorageFailed: see `Managing.ask`.
        """
        if not self._is_answered:
            raise MessageError("manage", "", _SETTLED_BY_BROKER)
        if order.operation == "list" or course is None:
            if not order.namespace:
                raise MessageError("manage", "namespace", "is missing: this needs one")
            if order.operation != "list" and not order.id:
                raise MessageError("manage", "id", "is missing: a trigger or a workflow")
            return await self._open().ask(order, namespace=order.namespace, workflow_id=order.id)
        rule = self._rules.get(course.rule)
        namespace = course.namespace or order.namespace or (rule.namespace if rule is not None else "")
        if not namespace:
            raise MessageError("manage", "namespace", f"is not known, as the rule {course.rule} is gone: name it")
        return await self._open().ask(
            order,
            namespace=namespace,
            workflow_id=course.workflow_id or "",
            correlation_id=course.correlation_id,
        )

    def find(self, query: RequestQuery) -> ManagedRequest:
        """A request by its id.

        Raises:
            NotFound: it is not known, or not any more.
        """
        found = self._open().find(query.request_id) if self._is_open() else None
        if found is None:
            raise NotFound(query.request_id, "no request of this id is known")
        return found

    def newest(self) -> ManagedRequests:
        """Every request that is known, newest first."""
        return ManagedRequests(self._open().newest() if self._is_open() else [])

    def figures(self) -> ManageFigures | None:
        """See `Managing.figures`; None for an agent that has made no request."""
        return self._managing.figures() if self._managing is not None else None

    def of_workflow(self, course: Course) -> tuple[ManagedRequest, ...]:
        """The requests about one trigger's workflow, oldest first."""
        if not self._is_open():
            return ()
        names = {course.correlation_id, course.workflow_id} - {None, ""}  # a request for a list names neither
        found = [each for each in self._open().newest() if names & {each.correlation_id, each.workflow_id}]
        return tuple(reversed(found))

    def _is_open(self) -> bool:
        return self._managing is not None

    def _open(self) -> Managing:
        if self._managing is None:
            from edgeagent.agent.managing import Managing  # noqa: PLC0415  few agents manage workflows

            args = self._agent, self._response_topic, self._clock, self._filesystem, self._path
            self._managing = Managing(*args)
            if self._link is not None:
                self._managing.up(self._link)
            self._opened.set()
        return self._managing
