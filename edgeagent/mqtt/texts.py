"""Whether the texts of an MQTT 5 packet are UTF-8, which the codec cannot be asked: it panics, and prints how.

Where all bytes that were received are ASCII there is nothing to ask; only packets among others are walked through. What
is wrong with a packet otherwise is left to the codec.
"""

from __future__ import annotations

from typing import Final

_PUBLISH: Final = 0x30
_TYPE: Final = 0xF0
_QOS: Final = 0x06
# What stands between the first length and the properties (MQTT 5, section 3), by type of packet.
_BEFORE_PROPERTIES = {0x20: 2, 0x40: 3, 0x50: 3, 0x60: 3, 0x70: 3, 0x90: 2, 0xB0: 2, 0xE0: 1, 0xF0: 1}
_WITHOUT_TEXTS = frozenset({0x00, 0xC0, 0xD0})
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
_NOT_UTF_8 = "text that is not UTF-8"
_CUT = "it ends within its properties"


def body_of(data: bytes, position: int) -> tuple[int, int | None]:
    """Where the body of the packet that begins there begins, and where it ends.

    (0, None) while its length is not complete; a length of too many bytes has no end either.
    """
    try:
        size, body = _number(data, position + 1)
    except IndexError:
        return 0, None
    except ValueError:
        return position + 1, None
    return body, body + size


def fault_in(data: bytes, position: int, body: int, end: int) -> str:
    """What is wrong with the texts of the whole packet that begins at `position`, "" if nothing is.

    Where a text does not end within its place is a fault too: the codec would read on behind it.
    """
    first, place = data[position], body
    kind = first & _TYPE
    try:
        if kind == _PUBLISH:
            topic_end = place + 2 + (data[place] << 8 | data[place + 1])
            if topic_end > end:
                return _CUT
            if not _is_utf_8(data[place + 2 : topic_end]):
                return _NOT_UTF_8
            place = topic_end + (2 if first & _QOS else 0)
        elif kind in _BEFORE_PROPERTIES:
            place += _BEFORE_PROPERTIES[kind]
        else:
            return "" if kind in _WITHOUT_TEXTS else "a packet that no broker sends"
        if place >= end:
            return ""
        size, place = _number(data, place)
        return _fault_in_properties(data[place : place + size]) if place + size <= end else _CUT
    except (IndexError, ValueError):
        return _CUT


def _fault_in_properties(properties: bytes) -> str:
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
                end = place + 2 + (properties[place] << 8 | properties[place + 1])
                if end > len(properties):
                    return _CUT
                if name in _TEXTS and not _is_utf_8(properties[place + 2 : end]):
                    return _NOT_UTF_8
                place = end
        else:
            return "an unknown property"
    return "" if place == len(properties) else _CUT


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
    if packet[place] < _MORE:  # as a rule
        return packet[place], place + 1
    number = 0
    for index in range(_MAX_NUMBER_BYTES):
        byte = packet[place + index]
        number |= (byte & ~_MORE) << 7 * index
        if byte < _MORE:
            return number, place + index + 1
    raise ValueError("a number of more than four bytes")
