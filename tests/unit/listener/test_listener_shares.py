"""No device takes more than its share: of a turn of the loop, of memory, of the connections."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from edgeagent.listener import door
from edgeagent.listener.packets import MQTT_5, MQTT_311, PingReq, Subscribe
from edgeagent.listener.reasons import Reason
from tests.fakes.certificates import Certificates
from tests.fakes.listener_peer import Peer
from tests.fakes.mosquitto import free_port
from tests.fakes.mqtt_bytes import PINGREQ, connect, publish, subscribe
from tests.unit.listener.test_listener_server import V311, Device, Scene, holds, scene
from tests.waiting import DEADLINE_S, until

PINGRESP = b"\xd0\x00"


@pytest.mark.parametrize("version", [MQTT_311, MQTT_5])
def test_one_turn_has_one_subscribe_however_they_are_mixed_with_other_packets(version: int) -> None:
    peer = Peer(version)
    peer.sent()
    mixed = [PINGREQ + subscribe(version, number, (f"a/{number}", 0)) for number in range(1, 6)]
    inputs = [peer.connection.feed(b"".join(mixed) + b"\x00\x00", 0.0)]
    while peer.connection.has_more:
        assert len(inputs[-1]) == 1
        assert peer.sent() == PINGRESP
        inputs.append(peer.connection.go_on(0.0))
    found = [each for turn in inputs for each in turn]
    assert [each.packet_id for each in found if isinstance(each, Subscribe)] == [1, 2, 3, 4, 5]
    assert peer.connection.is_ended, "the fault behind them counts when they are done"
    assert not any(isinstance(each, PingReq) for each in found)


@pytest.mark.parametrize("version", [MQTT_311, MQTT_5])
def test_more_packets_than_one_turn_takes_are_taken_in_order_around_a_subscribe(version: int) -> None:
    peer = Peer(version)
    data = [publish(version, "t", b"%d" % number) for number in range(400)]
    data[100] += subscribe(version, 1, ("a", 0))
    peer.feed(b"".join(data))
    assert [message.payload for message in peer.messages] == [b"%d" % number for number in range(400)]


@pytest.mark.parametrize("version", [MQTT_311, MQTT_5])
def test_filters_of_more_levels_than_a_client_may_have_end_the_connection(version: int) -> None:
    peer = Peer(version)
    peer.feed(subscribe(version, 1, *[("a/" * 24 + "a", 0)] * 200))
    assert peer.ended is None
    peer.feed(subscribe(version, 2, *[("a/" * 25 + "a", 0)] * 200))
    assert peer.ended is not None
    assert peer.ended.reason == Reason.QUOTA_EXCEEDED


async def test_who_has_most_of_large_packets_under_way_gives_way_and_not_the_slow_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "MAX_PARTIAL_BYTES", 1 << 20)
    packet = publish(V311, "events/boiler-1", b"x" * 550_000, qos=1, packet_id=1)
    async with scene(tmp_path) as it:
        slow, *greedy = [await it.device(f"d{number}") for number in range(4)]
        await slow.says(packet[:200_000])
        for number, device in enumerate(greedy):  # each is read as a whole before the next one speaks
            await device.says(packet[:450_000])
            if number:
                await greedy[number - 1].is_cut_off()
            await until(partial(holds, it, 650_000))
        await slow.says(packet[200_000:])
        assert await slow.hears(4) == b"\x40\x02\x00\x01"
        await greedy[2].says(packet[450_000:])
        assert await greedy[2].hears(4) == b"\x40\x02\x00\x01"


def encrypted(directory: Path, port: int) -> tuple[dict[str, Any], ssl.SSLContext]:
    """The keys of a listener with TLS, and what its clients need."""
    certificates = Certificates(directory)
    keys: dict[str, Any] = {"listen": f"tls://127.0.0.1:{port}"}
    keys |= {"cert_file": certificates.file("server.pem"), "key_file": certificates.file("server.key")}
    return keys, ssl.create_default_context(cafile=str(certificates.file("ca.pem")))


async def secure(it: Scene, context: ssl.SSLContext, port: int, client_id: str) -> Device:
    """A device that was let in by TLS."""
    async with asyncio.timeout(DEADLINE_S):
        device = Device(*await asyncio.open_connection("127.0.0.1", port, ssl=context))
    it.devices.append(device)
    await device.says(connect(V311, client_id))
    assert (await device.hears(4))[:2] == b"\x20\x02"
    return device


async def test_handshakes_that_never_end_count_as_connections_and_give_way(tmp_path: Path) -> None:
    port = free_port()
    keys, context = encrypted(tmp_path, port)
    async with scene(tmp_path, max_connections=3, **keys) as it, contextlib.AsyncExitStack() as stack:
        it.port = port
        silent = [await it.stranger() for _ in range(3)]
        await until(lambda: it.listener.stats()["connections"] == 3)
        device = await secure(it, context, port, "good")
        await silent[0].is_cut_off()
        stats = it.listener.stats()
        assert (stats["connections"], stats["crowded_out"], stats["connects"]) == (3, 1, 1)
        stack.callback(device.writer.transport.abort)
        for each in silent[1:]:
            each.writer.write(b"no TLS at all, which ends the handshake")
        await until(lambda: it.listener.stats()["connections"] == 1)
        await device.says(PINGREQ)
        assert await device.hears(2) == PINGRESP
        device.writer.transport.abort()
        await until(lambda: it.listener.stats()["connections"] == 0)


async def test_what_is_encrypted_and_not_sent_counts_as_unsent(tmp_path: Path) -> None:
    port = free_port()
    keys, context = encrypted(tmp_path, port)
    large = publish(V311, "x", b"x" * 900_000)
    async with scene(tmp_path, **keys) as it:
        deaf = await secure(it, context, port, "deaf")
        await deaf.says(subscribe(V311, 1, ("x", 0)))
        await deaf.hears(5)
        deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]
        sender = await secure(it, context, port, "sender")
        (client,) = [each for each in it.listener.traffic.clients if each.session and each.session.client_id == "deaf"]
        for number in range(1, 30):  # until the buffers of the system are full
            await sender.says(large)
            await until(lambda: it.listener.stats()["received"] == number)  # noqa: B023  at once
            if client.is_slow:
                break
        assert client.is_slow
        assert client.flush() > 512 << 10
        deaf.writer.transport.abort()
