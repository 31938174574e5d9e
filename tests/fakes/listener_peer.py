"""A client in front of the listener's machine of one connection, without a socket and with a clock of its own."""

from __future__ import annotations

from typing import Any

import mqtt5

from edgeagent.listener.connection import ClientConnection, Limits
from edgeagent.listener.flows import Inbound, Outbound
from edgeagent.listener.packets import ConnAck, Connect, ConnectionEnded, Input, PacketReleased, Publish
from edgeagent.listener.reasons import Reason
from tests.fakes.mqtt_bytes import MQTT_5, connect


class Peer:
    """Connected, unless `up` is False; more of its CONNECT as in `mqtt_bytes.connect`.

    Attributes:
        connection: the machine.
        inputs: all that came out of it for the broker, but for the `Connect`, and each `PacketReleased` with an answer.
        answers_released: whether that is done at once.
        now_s: the time.
    """

    def __init__(
        self,
        version: int = MQTT_5,
        *,
        up: bool = True,
        limits: Limits | None = None,
        inbound: Inbound | None = None,
        outbound: Outbound | None = None,
        ack: ConnAck | None = None,
        **hello: Any,
    ) -> None:
        self.version = version
        self.now_s = 0.0
        self.answers_released = True
        self.connection = ClientConnection(limits or Limits(), self.now_s)
        self.inputs: list[Input] = []
        self.inbound = Inbound() if inbound is None else inbound
        self.outbound = Outbound() if outbound is None else outbound
        if up:
            (said,) = self.connection.feed(connect(version, **hello), self.now_s)
            assert isinstance(said, Connect)
            self.accept(ack or ConnAck(session_present=inbound is not None or outbound is not None))

    def accept(self, ack: ConnAck | None = None) -> None:
        """The broker lets it in."""
        self.inputs += self.connection.accept(ack or ConnAck(), self.inbound, self.outbound, self.now_s)

    def feed(self, *pieces: bytes) -> list[Input]:
        """It sends this; what comes out at once."""
        before = len(self.inputs)
        for piece in pieces:
            self._take(self.connection.feed(piece, self.now_s))
            while self.connection.has_more:
                self._take(self.connection.go_on(self.now_s))
        return self.inputs[before:]

    def _take(self, inputs: list[Input]) -> None:
        for each in inputs:
            if isinstance(each, PacketReleased) and self.answers_released:
                reason = Reason.SUCCESS if each.is_known else Reason.PACKET_ID_NOT_FOUND
                self.connection.complete(each.packet_id, reason)
            else:
                self.inputs.append(each)

    def wait(self, seconds: float) -> list[Input]:
        """Time passes, and nothing comes."""
        self.now_s += seconds
        inputs = self.connection.tick(self.now_s)
        self.inputs += inputs
        return inputs

    def sent(self) -> bytes:
        """What was written to it since the last call."""
        return self.connection.data_to_send()

    def heard(self) -> list[Any]:
        """The same as packets of MQTT 5."""
        data, found = self.sent(), list[Any]()
        while data:
            packet, size = mqtt5.read(memoryview(data))
            found.append(packet)
            data = data[size:]
        return found

    @property
    def messages(self) -> list[Publish]:
        """What it published."""
        return [each for each in self.inputs if isinstance(each, Publish)]

    @property
    def ended(self) -> ConnectionEnded | None:
        """How its connection ended, None: it did not."""
        return next((each for each in self.inputs if isinstance(each, ConnectionEnded)), None)


def session_expiry(seconds: int) -> bytes:
    """The property of CONNECT that says how long the session lives."""
    return b"\x11" + seconds.to_bytes(4, "big")
