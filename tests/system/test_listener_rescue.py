"""The listener where the agent's disk is really mounted read-only; it needs the right to mount one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.cards import mounted, remount
from tests.fakes.engine import Engine
from tests.fakes.mosquitto import Mosquitto, free_port
from tests.fakes.mqtt_bytes import MQTT_5, MQTT_311, connect, publish, subscribe
from tests.fakes.programs import Agent
from tests.fakes.raw_device import RawDevice
from tests.fakes.tcp_proxy import TcpProxy

RULE = """
[[rule]]
name = "all"
namespace = "plant"
template = "inspect"
"""
ALL = '[[mqtt.allow]]\npublish = ["#"]\nsubscribe = ["#"]\n'
EVENTS = 50
CONNACK, PUBLISH, PUBACK = 0x20, 0x30, 0x40
UNAVAILABLE = {MQTT_311: 3, MQTT_5: 0x88}


async def refused(port: int, version: int) -> int:
    """The code with which a device is not let in."""
    device = RawDevice(port)
    await device.open()
    await device.send(connect(version))
    answer = await device.packet()
    assert answer.first == CONNACK
    device.close()
    return answer.body[1]


@pytest.mark.soak
async def test_on_a_card_that_is_really_read_only_nobody_is_let_in_and_all_is_there_when_it_can_be_written_again(
    broker: Mosquitto, tmp_path: Path
) -> None:
    port, socket = free_port(), tmp_path / "agent.sock"
    with mounted(tmp_path / "agent" / "state") as card:
        async with TcpProxy(broker.port) as uplink, Engine(broker.url) as engine:
            tables = {"http": f'socket = "{socket}"', "mqtt": f'listen = "127.0.0.1:{port}"\n{ALL}'}
            agent = Agent(card.parent, uplink.url, rules=RULE, tables=tables)
            agent.socket = socket
            async with agent:
                await agent.logged("link_up")
                await uplink.cut()
                async with RawDevice(port, "plug", flags=0x00) as plug:
                    await plug.send(subscribe(MQTT_311, 1, ("cmnd/plug", 1)))
                    await plug.packet()
                    for number in range(1, EVENTS + 1):
                        await plug.send(publish(MQTT_311, qos=1, packet_id=number))
                        assert (await plug.packet()).first == PUBACK
                    await plug.send(publish(MQTT_311, "tele/plug/LWT", b"Online", qos=1, packet_id=99, retain=True))
                    assert (await plug.packet()).first == PUBACK
                await agent.kill()
            remount(card, "ro")
            agent.spawn()
            await agent.logged("agent_rescue")
            await agent.logged("agent_started", 2)
            assert {version: await refused(port, version) for version in UNAVAILABLE} == UNAVAILABLE
            await uplink.heal()
            await engine.received(EVENTS)
            stats = await agent.account(pending=0, settled=EVENTS)
            assert (stats["mqtt"]["connects"], stats["mqtt"]["connects_refused"]) == (0, 2)
            assert await agent.stop() == 0

            remount(card, "rw")
            async with agent:
                async with RawDevice(port, "plug", flags=0x00) as plug:
                    await plug.send(publish(MQTT_311, "cmnd/plug", b"on", qos=0))
                    assert (await plug.packet()).body.endswith(b"cmnd/plugon"), "its subscription is there"
                    await plug.send(subscribe(MQTT_311, 2, ("tele/plug/LWT", 0)))
                    await plug.packet()
                    assert (await plug.packet()).body.endswith(b"Online"), "what was retained is there"
                    await plug.send(publish(MQTT_311, qos=1, packet_id=1))
                    assert (await plug.packet()).body == b"\x00\x01"
                await agent.account(pending=0)
