"""QoS 1 and 2 in both directions, over several connections of one session."""

from __future__ import annotations

import mqtt5
import pytest

from edgeagent.listener.connection import Limits
from edgeagent.listener.flows import MOST_OUT, MOST_UNRELEASED
from edgeagent.listener.packets import MQTT_5, MQTT_31, MQTT_311, ConnAck, PacketReleased, Publish
from edgeagent.listener.reasons import Reason
from tests.fakes.listener_peer import Peer
from tests.fakes.mqtt_bytes import answer, publish

ALL = (MQTT_31, MQTT_311, MQTT_5)
PUBACK, PUBREC, PUBREL, PUBCOMP = 0x40, 0x50, 0x62, 0x70


def fresh(version: int = MQTT_5, **more: object) -> Peer:
    """A client that is connected and has read its CONNACK."""
    peer = Peer(version, **more)  # type: ignore[arg-type]
    peer.sent()
    return peer


def again(peer: Peer, **more: object) -> Peer:
    """The same client on its next connection, with its session; the old one is gone."""
    peer.connection.lost("gone")
    successor = Peer(peer.version, up=True, inbound=peer.inbound, outbound=peer.outbound, **more)  # type: ignore[arg-type]
    size = 4 if peer.version < MQTT_5 else 2 + successor.connection._out[0][1]
    assert successor.connection._out[0][0] == 0x20
    assert len(successor.connection._out[0]) == size
    del successor.connection._out[0]
    return successor


def header(value: int, packet_id: int, reason: int = 0) -> bytes:
    return answer(value, packet_id, bytes((reason,)) if reason else b"")


# From the client.


@pytest.mark.parametrize("version", ALL)
def test_nothing_is_acknowledged_before_the_owner_says_that_it_is_safe(version: int) -> None:
    peer = fresh(version)
    peer.feed(publish(version, qos=1, packet_id=5), publish(version, qos=2, packet_id=6), publish(version))
    assert [(message.qos, message.packet_id) for message in peer.messages] == [(1, 5), (2, 6), (0, 0)]
    assert peer.sent() == b""
    peer.connection.acknowledge([5, 6])
    assert peer.sent() == answer(PUBACK, 5) + answer(PUBREC, 6)


@pytest.mark.parametrize("version", ALL)
def test_answers_leave_in_the_order_of_the_messages(version: int) -> None:
    peer = fresh(version)
    for packet_id in (3, 1, 2, 300):
        peer.feed(publish(version, qos=1 + packet_id % 2, packet_id=packet_id))
    peer.connection.acknowledge([1, 300])
    assert peer.sent() == b""
    peer.connection.acknowledge([3])
    assert peer.sent() == answer(PUBREC, 3) + answer(PUBREC, 1)
    peer.connection.acknowledge([2])
    assert peer.sent() == answer(PUBACK, 2) + answer(PUBACK, 300)


def test_an_answer_says_why() -> None:
    peer = fresh()
    for packet_id in range(1, 6):
        peer.feed(publish(5, qos=1 + packet_id % 2, packet_id=packet_id))
    peer.connection.acknowledge([1, 2, 4], Reason.NO_MATCHING_SUBSCRIBERS)
    peer.connection.acknowledge([3, 5], Reason.NOT_AUTHORIZED)
    assert peer.sent() == (
        header(PUBREC, 1, 0x10) + header(PUBACK, 2, 0x10) + header(PUBREC, 3, 0x87) + header(PUBACK, 4, 0x10)
    ) + header(PUBREC, 5, 0x87)


def test_before_mqtt_5_an_answer_has_no_reason() -> None:
    peer = fresh(MQTT_311)
    peer.feed(publish(4, qos=1, packet_id=1))
    peer.connection.acknowledge([1], Reason.NO_MATCHING_SUBSCRIBERS)
    assert peer.sent() == answer(PUBACK, 1)


def test_the_first_word_about_a_message_counts() -> None:
    peer = fresh()
    peer.feed(publish(5, qos=1, packet_id=1) + publish(5, qos=1, packet_id=2))
    peer.connection.acknowledge([2], Reason.NOT_AUTHORIZED)
    peer.connection.acknowledge([1, 2, 77])
    assert peer.sent() == answer(PUBACK, 1) + header(PUBACK, 2, 0x87)


@pytest.mark.parametrize("version", ALL)
def test_a_packet_id_is_free_again_after_its_puback(version: int) -> None:
    peer = fresh(version)
    for _ in range(3):
        peer.feed(publish(version, qos=1, packet_id=1))
        peer.connection.acknowledge([1])
    assert len(peer.messages) == 3
    assert peer.sent() == answer(PUBACK, 1) * 3


