"""Tests of `mqtt.encoding`: the codec, which encodes nothing here, reads every PUBLISH as it was meant."""

from __future__ import annotations

import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.mqtt.encoding import PublishEncoder
from edgeagent.ports.link import Publication

_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
_MARK = (("edgeagent", "gw-042"),)


@given(
    topic=_TEXT.filter(bool),
    payload=st.one_of(st.binary(max_size=300), st.sampled_from([b"x" * 16_000, b"x" * 20_000])),
    qos=st.integers(0, 2),
    retain=st.booleans(),
    content_type=st.none() | _TEXT,
    correlation=st.none() | st.binary(max_size=64),
    response_topic=st.none() | _TEXT.filter(bool),
    expiry_s=st.none() | st.integers(0, 2**32 - 1),
    properties=st.lists(st.tuples(_TEXT, _TEXT), max_size=4).map(tuple),
    trace=st.none() | _TEXT,
    alias=st.none() | st.integers(1, 65535),
)
def test_a_publication_is_read_as_it_was_meant(
    topic: str,
    payload: bytes,
    qos: int,
    retain: bool,
    content_type: str | None,
    correlation: bytes | None,
    response_topic: str | None,
    expiry_s: int | None,
    properties: tuple[tuple[str, str], ...],
    trace: str | None,
    alias: int | None,
) -> None:
    publication = Publication(
        1, topic, payload, qos, retain, content_type, correlation, response_topic, expiry_s, properties, trace
    )
    encoder = PublishEncoder(_MARK)
    for _ in range(2):  # the second time with what is remembered
        data = encoder.packet(publication, 77 if qos else None, topic, alias)
        packet, size = mqtt5.read(memoryview(data))
        assert isinstance(packet, mqtt5.PublishPacket)
        assert size == len(data)
        assert (packet.topic, packet.payload, int(packet.qos), packet.retain) == (topic, payload, qos, retain)
        assert (packet.packet_id, packet.topic_alias, packet.duplicate) == (77 if qos else None, alias, False)
        assert (packet.content_type, packet.response_topic) == (content_type, response_topic)
        assert (packet.correlation_data, packet.message_expiry_interval) == (correlation, expiry_s)
        traces = [("traceparent", trace)] if trace is not None else []
        assert packet.user_properties == [*properties, *traces, *_MARK]


def test_publications_that_share_their_user_properties_may_differ_in_all_else() -> None:
    encoder = PublishEncoder()
    pairs = (("rule", "overheat"),)
    for response_topic in ("a", None, "b", "a"):
        for content_type in ("application/json", None):
            publication = Publication(1, "t", b"", 1, False, content_type, None, response_topic, None, pairs)
            packet, _ = mqtt5.read(memoryview(encoder.packet(publication, 1, "t")))
            assert isinstance(packet, mqtt5.PublishPacket)
            assert (packet.content_type, packet.response_topic) == (content_type, response_topic)


@pytest.mark.parametrize(
    "publication",
    [
        Publication(1, "t", b"", expiry_s=2**32),
        Publication(1, "t", b"", expiry_s=-1),
        Publication(1, "t", b"", content_type="x" * 65_536),
        Publication(1, "t", b"", correlation_data=bytes(65_536)),
        Publication(1, "t", b"", user_properties=(("name", "ü" * 40_000),)),
        Publication(1, "t", b"", response_topic="\ud800"),
        Publication(1, "t", bytes(1 << 28)),
    ],
)
def test_what_does_not_fit_the_format_is_an_error(publication: Publication) -> None:
    with pytest.raises((ValueError, OverflowError)):
        PublishEncoder().packet(publication, 1, "t")
