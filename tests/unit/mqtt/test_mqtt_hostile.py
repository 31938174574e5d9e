from __future__ import annotations

from itertools import pairwise
from typing import Any
from unittest import mock

import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.mqtt.packets import PacketReader
from edgeagent.ports.link import Publication
from tests.fakes.mqtt_peer import ADDRESS, Peer, message, parse

PROPERTIES = {  # with a text that is not UTF-8
    "content type": b"\x03\x00\x01\xff",
    "response topic": b"\x08\x00\x02a\xff",
    "name of a user property": b"\x26\x00\x01\xff\x00\x01b",
    "user property behind others": b"\x02\xff\xff\xff\xff\x0b\x80\x01\x09\x00\x01\xff\x26\x00\x01a\x00\x02\xc3(",
}
_BYTE = st.integers(0, 255)
_REASON = b"\x1f\x00\x01\xff"


def disconnect_code(peer: Peer) -> int:
    (packet,) = parse(peer.transport.writes[-1])
    return int(packet.reason_code)


@pytest.mark.parametrize(
    ("data", "reason_code", "words"),
    [
        (b"\x00\x00", 0x81, "malformed packet"),
        (b"\x30\xff\xff\xff\xff\x01", 0x81, "malformed packet"),
        (b"\x32\x03\x00\x10a", 0x81, "malformed packet"),
        (b"\x40\x03\x00\x05\x77", 0x81, "malformed packet"),
        (mqtt5.PubAckPacket(9).write(), 0x82, "packet id 9, which is not in flight"),
        (mqtt5.ConnAckPacket().write(), 0x82, "an unexpected CONNACK"),
        (mqtt5.SubAckPacket(1, []).write(), 0x82, "an unexpected SUBACK"),
        (mqtt5.PubRecPacket(1).write(), 0x82, "an unexpected PUBREC"),
        (mqtt5.PingReqPacket().write(), 0x82, "an unexpected PINGREQ"),
        (mqtt5.AuthPacket().write(), 0x82, "an unexpected AUTH"),
        (message(0).write(), 0x82, "packet id 0"),
        (message(1).write() * 2, 0x82, "packet id 1, which is 0 or in use"),
        (message(None, "", topic_alias=1).write(), 0x94, "topic alias"),
        (mqtt5.PublishPacket("t", b"", qos=mqtt5.QoS.EXACTLY_ONCE, packet_id=1).write(), 0x9B, "QoS 2"),
    ],
)
def test_what_no_broker_may_send_ends_the_connection_and_says_why(data: bytes, reason_code: int, words: str) -> None:
    peer = Peer()
    peer.link.data_received(data)
    assert disconnect_code(peer) == reason_code
    assert words in (peer.error or "")
    assert peer.transport.closed
    assert peer.link.room == 0


