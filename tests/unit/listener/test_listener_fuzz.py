"""Whatever bytes a client sends: the codecs raise nothing but `MalformedPacket`, and a connection goes on or ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.listener.connection import Limits
from edgeagent.listener.framing import Frames, MalformedPacket
from edgeagent.listener.packets import Connect, ConnectionEnded, Packet
from tests.fakes.listener_peer import Peer
from tests.fakes.mqtt_bytes import MQTT_5, MQTT_31, MQTT_311, connect
from tests.unit.listener.test_listener_vectors import OF_CLIENTS, reader_of

SOAK_EXAMPLES = 5_000
Stream = tuple[int, bytes]


def broken(packets: list[bytes], flips: list[tuple[int, int]], tail: bytes) -> bytes:
    """Packets one behind the other with some bytes changed, and something behind them."""
    data = bytearray(b"".join(packets))
    for position, value in flips:
        if data:
            data[position % len(data)] = value
    return bytes(data) + tail


def streams_of(version: int) -> st.SearchStrategy[Stream]:
    """A version, and random bytes or packets of it with faults."""
    valid = st.sampled_from([each.raw for each in OF_CLIENTS if each.version == version and len(each.raw) < 1000])
    flips = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 255)), max_size=4)
    mutated = st.builds(broken, st.lists(valid, max_size=6), flips, st.binary(max_size=20))
    return st.tuples(st.just(version), st.one_of(st.binary(max_size=200), mutated))


STREAMS = st.sampled_from([MQTT_31, MQTT_311, MQTT_5]).flatmap(streams_of)


def in_pieces(data: bytes, cut_bytes: int) -> list[bytes]:
    return [data[place : place + cut_bytes] for place in range(0, len(data), cut_bytes)]


def read(version: int, data: bytes, cut_bytes: int) -> tuple[list[Packet], str]:
    """The packets that a codec finds, and the fault behind them."""
    read_one, frames, packets = reader_of(version), Frames(2000), list[Packet]()
    try:
        for piece in in_pieces(data, cut_bytes):
            frames.take(piece, read_one, packets)
    except MalformedPacket as fault:
        return packets, str(fault)
    return packets, ""


def check_codec(stream: Stream, cut_bytes: int) -> None:
    """The same comes out however the bytes are cut."""
    version, data = stream
    assert read(version, data, cut_bytes) == read(version, data, len(data) + 1)


def check_connection(stream: Stream, cut_bytes: int, *, greets: bool, receive_maximum: int) -> None:
    """The connection ends once or goes on, and what it writes can be read."""
    version, data = stream
    peer = Peer(version, up=False, limits=Limits(max_packet_bytes=1000, receive_maximum=receive_maximum))
    for piece in in_pieces(connect(version) + data if greets else data, cut_bytes):
        for said in peer.feed(piece):
            if isinstance(said, Connect):
                peer.accept()
        peer.connection.acknowledge([message.packet_id for message in peer.messages if message.qos])
    ends = [each for each in peer.inputs if isinstance(each, ConnectionEnded)]
    assert len(ends) == peer.connection.is_ended
    assert not ends or peer.inputs[-1] is ends[0]
    if greets and version == MQTT_5:
        assert peer.heard()


CHECK_CODEC: dict[str, Any] = {"stream": STREAMS, "cut_bytes": st.integers(1, 60)}
CHECK_CONNECTION = CHECK_CODEC | {"greets": st.booleans(), "receive_maximum": st.integers(1, 4)}


def soaked(check: Callable[..., None], **strategies: Any) -> Callable[[], None]:
    """The same check with many more examples."""
    return settings(max_examples=SOAK_EXAMPLES, deadline=None)(given(**strategies)(check))


@given(**CHECK_CODEC)
def test_any_bytes_are_packets_or_malformed_however_they_are_cut(stream: Stream, cut_bytes: int) -> None:
    check_codec(stream, cut_bytes)


@given(**CHECK_CONNECTION)
def test_any_bytes_end_a_connection_or_let_it_go_on(
    stream: Stream, cut_bytes: int, greets: bool, receive_maximum: int
) -> None:
    check_connection(stream, cut_bytes, greets=greets, receive_maximum=receive_maximum)


@pytest.mark.soak
def test_very_many_bytes_are_packets_or_malformed() -> None:
    soaked(check_codec, **CHECK_CODEC)()


@pytest.mark.soak
def test_very_many_bytes_end_a_connection_or_let_it_go_on() -> None:
    soaked(check_connection, **CHECK_CONNECTION)()
