from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeagent.argo.client import ArgoClient, ArgoSettings
from edgeagent.argo.kubernetes import KubernetesClient, KubernetesSettings
from edgeagent.config.tables import Broker
from edgeagent.dispatcher.cursor import parse_cursor, unix_s
from edgeagent.dispatcher.dispatcher import Dispatcher
from edgeagent.dispatcher.dryrun import DryRun
from edgeagent.dispatcher.namespace import WatchTimes
from edgeagent.dispatcher.policy import EVERYTHING, Policy
from edgeagent.dispatcher.statuses import Statuses
from edgeagent.dispatcher.watcher import Timing
from edgeagent.links.session import keep_connected
from edgeagent.wire import topics
from edgeagent.wire.messages import LABEL_AGENT, LABEL_CORRELATION_ID
from tests.ending import end
from tests.fakes.argo_server import FakeArgo, hang, refused
from tests.fakes.mosquitto import Mosquitto, MqttClient
from tests.waiting import DEADLINE_S, until

NAMESPACE = "plant"
CONFIGMAPS = "/configmaps/"
PACE = WatchTimes(tick_s=0.01, cursor_s=0.0, hold_s=0.0)
TIMING = Timing(list_s=1000.0, base_s=0.02, cap_s=0.05)


class Node:
    """One dispatcher's statuses and ConfigMaps on a real broker, without triggers."""

    def __init__(self, argo: ArgoClient, kubernetes: KubernetesClient, instance: str, url: str) -> None:
        self.dispatcher = Dispatcher(DryRun(), Policy([EVERYTHING]))
        self.statuses = Statuses(
            argo,
            [NAMESPACE],
            "g",
            instance,
            self.dispatcher.send,
            active=self.dispatcher.capacity,
            configmaps=kubernetes,
            pace=PACE,
            timing=TIMING,
        )
        self.dispatcher.share_with(self.statuses)
        connected = keep_connected(
            Broker(url=url),
            self.dispatcher,
            client_id=f"dispatch-{instance}",
            subscriptions=self.statuses.subscriptions,
            will=self.statuses.will,
        )
        self._tasks = [asyncio.create_task(self.statuses.run()), asyncio.create_task(connected)]

    async def kill(self) -> None:
        """End without a word to anybody; the broker publishes the will."""
        link = self.dispatcher._link
        assert link is not None
        link.abort()  # type: ignore[attr-defined]  # the engine's own way to end without a word
        await self.stop()

    async def stop(self) -> None:
        """End without a drain."""
        for task in self._tasks:
            await end(task)
        self._tasks.clear()


class Plant:
    """A broker, an engine with its Kubernetes API, somebody who monitors, and the dispatchers that a test starts."""

    def __init__(self, api: FakeArgo, broker: Mosquitto, monitor: MqttClient) -> None:
        self.api = api
        self.monitor = monitor
        self.nodes: list[Node] = []
        self._broker = broker
        self._argo = ArgoClient(ArgoSettings(api.url, timeout_s=DEADLINE_S))
        self._kubernetes = KubernetesClient(KubernetesSettings(api.url, timeout_s=60.0))

    async def node(self, instance: str) -> Node:
        """Start a dispatcher and wait until it follows the namespace and the broker."""
        begun = self.api.watches_begun  # one that was left may still be open
        node = Node(self._argo, self._kubernetes, instance, self._broker.url)
        self.nodes.append(node)
        await until(lambda: self.api.watches_begun > begun, f"{instance} watches")
        topic = topics.presence_topic("g", instance)
        await until(lambda: any(item.topic == topic for item in self.monitor.messages), f"{instance} is present")
        return node

    async def leader(self, instance: str) -> Node:
        """Start a dispatcher and wait until it leads."""
        node = await self.node(instance)
        await until(lambda: node.statuses.stats().leading, f"{instance} leads")
        return node

    def create(self, name: str) -> None:
        """A workflow as a dispatcher creates it."""
        labels = {LABEL_AGENT: "gw-1", LABEL_CORRELATION_ID: f"c-{name}"}
        self.api.put({"metadata": {"namespace": NAMESPACE, "name": name, "labels": labels}})

    def end(self, name: str, phase: str = "Succeeded", **status: Any) -> None:
        """The controller has done its work."""
        self.api.advance(NAMESPACE, name, phase=phase, **status)

    def result(self, name: str) -> str | None:
        """What the ConfigMap of a workflow says."""
        configmap = self.api.configmaps.get((NAMESPACE, f"pipeline-status-c-{name}"))
        result: str | None = configmap["data"]["result"] if configmap else None
        return result

    async def written(self, name: str, result: str) -> None:
        """Wait for the ConfigMap of a workflow."""
        await until(lambda: self.result(name) == result, f"{name}: {result}")

    async def hears(self, name: str, phase: str) -> None:
        """Wait until a status was published."""
        await until(lambda: (name, phase) in self.told(), f"{name} is {phase}; told: {self.told()}")

    def told(self) -> list[tuple[str, str]]:
        """The statuses that were published."""
        payloads = [message.payload for message in self.monitor.messages if message.topic == topics.STATUS]
        return [(status["workflowId"], status["status"]) for status in map(msgspec.json.decode, payloads)]

    def cursor_s(self) -> float:
        """The cursor that was kept last; 0 when there is none."""
        topic = topics.cursor_topic("g", NAMESPACE)
        payloads = [message.payload for message in self.monitor.messages if message.topic == topic]
        return (parse_cursor(payloads[-1]) if payloads else None) or 0.0

    def asked(self) -> int:
        """How many requests for ConfigMaps came."""
        return sum(CONFIGMAPS in request.path for request in self.api.requests)

    async def close(self) -> None:
        """End everything."""
        for node in self.nodes:
            await node.stop()
        await self._argo.__aexit__()
        await self._kubernetes.__aexit__()


