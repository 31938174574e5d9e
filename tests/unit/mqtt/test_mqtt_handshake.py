from __future__ import annotations

import mqtt5
import pytest

from edgeagent.errors import Denied, Unavailable
from edgeagent.mqtt.qos2 import Qos2Handshakes
from edgeagent.ports.link import MARK, Publication, Subscription, Will
from tests.fakes.link import code_of
from tests.fakes.mqtt_peer import ADDRESS, Peer, message

TWO = (Subscription("devices/#"), Subscription("state/+", qos=0, retained=True))


def test_connect_resumes_the_session_and_limits_what_the_broker_sends() -> None:
    peer = Peer(up=False, username="gw", will=Will("edgeagent/state/gw-042", b"offline", delay_s=30))
    (connect,) = peer.transport.packets()
    assert (connect.client_id, connect.username, connect.password) == ("gw-042", "gw", b"secret")
    assert (connect.clean_start, connect.session_expiry_interval, connect.keep_alive) == (False, 3600, 30)
    assert (connect.receive_max, connect.max_packet_size, connect.topic_alias_max) == (256, 100_000, 0)
    will = connect.will
    assert (will.topic, will.payload, will.retain, will.will_delay_interval) == (
        "edgeagent/state/gw-042",
        b"offline",
        True,
        30,
    )
    assert will.qos == mqtt5.QoS.AT_LEAST_ONCE


def test_a_session_that_is_not_to_outlive_the_connection_starts_clean() -> None:
    (connect,) = Peer(up=False, session_expiry_s=0).transport.packets()
    assert connect.clean_start is True


def test_without_subscriptions_the_link_is_up_with_connack_and_no_subscribe_is_sent() -> None:
    peer = Peer(up=False)
    peer.transport.writes.clear()
    peer.feed(mqtt5.ConnAckPacket(session_present=True))
    assert peer.owner.calls == ["up"]
    assert peer.owner.session_present is True
    assert peer.transport.writes == []


def test_subscriptions_are_confirmed_before_the_owner_hears_that_the_link_is_up() -> None:
    peer = Peer(up=False, subscriptions=TWO)
    peer.transport.writes.clear()
    peer.feed(mqtt5.ConnAckPacket())
    assert peer.owner.calls == []
    assert peer.link.room == 0
    peer.link.publish([Publication(1, "a", b"")])
    (subscribe,) = peer.transport.packets()
    first, second = subscribe.topic_filters
    assert (first.pattern, first.max_qos == mqtt5.QoS.AT_LEAST_ONCE) == ("devices/#", True)
    assert first.retain_handling == mqtt5.RetainHandling.SEND_NEVER
    assert second.max_qos == mqtt5.QoS.AT_MOST_ONCE
    assert second.retain_handling == mqtt5.RetainHandling.SEND_ALWAYS
    assert not first.retain_as_published
    peer.feed(mqtt5.SubAckPacket(subscribe.packet_id, [mqtt5.SubAckReasonCode(1), mqtt5.SubAckReasonCode(0)]))
    assert peer.owner.calls == ["up"]
    assert peer.link.up.result() is None


def test_messages_that_come_before_the_subscriptions_are_confirmed_follow_the_owners_on_up() -> None:
    peer = Peer(up=False, subscriptions=TWO[:1])
    peer.feed(mqtt5.ConnAckPacket(session_present=True), message(7), message(8))
    assert peer.owner.calls == []
    peer.feed(mqtt5.SubAckPacket(1, [mqtt5.SubAckReasonCode(1)]), message(9))
    assert peer.owner.calls == ["up", "messages"]
    assert [received.delivery_id for received in peer.owner.messages] == [7, 8, 9]


def test_a_flood_of_qos_0_before_the_subscriptions_are_confirmed_does_not_fill_the_memory() -> None:
    peer = Peer(up=False, subscriptions=TWO[:1])
    peer.feed(mqtt5.ConnAckPacket(), message(7))
    for _ in range(20):
        peer.feed(*[message()] * 500)
    peer.feed(mqtt5.SubAckPacket(1, [mqtt5.SubAckReasonCode(1)]))
    assert peer.owner.messages[0].delivery_id == 7
    assert len(peer.owner.messages) < 2000


