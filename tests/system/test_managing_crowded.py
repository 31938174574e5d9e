"""A request about a workflow arrives although triggers wait at the dispatcher and fill what the broker may send it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edgeagent.wire import topics
from edgeagent.wire.operations import OPERATIONS
from tests.fakes.argo_server import FakeArgo
from tests.fakes.dispatch_group import ArgoDispatcher
from tests.fakes.dispatching import trigger
from tests.fakes.manage_desk import NAME, put
from tests.fakes.mosquitto import Mosquitto, MqttClient
from tests.fakes.rabbitmq import RabbitMq
from tests.waiting import until

# Of one agent's triggers at most half of what the broker may send wait here.
AGENTS = ("gw-1", "gw-2", "gw-3")
EACH = 200


@asynccontextmanager
async def running(kind: str, directory: Path) -> AsyncIterator[Mosquitto | RabbitMq]:
    """A broker of this kind."""
    if kind == "mqtt":
        async with Mosquitto(directory, config=("max_queued_messages 0",)) as mosquitto:
            yield mosquitto
    else:
        async with RabbitMq(directory) as rabbitmq:
            yield rabbitmq


@pytest.mark.parametrize("kind", ["mqtt", "amqp"])
async def test_a_terminate_passes_triggers_that_wait_for_the_room_that_it_makes(tmp_path: Path, kind: str) -> None:
    (tmp_path / "broker").mkdir()
    allowed = f"operations = {json.dumps(OPERATIONS)}"
    async with FakeArgo() as argo, running(kind, tmp_path / "broker") as broker:
        argo.templates.add(("plant", "inspect"))
        put(argo)
        dispatcher = ArgoDispatcher(
            tmp_path / "d0", broker.url, argo.url, engine_keys="max_active = 1", allow_keys=allowed
        )
        async with (
            MqttClient(broker.url, "gw", "argo/workflows/response/gw-1", mark="gw-1") as gateway,
            dispatcher,
        ):
            await dispatcher.logged("manage_connected")
            for agent in AGENTS:
                for number in range(EACH):
                    message = trigger(f"hot-{agent}-{number}", 0, agent=agent)
                    await gateway.publish(message.topic, message.payload)
            await dispatcher.logged("namespace_full")
            request = {
                "operation": "terminate",
                "request_id": "r1",
                "namespace": "plant",
                "workflowId": NAME,
                "agent": "gw-1",
            }
            await gateway.publish(topics.manage_topic("gw-1"), json.dumps(request).encode())
            await gateway.until(
                lambda: any(json.loads(each.payload).get("request_id") == "r1" for each in gateway.messages),
                "an answer",
            )
            workflow = argo.workflow("plant", NAME)
            assert workflow is not None
            assert workflow["spec"]["shutdown"] == "Terminate"
            begun = [each["metadata"]["name"] for each in argo.workflows()]
            for name in begun:  # one may have been started before the other was known to run
                argo.advance("plant", name, phase="Failed")
            await until(lambda: len(argo.workflows()) > len(begun), "the first of those that waited")
