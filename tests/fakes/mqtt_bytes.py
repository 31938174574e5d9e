"""Packets of MQTT written byte by byte, as the specification shows them, also such as nobody should send."""

from __future__ import annotations

MQTT_31, MQTT_311, MQTT_5 = 3, 4, 5
NAMES = {MQTT_31: "MQIsdp", MQTT_311: "MQTT", MQTT_5: "MQTT"}


def text(value: str | bytes) -> bytes:
    """A text, or bytes, with the length before it."""
    raw = value.encode() if isinstance(value, str) else value
    return len(raw).to_bytes(2, "big") + raw


def number(value: int) -> bytes:
    """A number of one to four bytes, as the remaining length is one."""
    digits = bytearray()
    while True:
        value, low = divmod(value, 128)
        digits.append(low | (0x80 if value else 0))
        if not value:
            return bytes(digits)


def packet(first: int, *parts: bytes) -> bytes:
    """A packet of its first byte and the parts of its body."""
    body = b"".join(parts)
    return bytes((first,)) + number(len(body)) + body


def properties(version: int, *parts: bytes) -> bytes:
    """The properties with their length; nothing before MQTT 5."""
    body = b"".join(parts)
    return number(len(body)) + body if version == MQTT_5 else b""


def connect(
    version: int,
    client_id: str | bytes = "device-1",
    *parts: bytes,
    flags: int = 0x02,
    keep_alive_s: int = 60,
    props: bytes = b"",
) -> bytes:
    """CONNECT, with what the flags announce in `parts`."""
    head = text(NAMES[version]) + bytes((version, flags)) + keep_alive_s.to_bytes(2, "big")
    return packet(0x10, head, properties(version, props), text(client_id), *parts)


def publish(
    version: int,
    topic: str | bytes = "events/boiler-1",
    payload: bytes = b"{}",
    *,
    qos: int = 0,
    packet_id: int = 0,
    duplicate: bool = False,
    retain: bool = False,
    props: bytes = b"",
) -> bytes:
    """PUBLISH."""
    first = 0x30 | duplicate << 3 | qos << 1 | retain
    identifier = packet_id.to_bytes(2, "big") if qos else b""
    return packet(first, text(topic), identifier, properties(version, props), payload)


def answer(first: int, packet_id: int, *parts: bytes) -> bytes:
    """PUBACK (0x40), PUBREC (0x50), PUBREL (0x62) or PUBCOMP (0x70)."""
    return packet(first, packet_id.to_bytes(2, "big"), *parts)


def subscribe(version: int, packet_id: int, *filters: tuple[str | bytes, int], props: bytes = b"") -> bytes:
    """SUBSCRIBE to filters with their options."""
    each = [text(topic_filter) + bytes((options,)) for topic_filter, options in filters]
    return packet(0x82, packet_id.to_bytes(2, "big"), properties(version, props), *each)


def unsubscribe(version: int, packet_id: int, *filters: str | bytes, props: bytes = b"") -> bytes:
    """UNSUBSCRIBE."""
    return packet(0xA2, packet_id.to_bytes(2, "big"), properties(version, props), *[text(each) for each in filters])


PINGREQ = packet(0xC0)
DISCONNECT = packet(0xE0)
