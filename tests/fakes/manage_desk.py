"""A manager at a fake Argo Server, with a broker that takes every answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from edgeagent.argo.client import ArgoClient, ArgoSettings
from edgeagent.argo.operations import ArgoOperations
from edgeagent.config.tables import Allow
from edgeagent.dispatcher.argo import ArgoEngine
from edgeagent.dispatcher.manager import Manager
from edgeagent.dispatcher.operations import Operations
from edgeagent.dispatcher.policy import Policy
from edgeagent.ports.link import TAKEN, Message, PublishOutcome
from edgeagent.wire.manage import ManageResponse
from edgeagent.wire.operations import OPERATIONS
from tests.ending import end
from tests.fakes.argo_server import FakeArgo
from tests.waiting import until

OWN = "argo/workflows/manage/gw-1"
BASE = "argo/workflows/manage"
EVERYTHING = Allow(namespaces=("plant",), templates=("*",), operations=OPERATIONS)
# One that is allowed for producers that are no gateways.
OTHERS = Allow(agents=("",), namespaces=("plant",), operations=("get", "stop", "list"))
NAME = "overheat-" + "a" * 32


class Answer:
    """What was published for a request."""

    def __init__(self, topic: str, payload: bytes, correlation_data: bytes | None) -> None:
        self.topic = topic
        self.response = msgspec.json.decode(payload, type=ManageResponse)
        self.json: dict[str, Any] = msgspec.json.decode(payload)
        self.correlation_data = correlation_data


class Desk:
    """A manager at a fake Argo Server, with a broker that takes every answer."""

    def __init__(self, argo: FakeArgo, manager: Callable[..., Manager], operations: Operations | None) -> None:
        self.argo = argo
        self.operations = operations
        self.answers: list[Answer] = []
        self.acknowledged: list[Message] = []
        self.manager = manager(send=self._send, acknowledge=self._acknowledge)
        self._numbers = 0

    def _send(
        self,
        topic: str,
        payload: bytes,
        *,
        on_taken: Callable[[PublishOutcome], None] | None = None,
        wanted: Callable[[], bool] | None = None,
        correlation_data: bytes | None = None,
    ) -> None:
        assert wanted is not None
        assert on_taken is not None
        if wanted():
            self.answers.append(Answer(topic, payload, correlation_data))
            on_taken(TAKEN)

    def _acknowledge(self, messages: Sequence[Message]) -> None:
        self.acknowledged += messages

    async def ask(self, operation: str, topic: str = OWN, **members: Any) -> ManageResponse:
        """Send a request of gw-1's and return its answer."""
        return (await self.send(self.encoded(operation, **members), topic)).response

    def encoded(self, operation: str, **members: Any) -> bytes:
        """A request, with an id of its own unless `members` has one."""
        self._numbers += 1
        request = {"request_id": f"r{self._numbers}", "namespace": "plant", "operation": operation, **members}
        if operation != "list" and not {"workflowId", "correlation_id"} & members.keys():
            request["workflowId"] = NAME
        return msgspec.json.encode(request)

    async def send(self, payload: bytes, topic: str = OWN, **properties: Any) -> Answer:
        """Deliver a message and return what was answered."""
        before = len(self.answers)
        message = Message(topic, payload, receipt=1, **properties)
        assert self.manager.on_messages([message]) == []
        await until(lambda: len(self.answers) > before, "an answer")
        assert self.acknowledged[-1] is message
        return self.answers[-1]

    def puts(self) -> list[str]:
        """What was asked of Argo, beside lookups."""
        return [f"{request.method} {request.segments[-1]}" for request in self.argo.requests if request.method != "GET"]


@asynccontextmanager
async def desk(
    *allows: Allow, bind_agent: bool = True, hold_s: float = 30.0, dry_run: bool = False, **options: Any
) -> AsyncIterator[Desk]:
    policy = Policy(allows or [EVERYTHING, OTHERS])
    async with FakeArgo() as argo, ArgoClient(ArgoSettings(argo.url)) as client:
        argo.templates.add(("plant", "inspect"))
        engine = ArgoEngine(client, probe_namespace="plant")
        operations = None if dry_run else Operations(ArgoOperations(client), engine, policy, **options)

        def manager(**ends: Any) -> Manager:
            return Manager(operations, policy, bind_agent=bind_agent, hold_s=hold_s, **ends)

        made = Desk(argo, manager, operations)
        made.manager.on_up()
        task = asyncio.create_task(made.manager.run())
        try:
            yield made
        finally:
            await end(task)


def put(argo: FakeArgo, name: str = NAME, agent: str = "gw-1", phase: str = "Running", **spec: Any) -> None:
    """A workflow that a trigger of this agent started."""
    labels = {"edgeagent.io/agent": agent, "edgeagent.io/correlation-id": name[-32:], "edgeagent.io/rule": "overheat"}
    body = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {
            "name": name,
            "namespace": "plant",
            "labels": labels,
            "annotations": {"edgeagent.io/source": "boiler-1"},
        },
        "spec": {
            "workflowTemplateRef": {"name": "inspect"},
            "arguments": {"parameters": [{"name": "temp", "value": "97.1"}]},
            "ttlStrategy": {"secondsAfterCompletion": 7},
            **spec,
        },
    }
    argo.put(body)
    argo.advance("plant", name, phase=phase, progress="1/2")
