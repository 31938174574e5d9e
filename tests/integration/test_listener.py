"""The listener inside an agent, against real clients: mosquitto_pub and mosquitto_sub, paho, aiomqtt."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiomqtt
import pytest

from tests.fakes.mosquitto import free_port
from tests.fakes.paho_device import PahoDevice
from tests.fakes.programs import Agent
from tests.waiting import DEADLINE_S

NOWHERE = "mqtt://127.0.0.1:1"
RULE = """
[[rule]]
name = "all"
namespace = "plant"
template = "inspect"
"""
EVERYTHING = """
[[mqtt.allow]]
publish = ["#"]
subscribe = ["#"]
"""
VERSIONS = {"mqttv31": "3.1", "mqttv311": "3.1.1", "mqttv5": "5"}


class ListeningAgent(Agent):
    """An agent with a listener on `port`, to which everybody may say everything."""

    def __init__(self, directory: Path, more: str = "", **options: str) -> None:
        self.port = free_port()
        tables = {"mqtt": f'listen = "127.0.0.1:{self.port}"\n{more}{EVERYTHING}', **options}
        super().__init__(directory, NOWHERE, rules=RULE, tables=tables)


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[ListeningAgent]:
    """One that runs."""
    async with ListeningAgent(tmp_path / "agent") as running:
        yield running


async def program(*words: str) -> tuple[int, str, str]:
    """Run a command to its end: exit code, stdout, stderr."""
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(DEADLINE_S):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def mosquitto_pub(agent: ListeningAgent, *words: str) -> None:
    """Publish; it must work."""
    code, _, err = await program("mosquitto_pub", "-p", str(agent.port), *words)
    assert (code, err) == (0, "")


async def mosquitto_sub(agent: ListeningAgent, *words: str) -> list[str]:
    """Subscribe; the lines that it prints."""
    code, out, err = await program("mosquitto_sub", "-p", str(agent.port), "-W", f"{DEADLINE_S:.0f}", *words)
    assert code == 0, err
    return out.splitlines()


async def subscriptions(agent: ListeningAgent, count: int) -> None:
    """Wait until there are so many."""
    await agent.stats(lambda stats: stats["mqtt"]["subscriptions"] == count, f"{count} subscriptions")


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_mosquitto_pub_publishes_is_an_event_at_every_qos(agent: ListeningAgent, version: str) -> None:
    for qos in ("0", "1", "2"):
        await mosquitto_pub(agent, "-V", version, "-q", qos, "-t", f"events/boiler-{qos}", "-m", '{"temp": 97}')
    stats = await agent.account(received=3, stored=3, pending=3)
    assert stats["mqtt"]["events"] == 3
    await agent.stats(lambda stats: stats["mqtt"]["connections"] == 0, "the end of each connection")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("qos", ["0", "1", "2"])
async def test_devices_reach_each_other_by_wildcards(agent: ListeningAgent, version: str, qos: str) -> None:
    listening = asyncio.create_task(
        mosquitto_sub(agent, "-V", version, "-q", qos, "-t", "cmnd/+/power", "-C", "3", "-F", "%t %p %q")
    )
    await subscriptions(agent, 1)
    for level in ("0", "1", "2"):
        await mosquitto_pub(agent, "-V", version, "-q", level, "-t", f"cmnd/plug-{level}/power", "-m", "on")
    await mosquitto_pub(agent, "-t", "cmnd/plug/other", "-m", "no")
    assert await listening == [f"cmnd/plug-{level}/power on {min(int(qos), level)}" for level in range(3)]


async def test_an_event_is_passed_on_to_who_subscribes(agent: ListeningAgent) -> None:
    listening = asyncio.create_task(mosquitto_sub(agent, "-q", "1", "-t", "events/#", "-C", "2", "-F", "%t %p"))
    await subscriptions(agent, 1)
    await mosquitto_pub(agent, "-q", "1", "-t", "events/a", "-m", '{"n": 1}')
    await mosquitto_pub(agent, "-q", "0", "-t", "events/b", "-m", "no JSON")
    assert await listening == ['events/a {"n": 1}', "events/b no JSON"]
    await agent.account(stored=2)


async def test_retained_messages_survive_kill_9_when_they_were_acknowledged(tmp_path: Path) -> None:
    agent = ListeningAgent(tmp_path / "agent")
    await agent.start()
    await mosquitto_pub(agent, "-q", "1", "-r", "-t", "tele/plug/LWT", "-m", "Online")
    await mosquitto_pub(agent, "-q", "2", "-r", "-t", "homeassistant/a/config", "-m", "{}")
    await agent.kill()
    async with agent:
        lines = await mosquitto_sub(agent, "-t", "#", "-C", "2", "-F", "%t %p %r")
    assert sorted(lines) == ["homeassistant/a/config {} 1", "tele/plug/LWT Online 1"]


async def test_a_will_is_published_when_a_device_is_cut_off_and_not_when_it_says_goodbye(
    agent: ListeningAgent,
) -> None:
    async with PahoDevice(agent.port, "watcher") as watcher:
        watcher.subscribe("tele/+/LWT")
        await subscriptions(agent, 1)
        async with PahoDevice(agent.port, "polite", will=("tele/polite/LWT", b"Offline")):
            pass
        rude = await asyncio.create_subprocess_exec(
            *("mosquitto_sub", "-p", str(agent.port), "-t", "x", "--will-topic", "tele/rude/LWT"),
            *("--will-payload", "Offline", "--will-qos", "1"),
        )
        await subscriptions(agent, 2)
        rude.kill()
        await rude.wait()
        await watcher.until(lambda it: it.messages, "a will")
        assert watcher.messages == [("tele/rude/LWT", b"Offline", 1, False)]


async def test_a_will_on_a_topic_of_events_is_an_event(agent: ListeningAgent) -> None:
    rude = await asyncio.create_subprocess_exec(
        *("mosquitto_sub", "-p", str(agent.port), "-t", "x", "--will-topic", "events/rude", "--will-payload", "{}")
    )
    await subscriptions(agent, 1)
    rude.kill()
    await rude.wait()
    await agent.account(stored=1)


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_what_waits_for_a_device_that_is_away_comes_when_it_is_back(agent: ListeningAgent, version: str) -> None:
    async with PahoDevice(agent.port, "plug", version=version) as device:
        device.subscribe("cmnd/plug/#", 2)
        await subscriptions(agent, 1)
    for number in range(5):
        await mosquitto_pub(agent, "-q", "2", "-t", "cmnd/plug/power", "-m", str(number))
    async with PahoDevice(agent.port, "plug", version=version) as device:
        await device.until(lambda it: len(it.messages) == 5, "what waited")
        assert device.present == [True]
        assert [payload for _, payload, _, _ in device.messages] == [b"0", b"1", b"2", b"3", b"4"]


async def test_what_waits_is_there_after_an_orderly_end_of_the_agent(tmp_path: Path) -> None:
    agent = ListeningAgent(tmp_path / "agent")
    async with agent:
        async with PahoDevice(agent.port, "plug") as device:
            device.subscribe("cmnd/plug/#", 1)
            await subscriptions(agent, 1)
        await mosquitto_pub(agent, "-q", "1", "-t", "cmnd/plug/power", "-m", "on")
    async with agent, PahoDevice(agent.port, "plug") as device:
        await device.until(lambda it: it.messages, "what waited")
        assert device.messages == [("cmnd/plug/power", b"on", 1, False)]


async def test_the_second_connection_with_a_client_id_takes_over(agent: ListeningAgent) -> None:
    async with aiomqtt.Client("127.0.0.1", agent.port, timeout=DEADLINE_S, identifier="same") as first:
        await first.subscribe("cmnd/#", qos=1)
        async with aiomqtt.Client("127.0.0.1", agent.port, timeout=DEADLINE_S, identifier="same") as second:
            with pytest.raises(aiomqtt.MqttError):
                async for _ in first.messages:
                    pass
            await second.subscribe("cmnd/#", qos=1)
            await second.publish("cmnd/x", "1", qos=1)
            message = await anext(aiter(second.messages))
            assert message.payload == b"1"
        with pytest.raises(aiomqtt.MqttError):
            await first.publish("x", "1", qos=1)


async def test_a_message_that_nobody_wants_is_answered_so_in_mqtt_5(agent: ListeningAgent) -> None:
    code, out, _ = await program(
        *("mosquitto_pub", "-p", str(agent.port), "-V", "mqttv5", "-q", "1", "-t", "nobody/here", "-m", "x", "-d")
    )
    assert code == 0
    assert "RC:16" in out.replace(" ", ""), out


async def test_a_thousand_retained_messages_come_to_who_subscribes_late(agent: ListeningAgent) -> None:
    async with aiomqtt.Client("127.0.0.1", agent.port, timeout=DEADLINE_S) as client:
        for number in range(1000):
            await client.publish(f"state/{number}", str(number), qos=0, retain=True)
        await client.publish("state/last", "x", qos=1, retain=True)
    lines = await mosquitto_sub(agent, "-q", "1", "-t", "state/#", "-C", "1001", "-F", "%t")
    assert len(set(lines)) == 1001


async def test_a_payload_that_can_be_no_event_is_acknowledged_counted_and_told(tmp_path: Path) -> None:
    agent = ListeningAgent(tmp_path / "agent", more='[[mqtt.subscribe]]\ntopic = "plc/+"\nid = "body.seq"\n')
    async with agent:
        await mosquitto_pub(agent, "-q", "1", "-t", "plc/1", "-m", "{}")
        await mosquitto_pub(agent, "-q", "2", "-t", "plc/1", "-m", '{"seq": 1}')
        stats = await agent.account(refused=1, stored=1)
        assert stats["mqtt"]["refused"] == 1
        await agent.logged("mqtt_refused")


async def test_an_orderly_end_says_goodbye_and_loses_nothing(tmp_path: Path) -> None:
    agent = ListeningAgent(tmp_path / "agent")
    await agent.start()
    async with PahoDevice(agent.port, "boiler-1", version="5") as device:
        for number in range(200):
            device.publish("events/boiler-1", json.dumps({"n": number}).encode(), 1 + number % 2, number=number)
        await device.until(lambda it: it.acknowledged, "the first acknowledgement")
        assert await agent.stop() == 0
        await agent.start()
        await device.until(lambda it: len(it.acknowledged) == 200, "all acknowledgements")
        stats = await agent.account(pending=200)
        assert stats["account"]["events"]["stored"] == 200
    await agent.stop()
