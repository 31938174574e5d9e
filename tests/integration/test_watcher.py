from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from edgeagent.argo.client import ArgoClient, ArgoSettings
from edgeagent.common.units import Duration
from edgeagent.config.tables import Broker
from edgeagent.dispatcher.dispatcher import Dispatcher
from edgeagent.dispatcher.dryrun import DryRun
from edgeagent.dispatcher.namespace import WatchTimes
from edgeagent.dispatcher.policy import EVERYTHING, Policy
from edgeagent.dispatcher.statuses import Statuses
from edgeagent.dispatcher.watcher import Timing
from edgeagent.errors import UplinkError
from edgeagent.links.session import keep_connected
from edgeagent.ports.link import Link, Subscription
from edgeagent.wire import topics
from edgeagent.wire.messages import LABEL_AGENT, LABEL_CORRELATION_ID
from tests.ending import end
from tests.fakes.argo_server import FakeArgo
from tests.fakes.mosquitto import Mosquitto, MqttClient
from tests.waiting import DEADLINE_S, until

NAMESPACE = "plant"
PACE = WatchTimes(tick_s=0.01, cursor_s=0.0, hold_s=0.0)
TIMING = Timing(list_s=0.3, base_s=0.02, cap_s=0.05)

Told = tuple[str, str]


class Node(Dispatcher):
    """One dispatcher's statuses on a real broker, without triggers."""

    def __init__(
        self, client: ArgoClient, instance: str, pace: WatchTimes = PACE, max_active: dict[str, int] | None = None
    ) -> None:
        super().__init__(DryRun(), Policy([EVERYTHING]), max_active=max_active, watched=[NAMESPACE])
        self.statuses = Statuses(
            client, [NAMESPACE], "g", instance, self.send, active=self.capacity, pace=pace, timing=TIMING
        )
        self.share_with(self.statuses)
        self.link: Link | None = None
        self._client_id = f"dispatch-{instance}"
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def on_up(self, link: Link, *, session_present: bool) -> None:
        """See `LinkOwner`."""
        self.link = link
        super().on_up(link, session_present=session_present)

    def on_down(self, error: UplinkError) -> None:
        """See `LinkOwner`."""
        self.link = None
        super().on_down(error)

    def start(self, url: str) -> None:
        """Begin to connect and to follow."""
        self.connect(url)
        self._tasks["statuses"] = asyncio.create_task(self.statuses.run())

    def connect(self, url: str) -> None:
        """Begin to connect."""
        connected = keep_connected(
            Broker(url=url, session_expiry=Duration(60)),
            self,
            client_id=self._client_id,
            subscriptions=[Subscription("argo/workflows/trigger/none"), *self.statuses.subscriptions],
            will=self.statuses.will,
            base_s=0.02,
            cap_s=0.1,
        )
        self._tasks["link"] = asyncio.create_task(connected)

    async def kill(self) -> None:
        """End without a word to anybody."""
        if self.link is not None:
            self.link.abort()  # type: ignore[attr-defined]  # the engine's own way to end without a word
        await self.stop()

    async def stop(self) -> None:
        """End at once; a clean stop drains first."""
        for name in tuple(self._tasks):
            await self.end(name)

    async def end(self, name: str) -> None:
        """End `link` or `statuses`."""
        task = self._tasks.pop(name)
        assert not task.done()
        await end(task)