def test_an_owner_that_never_heard_of_a_connection_gets_no_messages_from_it() -> None:
    peer = Peer(up=False, subscriptions=TWO[:1])
    peer.feed(mqtt5.ConnAckPacket(), message(7), mqtt5.SubAckPacket(1, [mqtt5.SubAckReasonCode(0x87)]))
    assert peer.owner.calls == []


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0x84, "does not speak MQTT 5"),
        (0x85, "client id"),
        (0x86, "user name or password"),
        (0x87, "not authorized"),
        (0x8A, "banned"),
        (0x8C, "authentication method"),
        (0x9D, "moved"),
    ],
)
def test_a_refusal_that_only_a_person_can_mend_is_denied_in_plain_words(code: int, words: str) -> None:
    peer = Peer(up=False)
    peer.feed(mqtt5.ConnAckPacket(reason_code=mqtt5.ConnAckReasonCode(code), reason_str="ask Ann"))
    error = peer.link.ended.result()
    assert isinstance(error, Denied)
    assert peer.link.up.result() is error
    assert str(error).startswith(f"{ADDRESS}: refused: ")
    assert words in str(error)
    assert str(error).endswith("ask Ann")
    assert peer.owner.calls == []


@pytest.mark.parametrize("code", [0x80, 0x88, 0x89, 0x97, 0x9C, 0x9F])
def test_a_refusal_that_passes_by_itself_is_unavailable(code: int) -> None:
    peer = Peer(up=False)
    peer.feed(mqtt5.ConnAckPacket(reason_code=mqtt5.ConnAckReasonCode(code)))
    assert isinstance(peer.link.ended.result(), Unavailable)


def test_a_broker_of_mqtt_3_is_named_as_such() -> None:
    peer = Peer(up=False)
    peer.link.data_received(b"\x20\x02\x00\x01")
    assert peer.error == f"{ADDRESS}: the broker sent an answer of MQTT 3.1.1: it does not speak MQTT 5"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0x87, "subscription to state/+: not authorized (0x87): acl; let gw-042 read it, in the broker's access list"),
        (0x8F, "subscription to state/+: it does not accept this topic filter (0x8f): acl"),
    ],
)
def test_a_refused_subscription_is_denied_and_named(code: int, words: str) -> None:
    peer = Peer(up=False, subscriptions=TWO)
    peer.feed(mqtt5.ConnAckPacket())
    peer.feed(mqtt5.SubAckPacket(1, [mqtt5.SubAckReasonCode(1), mqtt5.SubAckReasonCode(code)], reason_str="acl"))
    assert isinstance(peer.link.ended.result(), Denied)
    assert peer.error == f"{ADDRESS}: refused: {words}"
    assert peer.transport.closed


def test_a_subscription_granted_with_less_than_asked_is_not_taken_silently() -> None:
    peer = Peer(up=False, subscriptions=TWO[:1])
    peer.feed(mqtt5.ConnAckPacket(), mqtt5.SubAckPacket(1, [mqtt5.SubAckReasonCode(0)]))
    assert peer.error is not None
    assert "devices/#: it grants only QoS 0" in peer.error


def test_a_broker_without_qos_1_is_used_at_qos_0_unless_acknowledgements_are_needed() -> None:
    lacking = {"max_qos": mqtt5.QoS.AT_MOST_ONCE}
    peer = Peer(connack=lacking, needs_acks=True)
    assert isinstance(peer.link.ended.result(), Denied)
    peer = Peer(connack=lacking, qos2=Qos2Handshakes())
    assert "it takes no QoS 2; set qos = 0" in (peer.error or "")
    peer = Peer(up=False, subscriptions=TWO)
    peer.feed(mqtt5.ConnAckPacket(max_qos=mqtt5.QoS.AT_MOST_ONCE))
    peer.feed(mqtt5.SubAckPacket(1, [mqtt5.SubAckReasonCode(0), mqtt5.SubAckReasonCode(0)]))
    assert peer.owner.calls == ["up"]
    assert "it takes only QoS 0" in " ".join(peer.link.abilities.lacks())
    peer.transport.writes.clear()
    peer.link.publish([Publication(7, "t", b"")])
    (publish,) = peer.transport.packets()
    assert publish.qos == mqtt5.QoS.AT_MOST_ONCE
    peer.loop.turn()
    assert [(ack.token, code_of(ack)) for ack in peer.owner.acks] == [(7, 0)]


