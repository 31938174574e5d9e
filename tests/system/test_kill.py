"""kill -9 at any moment: what was acknowledged is there, and starts what was promised."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from edgeagent.cli.client import AgentRefused
from edgeagent.errors import AgentUnreachable
from edgeagent.ports.link import Message
from tests.fakes.engine import Engine
from tests.fakes.mosquitto import Mosquitto, MqttClient
from tests.fakes.programs import Agent
from tests.fakes.tcp_proxy import TcpProxy

HOT = {"temp": 97.1}
IDLE_POLLS = 180  # of half a second: so long nothing comes when nothing is left to come
# Two rules, one of each priority, so that an event is two triggers in one record, and some are in the other log.
RULES = """
[[rule]]
name = "overheat"
source = "boiler-*"
namespace = "plant"
template = "inspect"
arguments = { n = "body.n", device = "source" }
[[rule]]
name = "log"
source = "boiler-1"
namespace = "plant"
template = "log"
[[rule]]
name = "alarm"
source = "boiler-9"
namespace = "plant"
template = "alarm"
priority = "high"
"""
TABLES = {
    "uplink": 'response_timeout = "2s"',
    "outbox": 'segment_bytes = "64KiB"\nmax_event_bytes = "16KiB"',  # so that kills fall into rolls and removals too
}


@pytest.fixture
async def patient_broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    """A broker that keeps every message for an agent that is away: Mosquitto's default drops all but a thousand."""
    directory = tmp_path / "mosquitto"
    directory.mkdir()
    async with Mosquitto(directory, config=["max_queued_messages 0"]) as mosquitto:
        yield mosquitto


class Devices:
    """Devices that send by every way, and note what was promised to them."""

    def __init__(self, agent: Agent, mqtt: MqttClient) -> None:
        self.promised: set[str] = set()  # workflows' names
        self.puback: set[int] = set()  # numbers of messages that the local broker took
        self._agent = agent
        self._mqtt = mqtt
        self._next_number = 0

    async def send_while_it_lives(self) -> None:
        """Send by HTTP until the agent is gone."""
        await asyncio.gather(*(self._repeat(send) for send in (self._with_id, self._without_id, self._batch)))

    async def publish(self) -> None:
        """Send by MQTT until cancelled; the local broker lives all the time."""
        while True:
            number = self._number()
            await self._mqtt.publish("sensors/boiler-mqtt/data", json.dumps({"n": number}).encode())
            self.puback.add(number)
            await asyncio.sleep(0.005)  # a device's pace

    async def _repeat(self, send: Callable[[], Awaitable[None]]) -> None:
        with suppress(AgentUnreachable, AgentRefused):
            while True:
                await send()

    async def _with_id(self) -> None:
        await self._post([{"source": "boiler-1", "id": f"id-{self._number()}", "data": {**HOT, "n": 1}}])

    async def _without_id(self) -> None:
        await self._post([{"source": "boiler-9", "data": {"n": self._number()}}])

    async def _batch(self) -> None:
        await self._post(
            [{"source": f"boiler-{n}", "id": f"id-{self._number()}", "data": {"n": n}} for n in (1, 9, 2, 1, 3)]
        )

    async def _post(self, events: list[dict[str, object]]) -> None:
        lines = "\n".join(json.dumps(event) for event in events).encode()
        _, answer = await self._agent.request("POST", "/v1/events", lines, Content_Type="application/x-ndjson")
        for accepted in answer["accepted"]:
            for trigger in accepted["triggers"]:
                self.promised.add(f"{trigger['rule']}-{trigger['correlation_id']}")

    def _number(self) -> int:
        self._next_number += 1
        return self._next_number


async def flap(proxy: TcpProxy, random: Random, stop: asyncio.Event) -> None:
    """Cut and heal the uplink again and again. Stopped by an event: a cancelled `heal` may leave its port taken."""
    while not stop.is_set():
        await proxy.cut()
        await asyncio.sleep(random.uniform(0, 0.05))
        await proxy.heal()
        await asyncio.sleep(random.uniform(0, 0.1))


async def round_of_kill(agent: Agent, devices: Devices, proxy: TcpProxy, random: Random) -> None:
    """Start the agent, and kill it at some moment: while it starts, works or stops; with any kind of uplink."""
    moment = random.choice(["starting", "working", "working", "working", "stopping"])
    uplink = random.choice(["up", "down", "flapping"])
    print(f"{moment}, uplink {uplink}")  # noqa: T201  pytest shows it when the test fails
    await proxy.cut()
    if uplink == "up":
        await proxy.heal()
    stop = asyncio.Event()
    flapping = asyncio.create_task(flap(proxy, random, stop)) if uplink == "flapping" else None
    try:
        agent.spawn()
        if moment == "starting":
            await asyncio.sleep(random.uniform(0, 0.5))
            await agent.kill()
            return
        await agent.ready()
        await agent.account()  # it is balanced
        sending = asyncio.create_task(devices.send_while_it_lives())
        await asyncio.sleep(random.uniform(0, 0.3))
        if moment == "stopping":
            agent.send_signal(signal.SIGTERM)
            await asyncio.sleep(random.uniform(0, 0.1))
        await agent.kill()
        await sending
    finally:
        if flapping is not None:
            stop.set()
            await flapping


