"""The state of a connection by itself, without a codec, a socket or a loop: what holds for both engines."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.mqtt.handshake import RECEIVE_MAX, Handshake
from edgeagent.mqtt.link_state import CONNECTING, EARLY_QOS0_MAX, ENDED, SUBSCRIBING, UP, LinkState
from edgeagent.ports.link import Abilities, Ack, Message, Subscription

ONE = (Subscription("a/#"),)


def state(connection: int = 1, **handshake: Any) -> LinkState:
    """A connection whose CONNECT is sent."""
    values = {"keepalive_s": 30, "session_expiry_s": 3600, "max_packet_bytes": 100_000, **handshake}
    return LinkState(Handshake(address="mqtt://broker.example:1883", client_id="gw-042", **values), connection)


def up(connection: int = 1, **handshake: Any) -> LinkState:
    """A connection that is up."""
    link = state(connection, **handshake)
    link.accepted(session_present=True)
    link.subscribed()
    return link


def received(link: LinkState, packet_id: int, payload: bytes = b"x", topic: str = "a/b") -> Message:
    """A message at QoS 1, or 0 with packet id 0, that the broker has sent."""
    receipt = link.receipts | packet_id if packet_id else None
    message = Message(topic, payload, receipt, packet_id)
    assert link.take(message, exactly_once=False) is None
    return message


def test_a_connection_goes_from_connect_to_its_end_and_ends_once() -> None:
    link = state()
    assert link.phase is CONNECTING
    assert not link.accepted(session_present=False, abilities=Abilities(retains=False))
    assert (link.phase, link.session_present, link.abilities.retains) == (SUBSCRIBING, False, False)
    link.subscribed()
    assert link.phase is UP
    assert link.end()
    assert link.phase is ENDED
    assert not link.end()


def test_the_owner_hears_of_messages_when_the_connection_is_up_and_of_each_once() -> None:
    link = state()
    link.accepted(session_present=True)
    early = received(link, 1)
    assert link.messages_to_hand_over() == []
    link.subscribed()
    assert link.messages_to_hand_over() == [early]
    assert link.messages_to_hand_over() == []


def test_what_the_owner_never_heard_of_is_forgotten_at_the_end_and_comes_again() -> None:
    link = state()
    link.accepted(session_present=True)
    received(link, 1)
    link.end()
    assert link.messages_to_hand_over() == []


def test_what_came_with_the_end_of_a_connection_that_was_up_is_told() -> None:
    link = up()
    message = received(link, 1)
    link.end()
    assert link.messages_to_hand_over() == [message]


def test_acknowledgements_that_come_while_subscribing_wait_for_it() -> None:
    link = state()
    link.accepted(session_present=True)
    link.acks.append(Ack(7))
    assert link.acks_to_hand_over() == []
    link.subscribed()
    assert link.acks_to_hand_over() == [Ack(7)]
    assert link.acks_to_hand_over() == []


def test_of_a_flood_before_the_connection_is_up_only_qos_0_is_dropped() -> None:
    link = state()
    link.accepted(session_present=True)
    kept = [received(link, packet_id) for packet_id in range(1, 11)]
    for _ in range(RECEIVE_MAX + EARLY_QOS0_MAX):
        received(link, 0)
    assert link.messages_to_hand_over() == []
    link.subscribed()
    assert link.messages_to_hand_over() == kept


@pytest.mark.parametrize(
    ("message", "exactly_once", "said"),
    [
        (Message("", b"", 1 << 16 | 1, 1), False, "a topic alias, which was not offered"),
        (Message("a", b"", 1 << 16 | 1, 1), True, "a message at QoS 2, which was not asked for"),
        (Message("a", b"", 1 << 16, 0), False, "a message with packet id 0, which is 0 or in use"),
        (Message("a", b"", 1 << 16 | 5, 5), False, "a message with packet id 5, which is 0 or in use"),
    ],
)
def test_a_message_that_is_not_allowed_is_a_fault(message: Message, exactly_once: bool, said: str) -> None:
    link = up()
    received(link, 5)
    fault = link.take(message, exactly_once=exactly_once)
    assert fault is not None
    assert fault.text == said


def test_a_message_before_connack_is_a_fault() -> None:
    fault = state().take(Message("a", b""), exactly_once=False)
    assert fault is not None
    assert fault.text == "a message before it answered CONNECT"


def test_a_message_of_another_connection_is_not_acknowledged_here() -> None:
    link, earlier = up(2), up(1)
    received(link, 1)
    assert link.unacknowledged.acknowledge([received(earlier, 1)]) == []


def test_a_message_that_is_not_wanted_is_acknowledged_like_any_other_and_never_told() -> None:
    link = up()
    message = Message("a", b"old", link.receipts | 1, 1, retain=True)
    assert link.take(message, exactly_once=False, is_unwanted=True) is None
    assert link.messages_to_hand_over() == []
    assert link.unacknowledged.acknowledge([message]) == [1]


def test_reading_stops_when_too_much_waits_and_goes_on_when_something_is_acknowledged() -> None:
    link = up()
    messages = [received(link, packet_id) for packet_id in range(1, 4 * RECEIVE_MAX + 2)]
    assert link.must_not_read(is_waiting_for_acks=False)
    link.unacknowledged.acknowledge(messages[:1])
    assert not link.must_not_read(is_waiting_for_acks=False)


@pytest.mark.parametrize("answers_first", [False, True])
def test_an_owner_that_answers_first_is_read_for_while_its_answers_wait(answers_first: bool) -> None:
    link = up(answers_first=answers_first)
    for packet_id in range(1, 4 * RECEIVE_MAX + 2):
        received(link, packet_id)
    assert link.must_not_read(is_waiting_for_acks=True) is not answers_first
    assert link.must_not_read(is_waiting_for_acks=False), "nothing is on its way that could make room"


def test_everything_is_read_while_subscribing_since_nothing_can_be_acknowledged() -> None:
    link = state(subscriptions=ONE)
    link.accepted(session_present=True)
    for packet_id in range(1, 4 * RECEIVE_MAX + 2):
        received(link, packet_id)
    assert not link.must_not_read(is_waiting_for_acks=False)


def test_what_is_unwanted_is_unsubscribed_from_only_in_a_session_that_was_kept() -> None:
    link = state(unwanted=("old/#",))
    assert not link.accepted(session_present=False)
    assert link.unwanted_unsubscribed is True
    link = state(unwanted=("old/#",))
    assert link.accepted(session_present=True)
    link.asked_for_unwanted(1)
    assert link.unwanted_unsubscribed is None
    assert link.take_unsuback(1, [0x87]) is None
    assert link.unwanted_unsubscribed is False


def test_a_session_counts_as_emptied_only_when_nothing_came_since_it_was_asked() -> None:
    link = up(subscriptions=ONE)
    link.unsubscribing.begin()
    link.unsubscribing.asked(1)
    message = received(link, 9)
    assert link.take_unsuback(1, [0]) is None
    assert (link.unsubscribing.granted, link.unsubscribing.emptied) == (True, False)
    assert not link.unsubscribing.is_due, "something is not acknowledged"
    link.unacknowledged.acknowledge([message])
    assert link.unsubscribing.is_due
    link.unsubscribing.asked(2)
    assert link.take_unsuback(2, [0x11]) is None
    assert link.unsubscribing.is_complete


def test_how_it_ended_is_known_with_what_the_broker_takes_only_when_it_was_up() -> None:
    link = state()
    link.refused_with = 0x9A
    link.end()
    assert (link.attempt.refused_with, link.attempt.abilities) == (0x9A, None)
    link = up()
    link.over_retained = True
    link.end()
    assert (link.attempt.over_retained, link.attempt.abilities) == (True, Abilities())


@given(st.permutations(range(1, 9)))
def test_acknowledgements_leave_in_the_order_received_in_whatever_order_the_owner_gives_them(order: list[int]) -> None:
    link = up(-3)
    messages = {packet_id: received(link, packet_id) for packet_id in range(1, 9)}
    left = [packet_id for given in order for packet_id in link.unacknowledged.acknowledge([messages[given]])]
    assert left == [*range(1, 9)]
    assert link.unacknowledged.is_empty