def test_what_is_no_longer_wanted_is_unsubscribed_in_a_session_that_was_kept() -> None:
    peer = Peer(up=False, subscriptions=TWO[:1], unwanted=("old/#", "older"))
    peer.transport.writes.clear()
    peer.feed(mqtt5.ConnAckPacket(session_present=True))
    unsubscribe, subscribe = peer.transport.packets()
    assert unsubscribe.patterns == ["old/#", "older"]
    gone = [mqtt5.UnsubAckReasonCode.SUCCESS, mqtt5.UnsubAckReasonCode(0x11)]
    peer.feed(mqtt5.UnsubAckPacket(unsubscribe.packet_id, gone))
    peer.feed(mqtt5.SubAckPacket(subscribe.packet_id, [mqtt5.SubAckReasonCode(1)]))
    assert peer.owner.calls == ["up"]
    assert peer.link.unwanted_unsubscribed.result()
    peer = Peer(up=False, subscriptions=TWO[:1], unwanted=("old/#",))
    peer.transport.writes.clear()
    peer.feed(mqtt5.ConnAckPacket())
    assert len(peer.transport.packets()) == 1
    assert peer.link.unwanted_unsubscribed.result()


def test_everything_that_is_published_carries_the_mark_and_a_marked_message_is_known() -> None:
    peer = Peer(mark="gw-042")
    peer.link.publish([Publication(1, "t", b"", user_properties=(("rule", "r"),))])
    (publish,) = peer.transport.packets()
    assert publish.user_properties == [("rule", "r"), (MARK, "gw-042")]
    peer.feed(message(1, user_properties=[("a", "b"), (MARK, "gw-042")]), message(2, user_properties=[("a", "b")]))
    assert [received.mark for received in peer.owner.messages] == ["gw-042", None]


def test_a_broker_without_shared_subscriptions_is_refused_by_us() -> None:
    shared = (Subscription("$share/g/t"),)
    peer = Peer(up=False, subscriptions=shared)
    peer.feed(mqtt5.ConnAckPacket(shared_subscription_available=False))
    assert peer.error is not None
    assert "$share/g/t: it does not support shared subscriptions" in peer.error


def test_a_broker_that_closes_without_an_answer_is_told_apart_from_one_that_stops() -> None:
    peer = Peer(up=False)
    peer.link.connection_lost(None)
    assert peer.error is not None
    said = "it closed the connection without an answer; does it speak MQTT 5 here? RabbitMQ before 3.13 does not"
    assert peer.error.startswith(f"{ADDRESS}: {said}")
    peer = Peer()
    peer.link.connection_lost(None)
    assert peer.error is not None
    assert "another client uses the id gw-042" in peer.error
    peer = Peer()
    peer.link.connection_lost(ConnectionResetError(104, "reset"))
    assert peer.error == f"{ADDRESS}: the connection failed (Connection reset by peer)"


def test_a_taken_over_session_names_the_client_id() -> None:
    peer = Peer()
    peer.feed(mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER))
    assert peer.error == f"{ADDRESS}: refused: another client uses the id gw-042: give each its own client_id"
    assert peer.link.taken_over


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (0x00, Unavailable, "the broker ended the connection"),
        (0x8B, Unavailable, "it is shutting down"),
        (0x87, Denied, "not authorized"),
        (0x98, Unavailable, "an administrator ended the connection"),
    ],
)
def test_a_disconnect_from_the_broker_is_told_in_plain_words(code: int, kind: type, words: str) -> None:
    peer = Peer()
    peer.feed(mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode(code)))
    assert isinstance(peer.link.ended.result(), kind)
    assert words in (peer.error or "")
    assert peer.transport.writes == []
    assert not peer.link.taken_over


def test_a_graceful_close_says_so_and_an_abort_does_not() -> None:
    peer = Peer()
    peer.link.close()
    (disconnect,) = peer.transport.packets()
    assert disconnect.reason_code == mqtt5.DisconnectReasonCode.NORMAL_DISCONNECTION
    assert peer.transport.closed
    peer = Peer()
    peer.link.abort()
    assert peer.transport.writes == []
    assert peer.transport.aborted