class Plant:
    """A broker, an engine, somebody who monitors, and the dispatchers that a test starts."""

    def __init__(self, argo: FakeArgo, client: ArgoClient, broker: Mosquitto, monitor: MqttClient) -> None:
        self.argo = argo
        self.client = client
        self.broker = broker
        self.monitor = monitor
        self.nodes: list[Node] = []

    async def node(
        self, instance: str, *, leads: bool, pace: WatchTimes = PACE, max_active: dict[str, int] | None = None
    ) -> Node:
        """Start a dispatcher and wait until it leads, or until it watches and knows who does."""
        begun = self.argo.watches_begun  # one that was left may still be open
        node = Node(self.client, instance, pace, max_active)
        self.nodes.append(node)
        node.start(self.broker.url)
        await until(lambda: node.link is not None and self.argo.watches_begun > begun, f"{instance} follows")
        await until(lambda: node.statuses.stats().leading is leads, f"{instance} leads: {leads}")
        return node

    def create(self, name: str, agent: str = "gw-1", **spec: Any) -> None:
        """A workflow as a dispatcher creates it."""
        labels = {LABEL_AGENT: agent, LABEL_CORRELATION_ID: f"c-{name}"}
        self.argo.put({"metadata": {"namespace": NAMESPACE, "name": name, "labels": labels}, "spec": spec})

    def advance(self, name: str, phase: str, **status: Any) -> None:
        """The controller does its work."""
        self.argo.advance(NAMESPACE, name, phase=phase, **status)

    def told(self, topic: str = topics.STATUS) -> list[Told]:
        """What came on a topic, in order."""
        payloads = [message.payload for message in self.monitor.messages if message.topic == topic]
        return [(status["workflowId"], status["status"]) for status in map(msgspec.json.decode, payloads)]

    async def hears(self, *expected: Told) -> None:
        """Wait until all of these came."""
        await until(lambda: set(expected) <= set(self.told()), f"{expected} told, of which {self.told()} came")


@pytest.fixture
async def plant(tmp_path: Path) -> AsyncIterator[Plant]:
    async with (
        Mosquitto(tmp_path) as broker,
        FakeArgo(keepalive_s=0.1) as argo,
        ArgoClient(ArgoSettings(argo.url, timeout_s=DEADLINE_S)) as client,
        MqttClient(broker.url, "monitor", "argo/workflows/status/#", "edgeagent/dispatch/#") as monitor,
    ):
        site = Plant(argo, client, broker, monitor)
        try:
            yield site
        finally:
            for node in site.nodes:
                await node.stop()


@asynccontextmanager
async def drained(node: Node) -> AsyncIterator[None]:
    """A clean stop: hand over, then end."""
    async with asyncio.timeout(DEADLINE_S):
        await node.drain()
    yield
    await node.stop()


async def test_a_workflow_is_followed_from_its_creation_to_its_end(plant: Plant) -> None:
    await plant.node("a", leads=True)
    plant.create("w")
    await plant.hears(("w", "Pending"))
    plant.advance("w", "Running", progress="1/2")
    await plant.hears(("w", "Running"))
    plant.advance("w", "Succeeded", progress="2/2")
    await plant.hears(("w", "Succeeded"))
    everything = [("w", "Pending"), ("w", "Running"), ("w", "Succeeded")]
    assert plant.told() == everything
    await until(lambda: plant.told("argo/workflows/status/gw-1") == everything, "the gateway's own topic")
    last = [message for message in plant.monitor.messages if message.topic == topics.STATUS][-1]
    status = msgspec.json.decode(last.payload)
    assert (status["progress"], status["correlation_id"], status["agent"]) == ("100%", "c-w", "gw-1")
    assert status["startedAt"] <= status["finishedAt"]
    assert not last.retain


async def test_the_limits_of_templates_count_what_was_there_at_the_start_and_what_others_create(plant: Plant) -> None:
    reference = {"name": "inspect", "clusterScope": False}
    plant.create("before", workflowTemplateRef=reference)
    plant.create("inline", entrypoint="main", templates=[{"name": "main", "suspend": {}}])
    node = await plant.node("a", leads=True, max_active={"plant/inspect": 2, "plant/*": 9, "plant/": 1})

    def used() -> list[int]:
        return [use.active for use in node.capacity.uses()]

    await until(lambda: used() == [1, 2, 1], "those there at the start")
    plant.create("another", workflowTemplateRef={"name": "inspect", "clusterScope": True})
    await until(lambda: used() == [2, 3, 1], "one that another dispatcher created")
    assert str(node.capacity.reached("plant", "inspect")).count('"plant/inspect" = 2') == 1
    plant.advance("before", "Succeeded")
    await until(lambda: used() == [1, 2, 1], "one that ended")