@pytest.mark.timeout(14400)
@pytest.mark.parametrize("rounds", [pytest.param(36), pytest.param(500, marks=[pytest.mark.soak])])
async def test_kill_9_at_any_moment_loses_nothing_acknowledged_and_doubles_no_name(
    patient_broker: Mosquitto, tmp_path: Path, rounds: int
) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # noqa: T201  pytest shows it when the test fails
    random = Random(seed)  # noqa: S311  chance for tests
    broker = patient_broker
    async with (
        TcpProxy(broker.port) as proxy,
        CountingEngine(broker.url, session_expiry_s=60) as engine,
        MqttClient(broker.url, "device") as device,
    ):
        agent = Agent(tmp_path / "agent", proxy.url, local=broker.url, rules=RULES, tables=TABLES)
        async with agent:
            await agent.logged("link_up", 2)  # from now on the local broker keeps what devices send
        devices = Devices(agent, device)
        publishing = asyncio.create_task(devices.publish())
        try:
            for _ in range(rounds):
                await round_of_kill(agent, devices, proxy, random)
        finally:
            publishing.cancel()
            await asyncio.wait([publishing])
        await proxy.cut()
        await proxy.heal()
        await agent.start()
        try:
            await engine_has(engine, agent, devices)
        except AssertionError:
            await agent.kill()
            raise
        stats = await agent.account(pending=0)
        account = stats["account"]["triggers"]
        assert account["accepted"] >= len(devices.promised) + len(devices.puback)
        assert (account["settled"], account["damaged"], account["dead"]) == (account["accepted"], 0, 0)
        assert len(engine.started) == account["accepted"], "each trigger has one name, and each name was started"
        assert "event=outbox_account_wrong" not in agent.log
        assert "event=outbox_damaged" not in agent.log
        assert await agent.stop() == 0
        print(f"{len(engine.started)} workflows, {len(engine.triggers)} triggers")  # noqa: T201  with -s


class CountingEngine(Engine):
    """Also keeps which correlation ids each message of the MQTT device has become."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self.by_number: dict[int, set[str]] = defaultdict(set)
        self._counted = 0

    def on_messages(self, messages: Sequence[Message]) -> None:
        """Count; see `LinkOwner`."""
        super().on_messages(messages)
        for trigger in self.triggers[self._counted :]:
            arguments = trigger["workflow"]["spec"].get("arguments", {}).get("parameters", ())
            values = {entry["name"]: entry["value"] for entry in arguments}
            if values.get("device") == "boiler-mqtt":
                self.by_number[int(values["n"])].add(trigger["correlation_id"])
        self._counted = len(self.triggers)


async def engine_has(engine: CountingEngine, agent: Agent, devices: Devices) -> None:
    """Wait until the engine was asked for everything that was promised, and see that nothing was doubled."""
    idle = 0
    while not devices.puback <= engine.by_number.keys() or await pending(agent):
        count = len(engine.triggers)
        await asyncio.sleep(0.5)
        idle = idle + 1 if len(engine.triggers) == count else 0
        missing = devices.puback - engine.by_number.keys()
        assert idle < IDLE_POLLS, f"{len(missing)} messages of {len(devices.puback)} never came: {sorted(missing)[:20]}"
    missing_names = devices.promised - set(engine.started)
    assert not missing_names, f"{len(missing_names)} of {len(devices.promised)} workflows were never asked for"
    doubled = {number: ids for number, ids in engine.by_number.items() if len(ids) > 1}
    assert not doubled, "a message that the local broker delivered again became another event"


async def pending(agent: Agent) -> int:
    """How many triggers wait in the outbox."""
    count: int = (await agent.get("/v1/stats"))["account"]["triggers"]["pending"]
    return count


async def test_a_bare_payload_redelivered_after_a_crash_starts_one_workflow(broker: Mosquitto, tmp_path: Path) -> None:
    async with (
        Engine(broker.url) as engine,
        TcpProxy(broker.port) as proxy,
        MqttClient(broker.url, "device") as device,
    ):
        agent = Agent(tmp_path / "agent", broker.url, local=proxy.url)
        await agent.start()
        await agent.logged("link_up", 2)
        proxy.swallow_upward = True  # the acknowledgement that the agent sends never arrives
        await device.publish("sensors/boiler-1/data", json.dumps(HOT).encode())
        await agent.account(stored=1, settled=1)
        await agent.kill()
        proxy.swallow_upward = False
        await agent.start()
        stats = await agent.account(received=2, stored=1, duplicate=1)
        assert stats["local"]["redelivered"] == 1
        # The same reading once more is a new event: the broker says that it is no redelivery.
        await device.publish("sensors/boiler-1/data", json.dumps(HOT).encode())
        await agent.account(received=3, stored=2, settled=2)
        assert len(engine.started) == 2  # names: what a crash forgot was settled may be sent again under its name
        assert await agent.stop() == 0


async def test_kill_9_loses_nothing_that_the_local_broker_was_told_is_safe(broker: Mosquitto, tmp_path: Path) -> None:
    async with Engine(broker.url) as engine, MqttClient(broker.url, "device") as device:
        agent = Agent(tmp_path / "agent", broker.url, local=broker.url)
        await agent.start()
        await agent.logged("link_up", 2)
        for number in range(120):
            await device.publish("sensors/boiler-1/data", json.dumps({**HOT, "n": number}).encode())
            if number in {30, 31, 75}:
                await agent.kill()
                agent.spawn()
        await agent.ready()
        await engine.received(120)
        await agent.account(pending=0)
        assert len(engine.started) == 120
        assert await agent.stop() == 0
