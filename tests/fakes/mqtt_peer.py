"""What stands around a `V5Link` in tests without a network: a transport, a loop whose time the test moves, an owner."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import mqtt5

from edgeagent.mqtt.handshake import Handshake
from edgeagent.mqtt.packets import connect_packet
from edgeagent.mqtt.v5 import V5Link
from edgeagent.ports.link import Ack, Link, Message, Subscription

ADDRESS = "mqtt://broker.example:1883"


class FakeTimer:
    """A timer of `FakeLoop`."""

    def __init__(self, when_s: float, callback: Callable[[], None]) -> None:
        self.when_s = when_s
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        """Never call it."""
        self.cancelled = True


class FakeLoop:
    """As much of an event loop as a link uses. Time stands still until `advance`; `turn` runs what waits."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.soon: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self.timers: list[FakeTimer] = []

    def get_debug(self) -> bool:
        """Asked by futures."""
        return False

    def time(self) -> float:
        """The time that the test has set."""
        return self.now_s

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return asyncio.Future(loop=self)  # type: ignore[arg-type]  # all that a future asks of it is here

    def call_soon(self, callback: Callable[..., None], *args: Any, context: object = None) -> None:
        """Call it in the next `turn`."""
        del context
        self.soon.append((callback, args))

    def call_at(self, when_s: float, callback: Callable[[], None]) -> FakeTimer:
        """Call it when `advance` reaches that time."""
        timer = FakeTimer(when_s, callback)
        self.timers.append(timer)
        return timer

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> FakeTimer:
        """Call it after so much `advance`."""
        return self.call_at(self.now_s + delay_s, callback)

    def turn(self) -> None:
        """One turn of the loop."""
        soon, self.soon = self.soon, []
        for callback, args in soon:
            callback(*args)

    def advance(self, seconds: float) -> None:
        """Let time pass; timers fire at their time."""
        end_s = self.now_s + seconds
        while due := [timer for timer in self.timers if not timer.cancelled and timer.when_s <= end_s]:
            timer = min(due, key=lambda timer: timer.when_s)
            self.timers.remove(timer)
            self.now_s = max(self.now_s, timer.when_s)
            timer.callback()
        self.now_s = end_s


class FakeTransport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False
        self.aborted = False
        self.reading = True

    def pause_reading(self) -> None:
        """Remember it."""
        self.reading = False

    def resume_reading(self) -> None:
        """Remember it."""
        self.reading = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep it, one entry a call."""
        assert not self.closed, "nothing may be written after close"
        self.writes.append(bytes(data))

    def close(self) -> None:
        """Remember it."""
        self.closed = True

    def abort(self) -> None:
        """Remember it."""
        self.closed = self.aborted = True

    def packets(self) -> list[Any]:
        """Everything written since the last call, as packets."""
        data = b"".join(self.writes)
        self.writes.clear()
        return parse(data)


class Recorder:
    """A link's owner that keeps what it is told, and in which order."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.messages: list[Message] = []
        self.acks: list[Ack] = []
        self.session_present: bool | None = None

    def on_up(self, link: Link, *, session_present: bool) -> None:
        """See `LinkOwner`."""
        del link
        self.calls.append("up")
        self.session_present = session_present

    def on_down(self, error: Exception) -> None:
        """See `LinkOwner`."""
        raise AssertionError(f"on_down is the session's to call, not the link's: {error}")

    def on_messages(self, messages: Sequence[Message]) -> None:
        """See `LinkOwner`."""
        self.calls.append("messages")
        self.messages += messages

    def on_acks(self, acks: Sequence[Ack]) -> None:
        """See `LinkOwner`."""
        self.calls.append("acks")
        self.acks += acks

    def on_room(self) -> None:
        """See `LinkOwner`."""
        self.calls.append("room")


class Peer:
    """A link with everything around it; the test speaks for the broker with `feed`.

    Args:
        up: False: the broker has not answered CONNECT yet.
        connack: what the broker's CONNACK says beyond success.
        **handshake: what differs from an ordinary handshake without subscriptions.
    """

    def __init__(self, *, up: bool = True, connack: dict[str, Any] | None = None, **handshake: Any) -> None:
        subscriptions: tuple[Subscription, ...] = handshake.get("subscriptions", ())
        values = {"keepalive_s": 30, "session_expiry_s": 3600, "max_packet_bytes": 100_000, **handshake}
        self.handshake = Handshake(address=ADDRESS, client_id="gw-042", **values)
        self.loop = FakeLoop()
        self.owner = Recorder()
        self.transport = FakeTransport()
        connect = connect_packet(self.handshake, b"secret" if self.handshake.username else None)
        loop: Any = self.loop
        self.link = V5Link(self.owner, self.handshake, connect, loop)
        self.link.connection_made(self.transport)
        if up:
            self.feed(mqtt5.ConnAckPacket(**(connack or {})))
            if subscriptions:
                granted = [mqtt5.SubAckReasonCode(subscription.qos) for subscription in subscriptions]
                self.feed(mqtt5.SubAckPacket(1, granted))
            self.transport.writes.clear()

    def feed(self, *packets: Any) -> None:
        """The broker sends these packets in one piece."""
        self.link.data_received(b"".join(packet.write() for packet in packets))

    @property
    def error(self) -> str | None:
        """Why the link ended, None while it has not."""
        return str(self.link.ended.result()) if self.link.ended.done() else None


def parse(data: bytes) -> list[Any]:
    """Bytes as packets."""
    packets = []
    while data:
        packet, size_bytes = mqtt5.read(memoryview(data))
        packets.append(packet)
        data = data[size_bytes:]
    return packets


def message(packet_id: int | None = None, topic: str = "a/b", payload: bytes = b"x", **fields: Any) -> Any:
    """A PUBLISH from the broker, at QoS 1 when it has a packet id."""
    qos = mqtt5.QoS.AT_MOST_ONCE if packet_id is None else mqtt5.QoS.AT_LEAST_ONCE
    return mqtt5.PublishPacket(topic, payload, qos=qos, packet_id=packet_id, **fields)