@pytest.mark.parametrize("version", ALL)
def test_a_message_at_qos_1_that_is_repeated_too_early_is_one(version: int) -> None:
    peer = fresh(version)
    peer.feed(publish(version, qos=1, packet_id=1), publish(version, qos=1, packet_id=1, duplicate=True))
    assert len(peer.messages) == 1
    peer.connection.acknowledge([1])
    assert peer.sent() == answer(PUBACK, 1)


@pytest.mark.parametrize("version", ALL)
def test_a_message_at_qos_2_is_given_on_once_and_its_packet_id_kept_until_pubrel(version: int) -> None:
    peer = fresh(version)
    peer.feed(publish(version, qos=2, packet_id=1), publish(version, qos=2, packet_id=1, duplicate=True))
    peer.connection.acknowledge([1])
    peer.feed(publish(version, qos=2, packet_id=1, duplicate=True))
    assert peer.sent() == answer(PUBREC, 1) * 2
    assert len(peer.messages) == 1
    peer.feed(answer(PUBREL, 1), answer(PUBREL, 1))
    assert peer.sent() == answer(PUBCOMP, 1) + header(PUBCOMP, 1, 0x92 if version == MQTT_5 else 0)
    peer.feed(publish(version, qos=2, packet_id=1))
    assert len(peer.messages) == 2


@pytest.mark.parametrize("version", ALL)
def test_a_pubrel_is_answered_when_the_owner_says_that_the_packet_id_is_free(version: int) -> None:
    peer = fresh(version)
    peer.answers_released = False
    peer.feed(publish(version, qos=2, packet_id=1))
    peer.connection.acknowledge([1])
    peer.feed(answer(PUBREL, 1), answer(PUBREL, 7))
    assert peer.sent() == answer(PUBREC, 1)
    assert peer.inputs[-2:] == [PacketReleased(1, is_known=True), PacketReleased(7, is_known=False)]
    peer.connection.complete(1)
    assert peer.sent() == answer(PUBCOMP, 1)
    peer.connection.lost("gone")
    peer.connection.complete(7)
    assert peer.sent() == b""


def test_a_message_at_qos_2_that_is_refused_needs_no_pubrel() -> None:
    peer = fresh()
    peer.feed(publish(5, qos=2, packet_id=1))
    peer.connection.acknowledge([1], Reason.NOT_AUTHORIZED)
    peer.feed(publish(5, qos=2, packet_id=1))
    assert len(peer.messages) == 2


@pytest.mark.parametrize("version", ALL)
def test_a_message_at_qos_1_that_was_not_acknowledged_comes_again_on_the_next_connection(version: int) -> None:
    first = fresh(version)
    first.feed(publish(version, qos=1, packet_id=1))
    second = again(first)
    second.feed(publish(version, qos=1, packet_id=1, duplicate=True))
    assert [message.duplicate for message in second.messages] == [True]
    first.connection.acknowledge([1])
    second.connection.send_answers()
    assert first.sent() + second.sent() == b""
    second.connection.acknowledge([1])
    assert second.sent() == answer(PUBACK, 1)


@pytest.mark.parametrize("version", ALL)
def test_a_message_at_qos_2_that_was_received_before_is_known_on_the_next_connection(version: int) -> None:
    first = fresh(version)
    first.feed(publish(version, qos=2, packet_id=1), publish(version, qos=2, packet_id=2))
    first.connection.acknowledge([1])
    second = again(first)
    second.feed(answer(PUBREL, 1), publish(version, qos=2, packet_id=2, duplicate=True))
    assert second.messages == []
    assert second.sent() == answer(PUBCOMP, 1)
    first.connection.acknowledge([2])
    assert first.sent() == answer(PUBREC, 1)  # written before its end
    second.connection.send_answers()
    assert second.sent() == answer(PUBREC, 2)


@pytest.mark.parametrize("version", ALL)
def test_a_message_at_qos_2_that_became_safe_between_two_connections_is_answered_when_it_is_repeated(
    version: int,
) -> None:
    first = fresh(version)
    first.feed(publish(version, qos=2, packet_id=1))
    first.connection.lost("gone")
    first.connection.acknowledge([1])
    second = again(first)
    second.feed(publish(version, qos=2, packet_id=1, duplicate=True))
    assert second.messages == []
    assert second.sent() == answer(PUBREC, 1)


