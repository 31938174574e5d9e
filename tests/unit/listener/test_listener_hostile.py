"""What no client may send: each gets the reason that MQTT 5 names, or a closed connection before MQTT 5."""

from __future__ import annotations

from typing import Any

import pytest

from edgeagent.listener.connection import Limits
from edgeagent.listener.packets import Connect
from edgeagent.listener.reasons import Reason
from tests.fakes.listener_peer import Peer, session_expiry
from tests.fakes.mqtt_bytes import (
    DISCONNECT,
    MQTT_5,
    MQTT_31,
    MQTT_311,
    PINGREQ,
    answer,
    connect,
    packet,
    publish,
    subscribe,
    text,
    unsubscribe,
)

ALL = (MQTT_31, MQTT_311, MQTT_5)
BEFORE_5 = (MQTT_31, MQTT_311)
MALFORMED, PROTOCOL_ERROR = Reason.MALFORMED_PACKET, Reason.PROTOCOL_ERROR

# What is wrong with a packet of a client that is connected, in every version.
FAULTS: dict[str, tuple[Any, Reason]] = {
    "type 0": (lambda _: packet(0x00), MALFORMED),
    "a second CONNECT": (connect, PROTOCOL_ERROR),
    "a CONNACK": (lambda v: packet(0x20, b"\0\0", b"" if v < MQTT_5 else b"\0"), PROTOCOL_ERROR),
    "a SUBACK": (lambda v: packet(0x90, b"\0\1", b"\0" if v < MQTT_5 else b"\0\0"), PROTOCOL_ERROR),
    "an UNSUBACK": (lambda v: packet(0xB0, b"\0\1", b"" if v < MQTT_5 else b"\0\0"), PROTOCOL_ERROR),
    "a PINGRESP": (lambda _: packet(0xD0), PROTOCOL_ERROR),
    "flags of a PINGREQ": (lambda _: packet(0xC1), MALFORMED),
    "a PINGREQ with something in it": (lambda _: packet(0xC0, b"x"), MALFORMED),
    "flags of a DISCONNECT": (lambda _: packet(0xE1), MALFORMED),
    "a length of five bytes": (lambda _: b"\x30\xff\xff\xff\xff\x01", MALFORMED),
    "a PUBLISH with nothing in it": (lambda _: packet(0x30), MALFORMED),
    "a PUBLISH of one byte": (lambda _: packet(0x30, b"\0"), MALFORMED),
    "a topic longer than the packet": (lambda _: packet(0x30, b"\0\x09ab"), MALFORMED),
    "a PUBLISH that ends within its packet id": (lambda _: packet(0x32, text("a"), b"\0"), MALFORMED),
    "QoS 3": (lambda v: publish(v, qos=3, packet_id=1), MALFORMED),
    "QoS 0 sent again": (lambda v: publish(v, duplicate=True), MALFORMED),
    "a PUBLISH with packet id 0": (lambda v: publish(v, qos=1), PROTOCOL_ERROR),
    "a topic with #": (lambda v: publish(v, "a/#"), Reason.TOPIC_NAME_INVALID),
    "a topic with +": (lambda v: publish(v, "a/+/b", qos=1, packet_id=1), Reason.TOPIC_NAME_INVALID),
    "no topic": (lambda v: publish(v, ""), PROTOCOL_ERROR),
    "a topic with NUL": (lambda v: publish(v, b"a\0b"), MALFORMED),
    "a topic that is not UTF-8": (lambda v: publish(v, b"a\xff"), MALFORMED),
    "a topic with a surrogate": (lambda v: publish(v, b"\xed\xa0\x80"), MALFORMED),
    "a topic with an overlong form": (lambda v: publish(v, b"\xc0\xaf"), MALFORMED),
    "a long topic that is not UTF-8": (lambda v: publish(v, b"a" * 500 + b"\xff"), MALFORMED),
    "two messages with one packet id": (lambda v: publish(v, qos=1, packet_id=1) * 2, PROTOCOL_ERROR),
    "one packet id at QoS 1 and 2": (
        lambda v: publish(v, qos=1, packet_id=1) + publish(v, qos=2, packet_id=1),
        PROTOCOL_ERROR,
    ),
    "one packet id at QoS 2 and 1": (
        lambda v: publish(v, qos=2, packet_id=1) + publish(v, qos=1, packet_id=1, duplicate=True),
        PROTOCOL_ERROR,
    ),
    "a PUBREL before its PUBREC": (lambda v: publish(v, qos=2, packet_id=1) + answer(0x62, 1), PROTOCOL_ERROR),
    "flags of a PUBACK": (lambda _: answer(0x41, 1), MALFORMED),
    "a PUBACK with packet id 0": (lambda _: answer(0x40, 0), PROTOCOL_ERROR),
    "a PUBACK without a packet id": (lambda _: packet(0x40, b"\0"), MALFORMED),
    "flags of a PUBREL": (lambda _: answer(0x60, 1), MALFORMED),
    "flags of a PUBREC": (lambda _: answer(0x52, 1), MALFORMED),
    "flags of a PUBCOMP": (lambda _: answer(0x78, 1), MALFORMED),
    "flags of a SUBSCRIBE": (lambda v: b"\x80" + subscribe(v, 1, ("a", 0))[1:], MALFORMED),
    "a SUBSCRIBE with packet id 0": (lambda v: subscribe(v, 0, ("a", 0)), PROTOCOL_ERROR),
    "a filter with # in the middle": (lambda v: subscribe(v, 1, ("a/#/b", 0)), Reason.TOPIC_FILTER_INVALID),
    "a filter with + within a level": (lambda v: subscribe(v, 1, ("a/b+", 0)), Reason.TOPIC_FILTER_INVALID),
    "an empty filter": (lambda v: subscribe(v, 1, ("", 0)), Reason.TOPIC_FILTER_INVALID),
    "a filter with NUL": (lambda v: subscribe(v, 1, (b"a\0", 0)), MALFORMED),
    "a filter that is not UTF-8": (lambda v: subscribe(v, 1, (b"a", 0), (b"\xff", 0)), MALFORMED),
    "a filter without its options": (
        lambda v: packet(0x82, b"\0\1", b"" if v < MQTT_5 else b"\0", text("a")),
        MALFORMED,
    ),
    "flags of an UNSUBSCRIBE": (lambda v: b"\xa0" + unsubscribe(v, 1, "a")[1:], MALFORMED),
    "an UNSUBSCRIBE with packet id 0": (lambda v: unsubscribe(v, 0, "a"), PROTOCOL_ERROR),
    "an UNSUBSCRIBE of what is no filter": (lambda v: unsubscribe(v, 1, "a#"), Reason.TOPIC_FILTER_INVALID),
    "an UNSUBSCRIBE of what is not UTF-8": (lambda v: unsubscribe(v, 1, b"\xc3("), MALFORMED),
}
# Those that only MQTT 5 can have, or has another reason for.
FAULTS_5: dict[str, tuple[bytes, Reason]] = {
    "a SUBSCRIBE without a filter": (subscribe(5, 1), PROTOCOL_ERROR),
    "an UNSUBSCRIBE without a filter": (unsubscribe(5, 1), PROTOCOL_ERROR),
    "a subscription at QoS 3": (subscribe(5, 1, ("a", 3)), MALFORMED),
    "reserved bits of a subscription": (subscribe(5, 1, ("a", 0), ("b", 0x41)), MALFORMED),
    "retain handling 3": (subscribe(5, 1, ("a", 0x31)), PROTOCOL_ERROR),
    "a shared subscription without local messages": (subscribe(5, 1, ("$share/g/a", 4)), PROTOCOL_ERROR),
    "subscription identifier 0": (subscribe(5, 1, ("a", 0), props=b"\x0b\0"), PROTOCOL_ERROR),
    "a subscription identifier in a PUBLISH": (publish(5, props=b"\x0b\1"), PROTOCOL_ERROR),
    "a topic alias of 0": (publish(5, props=b"\x23\0\0"), Reason.TOPIC_ALIAS_INVALID),
    "a topic alias above the maximum": (publish(5, props=b"\x23\0\x11"), Reason.TOPIC_ALIAS_INVALID),
    "a topic alias that stands for nothing": (publish(5, "", props=b"\x23\0\1"), PROTOCOL_ERROR),
    "a topic with wildcards and an alias": (publish(5, "a/#", props=b"\x23\0\1"), Reason.TOPIC_NAME_INVALID),
    "a property twice": (publish(5, props=b"\1\1\1\1"), PROTOCOL_ERROR),
    "a property of another packet": (publish(5, props=b"\x21\0\1"), MALFORMED),
    "an unknown property": (publish(5, props=b"\x7f\0"), MALFORMED),
    "properties longer than the packet": (packet(0x30, text("a"), b"\x7f"), MALFORMED),
    "payload format 2": (publish(5, props=b"\1\2"), PROTOCOL_ERROR),
    "a response topic with wildcards": (publish(5, props=b"\x08" + text("a/#")), Reason.TOPIC_NAME_INVALID),
    "a content type with NUL": (publish(5, props=b"\x03" + text(b"a\0")), MALFORMED),
    "a content type that is not UTF-8": (publish(5, props=b"\x03" + text(b"\xff")), MALFORMED),
    "a user property with NUL": (publish(5, props=b"\x26" + text("a") + text(b"\0")), MALFORMED),
    "a length in more bytes than it needs": (b"\xe0\x80\x00", MALFORMED),
    "a PUBACK with an unknown reason": (answer(0x40, 1, b"\x77"), MALFORMED),
    "a reason that is not UTF-8": (answer(0x40, 1, b"\x80", b"\x04\x1f\0\1\xff"), MALFORMED),
    "an AUTH": (packet(0xF0, b"\x18\0"), PROTOCOL_ERROR),
    "a DISCONNECT with an unknown reason": (packet(0xE0, b"\x55"), MALFORMED),
    "a session that is to live on after all": (packet(0xE0, b"\0", b"\x05" + session_expiry(9)), PROTOCOL_ERROR),
    "more messages than the receive maximum": (
        b"".join([publish(5, qos=1 + each % 2, packet_id=each) for each in range(1, 258)]),
        Reason.RECEIVE_MAXIMUM_EXCEEDED,
    ),
}
FAULTS_BEFORE_5: dict[str, bytes] = {
    "a SUBSCRIBE without a filter": packet(0x82, b"\0\1"),
    "an UNSUBSCRIBE without a filter": packet(0xA2, b"\0\1"),
    "a subscription at QoS 3": subscribe(4, 1, ("a", 3)),
    "reserved bits of a subscription": subscribe(4, 1, ("a", 4)),
    "an acknowledgement with a reason": answer(0x40, 1, b"\0"),
    "a DISCONNECT with a reason": packet(0xE0, b"\0"),
    "an AUTH": packet(0xF0, b"\x18\0"),
}


