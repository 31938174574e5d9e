"""One client's connection from CONNECT to the end."""

from __future__ import annotations

import sys
from typing import Any

import mqtt5
import pytest

from edgeagent.listener.connection import Limits
from edgeagent.listener.packets import (
    MQTT_5,
    MQTT_31,
    MQTT_311,
    ConnAck,
    Connect,
    ConnectionEnded,
    Publish,
    Subscribe,
    TopicSubscription,
    Unsubscribe,
)
from edgeagent.listener.reasons import Reason
from tests.fakes.listener_peer import Peer, session_expiry
from tests.fakes.mqtt_bytes import (
    DISCONNECT,
    PINGREQ,
    connect,
    packet,
    publish,
    subscribe,
    text,
    unsubscribe,
)

ALL = (MQTT_31, MQTT_311, MQTT_5)
PINGRESP = b"\xd0\x00"


@pytest.mark.parametrize("version", ALL)
def test_the_broker_is_asked_before_a_client_hears_anything(version: int) -> None:
    peer = Peer(version, up=False)
    (said,) = peer.feed(connect(version, "device-1"))
    assert isinstance(said, Connect)
    assert (said.version, said.client_id, said.keep_alive_s) == (version, "device-1", 60)
    assert peer.sent() == b""
    peer.accept(ConnAck(session_present=True))
    if version == MQTT_5:
        (connack,) = peer.heard()
        assert connack.session_present
    else:
        assert peer.sent() == b"\x20\x02\x01\x00"


@pytest.mark.parametrize("version", ALL)
def test_nothing_of_a_packet_whose_end_never_came_outlives_its_connection(version: int) -> None:
    for end in ("lost", "disconnect"):
        peer = Peer(version)
        peer.feed(publish(version, "a", b"x" * 100_000)[:-1])
        assert peer.connection.kept_bytes > 100_000 - 1
        if end == "lost":
            peer.connection.lost("it went away")
        else:
            peer.connection.disconnect(Reason.QUOTA_EXCEEDED, "too much")
        assert peer.connection.kept_bytes == 0
        assert peer.feed(b"x" * 1000) == []
        assert peer.connection.kept_bytes == 0


def test_a_connect_can_be_shown_without_its_password() -> None:
    said = Peer(up=False).feed(connect(5, "d", text("user"), text("secret"), flags=0xC2))
    assert "user" in repr(said)
    assert "secret" not in repr(said)


@pytest.mark.parametrize("version", ALL)
def test_what_comes_right_behind_connect_waits_until_the_client_is_let_in(version: int) -> None:
    peer = Peer(version, up=False)
    assert not peer.connection.paused
    (said,) = peer.feed(connect(version) + publish(version, "a") + publish(version, "b", qos=1, packet_id=1)[:5])
    assert isinstance(said, Connect)
    assert peer.connection.paused
    assert peer.feed(publish(version, "b", qos=1, packet_id=1)[5:] + PINGREQ) == []
    peer.accept()
    assert [message.topic for message in peer.messages] == ["a", "b"]
    assert not peer.connection.paused
    assert peer.sent().endswith(PINGRESP)


@pytest.mark.parametrize("version", ALL)
def test_what_comes_behind_a_connect_that_is_refused_is_lost(version: int) -> None:
    peer = Peer(version, up=False)
    peer.feed(connect(version) + publish(version))
    peer.connection.refuse(Reason.NOT_AUTHORIZED, "who are you?")
    assert peer.connection.is_ended
    assert peer.messages == []
    if version == MQTT_5:
        (connack,) = peer.heard()
        assert (int(connack.reason_code), connack.reason_str) == (Reason.NOT_AUTHORIZED, "who are you?")
    else:
        assert peer.sent() == b"\x20\x02\x00\x05"


def test_a_client_that_went_before_it_was_let_in_stays_away() -> None:
    peer = Peer(up=False)
    peer.feed(connect(5))
    (ended,) = peer.connection.lost("it has gone")
    assert isinstance(ended, ConnectionEnded)
    assert not ended.publishes_will
    peer.accept()
    peer.connection.refuse(Reason.SERVER_BUSY)
    assert peer.sent() == b""
    assert peer.inputs[1:] == []


def test_a_client_that_takes_no_packet_as_large_as_our_first_is_given_up() -> None:
    peer = Peer(props=b"\x27\0\0\0\x09")
    assert peer.sent() == b""
    assert peer.ended is not None
    assert peer.ended.reason == Reason.PACKET_TOO_LARGE


