"""A device at QoS 2 as it is in the field: few packet ids, always the same bytes, and it never marks with DUP."""

from __future__ import annotations

import contextlib

from tests.fakes.mqtt_bytes import MQTT_5, answer, publish
from tests.fakes.raw_device import RawDevice
from tests.waiting import until_answer

PUBREC, PUBREL, PUBCOMP = 0x50, 0x62, 0x70
_SESSION = b"\x11\x00\x00\x0e\x10"  # of MQTT 5: it outlives the connection by an hour


def session_device(port: int, client_id: str, version: int) -> RawDevice:
    """A connection whose session outlives it."""
    return RawDevice(port, client_id, version, flags=0x00, props=_SESSION if version == MQTT_5 else b"")


class ExactDevice:
    """Publishes `{}` on one topic, as often as it is told, each time with the smallest packet id that is free.

    It goes by the specification: what it has no PUBREC for is published again, what it has one for is released.

    Args:
        port: of the listener on loopback.
        version: of MQTT.
        window: how many messages are under way.

    Attributes:
        completed: how many have their PUBCOMP.
        connections: how often it connected.
    """

    def __init__(self, port: int, version: int, window: int = 8) -> None:
        self.completed = 0
        self.connections = 0
        self._port = port
        self._version = version
        self._window = window
        self._published: dict[int, None] = {}  # packet ids without PUBREC, in order
        self._released: dict[int, None] = {}  # with PUBREC, without PUBCOMP
        self._left = 0

    async def publish(self, count: int) -> None:
        """Publish so many messages, through any number of connections, until each has its PUBCOMP."""
        self._left = count
        while self._left or self._published or self._released:
            device = await until_answer(self._connected, lambda found: found is not None, "a connection")
            assert device is not None
            self.connections += 1
            try:
                with contextlib.suppress(EOFError, OSError):
                    await self._go_on(device)
            finally:
                device.close()

    async def _connected(self) -> RawDevice | None:
        device = session_device(self._port, "exact", self._version)
        with contextlib.suppress(EOFError, OSError):
            return await device.__aenter__()
        return None

    async def _go_on(self, device: RawDevice) -> None:
        await device.send(*[answer(PUBREL, each) for each in self._released], *map(self._message, self._published))
        while self._left or self._published or self._released:
            while self._left and len(self._published) + len(self._released) < self._window:
                packet_id = next(n for n in range(1, 99) if n not in self._published and n not in self._released)
                self._left -= 1
                self._published[packet_id] = None
                await device.send(self._message(packet_id))
            came = await device.packet()
            packet_id = int.from_bytes(came.body[:2], "big")
            if came.first == PUBREC:
                self._published.pop(packet_id)
                self._released[packet_id] = None
                await device.send(answer(PUBREL, packet_id))
            else:
                assert came.first == PUBCOMP, came
                self._released.pop(packet_id)
                self.completed += 1

    def _message(self, packet_id: int) -> bytes:
        return publish(self._version, "events/exact", b"{}", qos=2, packet_id=packet_id)
