"""Devices on real sockets, in front of an owner that only notes what comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from edgeagent.listener.connection import Limits
from edgeagent.listener.flows import Inbound, Outbound
from edgeagent.listener.packets import ConnAck, Connect, ConnectionEnded, Input, Publish, Subscribe
from edgeagent.listener.protocol import Device, DeviceTimeouts
from edgeagent.listener.reasons import Reason
from tests.fakes.mqtt_bytes import DISCONNECT, PINGREQ, answer, connect, publish, subscribe
from tests.fakes.turned_clock import TurnedLoop
from tests.waiting import DEADLINE_S, until

MOST_SENT = 1000  # of 100,000 bytes: no socket takes as much
CONNACK_311 = b"\x20\x02\x00\x00"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Notes:
    """An owner: lets everybody in, unless told otherwise, and acknowledges nothing by itself."""

    def __init__(self) -> None:
        self.inputs: list[Input] = []
        self.devices: list[Device] = []
        self.lets_in = True
        self.batches: list[int] = []

    def take(self, device: Device, inputs: list[Input]) -> None:
        """Note it."""
        self.batches.append(len(inputs))
        for each in inputs:
            self.inputs.append(each)
            if isinstance(each, Connect):
                self.devices.append(device)
                if self.lets_in:
                    device.accept(ConnAck(), Inbound(), Outbound())
            elif isinstance(each, Subscribe):
                device.suback(each.packet_id, [0])

    @property
    def messages(self) -> list[Publish]:
        """What was published."""
        return [each for each in self.inputs if isinstance(each, Publish)]

    @property
    def ends(self) -> list[ConnectionEnded]:
        """How connections ended."""
        return [each for each in self.inputs if isinstance(each, ConnectionEnded)]


@asynccontextmanager
async def listening(
    owner: Notes, limits: Limits | None = None, patience: DeviceTimeouts | None = None
) -> AsyncIterator[Callable[[], Awaitable[Streams]]]:
    """A server on loopback; what is given connects to it."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Device(owner, limits or Limits(), patience or DeviceTimeouts()), "127.0.0.1", 0
    )
    port = server.sockets[0].getsockname()[1]
    writers: list[asyncio.StreamWriter] = []

    async def dial() -> Streams:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(writer)
        return reader, writer

    try:
        yield dial
    finally:
        for writer in writers:
            writer.close()
        for device in owner.devices:
            device.close()
        server.close()
        await until(lambda: all(device._transport.is_closing() for device in owner.devices))


async def read(reader: asyncio.StreamReader, size: int) -> bytes:
    async with asyncio.timeout(DEADLINE_S):
        return await reader.readexactly(size)


