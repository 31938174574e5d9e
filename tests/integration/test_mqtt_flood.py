"""Brokers that send more at once than they may, as Mosquitto 2.0 does when it empties a long queue."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Iterator

import pytest

from edgeagent.common.units import Duration
from tests.fakes.listener import Listener
from tests.fakes.mosquitto import MqttClient
from tests.waiting import DEADLINE_S, turns, until

_PACKET_IDS = 65535
_CONNECT, _PUBLISH, _PUBACK, _SUBSCRIBE, _DISCONNECT = 0x10, 0x32, 0x40, 0x82, 0xE0


class Flood:
    """A broker with a session full of messages: it sends all of them at once.

    Args:
        version: of MQTT.
        count: how many messages.
        payload_bytes: of each.
        at: the packet behind which it sends them.

    Attributes:
        open: the packet ids that wait for their acknowledgement, in order.
        connections: how many there were.
    """

    def __init__(self, version: str, count: int, payload_bytes: int, *, at: int) -> None:
        ids = itertools.islice(itertools.cycle(range(1, _PACKET_IDS + 1)), count)
        self.open = deque(ids)
        self.connections = 0
        self._v5 = version == "5"
        self._payload = b"x" * payload_bytes
        self._at = at
        self._one_at_a_time = asyncio.Lock()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection; a new one begins when all is read that the last one brought."""
        async with self._one_at_a_time:
            self.connections += 1
            await self._serve(reader, writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            kind, body = await _packet(reader)
            if kind == _CONNECT:
                writer.write(bytes((0x20, 3, 1, 0, 0)) if self._v5 else bytes((0x20, 2, 1, 0)))
            elif kind == _SUBSCRIBE:
                writer.write(bytes((0x90, 4, *body[:2], 0, 1)) if self._v5 else bytes((0x90, 3, *body[:2], 1)))
            elif kind == _PUBACK:
                assert int.from_bytes(body[:2], "big") == self.open.popleft()
            elif kind == _PUBLISH:
                packet_id = body[2 + int.from_bytes(body[:2], "big") :][:2]
                writer.write(b"\x40\x02" + packet_id)
            elif kind == _DISCONNECT:
                return
            if kind == self._at:
                writer.write(b"".join(self._publications()))

    def _publications(self) -> Iterator[bytes]:
        for packet_id in self.open:
            body = b"\x00\x01a" + packet_id.to_bytes(2, "big") + b"\x00" * self._v5 + self._payload
            yield b"\x32" + _length(len(body)) + body


async def _packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    try:
        kind = (await reader.readexactly(1))[0]
        length = shift = 0
        while True:
            byte = (await reader.readexactly(1))[0]
            length |= (byte & 0x7F) << shift
            if byte < 0x80:
                return kind, await reader.readexactly(length)
            shift += 7
    except asyncio.IncompleteReadError:
        return _DISCONNECT, b""


def _length(number: int) -> bytes:
    high, low = divmod(number, 0x80)
    return bytes((low | 0x80,)) + _length(high) if high else bytes((low,))


@pytest.fixture(params=["5", "3.1.1"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_a_flood_is_read_only_as_fast_as_it_is_acknowledged(version: str) -> None:
    flood = Flood(version, 3000, 10_000, at=_SUBSCRIBE)
    async with Listener(flood.serve) as listener:
        url = f"mqtt://127.0.0.1:{listener.port}"
        async with MqttClient(url, "gw", "a", version=version, auto_acknowledge=False) as client:
            await client.until(lambda: len(client.messages) > 500, "a flood")
            await turns(100)  # each would bring 25 more
            assert len(client.messages) < 1200
            client.auto_acknowledge = True
            client.acknowledge(*client.messages)
            await client.until(lambda: len(client.messages) == 3000, "everything")
            assert client.downs == []


async def test_an_owner_that_answers_first_is_not_stuck_behind_a_flood(version: str) -> None:
    """As a dispatcher does: each message is acknowledged when the broker has taken the answer to it."""
    flood = Flood(version, 3000, 100, at=_SUBSCRIBE)
    async with Listener(flood.serve) as listener:
        url = f"mqtt://127.0.0.1:{listener.port}"
        async with MqttClient(url, "gw", "a", version=version, auto_acknowledge=False, answers_first=True) as client:
            await client.until(lambda: len(client.messages) > 1025, "a flood")
            answered = 0
            while answered < 3000:
                await client.until(lambda: len(client.messages) > answered, "one more")  # noqa: B023  called at once
                batch = client.messages[answered : answered + 100]
                await asyncio.gather(*[client.publish("answer", b"200") for _ in batch])
                client.acknowledge(*batch)
                answered += len(batch)
            await until(lambda: not flood.open, "every acknowledgement", seen=lambda: len(flood.open))
            assert client.downs == []


async def test_a_session_with_more_messages_than_packet_ids_is_emptied_over_several_connections(version: str) -> None:
    flood = Flood(version, _PACKET_IDS + 500, 10, at=_CONNECT)
    async with Listener(flood.serve) as listener:
        url = f"mqtt://127.0.0.1:{listener.port}"
        patience = Duration(DEADLINE_S)  # all of it comes before the CONNACK is looked at
        client = MqttClient(url, "gw", "a", version=version, session_expiry_s=60, connect_timeout=patience)
        async with client:
            await until(lambda: not flood.open, "the session to be empty", seen=lambda: len(client.messages))
            assert [str(down) for down in client.downs] == [
                f"{url}: the broker sent more at once than it may; the rest comes on the next connection"
            ]
    assert flood.connections == 2
    assert len(client.messages) == _PACKET_IDS + 500
