"""A broker that refuses what the test says: reason codes that no configuration makes Mosquitto give."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import mqtt5

from tests.fakes.listener import Listener
from tests.fakes.mosquitto import free_port


class RefusingBroker:
    """Takes every connection, and confirms or refuses each subscription and publication by its functions.

    Attributes:
        subscription: the reason code for a topic filter.
        publication: the reason code for a PUBLISH at QoS 1.
        published: the payloads of everything published, refused or not, in order.
        connections: how many there were.
        shares: whether it says that it has shared subscriptions.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self.subscription: Callable[[str], int] = lambda _: 1
        self.publication: Callable[[Any], int] = lambda _: 0
        self.published: list[tuple[str, bytes]] = []
        self.connections = 0
        self.shares = True
        self._listener = Listener(self._serve, self.port)

    async def __aenter__(self) -> Self:
        """Listen."""
        await self._listener.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything."""
        await self._listener.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        buffer = b""
        while data := await reader.read(65536):
            buffer += data
            with contextlib.suppress(IndexError):
                while buffer:
                    packet, size_bytes = mqtt5.read(memoryview(buffer))
                    buffer = buffer[size_bytes:]
                    writer.write(self._answer(packet))

    def _answer(self, packet: Any) -> bytes:
        if isinstance(packet, mqtt5.ConnectPacket):
            return mqtt5.ConnAckPacket(shared_subscription_available=self.shares).write()
        if isinstance(packet, mqtt5.SubscribePacket):
            codes = [mqtt5.SubAckReasonCode(self.subscription(item.pattern)) for item in packet.topic_filters]
            return mqtt5.SubAckPacket(packet.packet_id, codes).write()
        if isinstance(packet, mqtt5.PublishPacket):
            self.published.append((packet.topic, packet.payload))
            assert packet.packet_id is not None
            code = mqtt5.PubAckReasonCode(self.publication(packet))
            return mqtt5.PubAckPacket(packet.packet_id, reason_code=code).write()
        return mqtt5.PingRespPacket().write() if isinstance(packet, mqtt5.PingReqPacket) else b""