@pytest.fixture
async def plant(tmp_path: Path) -> AsyncIterator[Plant]:
    async with (
        Mosquitto(tmp_path) as broker,
        FakeArgo(keepalive_s=0.1) as api,
        MqttClient(broker.url, "monitor", "argo/workflows/status/#", "edgeagent/dispatch/#") as monitor,
    ):
        site = Plant(api, broker, monitor)
        try:
            yield site
        finally:
            await site.close()


def at(second: int) -> str:
    """A time long past, as the engine writes it."""
    return f"2026-03-20T12:{second // 60:02}:{second % 60:02}Z"


def at_s(second: int) -> float:
    """The same in Unix seconds."""
    found = unix_s(at(second))
    assert found is not None
    return found


async def test_the_end_of_a_workflow_is_written_down_and_goes_with_it(plant: Plant) -> None:
    await plant.leader("a")
    plant.create("w")
    plant.end("w", "Running")
    await plant.hears("w", "Running")
    assert plant.asked() == 0
    parameters = [{"name": "artifact-url", "value": "s3://results/1.parquet"}]
    plant.end("w", "Failed", message="leak found", finishedAt=at(1), outputs={"parameters": parameters})
    await plant.written("w", "failure")
    await plant.hears("w", "Failed")
    configmap = plant.api.configmaps[NAMESPACE, "pipeline-status-c-w"]
    assert configmap["data"] == {
        "result": "failure",
        "artifact-url": "s3://results/1.parquet",
        "completed-at": at(1),
        "message": "leak found",
    }
    workflow = plant.api.workflow(NAMESPACE, "w")
    assert workflow is not None
    assert [owner["uid"] for owner in configmap["metadata"]["ownerReferences"]] == [workflow["metadata"]["uid"]]
    plant.api.delete(NAMESPACE, "w")
    assert plant.api.configmaps == {}
    assert plant.asked() == 1


async def test_a_retried_workflow_gets_its_new_result(plant: Plant) -> None:
    await plant.leader("a")
    plant.create("w")
    plant.end("w", "Failed", startedAt=at(0), finishedAt=at(1))
    await plant.written("w", "failure")
    plant.end("w", "Running")
    plant.end("w", "Succeeded")
    await plant.written("w", "success")


async def test_a_workflow_that_is_deleted_before_its_end_gets_none(plant: Plant) -> None:
    await plant.leader("a")
    plant.create("w")
    await plant.hears("w", "Pending")
    plant.api.delete(NAMESPACE, "w")
    await plant.hears("w", "Error")
    assert plant.asked() == 0


