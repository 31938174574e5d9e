"""Converts MQTT 5 packets to bytes and back: all use of the `mqtt5` codec that needs no connection's state.

Beware: the codec's enums are no ints, although its stub says so. They have no order and no hash, and 0 is true;
compare them with `==` and convert them to numbers with `int()`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from struct import Struct
from typing import Final

import mqtt5
import msgspec

from edgeagent.mqtt.handshake import RECEIVE_MAX, Handshake
from edgeagent.mqtt.link_state import ProtocolFault
from edgeagent.mqtt.mark import told_beside
from edgeagent.mqtt.reason_codes import FAILURE, MALFORMED, PACKET_TOO_LARGE
from edgeagent.ports.link import Message, Subscription
from edgeagent.wire.utf8 import end_of_readable

LARGEST_PACKET_ID = 65535
# Indexed by the number of the QoS. Subscriptions use the first two: QoS 2 is never asked for.
QOS = (mqtt5.QoS.AT_MOST_ONCE, mqtt5.QoS.AT_LEAST_ONCE, mqtt5.QoS.EXACTLY_ONCE)

# The first byte of the broker's answers to a PUBLISH.
PUBACK: Final = 0x40
PUBREC: Final = 0x50
PUBCOMP: Final = 0x70
_ANSWERS = frozenset({PUBACK, PUBREC, PUBCOMP})
_DUPLICATE = 0x08  # a bit in the first byte of a PUBLISH
# Successful PUBACKs in the short form come one after the other from a busy broker.
_SUCCESSES = re.compile(rb"(?:\x40\x02[\x00-\xff]{2})++")
_PACKET_ID_OF_EACH = Struct(">2xH")
_REFUSAL_BYTES = 5  # of the shortest one: first byte, length, packet id, reason code
_MAX_SHORT_LENGTH = 0x7F

# A remaining length is written in one to four bytes, seven bits in each.
_MAX_LENGTH_BYTES = 4


class RefusedAnswer(msgspec.Struct, frozen=True):
    """A PUBACK, PUBREC or PUBCOMP (`kind` is its first byte) with a reason code that the codec does not accept.

    Mosquitto sends 0x95 (packet too large) in a PUBACK, although MQTT 5 has no such code there.
    """

    kind: int
    packet_id: int
    reason_code: int


class PubackRun(msgspec.Struct, frozen=True):
    """The packet ids of PUBACKs without a reason that came one after the other."""

    packet_ids: list[int]


Received = mqtt5.Packet | RefusedAnswer | PubackRun


class PacketReader:
    """Splits a stream of bytes into packets.

    It keeps the beginning of at most one packet, and calls the codec only when the rest is there, so that the work is
    proportional to the number of bytes, however they arrive. It must never raise, whatever it is fed.

    Args:
        max_packet_bytes: a larger packet is a fault, detected as soon as its length is known.
    """

    def __init__(self, max_packet_bytes: int) -> None:
        self._max_packet_bytes = max_packet_bytes
        self._partial = bytearray()
        self._wanted_bytes = 0

    def take(self, data: bytes) -> tuple[list[Received], ProtocolFault | None]:  # noqa: C901, PLR0911  see below
        """The packets that these bytes complete, and the fault after them, after which nothing more can be read."""
        packets: list[Received] = []  # one function, because a call for each packet would be slower (`benchmarks path`)
        if self._partial:
            data = self._completed(data)
        view, end_bytes, max_packet_bytes, read = memoryview(data), len(data), self._max_packet_bytes, mqtt5.read
        is_ascii = data.isascii()
        position = 0
        while position < end_bytes:
            if data[position] == PUBACK and (run := _SUCCESSES.match(data, position)):
                packets.append(PubackRun([packet_id for (packet_id,) in _PACKET_ID_OF_EACH.iter_unpack(run[0])]))
                position = run.end()
                continue
            try:
                end = end_bytes if is_ascii else end_of_readable(data, position)
            except ValueError as exc:
                return packets, _fault(view[position:], str(exc))
            if not end:
                return packets, self._keep(view[position:])
            try:
                packet, packet_bytes = read(view[position:end])
            except IndexError:
                if is_ascii:
                    return packets, self._keep(view[position:])
                return packets, _fault(view[position:], "it ends too soon")
            except ValueError as exc:
                refusal = _refusal(view[position:])
                if refusal is None:
                    return packets, _fault(view[position:], str(exc))
                packets.append(refusal)
                position += _packet_bytes(view[position:]) or 0
                continue
            except BaseException as exc:
                # The codec panics over what it did not expect: that is no Exception, and its class cannot be imported.
                if type(exc).__module__ != "pyo3_runtime":
                    raise
                return packets, _fault(view[position:], "the codec cannot read it")
            if packet_bytes > max_packet_bytes:
                return packets, self._too_large(packet_bytes)
            packets.append(packet)
            position += packet_bytes
        return packets, None

    def _completed(self, data: bytes) -> bytes:
        """The data with what was kept before it; empty while the packet that was begun is not complete."""
        self._partial += data
        if len(self._partial) < self._wanted_bytes:
            return b""
        data = bytes(self._partial)
        self._partial.clear()
        return data

    def _keep(self, rest: memoryview) -> ProtocolFault | None:
        packet_bytes = _packet_bytes(rest)
        if packet_bytes is not None and packet_bytes > self._max_packet_bytes:
            return self._too_large(packet_bytes)
        self._wanted_bytes = packet_bytes or len(rest) + 1
        self._partial += rest
        return None

    def _too_large(self, packet_bytes: int) -> ProtocolFault:
        text = f"a packet of {packet_bytes} bytes, where {self._max_packet_bytes} were allowed"
        return ProtocolFault(text, PACKET_TOO_LARGE)


def connect_packet(handshake: Handshake, password: bytes | None) -> bytes:
    """The CONNECT packet. A session that outlives its connections is resumed; others start clean."""
    will = handshake.will
    return mqtt5.ConnectPacket(
        handshake.client_id,
        username=handshake.username,
        password=password,
        clean_start=handshake.clean_start,
        will=None
        if will is None
        else mqtt5.Will(
            will.topic, payload=will.payload, qos=QOS[will.qos], retain=will.retain, will_delay_interval=will.delay_s
        ),
        keep_alive=handshake.keepalive_s,
        session_expiry_interval=handshake.session_expiry_s,
        receive_max=RECEIVE_MAX,
        max_packet_size=handshake.max_packet_bytes,
    ).write()


def subscribe_packet(packet_id: int, subscriptions: tuple[Subscription, ...]) -> bytes:
    """The SUBSCRIBE packet. The retain flag then marks only messages that came with the subscription."""
    handling = mqtt5.RetainHandling
    filters = [
        mqtt5.TopicFilter(
            asked.topic_filter,
            max_qos=QOS[asked.qos],
            retain_as_published=False,
            retain_handling=handling.SEND_ALWAYS if asked.retained else handling.SEND_NEVER,
        )
        for asked in subscriptions
    ]
    return mqtt5.SubscribePacket(packet_id, filters).write()


def unsubscribe_packet(packet_id: int, topic_filters: Sequence[str]) -> bytes:
    """UNSUBSCRIBE."""
    return mqtt5.UnsubscribePacket(packet_id, list(topic_filters)).write()


def repeated(packet: bytes) -> bytes:
    """The same PUBLISH, marked as a duplicate."""
    return bytes((packet[0] | _DUPLICATE,)) + packet[1:]


def puback_packets(packet_ids: Iterable[int]) -> bytes:
    """A PUBACK for each packet id, all of them successes."""
    return b"".join([b"\x40\x02" + packet_id.to_bytes(2, "big") for packet_id in packet_ids])


def pubrel_packet(packet_id: int, *, known: bool = True) -> bytes:
    """The PUBREL packet; `known` False: nothing waits for this packet id."""
    codes = mqtt5.PubRelReasonCode
    return mqtt5.PubRelPacket(packet_id, reason_code=codes.SUCCESS if known else codes.PACKET_ID_NOT_FOUND).write()


def message_from(packet: mqtt5.PublishPacket, receipts: int) -> Message:
    """The message in a received PUBLISH; `receipts`: its connection's (`unacknowledged.receipts_of`)."""
    packet_id = packet.packet_id
    mark, traceparent = told_beside(packet.user_properties)
    return Message(
        packet.topic,
        packet.payload,
        None if packet_id is None else receipts | packet_id,
        packet_id or 0,
        packet.retain,
        packet.duplicate,
        packet.response_topic,
        packet.correlation_data,
        mark,
        traceparent,
    )