def in_pieces(data: bytes, cut_bytes: int) -> list[bytes]:
    return [data[place : place + cut_bytes] for place in range(0, len(data), cut_bytes)]


def assert_ended(peer: Peer, reason: Reason) -> None:
    """The connection ended for this reason, and a client of MQTT 5 was told it."""
    assert peer.ended is not None
    assert Reason(peer.ended.reason) == reason, peer.ended.text
    assert peer.ended.publishes_will
    assert peer.connection.is_ended
    assert peer.inputs[-1] is peer.ended
    if peer.version == MQTT_5:
        packets = peer.heard()
        assert int(packets[-1].reason_code) == reason
        assert packets[-1].reason_str == peer.ended.text
    else:
        assert peer.sent() == b""
    assert peer.feed(PINGREQ, publish(peer.version)) == []
    assert peer.sent() == b""


@pytest.mark.parametrize("cut_bytes", [1, 10_000])
@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_ends_the_connection_with_its_reason(name: str, version: int, cut_bytes: int) -> None:
    data, reason = FAULTS[name]
    peer = Peer(version)
    peer.sent()
    peer.feed(*in_pieces(data(version), cut_bytes))
    assert_ended(peer, reason)


@pytest.mark.parametrize("cut_bytes", [1, 10_000])
@pytest.mark.parametrize("name", FAULTS_5)
def test_a_fault_that_only_mqtt_5_knows_ends_the_connection_with_its_reason(name: str, cut_bytes: int) -> None:
    data, reason = FAULTS_5[name]
    peer = Peer()
    peer.sent()
    peer.feed(*in_pieces(data, cut_bytes))
    assert_ended(peer, reason)


