"""The messages that are held, and their deadlines."""

from __future__ import annotations

from edgeagent.ports.link import PREFETCH
from edgeagent.pubsub.held import FIRST_EXTENSION_S, MAX_ACK_IDS, NEXT_EXTENSION_S, Held


def test_a_message_that_is_held_long_is_extended_before_any_subscriptions_deadline_and_again() -> None:
    held = Held()
    held.add("ack-1", 100.0)
    assert held.due(100.0 + FIRST_EXTENSION_S - 0.1) == []
    assert held.next_due() == 100.0 + FIRST_EXTENSION_S < 110.0
    assert held.due(104.0) == ["ack-1"]
    assert held.due(104.0) == []
    assert held.due(104.0 + NEXT_EXTENSION_S) == ["ack-1"]


def test_what_is_acknowledged_is_never_extended_again() -> None:
    held = Held()
    receipt = held.add("ack-1", 0.0)
    assert held.release([receipt]) == ["ack-1"]
    assert held.release([receipt, None, "of another link", 99]) == []
    assert held.due(1000.0) == []
    assert held.next_due() is None


def test_no_two_receipts_are_the_same() -> None:
    held = Held()
    first = held.add("ack", 0.0)
    held.release([first])
    assert held.add("ack", 0.0) != first


def test_a_full_hand_pulls_no_more() -> None:
    held = Held()
    for number in range(PREFETCH):
        held.add(f"ack-{number}", 0.0)
    assert held.room == 0
    held.add("one more, which was under way", 0.0)
    assert held.room == 0


def test_a_request_extends_no_more_than_it_may_name() -> None:
    held = Held()
    for number in range(MAX_ACK_IDS + 5):
        held.add(f"ack-{number}", 0.0)
    assert [len(held.due(10.0)) for _ in range(3)] == [MAX_ACK_IDS, 5, 0]


def test_what_is_given_up_is_held_no_more() -> None:
    held = Held()
    held.add("ack-1", 0.0)
    assert held.give_up() == ["ack-1"]
    assert len(held) == 0
