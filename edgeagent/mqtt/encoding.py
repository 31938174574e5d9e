"""A PUBLISH of MQTT 5 as bytes (MQTT 5, 3.3): pure.

It is made by hand because an agent's publications have nearly all of their properties in common, and what is common is
encoded once: half the time of the codec, which encodes all of them each time (`benchmarks path`, CPU an event).
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import Final

from edgeagent.ports.link import TRACEPARENT, Publication

_PUBLISH: Final = 0x30
_RETAIN: Final = 0x01
# The properties of a PUBLISH (MQTT 5, 2.2.2.2).
_EXPIRY: Final = 0x02
_CONTENT_TYPE = b"\x03"
_RESPONSE_TOPIC = b"\x08"
_CORRELATION = b"\x09"
_ALIAS = b"\x23"
_PAIR = b"\x26"
_MORE = 0x80  # in a length: another byte follows
_LARGEST_LENGTH = (1 << 28) - 1
_LARGEST_EXPIRY_S = (1 << 32) - 1
_FIRST_BYTES = tuple(bytes((_PUBLISH | qos << 1,)) for qos in range(3))
_pack_expiry = Struct(">BI").pack
_pack_id = Struct(">H").pack
# The topics and sets of properties that are remembered: a rule and its source come again and again.
_REMEMBERED = 1024

_Pairs = tuple[tuple[str, str], ...]


class PublishEncoder:
    """Encodes publications. It remembers the properties that they have in common, and nothing else.

    Args:
        mark: user properties in addition to each publication's own.
    """

    def __init__(self, mark: _Pairs = ()) -> None:
        self._mark = _pairs(mark)
        # By user properties: content type, response topic, and the three encoded.
        self._common: dict[_Pairs, tuple[str | None, str | None, bytes]] = {}

    def packet(self, publication: Publication, packet_id: int | None, topic: str, alias: int | None = None) -> bytes:
        """The PUBLISH packet; `packet_id` is None at QoS 0.

        `topic`: the publication's, or "" if `alias` stands for it.

        Raises:
            ValueError: a text or the properties do not fit the format.
            OverflowError: something is too large for the format, as an `expiry_s` of more than 32 bits.
        """
        common = self._common.get(publication.user_properties)
        if common is None or common[1] != publication.response_topic or common[0] != publication.content_type:
            common = self._encode_common(publication)
        expiry_s, correlation = publication.expiry_s, publication.correlation_data
        trace = publication.traceparent.encode() if publication.traceparent is not None else None
        properties = b"".join(
            (
                b"" if expiry_s is None else _expiry(expiry_s),
                common[2],
                b"" if correlation is None else _head(_CORRELATION, len(correlation)) + correlation,
                b"" if trace is None else _head(_TRACE, len(trace)) + trace,
                self._mark if alias is None else self._mark + _head(_ALIAS, alias),
            )
        )
        payload, id_bytes = publication.payload, b"" if packet_id is None else _pack_id(packet_id)
        head, length = _topic(topic), _length(len(properties))
        size = len(head) + len(id_bytes) + len(length) + len(properties) + len(payload)
        first = _FIRST_BYTES[0 if packet_id is None else publication.qos]
        if publication.retain:
            first = bytes((first[0] | _RETAIN,))
        return b"".join((first, _length(size), head, id_bytes, length, properties, payload))

    def _encode_common(self, publication: Publication) -> tuple[str | None, str | None, bytes]:
        content_type, response_topic, pairs = (
            publication.content_type,
            publication.response_topic,
            publication.user_properties,
        )
        texts = ((_CONTENT_TYPE, content_type), (_RESPONSE_TOPIC, response_topic))
        encoded = [name + _sized(text) for name, text in texts if text is not None]
        if len(self._common) >= _REMEMBERED:
            self._common.clear()
        common = self._common[pairs] = (content_type, response_topic, b"".join(encoded) + _pairs(pairs))
        return common


def _pairs(pairs: _Pairs) -> bytes:
    return b"".join([_PAIR + _sized(name) + _sized(value) for name, value in pairs])


def _sized(text: str) -> bytes:
    """A text with its length before it; an OverflowError says that it is too long."""
    raw = text.encode()
    return len(raw).to_bytes(2, "big") + raw


def _expiry(expiry_s: int) -> bytes:
    if not 0 <= expiry_s <= _LARGEST_EXPIRY_S:
        raise OverflowError(f"an expiry of {expiry_s} seconds")
    return _pack_expiry(_EXPIRY, expiry_s)


@lru_cache(_REMEMBERED)  # so many lengths and aliases there are
def _head(name: bytes, number: int) -> bytes:
    """What stands before a property's value, its length, or the number that is its value."""
    return name + number.to_bytes(2, "big")


@lru_cache(_REMEMBERED)
def _topic(topic: str) -> bytes:
    return _sized(topic)


@lru_cache(_REMEMBERED)  # of properties and packets: nearly the same for all publications
def _length(size: int) -> bytes:
    """A length as MQTT writes it (MQTT 5, 1.5.5)."""
    if size > _LARGEST_LENGTH:
        raise OverflowError(f"a packet of {size} bytes")
    encoded = bytearray()
    while size >= _MORE:
        encoded.append(size & ~_MORE & 0xFF | _MORE)
        size >>= 7
    encoded.append(size)
    return bytes(encoded)


_TRACE = _PAIR + _sized(TRACEPARENT)