def test_a_machine_without_the_codec_of_mqtt_5_says_so_and_serves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "edgeagent.listener.codec5", None)
    peer = Peer(up=False)
    peer.feed(connect(MQTT_5))
    assert peer.sent() == b"\x20\x03\x00\x84\x00"
    assert peer.ended is not None
    assert "no codec" in peer.ended.text
    assert Peer(MQTT_311).ended is None


# Time.


@pytest.mark.parametrize("begins", [False, True])
def test_a_client_has_five_seconds_for_its_connect_however_it_sends_it(begins: bool) -> None:
    peer = Peer(up=False)
    for byte in connect(5)[:4] if begins else b"":
        peer.wait(1)
        peer.feed(bytes((byte,)))
    assert peer.connection.next_deadline == 5
    peer.wait(5 - peer.now_s - 0.1)
    assert peer.ended is None
    peer.wait(0.1)
    assert peer.ended is not None
    assert peer.ended.text == "no CONNECT in 5 s"
    assert peer.sent() == b""


@pytest.mark.parametrize("version", ALL)
def test_a_client_that_is_silent_for_one_and_a_half_keep_alive_periods_is_dead(version: int) -> None:
    peer = Peer(version, keep_alive_s=10)
    peer.sent()
    peer.wait(14)
    peer.feed(PINGREQ)
    assert peer.sent() == PINGRESP
    assert peer.connection.next_deadline == 29
    assert peer.wait(14.9) == []
    (ended,) = peer.wait(0.1)
    assert isinstance(ended, ConnectionEnded)
    assert ended.publishes_will
    assert ended.text == "nothing came for 15 s"
    if version == MQTT_5:
        assert int(peer.heard()[0].reason_code) == Reason.KEEP_ALIVE_TIMEOUT
    else:
        assert peer.sent() == b""


def test_a_client_without_keep_alive_may_be_silent_for_ever() -> None:
    peer = Peer(keep_alive_s=0)
    assert peer.connection.next_deadline is None
    assert peer.wait(1e6) == []


def test_the_keep_alive_that_the_broker_names_counts() -> None:
    assert Peer(keep_alive_s=0, ack=ConnAck(keep_alive_s=20)).connection.next_deadline == 30


def test_one_byte_a_minute_is_no_sign_of_life() -> None:
    peer = Peer(keep_alive_s=100)
    for byte in publish(5, "t", bytes(200))[:2]:
        peer.wait(60)
        peer.feed(bytes((byte,)))
    assert peer.ended is None
    peer.wait(30)
    assert peer.ended is not None


def test_a_large_packet_that_comes_slowly_is_one() -> None:
    peer = Peer(keep_alive_s=10)
    data = publish(5, "t", bytes(50_000))
    for place in range(0, len(data), 1000):
        peer.wait(14)
        peer.feed(data[place : place + 1000])
    assert peer.ended is None
    assert len(peer.messages) == 1


def test_while_it_is_not_read_a_client_cannot_be_dead() -> None:
    peer = Peer(keep_alive_s=10)
    peer.connection.listen(deaf=True, now_s=5)
    assert peer.connection.next_deadline is None
    peer.wait(100)
    peer.connection.listen(deaf=False, now_s=100)
    assert peer.connection.next_deadline == 115


# Subscriptions.


@pytest.mark.parametrize("version", ALL)
def test_subscriptions_are_handed_on_and_answered(version: int) -> None:
    peer = Peer(version)
    peer.sent()
    assert peer.feed(subscribe(version, 7, ("a/#", 1), ("b", 2)), unsubscribe(version, 8, "a/#", "c")) == [
        Subscribe(7, (TopicSubscription("a/#", 1), TopicSubscription("b", 2))),
        Unsubscribe(8, ("a/#", "c")),
    ]
    assert peer.sent() == b""
    peer.connection.suback(7, [1, Reason.NOT_AUTHORIZED])
    peer.connection.unsuback(8, [Reason.SUCCESS, Reason.NO_SUBSCRIPTION_EXISTED])
    if version == MQTT_5:
        suback, unsuback = peer.heard()
        assert [int(code) for code in suback.reason_codes] == [1, 0x87]
        assert [int(code) for code in unsuback.reason_codes] == [0, 0x11]
    else:
        assert peer.sent() == b"\x90\x04\x00\x07\x01\x80" + b"\xb0\x02\x00\x08"


@pytest.mark.parametrize("version", ALL)
def test_a_mark_of_byte_order_is_a_character_of_the_topic(version: int) -> None:
    peer = Peer(version)
    peer.feed(publish(version, b"\xef\xbb\xbfa"))
    assert [message.topic for message in peer.messages] == ["\ufeffa"]