@pytest.mark.parametrize("version", ALL)
def test_a_late_word_about_a_message_does_not_speak_for_another_one_with_its_packet_id(version: int) -> None:
    first = fresh(version)
    first.feed(publish(version, qos=1, packet_id=1))
    second = again(first)
    second.feed(publish(version, qos=2, packet_id=1))
    first.connection.acknowledge([1])
    second.connection.send_answers()
    assert second.sent() == b""
    second.connection.acknowledge([1])
    assert second.sent() == answer(PUBREC, 1)


def test_a_client_may_have_as_much_under_way_as_it_was_told() -> None:
    peer = fresh()
    peer.feed(b"".join([publish(5, qos=1 + packet_id % 2, packet_id=packet_id) for packet_id in range(1, 257)]))
    assert peer.ended is None
    peer.connection.acknowledge([1])  # at QoS 2: it counts until PUBCOMP
    peer.feed(answer(PUBREL, 1), publish(5, qos=2, packet_id=1))
    assert peer.ended is None
    peer.connection.acknowledge([2])
    peer.feed(publish(5, qos=1, packet_id=2), publish(5, qos=1, packet_id=999))
    assert peer.ended is not None
    assert peer.ended.reason == Reason.RECEIVE_MAXIMUM_EXCEEDED


@pytest.mark.parametrize("version", [MQTT_31, MQTT_311])
def test_a_client_that_cannot_be_told_is_not_read_while_it_is_far_ahead(version: int) -> None:
    peer = fresh(version, limits=Limits(receive_maximum=10))
    peer.feed(b"".join([publish(version, qos=1, packet_id=packet_id) for packet_id in range(1, 21)]))
    assert len(peer.messages) == 20
    assert peer.connection.paused
    peer.connection.acknowledge(range(1, 11))
    assert peer.connection.paused
    peer.connection.acknowledge([11])
    assert not peer.connection.paused
    assert peer.ended is None


def test_a_client_that_never_sends_pubrel_is_given_up() -> None:
    peer = fresh(MQTT_311)
    for packet_id in range(1, MOST_UNRELEASED + 3):
        peer.feed(publish(4, qos=2, packet_id=packet_id))
        peer.connection.acknowledge([packet_id])
    assert peer.ended is not None
    assert peer.ended.reason == Reason.QUOTA_EXCEEDED


# To the client.

MESSAGE = Publish("t", b"x")


def deliver(peer: Peer, count: int, qos: int) -> None:
    for index in range(count):
        assert peer.connection.publish(Publish("t", b"%d" % index), qos, peer.now_s)


@pytest.mark.parametrize("version", ALL)
def test_messages_go_out_at_each_qos(version: int) -> None:
    peer = fresh(version)
    connection = peer.connection
    assert connection.publish(MESSAGE, 0, 0)
    assert connection.publish(MESSAGE, 1, 0, retain=True)
    assert connection.publish(MESSAGE, 2, 0)
    assert peer.sent() == (
        publish(version, "t", b"x")
        + publish(version, "t", b"x", qos=1, packet_id=1, retain=True)
        + publish(version, "t", b"x", qos=2, packet_id=2)
    )
    peer.feed(answer(PUBREC, 2), answer(PUBACK, 1))
    assert peer.sent() == answer(PUBREL, 2)
    peer.feed(answer(PUBREC, 2))
    assert peer.sent() == answer(PUBREL, 2)
    assert len(peer.outbound) == 1
    peer.feed(answer(PUBCOMP, 2))
    assert len(peer.outbound) == 0
    assert peer.ended is None


def test_the_receive_maximum_of_the_client_is_the_room() -> None:
    peer = fresh(props=b"\x21\0\x03")
    assert peer.connection.room == 3
    deliver(peer, 3, 2)
    assert peer.connection.room == 0
    peer.feed(answer(PUBREC, 1))
    assert peer.connection.room == 0
    peer.feed(answer(PUBCOMP, 1))
    assert peer.connection.room == 1
    peer.feed(answer(PUBREC, 2, b"\x80"))
    assert peer.connection.room == 2


@pytest.mark.parametrize("version", ALL)
def test_a_client_that_takes_any_number_is_sent_a_bounded_one(version: int) -> None:
    assert fresh(version).connection.room == MOST_OUT


