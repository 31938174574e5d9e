"""QoS 2 at the listener of a whole agent that is killed: DUP or not, every message is one event."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.fakes.exact_device import PUBCOMP, PUBREC, PUBREL, ExactDevice, session_device
from tests.fakes.mosquitto import free_port
from tests.fakes.mqtt_bytes import MQTT_5, MQTT_311, answer, publish
from tests.fakes.programs import Agent
from tests.fakes.raw_device import RawDevice
from tests.waiting import until

RULE = """
[[rule]]
name = "all"
namespace = "plant"
template = "inspect"
"""
NOWHERE = "mqtt://127.0.0.1:1"
EVENTS = 1000
KILLS = 4
VERSIONS = [MQTT_311, MQTT_5]


class Killed:
    """An agent that listens, and a device that connects to it after each kill."""

    def __init__(self, directory: Path, version: int) -> None:
        self.port = free_port()
        self.version = version
        self.agent = Agent(
            directory / "agent", NOWHERE, rules=RULE, tables={"mqtt": f'listen = "127.0.0.1:{self.port}"'}
        )
        self.device: RawDevice | None = None

    async def restart(self) -> None:
        """Kill it, start it, and connect again."""
        if self.device is not None:
            self.device.close()
            await self.agent.kill()
        await self.agent.start()
        self.device = session_device(self.port, "raw-1", self.version)
        await self.device.__aenter__()

    async def say(self, packet: bytes, *answers: int) -> None:
        """The device sends this, and hears these for packet id 1."""
        assert self.device is not None
        await self.device.send(packet)
        for first in answers:
            came = await self.device.packet()
            assert (came.first, came.body[:2]) == (first, b"\x00\x01")

    def message(self, *, duplicate: bool = False) -> bytes:
        """Always the same bytes."""
        return publish(self.version, "events/boiler-1", b"{}", qos=2, packet_id=1, duplicate=duplicate)

    async def end(self, stored: int) -> None:
        """It has so many events, also after it was started again."""
        assert self.device is not None
        await self.agent.account(pending=stored)
        self.device.close()
        await self.agent.stop()
        await self.agent.start()
        await self.agent.account(pending=stored)
        await self.agent.stop()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("duplicate", [False, True], ids=["without DUP", "with DUP"])
async def test_killed_between_every_two_steps_each_message_is_one_event(
    tmp_path: Path, version: int, duplicate: bool
) -> None:
    it = Killed(tmp_path, version)
    again = it.message(duplicate=duplicate)
    await it.restart()
    await it.say(it.message())  # and killed before or after it is stored
    await it.restart()
    await it.say(again, PUBREC)
    await it.restart()
    await it.say(again, PUBREC)  # that answer did not arrive
    await it.restart()
    await it.say(answer(PUBREL, 1))  # and killed before or after that is stored
    await it.restart()
    await it.say(answer(PUBREL, 1), PUBCOMP)
    await it.restart()
    await it.say(answer(PUBREL, 1), PUBCOMP)  # that answer did not arrive
    await it.restart()
    await it.say(it.message(), PUBREC)  # the next one with this packet id, of the same bytes
    await it.restart()
    await it.say(again, PUBREC)
    await it.say(answer(PUBREL, 1), PUBCOMP)
    await it.restart()
    await it.say(again, PUBREC)  # a third one, which a kill had kept from arriving
    await it.say(answer(PUBREL, 1), PUBCOMP)
    await it.end(3)


@pytest.mark.parametrize("version", VERSIONS)
async def test_killed_in_mid_stream_messages_of_equal_bytes_under_few_packet_ids_are_neither_lost_nor_doubled(
    tmp_path: Path, version: int
) -> None:
    port = free_port()
    agent = Agent(tmp_path / "agent", NOWHERE, rules=RULE, tables={"mqtt": f'listen = "127.0.0.1:{port}"'})
    await agent.start()
    device = ExactDevice(port, version)
    publishing = asyncio.create_task(device.publish(EVENTS))
    for part in range(KILLS):
        wanted = part * EVENTS // KILLS + 50
        await until(lambda: publishing.done() or device.completed >= wanted, "completed messages")  # noqa: B023  at once
        assert not publishing.done(), "nothing was under way"
        await agent.kill()
        await agent.start()
    await publishing
    assert device.completed == EVENTS
    assert device.connections == KILLS + 1
    await agent.account(pending=EVENTS)
    await agent.stop()
