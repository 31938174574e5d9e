"""Devices by WebSocket at the listener of a running agent: real clients, TLS, and kill -9 in mid-stream."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import aiomqtt
import pytest

from tests.fakes.browser import chromium
from tests.fakes.certificates import Certificates
from tests.fakes.mosquitto import free_port
from tests.fakes.mqtt_bytes import MQTT_311, connect, publish
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
VERSIONS = {"3.1": aiomqtt.ProtocolVersion.V31, "3.1.1": aiomqtt.ProtocolVersion.V311, "5": aiomqtt.ProtocolVersion.V5}
EVERYTHING = '[[mqtt.allow]]\npublish = ["#"]\nsubscribe = ["#"]\n'
KILLS = 3
EVENTS = 3000
AT_ONCE = 200


def agent_on(directory: Path, listen: str, more: str = "") -> Agent:
    """An agent that listens, and whose uplink leads nowhere."""
    return Agent(directory, NOWHERE, rules=RULE, tables={"mqtt": f'listen = "{listen}"\n{more}{EVERYTHING}'})


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_client_by_websocket_publishes_events_and_hears_others(tmp_path: Path, version: str) -> None:
    async with agent_on(tmp_path / "agent", f"ws://127.0.0.1:{(port := free_port())}") as agent:
        assert (await agent.get("/v1/stats"))["mqtt"]["addresses"] == [f"ws://127.0.0.1:{port}"]
        async with (
            asyncio.timeout(DEADLINE_S),
            aiomqtt.Client(
                "127.0.0.1",
                port,
                timeout=DEADLINE_S,
                identifier="browser-1",
                protocol=VERSIONS[version],
                transport="websockets",
                websocket_path="/mqtt",
            ) as client,
        ):
            await client.subscribe("events/#", qos=2)
            for qos in (0, 1, 2):
                await client.publish("events/boiler-1", b'{"n": %d}' % qos + b" " * 70_000, qos=qos)
            messages = aiter(client.messages)
            came = [await anext(messages) for _ in range(3)]
        assert [message.qos for message in came] == [0, 1, 2]
        assert [message.payload for message in came] == [b'{"n": %d}' % qos + b" " * 70_000 for qos in (0, 1, 2)]
        stats = await agent.account(received=3, stored=3)
        assert stats["mqtt"]["broken"] == 0


async def test_tls_with_a_client_certificate_names_the_user(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    certificates.issue("plug", common_name="plug-7")
    keys = "".join(
        f'{key} = "{tmp_path / file}"\n'
        for key, file in (("ca_file", "ca.pem"), ("cert_file", "server.pem"), ("key_file", "server.key"))
    )
    tls = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    tls.load_cert_chain(tmp_path / "plug.pem", tmp_path / "plug.key")
    allow = '[[mqtt.allow]]\nusers = ["plug-7"]\npublish = ["state/{user}"]\n[[mqtt.allow]]\nusers = ["nobody"]\n'
    port = free_port()
    tables = {"mqtt": f'listen = "wss://127.0.0.1:{port}"\n{keys}{allow}publish = ["x"]'}
    async with Agent(tmp_path / "agent", NOWHERE, rules=RULE, tables=tables) as agent:
        async with (
            asyncio.timeout(DEADLINE_S),
            aiomqtt.Client(
                "127.0.0.1",
                port,
                timeout=DEADLINE_S,
                transport="websockets",
                websocket_path="/",
                tls_context=tls,
            ) as client,
        ):
            await client.publish("state/plug-7", b"on", qos=1, retain=True)
            await client.publish("state/other", b"on", qos=1)
        stats = await agent.stats(lambda stats: stats["mqtt"]["denied"] == 1, "one that is denied")
        assert stats["mqtt"]["retained"] == 1
        assert stats["mqtt"]["addresses"] == [f"wss://127.0.0.1:{port}"]


# Opens a WebSocket, publishes an event by it, and says what came.
SPEAK = """([address, connect, publish]) => new Promise(done => {
    const socket = new WebSocket(address, "mqtt"), heard = [];
    socket.binaryType = "arraybuffer";
    socket.onopen = () => { socket.send(new Uint8Array(connect)); socket.send(new Uint8Array(publish)); };
    socket.onmessage = ({data}) => {
        heard.push(...new Uint8Array(data));
        if (heard.length >= 8) socket.close(1000);
    };
    socket.onclose = ({code, wasClean}) => done([heard, code, wasClean]);
})"""


async def test_a_page_in_a_browser_may_connect_to_its_own_origin_and_no_page_elsewhere(tmp_path: Path) -> None:
    port = free_port()
    said = [
        f"ws://127.0.0.1:{port}/mqtt",
        list(connect(MQTT_311, "page")),
        list(publish(MQTT_311, "events/page", b"{}", qos=1, packet_id=1)),
    ]
    async with agent_on(tmp_path / "agent", f"ws://127.0.0.1:{port}") as agent, chromium() as browser:
        page = await browser.new_page()
        await page.goto(f"http://localhost:{port}/")  # says that this is no place for pages, and is of another origin
        assert await page.evaluate(SPEAK, said) == [[], 1006, False]
        await agent.logged("mqtt_refused_device")
        stats = await agent.get("/v1/stats")
        assert (stats["mqtt"]["connects"], stats["mqtt"]["received"]) == (0, 0)
        await page.goto(f"http://127.0.0.1:{port}/")
        assert await page.evaluate(SPEAK, said) == [[0x20, 2, 0, 0, 0x40, 2, 0, 1], 1000, True]
        await agent.account(stored=1)


async def feed(device: PahoDevice, qos: int) -> None:
    """Publish all events, each with its number, not too many at a time."""
    for number in range(EVENTS):
        await device.until(lambda it: number - len(it.acknowledged) < AT_ONCE, "acknowledgements")  # noqa: B023  at once
        device.publish("events/boiler-1", b'{"n": %d}' % number, qos, number=number)


@pytest.mark.parametrize(("version", "qos"), [("3.1.1", 1), ("3.1.1", 2), ("5", 1), ("5", 2)])
async def test_kill_9_loses_nothing_that_was_acknowledged_by_websocket_and_doubles_nothing(
    tmp_path: Path, version: str, qos: int
) -> None:
    agent = agent_on(tmp_path / "agent", f"ws://127.0.0.1:{(port := free_port())}")
    await agent.start()
    async with PahoDevice(port, "boiler-1", version=version, transport="websockets") as device:
        feeding = asyncio.create_task(feed(device, qos))
        for part in range(KILLS):
            wanted = part * EVENTS // KILLS + 300
            await device.until(lambda it: len(it.acknowledged) >= wanted, "acknowledgements")  # noqa: B023  at once
            await agent.kill()
            assert not feeding.done(), "nothing was under way"
            await agent.start()
        await feeding
        await device.until(lambda it: len(it.acknowledged) == EVENTS, "all acknowledgements")
    stats = await agent.account(pending=EVENTS)
    assert stats["account"]["events"]["stored"] == EVENTS
    await agent.stop()