@pytest.mark.parametrize("version", ALL)
def test_what_was_not_acknowledged_is_sent_again_on_the_next_connection_in_the_same_order(version: int) -> None:
    first = fresh(version)
    deliver(first, 3, 1)
    deliver(first, 2, 2)
    first.feed(answer(PUBACK, 2), answer(PUBREC, 4))
    second = again(first)
    assert second.sent() == (
        answer(PUBREL, 4)
        + publish(version, "t", b"0", qos=1, packet_id=1, duplicate=True)
        + publish(version, "t", b"2", qos=1, packet_id=3, duplicate=True)
        + publish(version, "t", b"1", qos=2, packet_id=5, duplicate=True)
    )
    second.feed(answer(PUBACK, 1), answer(PUBACK, 3), answer(PUBREC, 5), answer(PUBCOMP, 5), answer(PUBCOMP, 4))
    assert len(second.outbound) == 0


def test_on_a_connection_with_a_smaller_window_the_rest_is_sent_again_as_room_comes_and_new_ones_wait() -> None:
    first = fresh()
    deliver(first, 3, 1)
    second = again(first, props=b"\x21\0\x01")
    assert second.sent() == publish(5, "t", b"0", qos=1, packet_id=1, duplicate=True)
    second.feed(answer(PUBACK, 1))
    assert second.connection.room == 0
    second.feed(answer(PUBACK, 2))
    assert second.sent().count(b"\x3a") == 2
    second.feed(answer(PUBACK, 3))
    assert second.connection.room == 1


@pytest.mark.slow
def test_a_packet_id_in_use_is_not_given_out() -> None:
    peer = fresh()
    deliver(peer, 1, 1)
    for _ in range(65_534):
        deliver(peer, 1, 1)
        peer.feed(answer(PUBACK, peer.outbound._last_packet_id))
    deliver(peer, 1, 1)
    assert sorted(peer.outbound._sent) == [1, 2]


def test_a_message_larger_than_the_client_takes_is_not_sent() -> None:
    peer = fresh(props=b"\x27\0\0\0\x20")
    assert not peer.connection.publish(Publish("t", bytes(40)), 1, 0)
    assert peer.connection.publish(Publish("t", bytes(20)), 1, 0)
    assert peer.sent() == publish(5, "t", bytes(20), qos=1, packet_id=1)


def test_a_message_that_a_later_connection_does_not_take_counts_as_done() -> None:
    first = fresh()
    first.connection.publish(Publish("t", bytes(40)), 1, 0)
    second = again(first, props=b"\x27\0\0\0\x20")
    assert second.sent() == b""
    assert len(second.outbound) == 0


def test_a_message_that_fits_no_packet_is_not_sent() -> None:
    for version in ALL:
        assert not fresh(version).connection.publish(Publish("t" * 70_000, b""), 0, 0)
    assert not fresh().connection.publish(Publish("t", b"", content_type="x" * 70_000), 0, 0)


def test_a_message_that_is_sent_again_has_less_time_to_live() -> None:
    first = fresh()
    first.connection.publish(Publish("t", b"", expiry_s=60), 1, 10.0)
    first.connection.lost("gone")
    second = Peer(up=False, inbound=first.inbound, outbound=first.outbound)
    second.now_s = 50.5
    second.feed(b"\x10\x0d\x00\x04MQTT\x05\x00\x00\x00\x00\x00\x00")
    second.accept(ConnAck(session_present=True))
    _, repeated = second.heard()
    assert isinstance(repeated, mqtt5.PublishPacket)
    assert (repeated.message_expiry_interval, repeated.duplicate) == (20, True)


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize(
    ("qos", "said"),
    [(2, answer(PUBACK, 1)), (1, answer(PUBREC, 1)), (2, answer(PUBREC, 1) + answer(PUBACK, 1))],
)
def test_the_wrong_acknowledgement_ends_the_connection(version: int, qos: int, said: bytes) -> None:
    peer = fresh(version)
    deliver(peer, 1, qos)
    peer.feed(said)
    assert peer.ended is not None
    assert peer.ended.reason == Reason.PROTOCOL_ERROR


@pytest.mark.parametrize("version", ALL)
def test_an_acknowledgement_that_nothing_waits_for_changes_nothing(version: int) -> None:
    peer = fresh(version)
    peer.feed(answer(PUBACK, 9), answer(PUBCOMP, 9), answer(PUBREC, 9))
    assert peer.ended is None
    assert peer.sent() == header(PUBREL, 9, 0x92 if version == MQTT_5 else 0)


def test_a_subscriber_hears_which_of_its_subscriptions_matched_also_when_it_is_sent_again() -> None:
    first = fresh()
    first.connection.publish(MESSAGE, 1, 0, subscription_ids=(7, 9))
    assert first.heard()[0].subscription_ids == [7, 9]
    assert again(first).heard()[0].subscription_ids == [7, 9]
