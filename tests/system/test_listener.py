"""The whole agent with its own MQTT listener: nothing that was acknowledged is lost, and nothing is doubled."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.fakes.mosquitto import Mosquitto, MqttClient, free_port
from tests.fakes.paho_device import PahoDevice
from tests.fakes.programs import Agent, Dispatcher

RULE = """
[[rule]]
name = "all"
namespace = "plant"
template = "inspect"
"""
NOWHERE = "mqtt://127.0.0.1:1"
KILLS = 3
EVENTS = 6000
AT_ONCE = 200  # paho sends all that it has when it comes back, whatever the receive maximum


def agent_on(directory: Path, port: int, **tables: str) -> Agent:
    """An agent that listens, and whose uplink leads nowhere."""
    return Agent(directory, NOWHERE, rules=RULE, tables={"mqtt": f'listen = "127.0.0.1:{port}"', **tables})


async def feed(device: PahoDevice, topic: str, qos: int) -> None:
    """Publish all events, each with its number, not too many at a time."""
    for number in range(EVENTS):
        await device.until(lambda it: number - len(it.acknowledged) < AT_ONCE, "acknowledgements")  # noqa: B023  at once
        device.publish(topic, b'{"n": %d}' % number, qos, number=number)


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_kill_9_in_mid_stream_loses_nothing_that_was_acknowledged_and_doubles_nothing(
    tmp_path: Path, qos: int, version: str
) -> None:
    agent = agent_on(tmp_path / "agent", port := free_port())
    await agent.start()
    async with PahoDevice(port, "boiler-1", version=version) as device:
        feeding = asyncio.create_task(feed(device, "events/boiler-1", qos))
        for part in range(KILLS):
            wanted = part * EVENTS // KILLS + 300
            await device.until(lambda it: len(it.acknowledged) >= wanted, "acknowledgements")  # noqa: B023  at once
            await agent.kill()
            assert not feeding.done(), "nothing was under way"
            await agent.start()
        await feeding
        await device.until(lambda it: len(it.acknowledged) == EVENTS, "all acknowledgements")
        assert device.present[1:] == [True] * KILLS
    stats = await agent.account(pending=EVENTS)
    assert stats["account"]["events"]["stored"] == EVENTS
    await agent.stop()


async def test_reports_go_to_the_devices_at_the_listener_and_to_those_at_the_local_broker(
    broker: Mosquitto, tmp_path: Path
) -> None:
    port = free_port()
    topic = "edgeagent/status/boiler-1"
    async with (
        MqttClient(broker.url, "local-device", topic) as local,
        Dispatcher(tmp_path / "dispatcher", broker.url, '[[allow]]\nnamespaces = ["plant"]\ntemplates = ["*"]\n'),
        Agent(
            tmp_path / "agent",
            broker.url,
            local=broker.url,
            rules=RULE,
            tables={"mqtt": f'listen = "127.0.0.1:{port}"', "uplink": "accept_dry_run = true"},
        ) as agent,
    ):
        async with PahoDevice(port, "boiler-1") as device:
            device.subscribe(topic)
            device.publish("events/boiler-1", b'{"n": 1}', 1)
            await device.until(lambda it: "succeeded" in states(it), "reports")
            assert states(device)[-1] == "succeeded"
        await local.until(lambda: any(b"succeeded" in each.payload for each in local.messages), "the local report")
        await agent.kill()
        await agent.start()
        async with PahoDevice(port, "another") as late:  # the kill may have come before the mark: then it comes again
            late.subscribe(topic)
            await late.until(lambda it: "succeeded" in states(it), "the report")
        async with PahoDevice(port, "sleeper") as sleeper:
            sleeper.subscribe(topic)
            await sleeper.until(lambda it: bool(it.messages), "the retained report")
            assert states(sleeper)[0] == "succeeded"
            assert sleeper.messages[0][3]


def states(device: PahoDevice) -> list[str]:
    """Of the reports that came."""
    return [json.loads(payload)["state"] for _, payload, _, _ in device.messages]


async def test_a_full_outbox_holds_what_devices_publish_and_reads_no_more_of_them(tmp_path: Path) -> None:
    small = 'max_bytes = "256KiB"\nsegment_bytes = "64KiB"\nmax_event_bytes = "16KiB"'
    port = free_port()
    agent = Agent(
        tmp_path / "agent",
        NOWHERE,
        rules=RULE,
        tables={
            "mqtt": f'listen = "127.0.0.1:{port}"\n[[mqtt.allow]]\npublish = ["#"]\nsubscribe = ["#"]',
            "outbox": small,
        },
    )
    filler = "x" * 8000
    await agent.start()
    async with PahoDevice(port, "boiler-1") as device, PahoDevice(port, "plug") as plug:
        plug.subscribe("cmnd/plug")
        for number in range(100):
            device.publish(
                "events/boiler-1", json.dumps({"n": number, "filler": filler}).encode(), number % 2, number=number
            )
        stats = await agent.stats(lambda stats: stats["mqtt"]["held"], "messages that are held")
        assert stats["mqtt"]["waiting"] <= 100
        plug.publish("cmnd/plug", b"on", 1)  # who sends no events notices nothing
        await plug.until(lambda it: it.messages, "a command")
        assert stats["mqtt"]["refused"] == 0
        for part in range(20):  # each makes room for some more
            stats = await agent.get("/v1/stats")
            if (seen := stats["account"]["events"]["stored"]) == 100:
                break
            code, _, err = await agent.command("outbox", "export", str(tmp_path / f"moved-{part}.jsonl"))
            assert code == 0, err
            await agent.stats(lambda now: now["account"]["events"]["stored"] > seen, "room")
        await agent.account(stored=100)
        await agent.logged("mqtt_held")
        await agent.logged("mqtt_taken")
    await agent.stop()
