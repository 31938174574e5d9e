"""A producer that speaks MQTT 3.1.1, packet by packet, as small devices do: no properties, no response topic.

async with Producer311(port, "argo/workflows/response") as producer:
    await producer.publish("argo/workflows/trigger", b"...")   # returns at the broker's PUBACK
    topic, payload = await producer.message()
"""

from __future__ import annotations

import asyncio
import struct
from types import TracebackType
from typing import NamedTuple, Self

from tests.waiting import DEADLINE_S

_CONNECT, _CONNACK, _PUBLISH, _PUBACK, _SUBSCRIBE, _SUBACK, _DISCONNECT = 0x10, 0x20, 0x30, 0x40, 0x82, 0x90, 0xE0
_QOS_1 = 0x02
_CLEAN_SESSION = 0x02
_LEVEL_311 = 4


class Heard(NamedTuple):
    """A message that came."""

    topic: str
    payload: bytes


class Producer311:
    """Connects to a broker on loopback, subscribed to one filter; everything at QoS 1. Waits have a deadline."""

    def __init__(self, port: int, topic_filter: str, client_id: str = "producer-311") -> None:
        self._port = port
        self._filter = topic_filter
        self._client_id = client_id
        self._packet_id = 0
        self._heard: asyncio.Queue[Heard] = asyncio.Queue()
        self._answers: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
        self._reading: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def publish(self, topic: str, payload: bytes) -> None:
        """Publish and wait for the broker's acknowledgement."""
        packet_id = self._next_id()
        self._send(_PUBLISH | _QOS_1, _text(topic) + packet_id + payload)
        assert await self._answer() == (_PUBACK, packet_id)

    async def message(self) -> Heard:
        """The next message on the subscription."""
        async with asyncio.timeout(DEADLINE_S):
            return await self._heard.get()

    async def __aenter__(self) -> Self:
        reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._reading = asyncio.create_task(self._read(reader))
        connect = _text("MQTT") + struct.pack("!BBH", _LEVEL_311, _CLEAN_SESSION, 60) + _text(self._client_id)
        self._send(_CONNECT, connect)
        assert await self._answer() == (_CONNACK, b"\x00\x00")
        packet_id = self._next_id()
        self._send(_SUBSCRIBE, packet_id + _text(self._filter) + b"\x01")
        assert await self._answer() == (_SUBACK, packet_id + b"\x01")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._writer is not None
        assert self._reading is not None
        self._send(_DISCONNECT, b"")
        self._reading.cancel()
        await asyncio.wait([self._reading])
        self._writer.close()
        await self._writer.wait_closed()

    def _next_id(self) -> bytes:
        self._packet_id += 1
        return struct.pack("!H", self._packet_id)

    def _send(self, first: int, rest: bytes) -> None:
        assert self._writer is not None
        size, length = len(rest), b""
        while not length or size:
            size, low = divmod(size, 128)
            length += bytes([low | (0x80 if size else 0)])
        self._writer.write(bytes([first]) + length + rest)

    async def _answer(self) -> tuple[int, bytes]:
        async with asyncio.timeout(DEADLINE_S):
            return await self._answers.get()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while True:
            first = (await reader.readexactly(1))[0]
            size = shift = 0
            more = True
            while more:
                digit = (await reader.readexactly(1))[0]
                size |= (digit & 0x7F) << shift
                shift += 7
                more = digit >= 0x80
            self._take(first, await reader.readexactly(size))

    def _take(self, first: int, rest: bytes) -> None:
        if first & 0xF0 != _PUBLISH:
            self._answers.put_nowait((first, rest))
            return
        end = 2 + struct.unpack_from("!H", rest)[0]
        topic, payload = rest[2:end].decode(), rest[end:]
        if first & _QOS_1:
            self._send(_PUBACK, payload[:2])
            payload = payload[2:]
        self._heard.put_nowait(Heard(topic, payload))


def _text(text: str) -> bytes:
    return struct.pack("!H", len(text)) + text.encode()
