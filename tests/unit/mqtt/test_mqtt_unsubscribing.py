from __future__ import annotations

from typing import Any

import mqtt5
import pytest

from edgeagent.ports.link import Publication, Subscription
from tests.fakes.mqtt_peer import Peer, message

TWO = (Subscription("$share/g/t"), Subscription("state/+", qos=0))
SUCCESS = mqtt5.UnsubAckReasonCode.SUCCESS
NO_SUBSCRIPTION = mqtt5.UnsubAckReasonCode.NO_SUBSCRIPTION_EXISTED


def unsuback(packet_id: int, code: mqtt5.UnsubAckReasonCode = SUCCESS) -> mqtt5.UnsubAckPacket:
    return mqtt5.UnsubAckPacket(packet_id, [SUCCESS, code])


def written(peer: Peer) -> list[tuple[str, int]]:
    """What was written since the last call: kind of packet and packet id."""
    return [(type(packet).__name__.removesuffix("Packet"), packet.packet_id) for packet in peer.transport.packets()]


def disconnect(peer: Peer) -> Any:
    """What the link says when it is closed now."""
    peer.transport.writes.clear()
    peer.link.close()
    (packet,) = peer.transport.packets()
    assert packet.reason_code == mqtt5.DisconnectReasonCode.NORMAL_DISCONNECTION
    return packet


def test_with_nothing_to_take_one_answer_is_enough_to_end_the_session() -> None:
    peer = Peer(subscriptions=TWO)
    peer.link.unsubscribe()
    (unsubscribe,) = peer.transport.packets()
    assert (type(unsubscribe), unsubscribe.patterns) == (mqtt5.UnsubscribePacket, ["$share/g/t", "state/+"])
    assert not peer.link.emptied.done()
    peer.feed(unsuback(unsubscribe.packet_id, NO_SUBSCRIPTION))
    assert peer.link.emptied.done()
    assert peer.transport.writes == []
    assert disconnect(peer).session_expiry_interval == 0


def test_without_unsubscribing_first_the_session_stays() -> None:
    assert disconnect(Peer(subscriptions=TWO)).session_expiry_interval is None


def test_what_the_broker_kept_back_is_taken_before_the_session_is_called_empty() -> None:
    peer = Peer(subscriptions=TWO)
    peer.feed(message(1), message(2))
    peer.link.unsubscribe()
    assert written(peer) == [("Unsubscribe", 2)]
    peer.feed(unsuback(2))
    peer.link.acknowledge(peer.owner.messages[:1])
    assert written(peer) == [("PubAck", 1)]
    peer.link.acknowledge(peer.owner.messages[1:])
    assert written(peer) == [("PubAck", 2), ("Unsubscribe", 3)]
    peer.feed(message(3), unsuback(3, NO_SUBSCRIPTION))
    assert written(peer) == []
    peer.link.acknowledge(peer.owner.messages[2:])
    assert written(peer) == [("PubAck", 3), ("Unsubscribe", 4)]
    assert not peer.link.emptied.done()
    peer.feed(unsuback(4, NO_SUBSCRIPTION))
    assert peer.link.emptied.done()
    assert disconnect(peer).session_expiry_interval == 0


def test_a_message_that_was_acknowledged_between_question_and_answer_makes_it_ask_again() -> None:
    peer = Peer(subscriptions=TWO)
    peer.link.unsubscribe()
    peer.feed(message(1))
    peer.link.acknowledge(peer.owner.messages)
    assert written(peer) == [("Unsubscribe", 2), ("PubAck", 1)]
    peer.feed(unsuback(2))
    assert not peer.link.emptied.done()
    assert written(peer) == [("Unsubscribe", 3)]


@pytest.mark.parametrize("acknowledged", [True, False])
def test_a_broker_that_refuses_is_not_asked_again_and_keeps_the_session(acknowledged: bool) -> None:
    peer = Peer(subscriptions=TWO)
    peer.feed(message(1))
    peer.link.unsubscribe()
    peer.feed(unsuback(2, mqtt5.UnsubAckReasonCode.NOT_AUTHORIZED))
    peer.transport.writes.clear()
    if acknowledged:
        peer.link.acknowledge(peer.owner.messages)
        assert written(peer) == [("PubAck", 1)]
    assert peer.link.unsubscribed.result() is False
    assert disconnect(peer).session_expiry_interval is None


def test_a_session_with_something_in_it_stays() -> None:
    unanswered = Peer(subscriptions=TWO)
    unanswered.link.unsubscribe()
    assert disconnect(unanswered).session_expiry_interval is None
    unacknowledged = Peer(subscriptions=TWO)
    unacknowledged.feed(message(1))
    unacknowledged.link.unsubscribe()
    unacknowledged.feed(unsuback(2))
    assert disconnect(unacknowledged).session_expiry_interval is None
    # A session can hold a subscription that an earlier configuration made, and that nobody gave up.
    forgotten = Peer(subscriptions=TWO)
    forgotten.link.unsubscribe()
    forgotten.feed(unsuback(2), message(1))
    assert disconnect(forgotten).session_expiry_interval is None


def test_publishing_goes_on_and_no_publication_gets_the_packet_id_of_the_question() -> None:
    peer = Peer(subscriptions=TWO)
    peer.link.unsubscribe()
    peer.link._publishing.last_packet_id = 1
    peer.link.publish([Publication(7, "t", b"")])
    assert written(peer) == [("Unsubscribe", 2), ("Publish", 3)]
    peer.feed(unsuback(2), mqtt5.PubAckPacket(3))
    assert [ack.token for ack in peer.owner.acks] == [7]
    assert peer.link.emptied.done()


def test_a_link_that_is_not_up_yet_unsubscribes_when_it_is() -> None:
    peer = Peer(up=False, subscriptions=TWO)
    peer.transport.writes.clear()
    peer.link.unsubscribe()
    assert written(peer) == []
    peer.feed(mqtt5.ConnAckPacket())
    assert written(peer) == [("Subscribe", 1)]
    peer.feed(mqtt5.SubAckPacket(1, [mqtt5.SubAckReasonCode(1), mqtt5.SubAckReasonCode(0)]))
    assert peer.owner.calls == ["up"]
    assert written(peer) == [("Unsubscribe", 2)]


def test_without_subscriptions_or_after_the_end_nothing_is_asked() -> None:
    peer = Peer()
    peer.link.unsubscribe()
    assert peer.transport.writes == []
    peer = Peer(subscriptions=TWO)
    peer.link.connection_lost(None)
    peer.link.unsubscribe()
    assert peer.transport.writes == []


@pytest.mark.parametrize("answer", [unsuback(1), unsuback(0), mqtt5.UnsubAckPacket(2, [SUCCESS])])
def test_an_answer_that_does_not_fit_the_question_ends_the_connection(answer: mqtt5.UnsubAckPacket) -> None:
    peer = Peer(subscriptions=TWO)
    peer.link.unsubscribe()
    peer.transport.writes.clear()
    peer.feed(answer)
    (packet,) = peer.transport.packets()
    assert packet.reason_code == mqtt5.DisconnectReasonCode.PROTOCOL_ERROR
    assert "an answer that does not fit our UNSUBSCRIBE" in (peer.error or "")
    assert not peer.link.emptied.done()


@pytest.mark.parametrize("packet_id", [0, 1])
def test_an_answer_to_what_was_never_asked_ends_the_connection(packet_id: int) -> None:
    peer = Peer(subscriptions=TWO)
    peer.feed(unsuback(packet_id))
    assert "an answer that does not fit our UNSUBSCRIBE" in (peer.error or "")
