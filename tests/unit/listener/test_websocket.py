"""The machine of one WebSocket: how it is opened, what its frames bring, how it ends."""

from __future__ import annotations

import pytest

from edgeagent.common.browsers import own_names
from edgeagent.listener.reasons import Reason
from edgeagent.listener.websocket import Brought, WebSocket, WebSocketEnd
from tests.fakes.websocket_bytes import (
    ACCEPT,
    BINARY,
    CLOSE,
    CONTINUED,
    PING,
    PONG,
    TEXT,
    announced,
    closing,
    frame,
    frames,
    upgrade,
)

NAMES = own_names("127.0.0.1", ["gateway.local"])
PACKET = b"\xc0\x00"  # a PINGREQ


def opened(names: frozenset[str] | None = NAMES) -> WebSocket:
    """A connection that is open."""
    socket = WebSocket(names)
    assert socket.feed(upgrade()).ending is None
    return socket


def fed(socket: WebSocket, data: bytes, size: int = 1 << 20) -> Brought:
    """All that these bytes come to, when they come in pieces of `size`."""
    found = Brought()
    for start in range(0, len(data), size):
        brought = socket.feed(data[start : start + size])
        found = joined(found, brought)
        while socket.has_more:
            found = joined(found, socket.go_on())
    return found


def joined(one: Brought, other: Brought) -> Brought:
    assert one.ending is None or other == Brought(), "something after the end"
    return Brought(one.answer + other.answer, one.payload + other.payload, one.ending or other.ending)


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize("target", ["/mqtt", "/", "/mqtt?a=b"])
def test_it_is_opened_for_mqtt_without_extensions(target: str, size: int) -> None:
    request = upgrade(target, "chat, mqtt", Sec_WebSocket_Extensions="permessage-deflate")
    brought = fed(WebSocket(NAMES), request, size)
    head = brought.answer.lower()
    assert head.startswith(b"http/1.1 101 ")
    assert b"sec-websocket-accept: " + ACCEPT.lower() in head
    assert b"sec-websocket-protocol: mqtt\r\n" in head
    assert b"extensions" not in head
    assert brought.ending is None


def test_clients_of_mqtt_3_1_hear_the_name_that_they_offer() -> None:
    assert b"protocol: mqttv3.1\r\n" in WebSocket(NAMES).feed(upgrade(subprotocols="mqttv3.1")).answer.lower()
    assert b"protocol: mqtt\r\n" in WebSocket(NAMES).feed(upgrade(subprotocols="mqttv3.1, mqtt")).answer.lower()


REFUSED = {
    "plain MQTT": (b"\x10\x0c\x00\x04MQTT", b"400 "),
    "a TLS handshake": (b"\x16\x03\x01", b"400 "),
    "another method": (b"POST /mqtt HTTP/1.1\r\n", b"400 "),
    "an ordinary request": (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"400 "),
    "no HTTP": (b"GET something else\r\n\r\n", b"400 "),
    "another path": (upgrade("/v1/stats"), b"404 "),
    "no subprotocol": (upgrade(subprotocols=""), b"400 "),
    "another subprotocol": (upgrade(subprotocols="wamp, mqtt5"), b"400 "),
    "a subprotocol that is no text": (upgrade(subprotocols="mqtt, \xe4"), b"400 "),
    "an old version": (upgrade(Sec_WebSocket_Version="8"), b"400 "),
    "no key": (upgrade(Sec_WebSocket_Key=""), b"400 "),
    "no upgrade": (upgrade(Upgrade="h2c"), b"400 "),
    "no host": (upgrade(Host=""), b"400 "),
    "two hosts": (upgrade(host="localhost"), b"400 "),
    "a host that is no name": (upgrade(Host="a..b"), b"400 "),
    "a host in bytes that are none": (upgrade(Host="\xe4.local"), b"400 "),
    "a host after a rebinding": (upgrade(Host="evil.example:9001"), b"403 "),
    "a page of another site": (upgrade(Origin="http://evil.example"), b"403 "),
    "a page of another port": (upgrade(Origin="http://127.0.0.1:8745"), b"403 "),
    "a page in a file": (upgrade(Origin="null"), b"403 "),
    "an origin twice": (upgrade(Origin="http://127.0.0.1:9001", origin="http://evil.example"), b"403 "),
    "a request without an end": (b"GET /" + b"a" * (8 << 10), b"431 "),
    "a request that is too long": (upgrade(X_Header="a" * (8 << 10)), b"431 "),
}


@pytest.mark.parametrize("size", [1, 1 << 20])
@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_open_it_is_told_why_and_brings_nothing(name: str, size: int) -> None:
    data, status = REFUSED[name]
    socket = WebSocket(NAMES)
    brought = fed(socket, data, size)
    head, _, body = brought.answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status)
    assert b"Content-Length: %d" % len(body) in head
    assert brought.ending is not None
    assert not brought.ending.is_by_client
    assert brought.ending.text.encode() in body
    assert (brought.ending.reason is Reason.NOT_AUTHORIZED) == (status == b"403 ")
    assert socket.feed(frame(BINARY, PACKET)) == Brought()
    assert (socket.close(), socket.waits) == (b"", False)


