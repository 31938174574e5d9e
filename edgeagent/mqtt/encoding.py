"""A PUBLISH of MQTT 5 as bytes (MQTT 5, 3.3): pure.

It is made by hand because an agent's publications have nearly all of their properties in common, and what is common is
encoded once: half the time of the codec, which encodes all of them each time (`benchmarks path`, CPU an event).
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct, error
from typing import Any, Final, NamedTuple

from edgeagent.ports.link import TRACEPARENT, Publication

_PUBLISH: Final = 0x30
_RETAIN: Final = 0x01
# The properties of a PUBLISH (MQTT 5, 2.2.2.2).
_EXPIRY = b"\x02"
_CONTENT_TYPE = b"\x03"
_RESPONSE_TOPIC = b"\x08"
_CORRELATION = b"\x09"
_ALIAS = b"\x23"
_PAIR = b"\x26"
_MORE = 0x80  # in a length: another byte follows
_LARGEST_LENGTH = (1 << 28) - 1
_pack_expiry = Struct(">I").pack
_pack_id = Struct(">H").pack
# The shapes and lengths that are remembered: a rule and its source come again and again.
_REMEMBERED = 1024

_Pairs = tuple[tuple[str, str], ...]


class _Shape(NamedTuple):
    """What publications have in common: the bytes between those parts that each has for itself.

    `fixed_bytes`: how many follow the packet's length, without packet id and payload.
    """

    first: bytes
    fixed_bytes: int
    topic: bytes
    before_expiry: bytes
    before_correlation: bytes
    before_trace: bytes
    behind: bytes


class PublishEncoder:
    """Encodes publications. It remembers what many have in common, and nothing else.

    Args:
        mark: user properties in addition to each publication's own.
    """

    def __init__(self, mark: _Pairs = ()) -> None:
        self._mark = mark
        self._shapes: dict[Any, _Shape] = {}

    def packet(self, publication: Publication, packet_id: int | None, topic: str, alias: int | None = None) -> bytes:
        """The PUBLISH packet; `packet_id` is None at QoS 0.

        `topic`: the publication's, or "" if `alias` stands for it.

        Raises:
            ValueError: a text or the properties do not fit the format.
            OverflowError: something is too large for the format, as an `expiry_s` of more than 32 bits.
        """
        expiry_s, correlation, payload = publication.expiry_s, publication.correlation_data, publication.payload
        trace = None if publication.traceparent is None else publication.traceparent.encode()
        key = (
            topic,
            alias,
            publication.content_type,
            publication.response_topic,
            publication.user_properties,
            0 if packet_id is None else publication.qos,
            publication.retain,
            expiry_s is None,
            None if correlation is None else len(correlation),
            None if trace is None else len(trace),
        )
        shape = self._shapes.get(key) or self._new_shape(key)
        first, size, head, before_expiry, before_correlation, before_trace, behind = shape
        try:
            expiry = b"" if expiry_s is None else _pack_expiry(expiry_s)
        except error as exc:
            raise OverflowError(f"an expiry of {expiry_s} seconds") from exc
        id_bytes = b"" if packet_id is None else _pack_id(packet_id)
        return b"".join(
            (
                first,
                _length(size + len(id_bytes) + len(payload)),
                head,
                id_bytes,
                before_expiry,
                expiry,
                before_correlation,
                correlation or b"",
                before_trace,
                trace or b"",
                behind,
                payload,
            )
        )

    def _new_shape(self, key: Any) -> _Shape:
        """The shape of publications, by what `packet` knows it by."""
        topic, alias, content_type, response_topic, pairs, qos, retain, unexpiring, correlation_bytes, trace_bytes = key
        before_expiry = b"" if unexpiring else _EXPIRY
        texts = ((_CONTENT_TYPE, content_type), (_RESPONSE_TOPIC, response_topic))
        before_correlation = b"".join([name + _sized(text) for name, text in texts if text is not None])
        if correlation_bytes is not None:
            before_correlation += _CORRELATION + correlation_bytes.to_bytes(2, "big")
        before_trace = _pairs(pairs) + (b"" if trace_bytes is None else _TRACE + trace_bytes.to_bytes(2, "big"))
        behind = _pairs(self._mark) + (b"" if alias is None else _ALIAS + alias.to_bytes(2, "big"))
        own_bytes = (0 if unexpiring else 4) + (correlation_bytes or 0) + (trace_bytes or 0)
        properties_bytes = sum(map(len, (before_expiry, before_correlation, before_trace, behind))) + own_bytes
        length, head = _length(properties_bytes), _sized(topic)
        if len(self._shapes) >= _REMEMBERED:
            self._shapes.clear()
        shape = self._shapes[key] = _Shape(
            bytes((_PUBLISH | qos << 1 | (_RETAIN if retain else 0),)),
            len(head) + len(length) + properties_bytes,
            head,
            length + before_expiry,
            before_correlation,
            before_trace,
            behind,
        )
        return shape


def _pairs(pairs: _Pairs) -> bytes:
    return b"".join([_PAIR + _sized(name) + _sized(value) for name, value in pairs])


def _sized(text: str) -> bytes:
    """A text with its length before it; an OverflowError says that it is too long."""
    raw = text.encode()
    return len(raw).to_bytes(2, "big") + raw


@lru_cache(_REMEMBERED)  # nearly the same for all publications
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
