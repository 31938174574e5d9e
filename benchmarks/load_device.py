"""Devices that speak MQTT, as a process: `python -m benchmarks.load_device (--connect PORT | --listen PORT)`.

With `--connect` it is a device that publishes to what listens there. With `--listen` it takes the place of the agent's
local broker: it waits for the agent to connect and subscribe, and delivers the events to it, so that the agent's own
PUBACKs can be timed.

It publishes at QoS 1, as `{"count": 1000, "window": 100}` or `{"count": 1000, "rate": 500}` asks, and answers when
all are acknowledged or the connection has ended: `begun_s`, `acked` (how many of the numbers from 0 on), and with a
rate the times of each event: `sent_s`, `acked_s`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from typing import Any, cast

import mqtt5

from benchmarks.load import TOPIC, answer, event, requests
from edgeagent.mqtt.handshake import LARGEST_PACKET_BYTES, RECEIVE_MAX
from edgeagent.mqtt.packets import LARGEST_PACKET_ID, PacketReader, PubackRun, Received

_AT_LEAST_ONCE = mqtt5.QoS.AT_LEAST_ONCE
_GRANTED = mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE


class _Link(asyncio.Protocol):
    """One connection over which events are published, from either side."""

    def __init__(self) -> None:
        self.ready = asyncio.get_running_loop().create_future()
        self._lost = False
        self._reader = PacketReader(LARGEST_PACKET_BYTES)
        self._transport: asyncio.Transport
        self._begin()

    def _begin(self) -> None:
        self._count = self._sent = self._acked = 0
        self._window = 0  # 0: what is acknowledged calls forth nothing
        self._sent_s: list[float] = []
        self._acked_s: list[float] = []
        self._changed = asyncio.Event()

    async def publish(self, count: int, window: int = 0, rate: float = 0) -> dict[str, Any]:
        """Publish so many, by window or by rate; returns the answer."""
        self._begin()
        self._count, self._window = count, window
        begun_s = time.monotonic()
        if window:
            self._send(min(window, count))
        else:
            await self._send_at_rate(count, rate)
        while self._acked < count and not self._lost:
            self._changed.clear()
            await self._changed.wait()
        times = {} if window else {"sent_s": self._sent_s, "acked_s": self._acked_s}
        return {"begun_s": begun_s, "acked": self._acked, **times}

    async def _send_at_rate(self, count: int, rate: float) -> None:
        """One each `1 / rate`; the time of one that had to wait for acknowledgements counts from when it was due."""
        begun_s = time.monotonic()
        for number in range(count):
            due_s = begun_s + number / rate
            if (wait_s := due_s - time.monotonic()) > 0:
                await asyncio.sleep(wait_s)
            held = False
            while self._sent - self._acked >= RECEIVE_MAX and not self._lost:
                held = True
                self._changed.clear()
                await self._changed.wait()
            self._sent_s.append(due_s if held else time.monotonic())
            self._send(1)

    def _send(self, count: int) -> None:
        numbers = range(self._sent, self._sent + count)
        self._sent += count
        if not self._lost:
            self._transport.write(
                b"".join(
                    [
                        mqtt5.PublishPacket(
                            TOPIC, event(number), qos=_AT_LEAST_ONCE, packet_id=number % LARGEST_PACKET_ID + 1
                        ).write()
                        for number in numbers
                    ]
                )
            )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        packets, fault = self._reader.take(data)
        if fault is not None:
            sys.exit(f"received {fault.text}")
        acked = self._acked
        for packet in packets:
            if type(packet) is PubackRun:
                self._take_acks(packet.packet_ids)
            else:
                self._take_other(packet)
        if acked == self._acked:
            return
        if self._window:
            self._send(min(self._acked - acked, self._count - self._sent))
        else:
            self._acked_s += [time.monotonic()] * (self._acked - acked)
        if not self._window or self._acked == self._count:
            self._changed.set()

    def _take_acks(self, packet_ids: list[int]) -> None:
        for packet_id in packet_ids:
            if packet_id != self._acked % LARGEST_PACKET_ID + 1:
                sys.exit(f"event {self._acked} was not taken as it must: {packet_id}")
            self._acked += 1

    def _take_other(self, packet: Received) -> None:
        sys.exit(f"unexpected: {packet}")

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._lost = True
        self._changed.set()


class _Device(_Link):
    """A device at a broker, or at the agent's listener."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._transport.write(mqtt5.ConnectPacket("device", clean_start=True).write())

    def _take_other(self, packet: Received) -> None:
        if not isinstance(packet, mqtt5.ConnAckPacket):
            super()._take_other(packet)
        self.ready.set_result(None)


class _Broker(_Link):
    """As much of a broker as the agent needs to be handed events."""

    def _take_other(self, packet: Received) -> None:
        if isinstance(packet, mqtt5.ConnectPacket):
            self._transport.write(mqtt5.ConnAckPacket().write())
        elif isinstance(packet, mqtt5.SubscribePacket):
            granted = [_GRANTED] * len(packet.topic_filters)
            self._transport.write(mqtt5.SubAckPacket(packet.packet_id, granted).write())
            self.ready.set_result(None)
        elif isinstance(packet, mqtt5.PingReqPacket):
            self._transport.write(mqtt5.PingRespPacket().write())
        elif not isinstance(packet, mqtt5.DisconnectPacket):
            super()._take_other(packet)


async def _connected(port: int) -> _Link:
    _, link = await asyncio.get_running_loop().create_connection(_Device, "127.0.0.1", port)
    await link.ready
    return link


async def _accepted(port: int) -> _Link:
    loop = asyncio.get_running_loop()
    came: asyncio.Future[_Link] = loop.create_future()

    def accept() -> _Link:
        came.set_result(_Broker())
        return came.result()

    await loop.create_server(accept, "127.0.0.1", port)
    answer(listening=port)
    link = await came
    await link.ready
    return link


async def _main() -> None:
    parser = argparse.ArgumentParser()
    side = parser.add_mutually_exclusive_group(required=True)
    side.add_argument("--connect", type=int, metavar="PORT")
    side.add_argument("--listen", type=int, metavar="PORT")
    arguments = parser.parse_args()
    link = await (_connected(arguments.connect) if arguments.connect else _accepted(arguments.listen))
    answer(ready=True)
    async for request in requests():
        answer(**await link.publish(**request))


if __name__ == "__main__":
    asyncio.run(_main())
