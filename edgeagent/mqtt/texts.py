"""Whether the texts of an MQTT 5 packet are UTF-8, which the codec cannot be asked: it panics, and prints how.

Almost every packet is answered for by what it is made of: where all bytes are ASCII, so are the texts. Only the others
are walked through. What is wrong with a packet otherwise is left to the codec.
"""

from __future__ import annotations

from typing import Final

_PUBLISH: Final = 0x30
_TYPE: Final = 0xF0
_QOS: Final = 0x06
# What stands between the first length and the properties (MQTT 5, section 3), by type of packet.
_BEFORE_PROPERTIES = {0x20: 2, 0x40: 3, 0x50: 3, 0x60: 3, 0x70: 3, 0x90: 2, 0xB0: 2, 0xE0: 1, 0xF0: 1}
# Properties (MQTT 5, 2.2.2.2) by what they hold: so many bytes, texts, or something else.
_FIXED = {
    **dict.fromkeys((0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A), 1),
    **dict.fromkeys((0x13, 0x21, 0x22, 0x23), 2),
    **dict.fromkeys((0x02, 0x11, 0x18, 0x27), 4),
}
_TEXTS = {**dict.fromkeys((0x03, 0x08, 0x12, 0x15, 0x1A, 0x1C, 0x1F), 1), 0x26: 2}
_BINARY = frozenset({0x09, 0x16})
_SUBSCRIPTION_ID = 0x0B
_MORE = 0x80  # in a number of one to four bytes: another byte follows
_MAX_NUMBER_BYTES = 4


def are_utf_8(packet: bytes) -> bool:
    """Whether all texts of this whole packet are, as far as it can be read."""
    try:
        _, place = _number(packet, 1)
        kind = packet[0] & _TYPE
        if kind == _PUBLISH:
            end = place + 2 + int.from_bytes(packet[place : place + 2], "big")
            if not _is_utf_8(packet[place + 2 : end]):
                return False
            place = end + (2 if packet[0] & _QOS else 0)
        elif kind in _BEFORE_PROPERTIES:
            place += _BEFORE_PROPERTIES[kind]
        else:
            return True
        if place >= len(packet):
            return True
        size, place = _number(packet, place)
        return _are_properties(packet[place : place + size])
    except (IndexError, ValueError):  # it ends too early, or a number is none: the codec tells
        return True


def _are_properties(properties: bytes) -> bool:
    if properties.isascii():
        return True
    place = 0
    while place < len(properties):
        name = properties[place]
        place += 1
        if name in _FIXED:
            place += _FIXED[name]
        elif name == _SUBSCRIPTION_ID:
            _, place = _number(properties, place)
        elif name in _TEXTS or name in _BINARY:
            for _ in range(_TEXTS.get(name, 1)):
                end = place + 2 + int.from_bytes(properties[place : place + 2], "big")
                if name in _TEXTS and not _is_utf_8(properties[place + 2 : end]):
                    return False
                place = end
        else:
            return True
    return True


def _is_utf_8(text: bytes) -> bool:
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _number(packet: bytes, place: int) -> tuple[int, int]:
    """The number of one to four bytes that stands there, and where it ends."""
    number = 0
    for index in range(_MAX_NUMBER_BYTES):
        byte = packet[place + index]
        number |= (byte & ~_MORE) << 7 * index
        if byte < _MORE:
            return number, place + index + 1
    raise ValueError("a number of more than four bytes")