async def test_the_next_leader_applies_what_the_one_before_had_published_and_not_applied(plant: Plant) -> None:
    leader = await plant.leader("a")
    standby = await plant.node("b")
    plant.create("early")
    plant.end("early", finishedAt=at(0))
    await plant.written("early", "success")
    await until(lambda: plant.cursor_s() == at_s(0), "the cursor")
    plant.api.fail_next(hang(), path=CONFIGMAPS)
    plant.create("w")
    plant.end("w", finishedAt=at(200))
    await plant.hears("w", "Succeeded")
    await until(lambda: plant.asked() == 2, "it is being applied")
    plant.create("later")
    plant.end("later", finishedAt=at(400))
    await plant.written("later", "success")
    await until(lambda: not leader.statuses.stats().pending and plant.cursor_s() > at_s(0), "the cursor moves")
    assert plant.cursor_s() == at_s(200)  # not past the one that is not applied
    await leader.kill()
    await until(lambda: standby.statuses.stats().leading, "the next one leads")
    await plant.written("w", "success")
    await until(lambda: plant.cursor_s() == at_s(400), "the cursor moves on")
    assert standby.statuses.stats().configmaps_applied == 2  # what ended after the cursor, not all there is
    assert leader.statuses.stats().configmaps_applied == 2


async def test_without_the_right_statuses_and_cursor_go_on_and_one_error_tells(
    plant: Plant, caplog: pytest.LogCaptureFixture
) -> None:
    node = await plant.leader("a")
    message = 'configmaps "x" is forbidden: User "dispatcher" cannot patch resource "configmaps"'
    plant.api.fail_next(*(refused(403, 403, message) for _ in range(5)), path=CONFIGMAPS)
    for number in range(5):
        plant.create(f"w{number}")
        plant.end(f"w{number}", finishedAt=at(number))
        await plant.hears(f"w{number}", "Succeeded")
    await until(lambda: plant.cursor_s() == at_s(4), "the cursor")
    stats = node.statuses.stats()
    assert (stats.configmaps_applied, stats.configmaps_pending, stats.configmaps_lost) == (0, 0, 5)
    [record] = [record for record in caplog.records if getattr(record, "event", "") == "configmap_lost"]
    assert "create and patch of configmaps" in record.getMessage()
    plant.create("granted")
    plant.end("granted", finishedAt=at(5))
    await plant.written("granted", "success")


async def test_an_api_server_that_is_away_holds_back_the_cursor_and_no_status(plant: Plant) -> None:
    await plant.leader("a")
    plant.api.fail_next(*(refused(503, 503, "starting") for _ in range(2)), hang(), path=CONFIGMAPS)
    plant.create("w")
    plant.end("w", finishedAt=at(0))
    await plant.hears("w", "Succeeded")
    await until(lambda: plant.asked() == 3, "it is tried again and again")
    plant.create("later")
    plant.end("later", finishedAt=at(100))
    await plant.hears("later", "Succeeded")
    await plant.written("later", "success")
    await until(lambda: plant.cursor_s() == at_s(0), "the cursor stays at the one that is not applied")
    assert plant.result("w") is None


async def test_a_clean_stop_applies_what_is_pending_before_it_hands_over(plant: Plant) -> None:
    node = await plant.leader("a")
    plant.api.fail_next(refused(503, 503, "starting"), path=CONFIGMAPS)
    plant.create("w")
    plant.end("w", finishedAt=at(0))
    await plant.hears("w", "Succeeded")
    await until(lambda: plant.asked() >= 1, "it is being applied")
    async with asyncio.timeout(DEADLINE_S):
        await node.statuses.drain()
    assert plant.result("w") == "success"
    await until(lambda: plant.cursor_s() == at_s(0), "the cursor is kept")


async def test_a_clean_stop_waits_only_so_long_for_an_api_server_that_does_not_answer(plant: Plant) -> None:
    node = await plant.leader("a")
    plant.api.fail_next(hang(), path=CONFIGMAPS)
    plant.create("w")
    plant.end("w", finishedAt=at(0))
    await plant.hears("w", "Succeeded")
    await until(lambda: plant.asked() == 1, "it is being applied")
    async with asyncio.timeout(DEADLINE_S):
        await node.statuses.drain()
    assert plant.cursor_s() == 0.0
    await node.stop()
    await plant.leader("b")
    await plant.written("w", "success")
