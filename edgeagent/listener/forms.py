"""What all versions of MQTT write in the same way, and the rules for it.

These are the beginning of CONNECT, texts, topics and filters, and messages without properties.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from edgeagent.listener.framing import (
    DUPLICATE,
    MOST_QOS,
    PUBACK,
    PUBCOMP,
    PUBREC,
    PUBREL,
    REQUEST_FLAGS,
    RETAIN,
    MalformedPacket,
)
from edgeagent.listener.packets import MQTT_5, MQTT_31, MQTT_311, PubAck, PubComp, Publish, PubRec, PubRel
from edgeagent.listener.reasons import Reason
from edgeagent.wire.topics import filter_problem

# What a first byte says of an answer that has nothing but a packet id.
ANSWERS: Final[dict[int, type[PubAck | PubRec | PubRel | PubComp]]] = {
    PUBACK: PubAck,
    PUBREC: PubRec,
    PUBREL | REQUEST_FLAGS: PubRel,
    PUBCOMP: PubComp,
}
PACKET_ID_BYTES: Final = 2

# A topic up to this length is remembered with what it is as text, since devices use few of them, again and again: 0.18
# of 1.9 us a message (`benchmarks listener`).
_SHORT_TOPIC_BYTES = 128
_TOPICS = 1024

# The names of the protocol in CONNECT, with the levels that go with each.
_LEVELS = {b"MQTT": frozenset({MQTT_311, MQTT_5}), b"MQIsdp": frozenset({MQTT_31})}
_CONNACK_311 = b"\x20\x02\x00\x01"  # unacceptable protocol level
CONNACK_5_UNSUPPORTED: Final = b"\x20\x03\x00\x84\x00"
# Flags of CONNECT.
CLEAN: Final = 0x02
WILL: Final = 0x04
WILL_RETAIN: Final = 0x20
PASSWORD: Final = 0x40
USER: Final = 0x80
_RESERVED: Final = 0x01
_WILL_QOS: Final = 0x18


def protocol_of(data: bytes, body: int, end: int) -> int:
    """The version that a CONNECT speaks.

    Raises:
        Malformed: it is none of ours.
    """
    name_end = body + 2 + (data[body] << 8 | data[body + 1]) if end - body > 2 else end  # noqa: PLR2004  the length
    if name_end >= end:
        raise MalformedPacket(Reason.MALFORMED_PACKET, "a CONNECT that ends early")
    levels = _LEVELS.get(data[body + 2 : name_end])
    if levels is None:
        raise MalformedPacket(Reason.UNSUPPORTED_PROTOCOL_VERSION, "a CONNECT of another protocol than MQTT")
    level = data[name_end]
    if level not in levels:
        answer = CONNACK_5_UNSUPPORTED if level > MQTT_5 else _CONNACK_311
        raise MalformedPacket(Reason.UNSUPPORTED_PROTOCOL_VERSION, f"a CONNECT of protocol level {level}", answer)
    return level


def connect_fault(flags: int, version: int) -> str:
    """What is wrong with the flags of a CONNECT, "" if nothing is."""
    if version == MQTT_31:
        return "a will at QoS 3" if flags & _WILL_QOS == _WILL_QOS else ""
    if flags & _RESERVED:
        return "a CONNECT with its reserved flag set"
    if not flags & WILL and flags & (_WILL_QOS | WILL_RETAIN):
        return "a CONNECT with flags of a will and no will"
    if flags & _WILL_QOS == _WILL_QOS:
        return "a will at QoS 3"
    if version == MQTT_311 and flags & PASSWORD and not flags & USER:
        return "a CONNECT with a password and no user"
    return ""


def will_qos(flags: int) -> int:
    """The QoS of the will, from the flags of a CONNECT."""
    return (flags & _WILL_QOS) >> 3


def plain_publish(data: bytes, position: int, body: int, end: int, *, v5: bool) -> Publish | None:
    """The PUBLISH that begins at `position`; None: it is of MQTT 5 and has properties.

    Raises:
        Malformed: it breaks a rule.
    """
    first = data[position]
    topic_end = place = body + 2 + (data[body] << 8 | data[body + 1]) if end - body > 1 else end + 1
    qos = first >> 1 & 3
    packet_id = 0
    if qos:
        place += 2
        if place <= end:
            packet_id = data[topic_end] << 8 | data[topic_end + 1]
            if not packet_id or qos > MOST_QOS:
                raise _publish_fault(first)
    elif first & DUPLICATE:
        raise _publish_fault(first)
    if place + v5 > end:
        raise MalformedPacket(Reason.MALFORMED_PACKET, "a PUBLISH that ends early")
    if v5:
        if data[place]:
            return None
        place += 1
    raw = data[body + 2 : topic_end]
    topic = _known_topic(raw) if len(raw) <= _SHORT_TOPIC_BYTES else topic_of(raw)
    return Publish(topic, data[place:end], qos, first & RETAIN != 0, first & DUPLICATE != 0, packet_id)


def _publish_fault(first: int) -> MalformedPacket:
    qos = first >> 1 & 3
    if qos > MOST_QOS:
        return MalformedPacket(Reason.MALFORMED_PACKET, "a PUBLISH at QoS 3")
    if not qos:
        return MalformedPacket(Reason.MALFORMED_PACKET, "a PUBLISH at QoS 0 that is marked as sent before")
    return MalformedPacket(Reason.PROTOCOL_ERROR, "a PUBLISH with packet id 0")


def text_of(raw: bytes, what: str) -> str:
    """These bytes as the text that they must be; `what` they are goes into the error.

    Raises:
        Malformed: they are not UTF-8, or have a NUL in them (MQTT 5, 1.5.4).
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError as exc:
        raise MalformedPacket(Reason.MALFORMED_PACKET, f"{what} that is not UTF-8") from exc
    return without_nul(text, what)


def without_nul(text: str, what: str) -> str:
    """The text, if no NUL is in it.

    Raises:
        Malformed: one is.
    """
    if "\0" in text:
        raise MalformedPacket(Reason.MALFORMED_PACKET, f"{what} with a NUL in it")
    return text


def topic_of(raw: bytes) -> str:
    """The topic to publish on that these bytes say.

    Raises:
        Malformed: they are none.
    """
    return checked_topic(text_of(raw, "a topic"))


_known_topic = lru_cache(_TOPICS)(topic_of)


def checked_topic(topic: str, what: str = "a topic") -> str:
    """The topic, if one can publish on it.

    Raises:
        Malformed: it is empty or has wildcards.
    """
    if not topic:
        raise MalformedPacket(Reason.PROTOCOL_ERROR, f"{what} without a character")
    if "#" in topic or "+" in topic:
        raise MalformedPacket(Reason.TOPIC_NAME_INVALID, f"{what} with wildcards")
    return without_nul(topic, what)


def checked_filter(topic_filter: str) -> str:
    """The topic filter, if it is well formed.

    Raises:
        Malformed: it is not.
    """
    problem = filter_problem(without_nul(topic_filter, "a topic filter"))
    if problem is not None:
        raise MalformedPacket(Reason.TOPIC_FILTER_INVALID, f"a topic filter of the wrong form: it {problem}")
    return topic_filter


def checked_id(packet_id: int) -> int:
    """The packet id, if it is one.

    Raises:
        Malformed: it is 0.
    """
    if not packet_id:
        raise MalformedPacket(Reason.PROTOCOL_ERROR, "packet id 0")
    return packet_id
