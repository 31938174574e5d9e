from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.wire.messages import LABEL_CORRELATION_ID
from tests.fakes.dispatch_scene import Scene, scene
from tests.fakes.mosquitto import MqttClient
from tests.fakes.mqtt311 import Producer311

RESPONSES = "argo/workflows/response"
TRIGGER = "argo/workflows/trigger"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path) as started:
        yield started


def bare(**metadata: str) -> bytes:
    """What somebody sends who knows Argo, and nothing of agents."""
    workflow = {"metadata": metadata, "spec": {"workflowTemplateRef": {"name": "inspect"}}}
    return json.dumps({"namespace": "plant", "workflow": workflow}).encode()


def labels_of(here: Scene, name: str) -> dict[str, Any]:
    workflow = here.argo.workflow("plant", name)
    assert workflow is not None
    labels: dict[str, Any] = workflow["metadata"]["labels"]
    return labels


async def test_a_foreign_producer_over_mqtt_5_is_answered_on_its_response_topic(here: Scene) -> None:
    own = f"{RESPONSES}/line-7/station"
    async with MqttClient(here.broker.url, "line-7", f"{RESPONSES}/#") as producer:
        request = {"response_topic": own, "correlation_data": b"order-42"}
        await producer.publish(TRIGGER, bare(name="inspect-line-7"), **request)
        answer = await producer.message()
        assert answer.topic == own
        assert answer.correlation_data == b"order-42"
        said = json.loads(answer.payload)
        assert (said["code"], said["workflowId"], said["duplicate"]) == (200, "inspect-line-7", False)
        assert labels_of(here, "inspect-line-7")[LABEL_CORRELATION_ID] == "order-42"
        # Whoever of the two takes it: the same once more starts nothing.
        for _ in range(4):
            await producer.publish(TRIGGER, bare(name="inspect-line-7"), **request)
            again = json.loads((await producer.message()).payload)
            assert (again["code"], again["duplicate"]) == (200, True)
        assert len(here.argo.workflows()) == 1


async def test_a_foreign_producer_over_mqtt_311_is_answered_on_the_base_topic(here: Scene) -> None:
    async with Producer311(here.broker.port, RESPONSES) as producer:
        await producer.publish(TRIGGER, bare(name="inspect-small"))
        topic, payload = await producer.message()
        assert topic == RESPONSES
        said = json.loads(payload)
        assert (said["code"], said["workflowId"], said["correlation_id"]) == (200, "inspect-small", "inspect-small")
        await producer.publish(TRIGGER, bare(generateName="inspect-"))
        said = json.loads((await producer.message()).payload)
        assert said["code"] == 200
        assert said["workflowId"].startswith("inspect-")
        await producer.publish(TRIGGER, bare(name="not_a_name"))
        said = json.loads((await producer.message()).payload)
        assert (said["code"], said["retryable"]) == (400, False)
        assert "name" in said["detail"]
        assert len(here.argo.workflows()) == 2


async def test_a_workflow_whose_name_kubernetes_makes_is_followed_too(here: Scene) -> None:
    async with MqttClient(here.broker.url, "line-7", "argo/workflows/status", RESPONSES) as producer:
        await producer.publish(TRIGGER, bare(generateName="inspect-"))
        answer = json.loads((await producer.message(RESPONSES)).payload)
        assert (answer["code"], "correlation_id" in answer) == (200, False)
        status: dict[str, Any] = {}
        while status.get("status") != "Succeeded":
            status = json.loads((await producer.message("argo/workflows/status")).payload)
        assert status["workflowId"] == answer["workflowId"]
        assert "agent" not in status
        assert labels_of(here, answer["workflowId"]).items() >= {LABEL_CORRELATION_ID: ""}.items()


async def test_a_foreign_producer_hears_how_its_workflow_ends_on_the_base_topic(here: Scene) -> None:
    async with MqttClient(here.broker.url, "line-7", "argo/workflows/status") as producer:
        await producer.publish(TRIGGER, bare(name="inspect-line-7"), correlation_data=b"order-42")
        status: dict[str, Any] = {}
        while status.get("status") != "Succeeded":
            status = json.loads((await producer.message()).payload)
        assert (status["workflowId"], status["correlation_id"]) == ("inspect-line-7", "order-42")
