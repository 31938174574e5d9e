"""Who receives upstream, as a process: `python -m benchmarks.load_counter PORT TOPIC_FILTER`.

It counts events by their numbers, each once. `{"expect": 1000}` begins anew, for the numbers below 1000; it is
answered with `{}`. Any other request is answered with the count: `distinct`, `messages` (with those that came again),
`first_s` and `last_s` (when the first and the last new one came; 0 before that). `{"below": 500}` adds `below`: how
many of the numbers below 500 came; `{"times": true}` adds `came_s`, by number.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from array import array
from typing import Any, cast

import mqtt5

from benchmarks.load import answer, number_in, requests
from edgeagent.mqtt.handshake import LARGEST_PACKET_BYTES
from edgeagent.mqtt.packets import PacketReader, Received, subscribe_packet
from edgeagent.ports.link import Subscription

_CLIENT_ID = "counter"
_PUBACK = bytes([0x40, 0x02])


class _Counter(asyncio.Protocol):
    def __init__(self, topic_filter: str) -> None:
        self.ready = asyncio.get_running_loop().create_future()
        self._topic_filter = topic_filter
        self._reader = PacketReader(LARGEST_PACKET_BYTES)
        self._transport: asyncio.Transport
        self.expect(0)

    def expect(self, count: int) -> None:
        """Begin anew."""
        self._came_s = array("d", bytes(8 * count))
        self._distinct = self._messages = 0
        self._first_s = self._last_s = 0.0

    def count(self, below: int | None = None, *, times: bool = False) -> dict[str, Any]:
        """What came so far."""
        more: dict[str, Any] = {} if below is None else {"below": below - self._came_s[:below].count(0.0)}
        if times:
            more["came_s"] = self._came_s.tolist()
        return {
            "distinct": self._distinct,
            "messages": self._messages,
            "first_s": self._first_s,
            "last_s": self._last_s,
            **more,
        }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(mqtt5.ConnectPacket(_CLIENT_ID, clean_start=True).write())

    def data_received(self, data: bytes) -> None:
        """Count, and acknowledge in one write; the codec is cheaper than to look at the bytes in Python."""
        now_s = time.monotonic()
        packets, fault = self._reader.take(data)
        if fault is not None:
            sys.exit(f"received {fault.text}")
        came_s, acks, distinct = self._came_s, [], 0
        for packet in packets:
            if type(packet) is not mqtt5.PublishPacket:
                self._take_other(packet)
                continue
            if packet.packet_id is None:
                sys.exit("an event came at QoS 0")
            acks.append(_PUBACK + packet.packet_id.to_bytes(2, "big"))
            number = number_in(packet.payload)
            if not came_s[number]:
                came_s[number] = now_s
                distinct += 1
        if acks:
            self._messages += len(acks)
            self._transport.write(b"".join(acks))
        if distinct:
            self._distinct += distinct
            self._first_s = self._first_s or now_s
            self._last_s = now_s

    def _take_other(self, packet: Received) -> None:
        if isinstance(packet, mqtt5.ConnAckPacket):
            self._transport.write(subscribe_packet(1, (Subscription(self._topic_filter),)))
        elif isinstance(packet, mqtt5.SubAckPacket):
            self.ready.set_result(None)
        elif not isinstance(packet, mqtt5.DisconnectPacket):  # the measurement may end the broker
            sys.exit(f"unexpected: {packet}")


async def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("topic_filter")
    arguments = parser.parse_args()
    _, counter = await asyncio.get_running_loop().create_connection(
        lambda: _Counter(arguments.topic_filter), "127.0.0.1", arguments.port
    )
    await counter.ready
    answer(ready=True)
    async for request in requests():
        if "expect" in request:
            counter.expect(request["expect"])
            answer()
        else:
            answer(**counter.count(**request))


if __name__ == "__main__":
    asyncio.run(_main())