@pytest.mark.parametrize("version", BEFORE_5)
@pytest.mark.parametrize("name", FAULTS_BEFORE_5)
def test_a_fault_before_mqtt_5_closes_the_connection(name: str, version: int) -> None:
    peer = Peer(version)
    peer.sent()
    peer.feed(FAULTS_BEFORE_5[name])
    assert peer.ended is not None
    assert peer.connection.is_ended
    assert peer.sent() == b""


@pytest.mark.parametrize("name", [name for name, (data, _) in FAULTS_5.items() if any(byte > 0x7F for byte in data)])
def test_nothing_is_printed_about_texts_that_are_not_utf_8(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    Peer().feed(FAULTS_5[name][0])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("version", ALL)
def test_what_came_before_a_fault_in_the_same_read_still_counts(version: int) -> None:
    peer = Peer(version)
    peer.feed(publish(version, "a", qos=1, packet_id=1) + publish(version, "b") + packet(0x00) + publish(version, "c"))
    assert [message.topic for message in peer.messages] == ["a", "b"]
    assert peer.connection.is_ended
    peer.sent()
    peer.connection.acknowledge([1])
    assert peer.sent() == b""


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("announced", [b"\xff\xff\xff\x7f", b"\x81\x80\x40"])
def test_a_packet_that_is_too_large_is_refused_as_soon_as_it_is_announced(version: int, announced: bytes) -> None:
    peer = Peer(version, limits=Limits(max_packet_bytes=100_000))
    peer.sent()
    peer.feed(b"\x30", announced)
    assert_ended(peer, Reason.PACKET_TOO_LARGE)


def test_the_largest_packet_that_is_taken_is_taken() -> None:
    peer = Peer(limits=Limits(max_packet_bytes=1000))
    largest = publish(5, "t", bytes(1000 - 3 - 3 - 1))
    assert len(largest) == 1000
    peer.feed(largest)
    assert len(peer.messages) == 1
    peer.feed(publish(5, "t", bytes(1000 - 3 - 3)))
    assert peer.ended is not None
    assert peer.ended.reason == Reason.PACKET_TOO_LARGE


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (PINGREQ, "type 12 before CONNECT"),
        (publish(5), "type 3 before CONNECT"),
        (DISCONNECT, "type 14 before CONNECT"),
        (b"GET / HTTP/1.1\r\n\r\n", "an HTTP request, where WebSocket is not spoken"),
        (b"\x16\x03\x01\x00\xf8\x01", "a TLS handshake"),
        (b"\x11" + connect(4)[1:], "flags in the first byte"),
        (b"\x10\xff\xff\xff\x7f", "a packet of 268435460 bytes"),
        (b"\x10\x80\x80\x80\x80\x01", "more than four bytes"),
        (packet(0x10), "ends early"),
        (packet(0x10, text("MQTT")), "ends early"),
        (packet(0x10, text("MQTX"), b"\x04\x02\0\x3c", text("a")), "another protocol"),
        (packet(0x10, b"\xff\xffMQTT"), "ends early"),
    ],
)
def test_who_does_not_begin_with_a_connect_of_mqtt_is_not_answered(data: bytes, words: str) -> None:
    for cut_bytes in (1, 1000):
        peer = Peer(up=False)
        peer.feed(*in_pieces(data, cut_bytes))
        assert peer.ended is not None
        assert words in peer.ended.text
        assert not peer.ended.publishes_will
        assert peer.connection.is_ended
        assert peer.sent() == b""


