"""Checks that the texts of an MQTT 5 packet are UTF-8; the codec would panic over them, and print how.

If all received bytes are ASCII there is nothing to check. That is rare: packet ids are not, nor is the length of a
packet over 127 bytes. So a PUBLISH is usually checked without a function call (`python -m benchmarks path`).

All other faults of a packet are left to the codec. The links check what a broker sends (`end_of_readable`), the
listener what a client sends (`check_texts`).
"""

from __future__ import annotations

from typing import Final

_PUBLISH: Final = 0x30
_TYPE: Final = 0xF0
_QOS: Final = 0x06
# The bytes between the first length and the properties (MQTT 5, section 3), by type of packet.
_BEFORE_PROPERTIES = {0x20: 2, 0x40: 3, 0x50: 3, 0x60: 3, 0x70: 3, 0x90: 2, 0xB0: 2, 0xE0: 1, 0xF0: 1}
_WITHOUT_TEXTS = frozenset({0x00, 0xC0, 0xD0})
# The properties (MQTT 5, 2.2.2.2) by content: a number of bytes (above 0), or one of these.
_TEXT, _PAIR, _BINARY, _NUMBER, _UNKNOWN = 0, -1, -2, -3, -4
_HOLDS = [_UNKNOWN] * 256
for _names, _kind in (
    ((0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A), 1),
    ((0x13, 0x21, 0x22, 0x23), 2),
    ((0x02, 0x11, 0x18, 0x27), 4),
    ((0x03, 0x08, 0x12, 0x15, 0x1A, 0x1C, 0x1F), _TEXT),
    ((0x26,), _PAIR),
    ((0x09, 0x16), _BINARY),
    ((0x0B,), _NUMBER),
):
    for _name in _names:
        _HOLDS[_name] = _kind
_CONNECT: Final = 0x10
# In CONNECT: level, flags and keep-alive stand between the protocol's name and the properties.
_AFTER_NAME_BYTES = 4
_USER: Final = 0x80
_PASSWORD: Final = 0x40
_WILL: Final = 0x04
# SUBSCRIBE and UNSUBSCRIBE, with how many bytes follow each filter.
_FILTERS = {0x80: 1, 0xA0: 0}
_MORE = 0x80  # in a number of one to four bytes: another byte follows
_MAX_NUMBER_BYTES = 4
_NOT_UTF_8 = "text that is not UTF-8"
_CUT = "it ends within its properties"


def end_of_readable(data: bytes, position: int) -> int:
    """The end of the packet that begins at `position`, up to which the codec may read; 0 while it is incomplete.

    Raises:
        ValueError: a text is not UTF-8, or the packet's contents go beyond its end, where the codec would read on.
    """
    try:
        first, size = data[position], data[position + 1]
        place = position + 2
        if size >= _MORE:
            size, place = _number(data, position + 1)
    except IndexError:
        return 0
    end = place + size
    if end > len(data):
        return 0
    try:
        if first & _TYPE == _PUBLISH:
            topic_end = place + 2 + (data[place] << 8 | data[place + 1])
            if topic_end > end:
                raise ValueError(_CUT)
            topic = data[place + 2 : topic_end]
            if not topic.isascii():
                _decode(topic)
            place = topic_end + 2 if first & _QOS else topic_end
        else:
            place += _before_properties(first & _TYPE, size)
        if place < end and data[place]:
            _check_properties(data, place, end)
    except IndexError:
        raise ValueError(_CUT) from None
    return end


def check_texts(data: bytes, body: int) -> None:
    """Whether the codec may read this packet, whose body begins at `body`. Nothing may stand behind it.

    Raises:
        ValueError: what is wrong with its texts, as in `end_of_readable`.
    """
    kind, end = data[0] & _TYPE, len(data)
    try:
        if kind == _CONNECT:
            _check_connect(data, body, end)
        elif kind in _FILTERS:
            place = _properties_end(data, body + 2, end)
            while place < end:
                place = _text_end(data, place, end) + _FILTERS[kind]
        else:
            if kind == _PUBLISH:
                place = _text_end(data, body, end) + (2 if data[0] & _QOS else 0)
            else:
                place = body + _before_properties(kind, end - body)
            if place < end:
                _check_properties(data, place, end)
    except IndexError:
        raise ValueError(_CUT) from None


def _check_connect(data: bytes, body: int, end: int) -> None:
    place = _text_end(data, body, end)
    flags = data[place + 1]
    place = _text_end(data, _properties_end(data, place + _AFTER_NAME_BYTES, end), end)
    if flags & _WILL:
        place = _text_end(data, _properties_end(data, place, end), end)
        place = _binary_end(data, place, end)
    if flags & _USER:
        place = _text_end(data, place, end)
    if flags & _PASSWORD:
        _binary_end(data, place, end)


def _properties_end(data: bytes, place: int, end: int) -> int:
    """Where the properties that begin there end."""
    _check_properties(data, place, end)
    size, place = _number(data, place)
    return place + size


def _text_end(data: bytes, place: int, end: int) -> int:
    text_end = _binary_end(data, place, end)
    _decode(data[place + 2 : text_end])
    return text_end


def _binary_end(data: bytes, place: int, end: int) -> int:
    binary_end = place + 2 + (data[place] << 8 | data[place + 1])
    if binary_end > end:
        raise ValueError(_CUT)
    return binary_end


def _before_properties(kind: int, size: int) -> int:
    """How many bytes come before the properties in a packet other than PUBLISH, which has `size` bytes."""
    if kind in _WITHOUT_TEXTS:
        return size
    if kind not in _BEFORE_PROPERTIES:
        raise ValueError("a packet that no broker sends")
    return _BEFORE_PROPERTIES[kind]


def _check_properties(data: bytes, place: int, packet_end: int) -> None:
    """Check the properties. Raises `ValueError` or `IndexError` if they are invalid."""
    size, place = _number(data, place)
    end = place + size
    if end > packet_end:
        raise ValueError(_CUT)
    if data[place:packet_end].isascii():
        return  # no text can be invalid, wherever it ends
    while place < end:
        kind = _HOLDS[data[place]]
        place += 1
        if kind > 0:
            place += kind
        elif kind == _NUMBER:
            _, place = _number(data, place)
        elif kind == _UNKNOWN:
            raise ValueError("an unknown property")
        else:
            for _ in range(2 if kind == _PAIR else 1):
                start = place + 2
                place = start + (data[place] << 8 | data[place + 1])
                if kind != _BINARY:
                    _decode(data[start:place])
    if place > end:
        raise ValueError(_CUT)


def _decode(text: bytes) -> None:
    try:
        text.decode()
    except UnicodeDecodeError:
        raise ValueError(_NOT_UTF_8) from None


def _number(packet: bytes, place: int) -> tuple[int, int]:
    """The number of one to four bytes at `place`, and the position after it."""
    number = 0
    for index in range(_MAX_NUMBER_BYTES):
        byte = packet[place + index]
        number |= (byte & ~_MORE) << 7 * index
        if byte < _MORE:
            return number, place + index + 1
    raise ValueError("a number of more than four bytes")