def _packet_bytes(start: memoryview) -> int | None:
    """The length of the packet that begins here, None while its length field is incomplete."""
    remaining_bytes = 0
    for index, byte in enumerate(start[1 : 1 + _MAX_LENGTH_BYTES]):
        remaining_bytes |= (byte & 0x7F) << 7 * index
        if byte < 0x80:  # noqa: PLR2004  the continuation bit
            return 2 + index + remaining_bytes
    return None


def _refusal(start: memoryview) -> RefusedAnswer | None:
    """The answer that begins here, if it is complete and a refusal."""
    packet_bytes = _packet_bytes(start)
    # A length of one byte is enough except for a very long reason string, which no known broker sends.
    if packet_bytes is None or not _REFUSAL_BYTES <= packet_bytes <= len(start) or start[1] > _MAX_SHORT_LENGTH:
        return None
    kind, _, high, low, reason_code = start[:_REFUSAL_BYTES]
    if kind not in _ANSWERS or reason_code < FAILURE:
        return None
    return RefusedAnswer(kind, high << 8 | low, reason_code)


def _fault(start: memoryview, text: str) -> ProtocolFault:
    # A CONNACK of MQTT 5 is longer: a broker of MQTT 3.1.1 says in this way that it does not know our version.
    if start[:2].tobytes() == b"\x20\x02":
        return ProtocolFault("an answer of MQTT 3.1.1: it does not speak MQTT 5", MALFORMED)
    return ProtocolFault(f"a malformed packet ({text})", MALFORMED)
