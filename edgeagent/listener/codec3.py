"""Bytes of MQTT 3.1.1 and 3.1 into packets and back, as a server needs it.

Where MQTT 3.1.1 has a code for a reason, it is sent; for all others the connection is closed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from edgeagent.listener.forms import (
    ANSWERS,
    CLEAN,
    PACKET_ID_BYTES,
    PASSWORD,
    USER,
    WILL,
    WILL_RETAIN,
    checked_filter,
    checked_id,
    connect_fault,
    plain_publish,
    protocol_of,
    text_of,
    topic_of,
    will_qos,
)
from edgeagent.listener.framing import (
    CONNACK,
    CONNECT,
    DISCONNECT,
    DUPLICATE,
    MOST_QOS,
    PINGREQ,
    PUBACK,
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    REQUEST_FLAGS,
    RETAIN,
    SECOND_CONNECT,
    SUBACK,
    SUBSCRIBE,
    TYPE,
    UNSUBACK,
    UNSUBSCRIBE,
    MalformedPacket,
    packet,
    short_answers,
    written,
)
from edgeagent.listener.packets import (
    MQTT_31,
    NEVER_EXPIRES,
    ClientWill,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    Publish,
    Subscribe,
    TopicSubscription,
    Unsubscribe,
)
from edgeagent.listener.reasons import FAILURE, Reason

_FAILED: Final = 0x80  # in SUBACK
# MQTT 3.1.1, table 3.1, by the reason codes of MQTT 5.
_RETURN_CODES = {
    Reason.SUCCESS: 0,
    Reason.UNSUPPORTED_PROTOCOL_VERSION: 1,
    Reason.CLIENT_ID_NOT_VALID: 2,
    Reason.SERVER_UNAVAILABLE: 3,
    Reason.SERVER_BUSY: 3,
    Reason.SERVER_SHUTTING_DOWN: 3,
    Reason.QUOTA_EXCEEDED: 3,
    Reason.CONNECTION_RATE_EXCEEDED: 3,
    Reason.BAD_USER_NAME_OR_PASSWORD: 4,
    Reason.NOT_AUTHORIZED: 5,
}
_PING = PingReq()
_DISCONNECT = Disconnect()
_REQUESTS = frozenset({PUBREL, SUBSCRIBE, UNSUBSCRIBE})


class Codec3:
    """The packets of one client, of MQTT 3.1.1 or 3.1 (`version`). It has no state."""

    __slots__ = ("version",)

    def __init__(self, version: int) -> None:
        self.version = version

    @staticmethod
    def connect(data: bytes, _position: int, body: int, end: int) -> Connect:
        """The CONNECT that has data[body:end] as its body.

        Raises:
            Malformed: it breaks a rule.
        """
        return _connect(data, body, end)

    def read(self, data: bytes, position: int, body: int, end: int) -> Packet:
        """The packet behind CONNECT that begins at `position` and has data[body:end] as its body.

        Raises:
            Malformed: it breaks a rule.
        """
        first = data[position]
        if first & TYPE == PUBLISH:
            published = plain_publish(data, position, body, end, v5=False)
            assert published is not None  # noqa: S101  MQTT 3 has no properties
            return published
        if self.version == MQTT_31 and first & TYPE in _REQUESTS:
            first &= ~DUPLICATE  # MQTT 3.1 marks those that are sent again, too
        if first in ANSWERS:
            return ANSWERS[first](_only_id(data, body, end))
        if first == SUBSCRIBE | REQUEST_FLAGS:
            return _subscribe(data, body, end)
        if first == UNSUBSCRIBE | REQUEST_FLAGS:
            return _unsubscribe(data, body, end)
        if first in {PINGREQ, DISCONNECT} and body == end:
            return _PING if first == PINGREQ else _DISCONNECT
        raise _unreadable(first)

    @staticmethod
    def connack(reason: int, ack: ConnAck, _text: str = "") -> bytes:
        """CONNACK; nothing where the version has no code for this reason."""
        code = _RETURN_CODES.get(Reason(reason))
        return b"" if code is None else bytes((CONNACK, 2, ack.session_present and not code, code))

    @staticmethod
    def publish(
        message: Publish,
        qos: int,
        retain: bool,
        packet_id: int,
        duplicate: bool,
        _subscription_ids: tuple[int, ...] = (),
    ) -> bytes:
        """PUBLISH, of which the message's own `qos`, `retain`, `packet_id` and `duplicate` say nothing.

        Raises:
            ValueError: it does not fit the format.
        """
        first = PUBLISH | qos << 1 | (RETAIN if retain else 0) | (DUPLICATE if duplicate else 0)
        head = written(message.topic)
        return packet(first, head + (packet_id.to_bytes(2, "big") if qos else b"") + message.payload)

    @staticmethod
    def answers(kind: int, packet_ids: Sequence[int], _reason: int) -> bytes:
        """A PUBACK, PUBREC, PUBREL or PUBCOMP for each packet id: they know no reasons (MQTT 3.1.1, 3.4)."""
        return short_answers(kind, packet_ids)

    @staticmethod
    def suback(packet_id: int, reasons: Iterable[int]) -> bytes:
        """SUBACK: the QoS granted for each filter, or why none is."""
        codes = bytes(reason if reason < FAILURE else _FAILED for reason in reasons)
        return packet(SUBACK, packet_id.to_bytes(2, "big") + codes)

    @staticmethod
    def unsuback(packet_id: int, _reasons: Iterable[int]) -> bytes:
        """UNSUBACK, which says nothing about the filters."""
        return short_answers(UNSUBACK, (packet_id,))

    @staticmethod
    def disconnect(_reason: int, _text: str = "") -> bytes:
        """Nothing: before MQTT 5 a server closes the connection without a word."""
        return b""


def _unreadable(first: int) -> MalformedPacket:
    kind = first & TYPE
    if kind == CONNECT:
        return MalformedPacket(Reason.PROTOCOL_ERROR, SECOND_CONNECT)
    if kind in {0, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, UNSUBSCRIBE, PINGREQ, DISCONNECT}:
        return MalformedPacket(
            Reason.MALFORMED_PACKET, f"a packet that begins with 0x{first:02x}, or has a wrong length"
        )
    return MalformedPacket(Reason.PROTOCOL_ERROR, f"a packet of type {kind >> 4}, which no client sends")


def _only_id(data: bytes, body: int, end: int) -> int:
    if end - body != PACKET_ID_BYTES:
        raise MalformedPacket(Reason.MALFORMED_PACKET, "an acknowledgement of a wrong length")
    return checked_id(data[body] << 8 | data[body + 1])


class _Fields:
    """The fields of a body, one after the other."""

    __slots__ = ("data", "end", "place")

    def __init__(self, data: bytes, place: int, end: int) -> None:
        self.data = data
        self.place = place
        self.end = end

    def byte(self) -> int:
        return self.raw(1)[0]

    def number(self) -> int:
        return int.from_bytes(self.raw(2), "big")

    def raw(self, size: int) -> bytes:
        place = self.place
        self.place = place + size
        if self.place > self.end:
            raise MalformedPacket(Reason.MALFORMED_PACKET, "a packet that ends early")
        return self.data[place : self.place]

    def sized(self) -> bytes:
        return self.raw(self.number())

    def text(self, what: str) -> str:
        return text_of(self.sized(), what)


def _connect(data: bytes, body: int, end: int) -> Connect:
    version = protocol_of(data, body, end)
    fields = _Fields(data, body, end)
    fields.sized()
    _, flags, keep_alive_s = fields.byte(), fields.byte(), fields.number()
    if fault := connect_fault(flags, version):
        raise MalformedPacket(Reason.MALFORMED_PACKET, fault)
    client_id = fields.text("a client id")
    will = None
    if flags & WILL:
        topic, payload = topic_of(fields.sized()), fields.sized()
        will = ClientWill(Publish(topic, payload, will_qos(flags), bool(flags & WILL_RETAIN)))
    # MQTT 3.1, 3.1: where user or password are announced and the packet ends before them, there is none.
    user = fields.text("a user name") if flags & USER and not _is_left_out(fields, version) else None
    password = fields.sized() if flags & PASSWORD and not _is_left_out(fields, version) else None
    if fields.place != end:
        raise MalformedPacket(Reason.MALFORMED_PACKET, "a CONNECT with something behind it")
    clean = bool(flags & CLEAN)
    if not client_id and (version == MQTT_31 or not clean):
        raise MalformedPacket(Reason.CLIENT_ID_NOT_VALID, "no client id, where one is needed")
    return Connect(
        version, client_id, clean, keep_alive_s, user, password, will, session_expiry_s=0 if clean else NEVER_EXPIRES
    )


def _is_left_out(fields: _Fields, version: int) -> bool:
    return version == MQTT_31 and fields.place == fields.end


def _subscribe(data: bytes, body: int, end: int) -> Subscribe:
    fields = _Fields(data, body, end)
    packet_id = checked_id(fields.number())
    subscriptions: list[TopicSubscription] = []
    while fields.place < end or not subscriptions:
        topic_filter, qos = checked_filter(fields.text("a topic filter")), fields.byte()
        if qos > MOST_QOS:
            raise MalformedPacket(Reason.MALFORMED_PACKET, f"a subscription with 0x{qos:02x} as its QoS")
        subscriptions.append(TopicSubscription(topic_filter, qos))
    return Subscribe(packet_id, tuple(subscriptions))


def _unsubscribe(data: bytes, body: int, end: int) -> Unsubscribe:
    fields = _Fields(data, body, end)
    packet_id = checked_id(fields.number())
    filters: list[str] = []
    while fields.place < end or not filters:
        filters.append(checked_filter(fields.text("a topic filter")))
    return Unsubscribe(packet_id, tuple(filters))
