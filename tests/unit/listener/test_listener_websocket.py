"""Devices by WebSocket on real sockets: the same promises as by TCP, and what bad ones get."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.config.tables import Mqtt
from edgeagent.listener.checkup import device_listener_findings
from edgeagent.listener.connection import Limits
from tests.fakes.mosquitto import free_port
from tests.fakes.mqtt_bytes import DISCONNECT, MQTT_5, MQTT_311, connect, publish, subscribe, text
from tests.fakes.turned_clock import TurnedLoop
from tests.fakes.websocket_bytes import (
    BINARY,
    CLOSE,
    CONTINUED,
    PING,
    PONG,
    TEXT,
    announced,
    closing,
    frame,
    frames,
    upgrade,
)
from tests.unit.listener.test_listener_server import Device, Scene, event, scene
from tests.waiting import DEADLINE_S, until

CONNACK = b"\x20\x02\x00\x00"
HEAD = 8  # bytes before the payload of a frame of 126 to 65,535
PUBACK, PINGREQ, PINGRESP = b"\x40\x02\x00", b"\xc0\x00", b"\xd0\x00"


class WebDevice:
    """A raw client by WebSocket."""

    def __init__(self, device: Device) -> None:
        self.socket = device

    async def opens(self, request: bytes = b"") -> bytes:
        """Ask for the WebSocket; the head of the answer."""
        await self.socket.says(request or upgrade())
        async with asyncio.timeout(DEADLINE_S):
            return await self.socket.reader.readuntil(b"\r\n\r\n")

    async def says(self, *packets: bytes) -> None:
        """Send each packet in a frame of its own, all at once."""
        await self.socket.says(*(frame(BINARY, packet) for packet in packets))

    async def hears(self) -> tuple[int, bytes]:
        """The next frame, which must be short."""
        head = await self.socket.hears(2)
        [found] = frames(head + await self.socket.hears(head[1]))
        return found

    async def rest(self) -> list[tuple[int, bytes]]:
        """All frames until the listener closes the connection."""
        async with asyncio.timeout(DEADLINE_S):
            return list(frames(await self.socket.reader.read()))


class WebScene:
    """A listener for WebSocket, and devices on it."""

    def __init__(self, it: Scene, port: int) -> None:
        self.it, self.intake, self.listener = it, it.intake, it.listener
        it.port = port

    async def stranger(self) -> WebDevice:
        """A connection that says nothing yet."""
        return WebDevice(await self.it.stranger())

    async def device(
        self, client_id: str = "boiler-1", version: int = MQTT_311, *parts: bytes, **hello: Any
    ) -> WebDevice:
        """A device that was let in."""
        device = await self.stranger()
        assert b" 101 " in await device.opens()
        await device.says(connect(version, client_id, *parts, **hello))
        opcode, connack = await device.hears()
        assert (opcode, connack[0], connack[3]) == (BINARY, 0x20, 0), connack
        return device


@contextlib.asynccontextmanager
async def web(directory: Path, **keys: Any) -> AsyncIterator[WebScene]:
    """A listener that runs."""
    port = free_port()
    async with scene(directory, **{"listen": f"ws://127.0.0.1:{port}", **keys}) as it:
        yield WebScene(it, port)


def test_doctor_says_whether_the_address_is_free_or_taken() -> None:
    mqtt = Mqtt(listen=f"ws://127.0.0.1:{(port := free_port())}")
    [finding] = device_listener_findings(mqtt, is_running=False)
    assert (finding.subject, finding.found) == (f"mqtt.listen ws://127.0.0.1:{port}", "is free")
    with socket.create_server(("127.0.0.1", port)):
        [finding] = device_listener_findings(mqtt, is_running=False)
        assert "another program listens there" in finding.found


async def test_answers_of_one_commit_are_one_frame(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        assert it.listener.addresses == [f"ws://127.0.0.1:{it.it.port}"]
        device = await it.device()
        await device.says(event(1, b"1"), event(2, b"2"), event(3, b"3"))
        assert await device.hears() == (BINARY, b"".join(PUBACK + bytes((number,)) for number in (1, 2, 3)))
        assert it.intake.bodies == [b"1", b"2", b"3"]


async def test_a_dialogue_in_single_bytes_and_over_the_bounds_of_frames(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        device = await it.stranger()
        packets = connect(MQTT_311, "boiler-1") + event(1, b"x" * 300)
        pieces = [frame(BINARY, packets[:5], fin=False), frame(PING, b"?"), frame(CONTINUED, packets[5:200], fin=False)]
        pieces += [frame(CONTINUED, packets[200:] + PINGREQ)]
        for byte in upgrade() + b"".join(pieces):
            device.socket.writer.write(bytes((byte,)))
            await device.socket.writer.drain()
            await asyncio.sleep(0)
        async with asyncio.timeout(DEADLINE_S):
            assert b" 101 " in await device.socket.reader.readuntil(b"\r\n\r\n")
        heard = [await device.hears() for _ in range(4)]
        assert sorted(heard) == sorted(
            [(PONG, b"?"), (BINARY, CONNACK), (BINARY, PUBACK + b"\x01"), (BINARY, PINGRESP)]
        )
        assert it.intake.bodies == [b"x" * 300]


async def test_messages_of_the_broker_come_by_websocket_too(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        one, other = await it.device("one"), await it.device("other")
        await one.says(subscribe(MQTT_311, 1, ("cmnd/#", 1)))
        assert (await one.hears())[1][0] == 0x90
        await other.says(publish(MQTT_311, "cmnd/x", b"on", qos=0))
        assert await one.hears() == (BINARY, publish(MQTT_311, "cmnd/x", b"on", qos=0))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, b"403"),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, b"403"),
        ({"Sec_WebSocket_Protocol": "wamp"}, b"400"),
    ],
)
async def test_a_page_elsewhere_or_another_protocol_is_refused_and_the_connection_is_closed(
    tmp_path: Path, headers: dict[str, str], status: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with web(tmp_path) as it:
        device = await it.stranger()
        await device.socket.says(upgrade(**headers), frame(BINARY, connect(MQTT_311, "page")))
        async with asyncio.timeout(DEADLINE_S):
            answer = await device.socket.reader.read()
        assert answer.startswith(b"HTTP/1.1 " + status)
        stats = it.listener.stats()
        assert (stats["connects"], stats["connects_refused"]) == (0, 1)
        [refused] = [each for each in caplog.records if getattr(each, "event", "") == "mqtt_refused_device"]
        reason = answer.decode().rpartition(": ")[2].strip()
        assert reason in refused.getMessage()


async def test_plain_mqtt_is_not_spoken_where_websocket_is_and_the_other_way_round(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with web(tmp_path) as it:
        device = await it.stranger()
        await device.socket.says(connect(MQTT_311, "plain"))
        async with asyncio.timeout(DEADLINE_S):
            assert (await device.socket.reader.read()).startswith(b"HTTP/1.1 400 ")
    async with scene(tmp_path) as plain:
        stranger = await plain.stranger()
        await stranger.says(upgrade())
        await stranger.is_cut_off()
        assert "WebSocket is not spoken" in caplog.text


@pytest.mark.slow
async def test_the_time_for_connect_includes_the_opening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    time = TurnedLoop(monkeypatch)
    async with web(tmp_path) as it:
        it.listener._limits = Limits(connect_s=600)
        silent, half, unnamed = [await it.stranger() for _ in range(3)]
        await half.socket.says(upgrade()[:-2])
        assert b" 101 " in await unnamed.opens()
        time.turn(601)
        await silent.socket.is_cut_off()
        await half.socket.is_cut_off()
        assert await unnamed.rest() == [(CLOSE, closing(1000))]
        await until(lambda: it.listener.stats()["connections"] == 0)


async def test_a_stranger_by_websocket_counts_and_gives_way(tmp_path: Path) -> None:
    async with web(tmp_path, max_connections=1) as it:
        stranger = await it.stranger()
        assert b" 101 " in await stranger.opens()
        await it.device()
        await stranger.socket.is_cut_off()
        assert it.listener.stats()["crowded_out"] == 1


async def test_a_text_frame_ends_it_with_1003_and_the_will(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        watcher = await it.device("watcher")
        await watcher.says(subscribe(MQTT_311, 1, ("lwt", 0)))
        assert (await watcher.hears())[1][0] == 0x90
        device = await it.device("boiler-1", MQTT_5, b"\0" + text("lwt") + text("gone"), flags=0x06)
        await device.socket.says(frame(BINARY, PINGREQ), frame(TEXT, b"hello"), frame(BINARY, PINGREQ))
        (_, pong), (_, goodbye), (opcode, code) = await device.rest()
        assert (pong, goodbye[0], goodbye[2]) == (PINGRESP, 0xE0, 0x82)
        assert (opcode, code[:2]) == (CLOSE, closing(1003))
        assert await watcher.hears() == (BINARY, publish(MQTT_311, "lwt", b"gone", qos=0))


async def test_a_frame_without_a_mask_ends_it(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        device = await it.device()
        await device.socket.says(frame(BINARY, PINGREQ, masked=False))
        [(opcode, code)] = await device.rest()
        assert (opcode, code[:2]) == (CLOSE, closing(1002))


@pytest.mark.slow
async def test_a_packet_over_the_limit_is_refused_in_whatever_frame_it_is_announced(tmp_path: Path) -> None:
    async with web(tmp_path, max_packet=4096) as it:
        device = await it.device(version=MQTT_5)
        small = publish(MQTT_5, "events/a", b"x" * 3000, qos=1, packet_id=1)
        large = publish(MQTT_5, "events/a", b"x" * 5000, qos=1, packet_id=2)
        await device.socket.says(frame(BINARY, small + large))
        (_, goodbye), (opcode, code) = await device.rest()
        assert (goodbye[0], goodbye[2]) == (0xE0, 0x95)
        assert (opcode, code) == (CLOSE, closing(1000))
        assert it.intake.bodies == [b"x" * 3000]


async def test_packets_in_a_frame_without_an_end_are_taken_one_by_one(tmp_path: Path) -> None:
    async with web(tmp_path, max_packet=4096) as it:
        device = await it.device()
        packets = b"".join(event(number, b"x" * 3000) for number in range(1, 6))
        await device.socket.says(announced(BINARY, (1 << 63) - 1), frame(BINARY, packets)[HEAD:])
        await until(lambda: len(it.intake.bodies) == 5)
        assert (await device.hears())[1].startswith(PUBACK + b"\x01")


async def test_an_end_in_order_is_answered_when_what_came_is_synced(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        device = await it.device()
        it.intake.gate.clear()
        await device.says(event(0, b"last"), DISCONNECT)
        await device.socket.says(frame(CLOSE, closing(1000)))
        await until(lambda: any(client.is_leaving for client in it.listener._door._open))
        assert it.listener.stats()["connections"] == 1
        it.intake.gate.set()
        assert await device.rest() == [(CLOSE, closing(1000))]
        assert it.intake.bodies == [b"last"]
        await until(lambda: it.listener.stats()["connections"] == 0)
        assert it.listener.stats()["broken"] == 0


async def test_a_close_without_a_disconnect_brings_the_will(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        watcher = await it.device("watcher")
        await watcher.says(subscribe(MQTT_311, 1, ("lwt", 0)))
        assert (await watcher.hears())[1][0] == 0x90
        device = await it.device("boiler-1", MQTT_311, text("lwt") + text("gone"), flags=0x06)
        await device.socket.says(frame(CLOSE, closing(1001)))
        assert await device.rest() == [(CLOSE, closing(1001))]
        assert await watcher.hears() == (BINARY, publish(MQTT_311, "lwt", b"gone", qos=0))


async def test_a_socket_that_just_ends_is_gone_at_once(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        device = await it.device()
        await device.says(event(0, b"last"))
        device.socket.writer.write_eof()
        assert await device.rest() == [(CLOSE, closing(1000))]
        assert it.intake.bodies == [b"last"]


async def test_at_the_end_of_the_agent_devices_hear_goodbye_in_both_protocols(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        device = await it.device(version=MQTT_5)
        draining = asyncio.create_task(it.listener.drain(5))
        (_, goodbye), (opcode, code) = [await device.hears() for _ in range(2)]
        assert (goodbye[0], goodbye[2]) == (0xE0, 0x8B)
        assert (opcode, code) == (CLOSE, closing(1000))
        await device.socket.says(frame(CLOSE, closing(1000)))
        assert await device.rest() == []
        await draining


@pytest.mark.slow
async def test_a_flood_of_tiny_frames_is_taken_in_turns_and_counted_while_it_waits(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        flooding, other = await it.device("flood"), await it.device("other")
        door = it.listener._door
        peak = 0
        flooding.socket.writer.write(frame(BINARY) * 40_000 + frame(BINARY, event(1)))
        for number in range(20):
            await other.says(PINGREQ)
            assert await other.hears() == (BINARY, PINGRESP), number
            peak = max(peak, door._partial_bytes)
        assert await flooding.hears() == (BINARY, PUBACK + b"\x01")
        assert peak > 10_000
        await until(lambda: door._partial_bytes == 0)


async def test_what_waits_in_frames_is_taken_when_the_connection_breaks(tmp_path: Path) -> None:
    async with web(tmp_path) as it:
        device = await it.device()
        device.socket.writer.write(b"".join(frame(BINARY, event(0, b"%d" % number)) for number in range(1000)))
        await device.socket.writer.drain()
        await until(lambda: it.intake.batches)
        device.socket.writer.close()
        await until(lambda: len(it.intake.bodies) == 1000)
        assert it.intake.bodies == [b"%d" % number for number in range(1000)]