def test_a_page_of_the_same_origin_and_the_names_of_this_machine_may() -> None:
    for host in ("gateway.local:9001", "Gateway.LOCAL", "localhost:9001", "[::1]:9001", "192.168.1.9:9001"):
        assert WebSocket(NAMES).feed(upgrade(Host=host)).ending is None
        assert WebSocket(NAMES).feed(upgrade(Host=host, Origin=f"http://{host}")).ending is None
        assert WebSocket(NAMES).feed(upgrade(Host=host, Origin=f"https://{host}")).ending is None


def test_who_has_to_say_who_it_is_may_call_this_machine_by_any_name_and_still_be_no_page_elsewhere() -> None:
    assert WebSocket(None).feed(upgrade(Host="plant.example")).ending is None
    ending = WebSocket(None).feed(upgrade(Host="plant.example", Origin="http://evil.example")).ending
    assert ending is not None
    assert ending.reason is Reason.NOT_AUTHORIZED


def test_frames_behind_the_request_are_not_forgotten() -> None:
    brought = WebSocket(NAMES).feed(upgrade() + frame(BINARY, PACKET))
    assert brought.payload == PACKET


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 3, 1 << 20])
def test_packets_go_over_the_bounds_of_frames_and_pings_come_between(size: int) -> None:
    data = (
        frame(BINARY, b"ab", fin=False)
        + frame(PING, b"alive?")
        + frame(CONTINUED, b"", fin=False)
        + frame(CONTINUED, b"c" * 300)
        + frame(PONG, b"nobody asked")
        + frame(BINARY)
        + frame(BINARY, b"d" * 70_000)
    )
    brought = fed(opened(), data, size)
    assert brought.payload == b"ab" + b"c" * 300 + b"d" * 70_000
    assert list(frames(brought.answer)) == [(PONG, b"alive?")]
    assert brought.ending is None


FAULTY = {
    "text": (frame(TEXT, b"hello"), 1003),
    "text in parts": (frame(TEXT, b"h", fin=False), 1003),
    "not masked": (frame(BINARY, PACKET, masked=False), 1002),
    "compressed": (frame(BINARY, PACKET, reserved=4), 1002),
    "an unknown opcode": (frame(0x3, PACKET), 1002),
    "a ping in parts": (frame(PING, b"a", fin=False), 1002),
    "a long ping": (frame(PING, b"a" * 126), 1002),
    "a continuation of nothing": (frame(CONTINUED, PACKET), 1002),
    "a message within a message": (frame(BINARY, b"", fin=False) + frame(BINARY, PACKET), 1002),
    "a length with its highest bit": (announced(BINARY, 1 << 63), 1002),
    "a close of one byte": (frame(CLOSE, b"\x03"), 1002),
    "a close with a reserved code": (frame(CLOSE, closing(1005)), 1002),
    "a close in bytes that are no text": (frame(CLOSE, closing(1000) + b"\xff"), 1007),
}


@pytest.mark.parametrize("size", [1, 1 << 20])
@pytest.mark.parametrize("name", FAULTY)
def test_a_fault_ends_it_with_its_code_and_what_came_before_counts(name: str, size: int) -> None:
    data, code = FAULTY[name]
    socket = opened()
    brought = fed(socket, frame(BINARY, PACKET) + data + frame(BINARY, PACKET), size)
    assert brought.payload == PACKET
    assert brought.ending is not None
    assert (brought.ending.reason, brought.ending.is_by_client) == (Reason.PROTOCOL_ERROR, False)
    [(opcode, said)] = frames(socket.close())
    assert (opcode, said[:2]) == (CLOSE, closing(code))
    assert not socket.waits


def test_a_frame_of_any_announced_length_is_handed_on_as_it_comes() -> None:
    socket = opened()
    assert socket.feed(announced(BINARY, (1 << 63) - 1)) == Brought()
    for _ in range(100):
        assert len(socket.feed(b"x" * 10_000).payload) == 10_000


def test_many_small_frames_are_looked_at_in_turns() -> None:
    socket = opened()
    brought = socket.feed(frame(BINARY, b"a") * 300)
    assert (len(brought.payload), socket.has_more) == (128, True)
    assert (len(socket.go_on().payload), socket.has_more) == (128, True)
    assert (len(socket.go_on().payload), socket.has_more) == (44, False)


def test_a_close_of_the_client_is_answered_with_its_code() -> None:
    for said in (b"", closing(1000), closing(1001) + b"going"):
        socket = opened()
        brought = fed(socket, frame(BINARY, PACKET) + frame(CLOSE, said) + frame(BINARY, PACKET))
        assert brought.payload == PACKET
        assert brought.ending == WebSocketEnd(Reason.SUCCESS, "the device closed the WebSocket", is_by_client=True)
        assert socket.send(PACKET) == b""
        assert list(frames(socket.close())) == [(CLOSE, said)]
        assert not socket.waits


def test_our_close_waits_for_the_clients() -> None:
    socket = opened()
    assert list(frames(socket.send(PACKET))) == [(BINARY, PACKET)]
    assert list(frames(socket.close())) == [(CLOSE, closing(1000))]
    assert socket.waits
    assert socket.send(PACKET) == b""
    assert fed(socket, frame(PING, b"x") + frame(BINARY, PACKET)).answer == b""
    ending = fed(socket, frame(CLOSE, closing(1000))).ending
    assert ending is not None
    assert ending.is_by_client
    assert not socket.waits