async def rest(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(DEADLINE_S):
        return await reader.read()


async def test_a_device_publishes_and_is_acknowledged_when_its_message_is_safe() -> None:
    owner = Notes()
    async with listening(owner) as dial:
        reader, writer = await dial()
        writer.write(connect(4) + publish(4, "a", b"1", qos=1, packet_id=1) + publish(4, "b", b"2", qos=2, packet_id=2))
        assert await read(reader, 4) == CONNACK_311
        await until(lambda: len(owner.messages) == 2)
        owner.devices[0].acknowledge([2])
        owner.devices[0].acknowledge([1])
        assert await read(reader, 8) == answer(0x40, 1) + answer(0x50, 2)


async def test_what_one_read_brings_is_handed_over_at_once_and_answered_in_one_write() -> None:
    owner = Notes()
    async with listening(owner) as dial:
        reader, writer = await dial()
        writer.write(connect(4))
        await read(reader, 4)
        writer.write(b"".join([publish(4, qos=1, packet_id=packet_id) for packet_id in range(1, 101)]))
        await until(lambda: len(owner.messages) == 100)
        assert owner.batches == [1, 100]
        (device,) = owner.devices
        writes: list[bytes] = []
        write, device._transport.write = device._transport.write, writes.append  # type: ignore[method-assign,assignment]
        for packet_id in range(1, 101):
            device.acknowledge([packet_id])
        await until(lambda: writes)
        device._transport.write = write  # type: ignore[method-assign]
        assert len(writes) == 1
        assert len(writes[0]) == 400


async def test_a_device_that_says_goodbye_is_closed_when_the_owner_says_so() -> None:
    owner = Notes()
    async with listening(owner) as dial:
        reader, writer = await dial()
        writer.write(connect(4) + publish(4) + DISCONNECT)
        await until(lambda: owner.ends)
        assert len(owner.messages) == 1
        assert owner.ends[0].is_by_client
        assert not owner.devices[0]._transport.is_closing()
        owner.devices[0].close()
        assert await rest(reader) == CONNACK_311


async def test_a_device_that_closes_its_side_without_a_word_is_closed_when_the_owner_says_so() -> None:
    owner = Notes()
    async with listening(owner) as dial:
        reader, writer = await dial()
        writer.write(connect(4) + publish(4))
        writer.write_eof()
        await until(lambda: owner.ends)
        assert (owner.ends[0].is_by_client, owner.ends[0].publishes_will) == (True, True)
        owner.devices[0].close()
        assert await rest(reader) == CONNACK_311
        assert len(owner.ends) == 1


@pytest.mark.parametrize(("version", "said"), [(4, b""), (5, b"\xe0")])
async def test_a_device_that_breaks_the_protocol_hears_why_and_is_closed(version: int, said: bytes) -> None:
    owner = Notes()
    async with listening(owner) as dial:
        reader, writer = await dial()
        writer.write(connect(version))
        await until(lambda: owner.devices)
        await read(reader, 2)
        writer.write(b"\x00\x00")
        assert said in await rest(reader)
        (ended,) = owner.ends
        assert ended.reason == Reason.MALFORMED_PACKET


async def test_a_device_that_is_not_let_in_is_closed() -> None:
    owner = Notes()
    owner.lets_in = False
    async with listening(owner) as dial:
        reader, writer = await dial()
        writer.write(connect(4))
        await until(lambda: owner.devices)
        owner.devices[0].refuse(Reason.BAD_USER_NAME_OR_PASSWORD)
        assert await rest(reader) == b"\x20\x02\x00\x04"


async def test_a_device_that_sends_no_connect_is_closed_in_time() -> None:
    owner = Notes()
    async with listening(owner, Limits(connect_s=0.05)) as dial:
        reader, _ = await dial()
        assert await rest(reader) == b""
        (ended,) = owner.ends
        assert "no CONNECT" in ended.text


async def test_a_device_that_falls_silent_is_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    time, owner = TurnedLoop(monkeypatch), Notes()
    async with listening(owner) as dial:
        reader, writer = await dial()
        writer.write(connect(4, keep_alive_s=60) + PINGREQ)
        assert await read(reader, 6) == CONNACK_311 + b"\xd0\x00"
        assert owner.ends == []
        time.turn(91)  # one and a half times as long
        assert await rest(reader) == b""
        (ended,) = owner.ends
        assert "nothing came" in ended.text


async def test_a_device_that_does_not_read_is_sent_no_more_and_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    time, owner = TurnedLoop(monkeypatch), Notes()
    async with listening(owner, patience=DeviceTimeouts(unread_bytes=1000, unread_s=30, linger_s=0.1)) as dial:
        _, writer = await dial()
        writer.write(connect(4))
        await until(lambda: owner.devices)
        (device,) = owner.devices
        message = Publish("t", bytes(100_000))
        sent = 0
        for _ in range(MOST_SENT):
            if not device.publish(message, 0):
                break
            sent += 1
            await asyncio.sleep(0)
        assert device.room == 0
        assert device._transport.get_write_buffer_size() < 300_000
        time.turn(31)
        await until(lambda: owner.ends)
        assert "read nothing" in owner.ends[0].text
        assert sent < MOST_SENT


async def test_a_device_that_is_held_is_not_read_until_it_may_go_on() -> None:
    owner = Notes()
    async with listening(owner) as dial:
        reader, writer = await dial()
        writer.write(connect(4))
        await read(reader, 4)
        owner.devices[0].hold(held=True)
        writer.write(publish(4))
        writer.write(subscribe(4, 1, ("a", 0)))
        await writer.drain()
        for _ in range(20):
            await asyncio.sleep(0)
        assert owner.messages == []
        owner.devices[0].hold(held=False)
        assert await read(reader, 5) == b"\x90\x03\x00\x01\x00"
        assert len(owner.messages) == 1


async def test_a_device_can_be_told_to_go() -> None:
    owner = Notes()
    async with listening(owner) as dial:
        reader, writer = await dial()
        writer.write(connect(5))
        await until(lambda: owner.devices)
        owner.devices[0].disconnect(Reason.SERVER_SHUTTING_DOWN, "the agent is stopping")
        owner.devices[0].disconnect(Reason.SERVER_SHUTTING_DOWN, "again")
        assert b"the agent is stopping" in await rest(reader)
        (ended,) = owner.ends
        assert ended.reason == Reason.SERVER_SHUTTING_DOWN