# Topic aliases.


def test_a_topic_alias_stands_for_the_topic_that_it_came_with_last() -> None:
    peer = Peer()
    alias = b"\x23\0\x10"
    peer.feed(publish(5, "a", props=alias), publish(5, "", props=alias), publish(5, "b", props=alias))
    peer.feed(publish(5, "", b"x", qos=1, packet_id=1, props=alias))
    assert [message.topic for message in peer.messages] == ["a", "a", "b", "b"]


def test_a_topic_alias_ends_with_the_connection() -> None:
    first = Peer()
    first.feed(publish(5, "a", props=b"\x23\0\1"))
    second = Peer(inbound=first.inbound)
    second.feed(publish(5, "", props=b"\x23\0\1"))
    assert second.messages == []
    assert second.ended is not None
    assert second.ended.reason == Reason.PROTOCOL_ERROR


# The end.


@pytest.mark.parametrize("version", ALL)
def test_a_goodbye_takes_the_will_back(version: int) -> None:
    peer = Peer(version)
    peer.sent()
    (ended,) = peer.feed(DISCONNECT + publish(version))
    assert ended == ConnectionEnded(0, "the client disconnected", publishes_will=False, is_by_client=True)
    assert peer.sent() == b""
    assert peer.connection.lost("closed") == []


@pytest.mark.parametrize("reason", [Reason.DISCONNECT_WITH_WILL, Reason.UNSPECIFIED_ERROR])
def test_a_goodbye_with_a_reason_does_not(reason: Reason) -> None:
    (ended,) = Peer().feed(packet(0xE0, bytes((reason,))))
    assert isinstance(ended, ConnectionEnded)
    assert (ended.reason, ended.publishes_will) == (reason, True)


def test_a_goodbye_can_say_how_long_the_session_lives() -> None:
    (ended,) = Peer(props=session_expiry(10)).feed(packet(0xE0, b"\0\x05" + session_expiry(0)))
    assert isinstance(ended, ConnectionEnded)
    assert ended.session_expiry_s == 0


@pytest.mark.parametrize("version", ALL)
def test_a_connection_that_breaks_leaves_its_will(version: int) -> None:
    (ended,) = Peer(version).connection.lost("reset by peer")
    assert ended == ConnectionEnded(Reason.UNSPECIFIED_ERROR, "reset by peer")


@pytest.mark.parametrize("version", ALL)
def test_the_broker_can_end_it_and_a_client_of_mqtt_5_hears_why(version: int) -> None:
    peer = Peer(version)
    peer.sent()
    ended = peer.connection.disconnect(Reason.SESSION_TAKEN_OVER, "another connection has this client id")
    assert ended.reason == Reason.SESSION_TAKEN_OVER
    assert peer.connection.is_ended
    if version == MQTT_5:
        assert peer.heard() == [
            mqtt5.DisconnectPacket(
                reason_code=mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER,
                reason_str="another connection has this client id",
            )
        ]
    else:
        assert peer.sent() == b""


def test_words_that_a_client_has_no_room_for_are_left_out() -> None:
    peer = Peer(props=b"\x27\0\0\0\x20")
    peer.sent()
    peer.connection.disconnect(Reason.SERVER_SHUTTING_DOWN, "the agent is stopping; come back later")
    (disconnect,) = peer.heard()
    assert (int(disconnect.reason_code), disconnect.reason_str) == (Reason.SERVER_SHUTTING_DOWN, None)


@pytest.mark.parametrize("version", ALL)
def test_after_the_end_nothing_is_said(version: int) -> None:
    peer = Peer(version)
    peer.feed(publish(version, qos=1, packet_id=1))
    peer.connection.lost("gone")
    peer.sent()
    peer.connection.acknowledge([1])
    peer.connection.suback(1, [0])
    peer.connection.unsuback(1, [0])
    peer.connection.send_answers()
    assert not peer.connection.publish(Publish("t", b""), 0, 0)
    assert peer.connection.room == 0
    assert peer.connection.next_deadline is None
    assert not peer.connection.paused
    assert peer.feed(publish(version)) == []
    assert peer.sent() == b""


@pytest.mark.parametrize("limits", [{}, {"max_packet_bytes": 100}])
def test_a_connect_is_never_large(limits: dict[str, Any]) -> None:
    peer = Peer(up=False, limits=Limits(**limits))
    peer.feed(b"\x10\x80\x80\x04")
    assert peer.ended is not None
    assert peer.ended.reason == Reason.PACKET_TOO_LARGE
