"""One client's connection as a machine: bytes and a time in; bytes, and what the broker has to know, out.

It knows no socket, no clock, no disk and no other client. Whoever drives it

* hands in what the socket brought (`feed`), that it ended (`lost`), and the time at `next_deadline` (`tick`);
* decides about the `Connect` that comes out first: `accept` or `refuse`;
* says which messages are safe (`acknowledge`): nothing is acknowledged to the client before that;
* writes `data_to_send` after every call, once, and closes when `is_ended`.

What a client did right before it did something wrong comes out before `ConnectionEnded`, which comes last.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from edgeagent.listener.codec import Codec
from edgeagent.listener.codec3 import Codec3
from edgeagent.listener.dialogue import Dialogue
from edgeagent.listener.flows import Inbound, Outbound
from edgeagent.listener.forms import CONNACK_5_UNSUPPORTED, protocol_of
from edgeagent.listener.framing import CONNECT, LARGEST_PACKET_BYTES, TYPE, Frames, MalformedPacket
from edgeagent.listener.packets import (
    MQTT_5,
    MQTT_31,
    MQTT_311,
    ConnAck,
    Connect,
    ConnectionEnded,
    Input,
    Packet,
    Publish,
    Subscribe,
    Unsubscribe,
)
from edgeagent.listener.reasons import Reason

# A client is dead after so many keep-alive periods of silence (MQTT 5, 3.1.2.10).
_PATIENCE: Final = 1.5
# A CONNECT comes from somebody whom nobody knows yet.
_MOST_CONNECT_BYTES: Final = 32 << 10
# A client that sends a large packet over a slow line can say nothing else meanwhile: so much of it is a sign of life.
_PROGRESS_BYTES: Final = 1000
# So many packets of one client belong to one turn of the loop: one that floods leaves the others their turns.
_MOST_PACKETS: Final = 128
_COSTLY: Final = frozenset({Subscribe, Unsubscribe})
_TLS_HANDSHAKE: Final = 0x16
_HTTP_GET: Final = ord("G")
_CODECS = {version: Codec3(version) for version in (MQTT_31, MQTT_311)}


class Limits(msgspec.Struct, frozen=True):
    """What is taken of one client. `connect_s`: for its CONNECT to come."""

    max_packet_bytes: int = 1 << 20
    receive_maximum: int = 256
    topic_alias_maximum: int = 16
    connect_s: float = 5.0


class ClientConnection:
    """The machine of one connection. Times are seconds of a monotonic clock.

    Attributes:
        has_more: packets may be here that were not looked at: nothing new is to be fed until `go_on` has taken them.
        is_ended: it is over: what is left to send goes out, then the socket is closed.
    """

    __slots__ = (
        *("_codec", "_connect", "_dialogue", "_frames", "_heard_s", "_inbound", "_is_deaf", "_keep_alive_s"),
        *("_late", "_left", "_left_fault", "_limits", "_out", "_progress_bytes", "has_more", "is_ended"),
    )

    def __init__(self, limits: Limits, now_s: float) -> None:
        self.has_more = False
        self.is_ended = False
        self._limits = limits
        self._frames = Frames(min(limits.max_packet_bytes, _MOST_CONNECT_BYTES))
        self._out: list[bytes] = []
        self._codec: Codec | None = None  # from CONNECT on
        self._connect: Connect | None = None  # while the broker is asked about it
        self._dialogue: Dialogue | None = None  # from `accept` to the end
        self._inbound: Inbound | None = None  # after the end, while there are
        self._late: frozenset[int] = frozenset()  # its messages at QoS 2 that were not safe then
        self._heard_s = now_s
        self._keep_alive_s = 0
        self._progress_bytes = 0
        self._left: list[Packet] = []  # that were read, and belong to the next turn
        self._left_fault: MalformedPacket | None = None  # what came behind them
        self._is_deaf = False

    # What the driver looks at.

    @property
    def paused(self) -> bool:
        """Whether not to read on: the broker is asked about CONNECT, or a client before MQTT 5 is far ahead of us."""
        return self._connect is not None if self._dialogue is None else self._dialogue.is_ahead

    @property
    def room(self) -> int:
        """How many messages above QoS 0 `publish` takes now. It grows when the client acknowledges."""
        return 0 if self._dialogue is None else self._dialogue.outbound.room

    @property
    def kept_bytes(self) -> int:
        """How much of a packet came whose end did not."""
        return self._frames.kept_bytes

    @property
    def next_deadline(self) -> float | None:
        """When to call `tick`, None: no need to."""
        if self._dialogue is not None:
            silent = self._keep_alive_s and not self._is_deaf
            return self._heard_s + _PATIENCE * self._keep_alive_s if silent else None
        return None if self.is_ended or self._connect is not None else self._heard_s + self._limits.connect_s

    def data_to_send(self) -> bytes:
        """What is to be written to the socket now."""
        out = self._out
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return data

    # What the socket and the clock bring.

    def feed(self, data: bytes, now_s: float) -> list[Input]:
        """These bytes came."""
        if self._dialogue is not None:
            return self._feed(self._dialogue, data, now_s)
        if self._connect is not None:
            self._frames.keep(data)
            return []
        return [] if self.is_ended else self._feed_first(data)

    def go_on(self, now_s: float) -> list[Input]:
        """The next of the packets that are here."""
        return self._feed(self._dialogue, b"", now_s) if self._dialogue is not None and self.has_more else []

    def tick(self, now_s: float) -> list[Input]:
        """So late is it; `next_deadline` may have come."""
        deadline_s = self.next_deadline
        if deadline_s is None or now_s < deadline_s:
            return []
        if self._dialogue is None:
            text = f"no CONNECT in {self._limits.connect_s:g} s"
            return [self._end(ConnectionEnded(Reason.UNSPECIFIED_ERROR, text, publishes_will=False))]
        return [self.disconnect(Reason.KEEP_ALIVE_TIMEOUT, f"nothing came for {now_s - self._heard_s:.0f} s")]

    def lost(self, text: str, *, is_by_client: bool = False) -> list[Input]:
        """The socket broke, or the client closed it."""
        if self.is_ended:
            return []
        will = self._dialogue is not None
        return [
            self._end(ConnectionEnded(Reason.UNSPECIFIED_ERROR, text, publishes_will=will, is_by_client=is_by_client))
        ]

    def listen(self, *, deaf: bool, now_s: float) -> None:
        """From now on nothing is read (silence then tells nothing), or it is again."""
        if self._is_deaf and not deaf:
            self._heard_s = now_s
        self._is_deaf = deaf

    # What the broker says.

    def accept(self, ack: ConnAck, inbound: Inbound, outbound: Outbound, now_s: float) -> list[Input]:
        """The client is let in, with what its session knows of earlier connections; both are empty in a new one.

        An earlier connection of the session must have ended. Returns what had come behind the CONNECT. Nothing happens
        when the client has gone meanwhile.
        """
        codec, connect = self._codec, self._connect
        if codec is None or connect is None:
            return []
        limits = self._limits
        self._connect = None
        self._heard_s = now_s
        self._keep_alive_s = connect.keep_alive_s if ack.keep_alive_s is None else ack.keep_alive_s
        self._frames.max_packet_bytes = limits.max_packet_bytes
        self._dialogue = dialogue = Dialogue(
            codec,
            inbound,
            outbound,
            self._out,
            limits.receive_maximum,
            connect.max_packet_bytes or LARGEST_PACKET_BYTES,
            connect.session_expiry_s,
        )
        if not dialogue.send(codec.connack(Reason.SUCCESS, ack)):
            return [self._end(ConnectionEnded(Reason.PACKET_TOO_LARGE, "it takes no packet as large as a CONNACK"))]
        dialogue.begin(connect.receive_maximum, now_s)
        return self._feed(dialogue, b"", now_s)

    def refuse(self, reason: Reason, text: str = "") -> list[Input]:
        """The client is not let in."""
        return [self._refuse(reason, text)] if self._connect is not None else []

    def publish(
        self, message: Publish, qos: int, now_s: float, *, retain: bool = False, subscription_ids: tuple[int, ...] = ()
    ) -> bool:
        """Send a message; above QoS 0 there must be `room`. False: the client is gone, or takes none so large.

        `qos`, `retain` and `subscription_ids` count, whatever the message itself says of them.
        """
        dialogue = self._dialogue
        return dialogue is not None and dialogue.publish(message, qos, now_s, retain, subscription_ids)

    def acknowledge(self, packet_ids: Iterable[int], reason: int = Reason.SUCCESS) -> None:
        """These messages of this connection are safe (or refused, by their reason): their PUBACK or PUBREC may leave.

        Said once of each. After the end of the connection this still counts for those at QoS 2, of which the session's
        next connection then knows; one that is there already has to `send_answers`.
        """
        if self._dialogue is not None:
            self._dialogue.acknowledge(packet_ids, reason)
        elif self._inbound is not None:
            late = self._late.intersection(packet_ids)
            self._late -= late
            self._inbound.answer(late, reason)

    def complete(self, packet_id: int, reason: int = Reason.SUCCESS) -> None:
        """Answer a `PacketReleased`: the packet id is free. After the end of the connection it says nothing."""
        if self._dialogue is not None:
            self._dialogue.complete(packet_id, reason)

    def send_answers(self) -> None:
        """Write the answers that an earlier connection of the session left."""
        if self._dialogue is not None:
            self._dialogue.send_answers()

    def suback(self, packet_id: int, reasons: Iterable[int]) -> None:
        """Answer a `Subscribe`: for each filter the QoS that is granted, or why none is."""
        if self._dialogue is not None:
            self._dialogue.send(self._dialogue.codec.suback(packet_id, reasons))

    def unsuback(self, packet_id: int, reasons: Iterable[int]) -> None:
        """Answer an `Unsubscribe`: what became of each filter."""
        if self._dialogue is not None:
            self._dialogue.send(self._dialogue.codec.unsuback(packet_id, reasons))

    def disconnect(self, reason: Reason, text: str = "") -> ConnectionEnded:
        """End it, and say why to a client that can be told."""
        dialogue = self._dialogue
        if dialogue is not None and not dialogue.send(dialogue.codec.disconnect(reason, text)):
            dialogue.send(dialogue.codec.disconnect(reason))
        return self._end(ConnectionEnded(reason, text, publishes_will=dialogue is not None))

    # Inside.

    def _feed_first(self, data: bytes) -> list[Input]:
        packets: list[Packet] = []
        try:
            if data and not self._frames.kept_bytes and data[0] != CONNECT:
                raise _not_connect(data[0])
            self._frames.take(data, self._read_connect, packets, most=1)
        except MalformedPacket as exc:
            self._out.append(exc.answer)
            return [self._refuse(exc.reason, exc.text)]
        if not packets:
            return []
        (connect,) = packets
        assert isinstance(connect, Connect)  # noqa: S101  `_read_connect` takes nothing else
        self._connect = connect
        if connect.authentication_method is not None:
            text = "an authentication method, where there is none but a password"
            return [self._refuse(Reason.BAD_AUTHENTICATION_METHOD, text)]
        return [connect]

    def _read_connect(self, data: bytes, position: int, body: int, end: int) -> Packet:
        self._codec = codec = self._codec_of(protocol_of(data, body, end))
        return codec.connect(data, position, body, end)

    def _codec_of(self, version: int) -> Codec:
        if version != MQTT_5:
            return _CODECS[version]
        try:
            from edgeagent.listener.codec5 import Codec5  # noqa: PLC0415  compiled, and not for every machine
        except ImportError:
            text = "MQTT 5, for which this machine has no codec (mqtt5)"
            raise MalformedPacket(Reason.UNSUPPORTED_PROTOCOL_VERSION, text, CONNACK_5_UNSUPPORTED) from None
        limits = self._limits
        return Codec5(limits.max_packet_bytes, limits.receive_maximum, limits.topic_alias_maximum)

    def _refuse(self, reason: Reason, text: str) -> ConnectionEnded:
        """Say no to a CONNECT, in as many words as the client takes."""
        if self._codec is not None:
            most_bytes = (self._connect and self._connect.max_packet_bytes) or LARGEST_PACKET_BYTES
            for words in (text, ""):
                data = self._codec.connack(reason, ConnAck(), words)
                if len(data) <= most_bytes:
                    self._out.append(data)
                    break
        return self._end(ConnectionEnded(reason, text, publishes_will=False))

    def _feed(self, dialogue: Dialogue, data: bytes, now_s: float) -> list[Input]:
        packets, fault = self._left, self._left_fault
        self._left, self._left_fault = [], None
        inputs: list[Input] = []
        is_new = not packets
        if is_new:
            try:
                self._frames.take(data, dialogue.codec.read, packets, most=_MOST_PACKETS)
            except MalformedPacket as exc:
                fault = exc
        self.has_more = self._frames.kept_bytes > 0 and (len(packets) == _MOST_PACKETS or not is_new)
        if any(type(each) in _COSTLY for each in packets):
            packets, fault = self._one_costly(packets, fault)
        if packets:
            self._heard_s = now_s
            self._progress_bytes = 0
        else:
            self._progress(len(data), now_s)
        try:
            dialogue.take(packets, inputs, now_s)
        except MalformedPacket as exc:
            fault = exc
        if inputs and type(last := inputs[-1]) is ConnectionEnded:
            self._end(last)
        else:
            dialogue.send_answers()
            if fault is not None:
                inputs.append(self.disconnect(fault.reason, fault.text))
        return inputs

    def _one_costly(
        self, packets: list[Packet], fault: MalformedPacket | None
    ) -> tuple[list[Packet], MalformedPacket | None]:
        """Put aside what comes behind a packet that costs as much as hundreds of others: one of them in each turn."""
        end = next(index for index, each in enumerate(packets, 1) if type(each) in _COSTLY)
        if end == len(packets):
            return packets, fault
        self._left, self._left_fault = packets[end:], fault
        self.has_more = True
        return packets[:end], None

    def _progress(self, size_bytes: int, now_s: float) -> None:
        self._progress_bytes += size_bytes
        if self._progress_bytes >= _PROGRESS_BYTES:
            self._progress_bytes = 0
            self._heard_s = now_s

    def _end(self, ended: ConnectionEnded) -> ConnectionEnded:
        self.has_more = False
        self._left.clear()
        self._frames.forget()  # megabytes, which would be there until the collector comes for the connection
        self.is_ended = True
        if self._dialogue is not None and (late := self._dialogue.inbound.unsafe()):
            self._inbound, self._late = self._dialogue.inbound, late
        self._connect = self._dialogue = None
        return ended


def _not_connect(first: int) -> MalformedPacket:
    if first == _TLS_HANDSHAKE:
        return MalformedPacket(Reason.MALFORMED_PACKET, "a TLS handshake, where TLS is not spoken")
    if first == _HTTP_GET:
        return MalformedPacket(Reason.PROTOCOL_ERROR, "an HTTP request, where WebSocket is not spoken")
    if first & TYPE == CONNECT:
        return MalformedPacket(Reason.MALFORMED_PACKET, "flags in the first byte of CONNECT")
    return MalformedPacket(Reason.PROTOCOL_ERROR, f"a packet of type {first >> 4} before CONNECT")