@pytest.mark.parametrize("how", ["eof", "drop", "too_old", "close"])
async def test_however_a_watch_ends_each_change_is_told_once(
    plant: Plant, how: Literal["eof", "drop", "too_old", "close"]
) -> None:
    await plant.node("a", leads=True)
    plant.create("before")
    plant.advance("before", "Succeeded")
    plant.create("across")
    await plant.hears(("before", "Succeeded"), ("across", "Pending"))
    plant.argo.break_watches(how)  # what comes now the broken watch does not tell any more
    plant.advance("across", "Failed")
    plant.create("meanwhile")
    plant.advance("meanwhile", "Succeeded")
    await plant.hears(("across", "Failed"), ("meanwhile", "Succeeded"))
    plant.create("after")
    await plant.hears(("after", "Pending"))
    told = plant.told()
    assert len(told) == len(set(told))


async def test_an_engine_that_goes_away_and_comes_back_is_followed_again(plant: Plant) -> None:
    await plant.node("a", leads=True)
    for name in ("ends", "goes"):
        plant.create(name)
    await plant.hears(("ends", "Pending"), ("goes", "Pending"))
    await plant.argo.stop()
    plant.advance("ends", "Error", message="node lost")
    plant.argo.delete(NAMESPACE, "goes")
    await plant.argo.start()
    await plant.hears(("ends", "Error"), ("goes", "Error"))
    payloads = [message.payload for message in plant.monitor.messages if message.topic == topics.STATUS]
    messages = {status["workflowId"]: status.get("message") for status in map(msgspec.json.decode, payloads)}
    assert messages == {"ends": "node lost", "goes": "workflow deleted"}


async def test_a_deleted_workflow_ends_as_error_and_a_retried_one_begins_again(plant: Plant) -> None:
    await plant.node("a", leads=True)
    for name in ("gone", "again"):
        plant.create(name)
        plant.advance(name, "Running")
    plant.advance("again", "Failed", startedAt="2026-03-20T11:00:00Z")
    await plant.hears(("gone", "Running"), ("again", "Failed"))
    plant.argo.delete(NAMESPACE, "gone")
    await plant.hears(("gone", "Error"))
    plant.advance("again", "Running")
    await until(lambda: plant.told()[-1:] == [("again", "Running")], "a new run")
    plant.advance("again", "Succeeded")
    await plant.hears(("again", "Succeeded"))


async def test_a_resubmitted_copy_is_a_run_of_its_own_that_no_gateway_hears_of(plant: Plant) -> None:
    await plant.node("a", leads=True)
    name = "overheat-" + "9f2c" * 8
    plant.create(name)
    plant.advance(name, "Failed")
    await plant.hears((name, "Failed"))
    copy = plant.argo.resubmit(NAMESPACE, name)
    plant.advance(copy, "Running")
    plant.advance(copy, "Succeeded")
    again = plant.argo.resubmit(NAMESPACE, copy)
    plant.advance(again, "Failed")
    await plant.hears((copy, "Succeeded"), (again, "Failed"))
    # The gateway asks what became of its trigger: of two workflows with the same labels the first one is meant.
    query = {"agent": "gw-1", "correlation_ids": [f"c-{name}"]}
    await plant.monitor.publish(topics.STATUS_QUERY, msgspec.json.encode(query))
    own = "argo/workflows/status/gw-1"
    await until(lambda: plant.told(own).count((name, "Failed")) > 1, "the answer to the query")
    assert {told for told, _ in plant.told(own)} == {name}
    payloads = [message.payload for message in plant.monitor.messages if message.topic == topics.STATUS]
    copies = [status for status in map(msgspec.json.decode, payloads) if status["workflowId"] in {copy, again}]
    assert all("correlation_id" not in status and "agent" not in status for status in copies)


async def test_a_killed_leader_is_followed_by_the_next_one_and_no_final_status_is_missed(plant: Plant) -> None:
    leader = await plant.node("a", leads=True)
    standby = await plant.node("b", leads=False)
    names = [f"w{number}" for number in range(40)]
    for name in names:
        plant.create(name)
        plant.advance(name, "Running")
    for name in names[:20]:
        plant.advance(name, "Succeeded")
    await until(lambda: len(plant.told()) > 10, "the leader is at work")
    assert standby.statuses.stats().published == 0
    await leader.kill()
    for name in names[20:]:
        plant.advance(name, "Succeeded")
    await until(lambda: standby.statuses.stats().leading, "the other one leads")
    await plant.hears(*((name, "Succeeded") for name in names))


