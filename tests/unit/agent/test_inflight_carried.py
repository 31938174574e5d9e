from __future__ import annotations

from edgeagent.agent.inflight import FlightPhase, InFlightSet


def test_what_the_link_goes_on_with_is_not_sent_again_and_its_answer_counts() -> None:
    in_flight: InFlightSet[str] = InFlightSet(10, wait_for_engine=True, response_timeout_s=60.0, random=lambda: 0.5)
    in_flight.reconnected(0.0)
    entries = [in_flight.add(name, name, lane=None, known=True, patience=9) for name in "abcd"]
    tokens = [entry.token for entry in entries if entry is not None]
    assert len(in_flight.due(0.0, 3)) == 3
    in_flight.disconnected(1.0)
    in_flight.reconnected(2.0, {tokens[1], 999})
    assert in_flight.sent == 1
    assert [entry.item for entry in in_flight.due(2.0, 10)] == ["a", "c", "d"]
    carried = in_flight.by_token(tokens[1])
    assert carried is not None
    assert in_flight.acknowledged([carried], 3.0)
    assert (carried.tries, carried.attempt, carried.phase) == (1, 1, FlightPhase.WAITING)


def test_one_that_was_carried_and_refused_is_sent_again_once() -> None:
    in_flight: InFlightSet[str] = InFlightSet(10, wait_for_engine=True, response_timeout_s=60.0, random=lambda: 0.5)
    in_flight.reconnected(0.0)
    entry = in_flight.add("a", "a", lane=None, known=True, patience=9)
    assert entry is not None
    in_flight.due(0.0, 1)
    in_flight.disconnected(1.0)
    in_flight.reconnected(2.0, {entry.token})
    assert in_flight.due(2.0, 10) == []
    wait_s = in_flight.rest(entry, 3.0)
    assert in_flight.due(3.0 + wait_s, 10) == [entry]
    assert in_flight.due(3.0 + wait_s, 10) == []


def test_when_the_session_is_lost_after_all_it_is_sent_again_once() -> None:
    in_flight: InFlightSet[str] = InFlightSet(10, wait_for_engine=False, response_timeout_s=60.0, random=lambda: 0.5)
    in_flight.reconnected(0.0)
    entry = in_flight.add("a", "a", lane=None, known=True, patience=9)
    assert entry is not None
    in_flight.due(0.0, 1)
    in_flight.disconnected(1.0)
    in_flight.reconnected(2.0, {entry.token})
    in_flight.disconnected(3.0)
    in_flight.reconnected(4.0)
    assert in_flight.due(4.0, 10) == [entry]
    assert in_flight.due(4.0, 10) == []