def packet_of(first: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return bytes((first, len(body))) + body


def publish_with(properties: bytes, topic: bytes = b"t") -> bytes:
    return packet_of(0x30, len(topic).to_bytes(2, "big"), topic, bytes((len(properties),)), properties, b"\xfe\xff")


NOT_UTF_8 = {
    "topic": publish_with(b"", b"a\xff"),
    **{name: publish_with(properties) for name, properties in PROPERTIES.items()},
    "reason of a PUBACK": packet_of(0x40, b"\x00\x01\x80\x04", _REASON),
    "reason of a SUBACK": packet_of(0x90, b"\x00\x01\x04", _REASON, b"\x80"),
    "reason of an UNSUBACK": packet_of(0xB0, b"\x00\x01\x04", _REASON, b"\x80"),
    "reason of a DISCONNECT": packet_of(0xE0, b"\x80\x04", _REASON),
    "reason of a CONNACK": packet_of(0x20, b"\x00\x80\x04", _REASON),
}


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("name", NOT_UTF_8)
def test_text_that_is_not_utf_8_ends_the_connection_and_nothing_is_printed(
    name: str, cut: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    peer = Peer()
    data = message(1).write() + NOT_UTF_8[name]
    for part in [data[place : place + 1] for place in range(len(data))] if cut else [data]:
        peer.link.data_received(part)
    assert disconnect_code(peer) == 0x81
    assert "not UTF-8" in (peer.error or "")
    assert len(peer.owner.messages) == 1
    assert capfd.readouterr() == ("", "")


@given(st.sampled_from(sorted(NOT_UTF_8)), st.binary(max_size=12), st.lists(st.tuples(st.integers(0, 40), _BYTE)))
def test_no_bytes_make_the_codec_panic(name: str, behind: bytes, changes: list[tuple[int, int]]) -> None:
    data = bytearray(NOT_UTF_8[name] + behind)
    for place, byte in changes:
        data[place % len(data)] = byte
    _, fault = PacketReader(1 << 20).take(bytes(data))
    assert "the codec cannot read it" not in (fault.text if fault is not None else "")


def test_text_in_any_script_and_any_payload_pass() -> None:
    peer = Peer()
    peer.link.data_received(publish_with(b"\x26\x00\x03\xe2\x82\xac\x00\x02\xc3\xa9", "größe".encode()))
    assert [(each.topic, each.payload) for each in peer.owner.messages] == [("größe", b"\xfe\xff")]


@pytest.mark.parametrize("packet", [message(1), mqtt5.PubAckPacket(1), mqtt5.PingRespPacket()])
def test_nothing_may_come_before_connack(packet: Any) -> None:
    peer = Peer(up=False)
    peer.feed(packet)
    assert disconnect_code(peer) == 0x82
    assert peer.owner.calls == []
    assert peer.link.up.result() is peer.link.ended.result()


def test_what_came_before_a_fault_in_the_same_read_still_counts() -> None:
    peer = Peer()
    peer.link.publish([Publication(5, "t", b"")])
    peer.link.data_received(mqtt5.PubAckPacket(1).write() + message(1).write() + b"\x00\x00")
    assert [ack.token for ack in peer.owner.acks] == [5]
    assert len(peer.owner.messages) == 1
    assert peer.error is not None


@pytest.mark.parametrize("cut_bytes", [1, 3, 5, 200])
def test_a_packet_larger_than_announced_is_refused_as_soon_as_its_length_is_known(cut_bytes: int) -> None:
    peer = Peer(max_packet_bytes=100)
    data = message(None, payload=bytes(150)).write()
    for start in range(0, len(data), cut_bytes):
        peer.link.data_received(data[start : start + cut_bytes])
    assert disconnect_code(peer) == 0x95
    assert peer.error == f"{ADDRESS}: the broker sent a packet of {len(data)} bytes, where 100 were allowed"


def test_a_broker_that_exceeds_our_receive_maximum_with_small_messages_is_followed() -> None:
    peer = Peer()
    peer.feed(*[message(packet_id) for packet_id in range(1, 2001)])
    peer.transport.packets()
    assert not peer.transport.reading
    peer.link.acknowledge(peer.owner.messages[:500])
    assert not peer.transport.reading
    peer.link.acknowledge(peer.owner.messages[500:])
    assert peer.transport.reading
    assert len(peer.transport.packets()) == 2000
    assert peer.error is None


def test_while_nothing_is_read_silence_is_no_sign_of_a_dead_broker() -> None:
    peer = Peer(keepalive_s=30)
    peer.feed(*[message(packet_id) for packet_id in range(1, 2001)])
    peer.loop.advance(300)
    assert not peer.transport.closed
    assert peer.transport.packets() == [mqtt5.PingReqPacket()] * 10
    peer.link.acknowledge(peer.owner.messages)
    peer.loop.advance(45)
    assert "nothing came from the broker for 45 s" in (peer.error or "")


def test_a_broker_that_would_fill_our_memory_is_followed_part_by_part() -> None:
    peer = Peer(max_packet_bytes=1 << 20)
    large = bytes(200_000)
    for packet_id in range(1, 400):
        peer.feed(message(packet_id, payload=large))
    taken = peer.owner.messages
    assert 256 <= len(taken) < 300
    peer.link.acknowledge(taken[:-1])
    assert not peer.transport.closed
    peer.link.acknowledge(taken)
    assert disconnect_code(peer) == 0x93
    assert "the rest comes on the next connection" in (peer.error or "")
    acknowledged = parse(b"".join(peer.transport.writes[:-1]))
    assert [packet.packet_id for packet in acknowledged] == [received.delivery_id for received in taken]


def test_a_large_packet_that_trickles_in_is_read_by_the_codec_only_when_it_is_whole() -> None:
    data = message(None, payload=bytes(50_000)).write()
    reader = PacketReader(100_000)
    with mock.patch("edgeagent.mqtt.packets.mqtt5.read", wraps=mqtt5.read) as read:
        taken = [packet for index in range(len(data)) for packet in reader.take(data[index : index + 1])[0]]
    assert len(taken) == 1
    assert read.call_count <= 5


def test_a_link_that_is_idle_pings_once_in_a_keep_alive_period_and_stays_up() -> None:
    peer = Peer(keepalive_s=30)
    sent_s = []
    for second in range(200):
        peer.loop.advance(1)
        if peer.transport.packets():
            sent_s.append(second + 1)
            peer.feed(mqtt5.PingRespPacket())
    assert all(later - earlier <= 30 for earlier, later in pairwise([0, *sent_s]))
    assert len(sent_s) == 6
    assert peer.error is None


def test_a_link_that_sends_and_hears_needs_no_ping() -> None:
    peer = Peer(keepalive_s=30)
    for packet_id in range(1, 20):
        peer.loop.advance(10)
        peer.link.publish([Publication(packet_id, "t", b"")])
        peer.feed(mqtt5.PubAckPacket(packet_id))
    assert {type(packet) for packet in peer.transport.packets()} == {mqtt5.PublishPacket}
    assert len(peer.loop.timers) == 1


def test_a_dead_broker_is_given_up_even_while_we_keep_sending() -> None:
    peer = Peer(keepalive_s=30)
    for _ in range(8):
        peer.loop.advance(10)
        peer.link.publish([Publication(0, "t", b"", qos=0)])
    assert peer.transport.aborted
    assert peer.error == f"{ADDRESS}: nothing came from the broker for 45 s, not even an answer to a ping"


def test_a_late_answer_keeps_the_link() -> None:
    peer = Peer(keepalive_s=30)
    peer.loop.advance(30 + 14)
    peer.feed(mqtt5.PingRespPacket())
    peer.loop.advance(20)
    assert peer.error is None


def test_the_keep_alive_that_the_broker_names_counts() -> None:
    peer = Peer(keepalive_s=30, connack={"server_keep_alive": 5})
    peer.loop.advance(5)
    assert len(peer.transport.packets()) == 1
    peer = Peer(keepalive_s=30, connack={"server_keep_alive": 0})
    peer.loop.advance(30)
    assert len(peer.transport.packets()) == 1


def test_no_timer_is_left_after_the_end() -> None:
    peer = Peer()
    peer.link.connection_lost(None)
    assert all(timer.cancelled for timer in peer.loop.timers)


def _broken(packets: list[bytes], flips: list[tuple[int, int]], tail: bytes) -> bytes:
    data = bytearray(b"".join(packets))
    for position, value in flips:
        if data:
            data[position % len(data)] = value
    return bytes(data) + tail


_PACKETS = st.sampled_from(
    [
        mqtt5.ConnAckPacket(receive_max=20, server_keep_alive=4, reason_str="x").write(),
        mqtt5.SubAckPacket(1, [mqtt5.SubAckReasonCode(1)]).write(),
        message(1, response_topic="r", correlation_data=b"c", user_properties=[("a", "b")]).write(),
        message(2).write(),
        message(None).write(),
        mqtt5.PubAckPacket(1, reason_str="no").write(),
        mqtt5.PingRespPacket().write(),
        mqtt5.UnsubAckPacket(2, [mqtt5.UnsubAckReasonCode.SUCCESS]).write(),
        mqtt5.DisconnectPacket(reason_str="bye").write(),
    ]
)
_STREAMS = st.one_of(
    st.binary(max_size=200),
    st.builds(
        _broken,
        st.lists(_PACKETS, max_size=8),
        st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 255)), max_size=4),
        st.binary(max_size=20),
    ),
)


@given(data=_STREAMS, cut_bytes=st.integers(1, 60), up=st.booleans())
def test_any_bytes_end_the_connection_or_go_on_but_never_raise(data: bytes, cut_bytes: int, up: bool) -> None:
    peer = Peer(up=up, max_packet_bytes=1000)
    peer.link.publish([Publication(1, "t", b"")])
    for start in range(0, len(data), cut_bytes):
        peer.link.data_received(data[start : start + cut_bytes])
    peer.link.acknowledge(peer.owner.messages)
    assert (peer.error is not None) == peer.transport.closed
    if not up and peer.owner.session_present is None:
        assert peer.owner.messages == []
    assert sum(len(received.payload) for received in peer.owner.messages) <= len(data)