async def test_the_lead_goes_to_the_lowest_instance_and_comes_back(plant: Plant) -> None:
    first = await plant.node("b", leads=True)
    second = await plant.node("a", leads=True)
    await until(lambda: not first.statuses.stats().leading, "the higher one leaves the lead")
    plant.create("w")
    await plant.hears(("w", "Pending"))
    assert first.statuses.stats().published == 0
    async with drained(second):
        await until(lambda: first.statuses.stats().leading, "handed over by a clean stop")


async def test_what_finished_while_nobody_was_there_is_told_and_what_was_told_before_is_not(plant: Plant) -> None:
    old = {"startedAt": "2026-03-20T11:00:00Z"}
    node = await plant.node("a", leads=True)
    for number, name in enumerate(("early", "late")):
        plant.create(name)
        plant.advance(name, "Succeeded", finishedAt=f"2026-03-20T11:0{5 * number}:00Z", **old)
    plant.create("running")
    await plant.hears(("early", "Succeeded"), ("late", "Succeeded"), ("running", "Pending"))
    # It moves only after the list with which a time as a leader begins; stopped before, the next leader tells more.
    await plant.monitor.until(
        lambda: any(b'"2026-03-20T11:05:00.000Z"' in item.payload for item in plant.monitor.messages), "the cursor"
    )
    async with drained(node):
        pass
    count = len(plant.told())
    plant.advance("running", "Failed")
    plant.create("missed")
    plant.advance("missed", "Succeeded")
    await plant.node("a", leads=True)
    await plant.hears(("running", "Failed"), ("missed", "Succeeded"))
    await until(lambda: plant.argo.requests[-1].query.get("listOptions.labelSelector", "").endswith("!=true"), "listed")
    # "late" is within the margin before the cursor, "early" is not.
    assert sorted(plant.told()[count:]) == [("late", "Succeeded"), ("missed", "Succeeded"), ("running", "Failed")]


@pytest.mark.parametrize("clean", [True, False])
async def test_after_a_restart_of_the_broker_somebody_leads_and_nothing_is_missed(plant: Plant, clean: bool) -> None:
    node = await plant.node("a", leads=True)
    plant.create("w")
    await plant.hears(("w", "Pending"))
    await (plant.broker.stop() if clean else plant.broker.kill())
    await until(lambda: not node.statuses.stats().leading, "nobody leads without a broker")
    plant.advance("w", "Succeeded")
    plant.create("deleted")
    await until(lambda: node.statuses.stats().unfinished == 1, "it follows all the same")
    plant.argo.delete(NAMESPACE, "deleted")
    await until(lambda: node.statuses.stats().unfinished == 0, "it follows all the same")
    await node.end("link")
    await plant.broker.start()
    await plant.monitor.wait_up(2)  # else it would miss what is published before
    node.connect(plant.broker.url)
    await plant.hears(("w", "Succeeded"), ("deleted", "Error"))


async def test_a_gateway_asks_and_is_told_again(plant: Plant) -> None:
    await plant.node("a", leads=True)
    await plant.node("b", leads=False)
    plant.create("mine")
    plant.create("other", agent="gw-2")
    plant.advance("mine", "Succeeded")
    await plant.hears(("mine", "Succeeded"), ("other", "Pending"))
    await until(lambda: len(plant.told("argo/workflows/status/gw-1")) == 2, "the gateway's own topic")
    asked = {"agent": "gw-1", "correlation_ids": ["c-mine", "c-other", "c-unknown"], "reply_to": "x"}
    await plant.monitor.publish(topics.STATUS_QUERY, msgspec.json.encode(asked))
    await until(lambda: len(plant.told("argo/workflows/status/gw-1")) == 3, "told again, by one of the two")
    await plant.monitor.publish(topics.STATUS_QUERY, msgspec.json.encode({**asked, "correlation_ids": ["c-other"]}))
    leader = plant.nodes[0]
    await until(lambda: leader.statuses.stats().queries_answered == 2, "both are answered")
    assert plant.told("argo/workflows/status/gw-1")[-1] == ("mine", "Succeeded")
    assert plant.told("argo/workflows/status/gw-2") == [("other", "Pending")]