@pytest.mark.parametrize(
    ("name", "level", "sent"),
    [
        ("MQTT", 0, b"\x20\x02\x00\x01"),
        ("MQTT", 3, b"\x20\x02\x00\x01"),
        ("MQTT", 6, b"\x20\x03\x00\x84\x00"),
        ("MQTT", 0x84, b"\x20\x03\x00\x84\x00"),
        ("MQIsdp", 4, b"\x20\x02\x00\x01"),
    ],
)
def test_an_unknown_version_is_told_so(name: str, level: int, sent: bytes) -> None:
    peer = Peer(up=False)
    peer.feed(packet(0x10, text(name), bytes((level, 2)), b"\0\x3c", text("a")))
    assert peer.ended is not None
    assert peer.ended.reason == Reason.UNSUPPORTED_PROTOCOL_VERSION
    assert peer.sent() == sent


CONNECT_FAULTS: dict[str, tuple[dict[str, Any], Reason]] = {
    "the reserved flag": ({"flags": 0x03}, MALFORMED),
    "QoS of a will, and no will": ({"flags": 0x0A}, MALFORMED),
    "a retained will, and no will": ({"flags": 0x22}, MALFORMED),
    "a will at QoS 3": ({"flags": 0x1E, "parts": (text("w"), text(""))}, MALFORMED),
    "a client id with NUL": ({"client_id": b"a\0"}, MALFORMED),
    "a client id that is not UTF-8": ({"client_id": b"\xff"}, MALFORMED),
    "a user that is not UTF-8": ({"flags": 0x82, "parts": (text(b"\xff"),)}, MALFORMED),
    "a user with NUL": ({"flags": 0x82, "parts": (text(b"\0"),)}, MALFORMED),
    "something behind it": ({"parts": (b"x",)}, MALFORMED),
    "a will on a topic with wildcards": ({"flags": 0x06, "parts": (text("w/#"), text(""))}, Reason.TOPIC_NAME_INVALID),
    "a will without a topic": ({"flags": 0x06, "parts": (text(""), text(""))}, PROTOCOL_ERROR),
    "a will on a topic with NUL": ({"flags": 0x06, "parts": (text(b"a\0"), text(""))}, MALFORMED),
    "a will that is cut": ({"flags": 0x06, "parts": (text("w"),)}, MALFORMED),
}
CONNECT_FAULTS_5: dict[str, tuple[dict[str, Any], Reason]] = {
    "receive maximum 0": ({"props": b"\x21\0\0"}, PROTOCOL_ERROR),
    "a maximum packet size of 0": ({"props": b"\x27\0\0\0\0"}, PROTOCOL_ERROR),
    "a property twice": ({"props": session_expiry(1) * 2}, PROTOCOL_ERROR),
    "a property of another packet": ({"props": b"\x23\0\1"}, MALFORMED),
    "a user property with NUL": ({"props": b"\x26" + text("a") + text(b"\0")}, MALFORMED),
    "a user property that is not UTF-8": ({"props": b"\x26" + text("a") + text(b"\xff")}, MALFORMED),
    "data of an unnamed authentication": ({"props": b"\x16" + text("x")}, PROTOCOL_ERROR),
    "an authentication method": ({"props": b"\x15" + text("SCRAM")}, Reason.BAD_AUTHENTICATION_METHOD),
    "problem information 2": ({"props": b"\x17\2"}, PROTOCOL_ERROR),
}


