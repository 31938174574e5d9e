"""The whole agent with its own MQTT listener: nothing that was acknowledged is lost, and nothing is doubled."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from tests.fakes.mosquitto import free_port
from tests.fakes.paho_device import PahoDevice
from tests.fakes.programs import Agent

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
    random = Random(qos)
    agent = agent_on(tmp_path / "agent", port := free_port())
    await agent.start()
    async with PahoDevice(port, "boiler-1", version=version) as device:
        feeding = asyncio.create_task(feed(device, "events/boiler-1", qos))
        for part in range(KILLS):
            wanted = part * EVENTS // KILLS + random.randrange(100, 1000)
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