def refused(version: int, hello: dict[str, Any]) -> Peer:
    peer = Peer(version, up=False)
    hello = dict(hello)
    parts = list(hello.pop("parts", ()))
    if version == MQTT_5 and hello.get("flags", 0) & 0x04:
        parts.insert(0, b"\0")  # the properties of the will
    client_id = hello.pop("client_id", "device-1")
    peer.feed(connect(version, client_id, *parts, **hello))
    return peer


@pytest.mark.parametrize("version", [MQTT_311, MQTT_5])
@pytest.mark.parametrize("name", CONNECT_FAULTS)
def test_a_connect_with_a_fault_is_refused_with_its_reason(name: str, version: int) -> None:
    hello, reason = CONNECT_FAULTS[name]
    peer = refused(version, hello)
    assert peer.ended is not None
    assert Reason(peer.ended.reason) == reason, peer.ended.text
    if version == MQTT_5:
        (connack,) = peer.heard()
        assert int(connack.reason_code) == reason
    assert peer.sent() == b""


@pytest.mark.parametrize("name", CONNECT_FAULTS_5)
def test_a_connect_of_mqtt_5_with_a_fault_is_refused_with_its_reason(name: str) -> None:
    hello, reason = CONNECT_FAULTS_5[name]
    peer = refused(MQTT_5, hello)
    (connack,) = peer.heard()
    assert int(connack.reason_code) == reason


def test_a_password_without_a_user_is_a_fault_before_mqtt_5_only() -> None:
    hello = {"flags": 0x42, "parts": (text("pw"),)}
    assert refused(MQTT_311, hello).ended is not None
    assert refused(MQTT_5, hello).ended is None


@pytest.mark.parametrize(("version", "flags"), [(MQTT_311, 0x00), (MQTT_31, 0x02), (MQTT_31, 0x00)])
def test_a_client_that_must_have_an_id_is_refused_without_one(version: int, flags: int) -> None:
    peer = refused(version, {"client_id": "", "flags": flags})
    assert peer.sent() == b"\x20\x02\x00\x02"
    assert peer.connection.is_ended


@pytest.mark.parametrize(("version", "flags"), [(MQTT_311, 0x02), (MQTT_5, 0x02), (MQTT_5, 0x00)])
def test_a_client_that_may_leave_its_id_to_us_can(version: int, flags: int) -> None:
    peer = Peer(version, up=False)
    (said,) = peer.connection.feed(connect(version, "", flags=flags), 0)
    assert isinstance(said, Connect)
    assert said.client_id == ""


def test_a_refusal_that_is_too_long_for_the_client_goes_without_words() -> None:
    peer = Peer(up=False)
    peer.feed(connect(5, props=b"\x27\0\0\0\x08\x15" + text("SCRAM")))
    (connack,) = peer.heard()
    assert connack.reason_str is None
    assert int(connack.reason_code) == Reason.BAD_AUTHENTICATION_METHOD


@pytest.mark.parametrize("version", ALL)
def test_one_packet_has_no_more_filters_than_one_turn_can_bear(version: int) -> None:
    filters = [f"a/{number}" for number in range(501)]
    for data in (subscribe(version, 1, *[(each, 0) for each in filters]), unsubscribe(version, 1, *filters)):
        peer = Peer(version)
        peer.sent()  # CONNACK
        peer.feed(data)
        assert_ended(peer, Reason.QUOTA_EXCEEDED)
