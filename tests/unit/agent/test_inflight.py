from __future__ import annotations

from itertools import pairwise

import pytest

from edgeagent.agent.causes import BUSY, ENGINE, UNHEARD, Cause, CauseKind
from edgeagent.agent.inflight import PROBE_S, FlightPhase, InFlight, InFlightSet


def in_flight(limit: int = 10, *, wait_for_engine: bool = True) -> InFlightSet[str]:
    """A connected set whose rests take 1.5 s after the first try."""
    made: InFlightSet[str] = InFlightSet(
        limit, wait_for_engine=wait_for_engine, response_timeout_s=60.0, random=lambda: 0.5
    )
    made.reconnected(0.0)
    return made


def add(made: InFlightSet[str], name: str, lane: str | None = None, *, known: bool = True) -> InFlight[str]:
    entry = made.add(name, name, lane=lane, known=known, patience=1000)
    assert entry is not None
    return entry


def sent(made: InFlightSet[str], now: float = 0.0, room: int = 100) -> list[str]:
    return [entry.item for entry in made.due(now, room)]


def test_first_sends_leave_in_the_order_in_which_they_were_added() -> None:
    made = in_flight()
    for name in "abcd":
        add(made, name)
    assert sent(made, room=3) == ["a", "b", "c"]
    assert sent(made) == ["d"]
    assert sent(made) == []


def test_the_caller_is_told_how_many_more_may_be_out() -> None:
    made = in_flight(2)
    first = add(made, "a")
    assert (made.vacancy, len(made)) == (1, 1)
    add(made, "b")
    assert made.vacancy == 0
    made.remove([first])
    assert (made.vacancy, len(made)) == (1, 1)


def test_the_same_trigger_is_out_once() -> None:
    made = in_flight()
    entry = add(made, "a")
    assert made.add("a", "again", lane=None, known=True, patience=1000) is None
    made.remove([entry])
    add(made, "a")


def test_with_an_engine_an_acknowledged_trigger_waits_for_its_answer() -> None:
    made = in_flight()
    entry = add(made, "a")
    assert not made.acknowledged([entry], 0.0), "it was not sent"
    sent(made)
    assert made.sent == 1
    assert made.acknowledged([entry], 1.0)
    assert (entry.phase, made.sent, made.next_deadline()) == (FlightPhase.WAITING, 0, 61.0)
    assert made.find("a") is entry


def test_with_a_broker_an_acknowledged_trigger_is_final() -> None:
    made = in_flight(wait_for_engine=False)
    entry = add(made, "a")
    sent(made)
    assert made.acknowledged([entry], 0.0)
    made.remove([entry])
    assert made.find("a") is None
    assert not made.acknowledged([entry], 0.0)


def test_one_that_nobody_answers_is_sent_again_after_the_time_out_and_a_rest() -> None:
    made = in_flight()
    entry = add(made, "a")
    sent(made)
    made.acknowledged([entry], 0.0)
    assert sent(made, 59.9) == []
    assert sent(made, 60.0) == []
    assert entry.phase is FlightPhase.RESTING
    deadline = made.next_deadline()
    assert deadline == pytest.approx(63.0)  # three quarters of the ceiling of 4 s
    assert sent(made, 63.0) == ["a"]
    assert (entry.tries, entry.attempt) == (2, 2)


def test_rests_grow_up_to_an_hour_and_are_never_shorter_than_asked_for() -> None:
    made = in_flight()
    entry = add(made, "a")
    rests: list[float] = []
    now = 0.0
    for _ in range(14):
        made.due(now, 1)
        rests.append(made.rest(entry, now))
        now += rests[-1]
    assert rests[:3] == [3.0, 6.0, 12.0]
    assert rests == sorted(rests)
    assert rests[-1] == 2700.0
    made.due(now, 1)
    assert made.rest(entry, now, at_least_s=3000.0) == 3000.0
    made.due(now + 3000.0, 1)
    assert made.rest(entry, now + 3000.0, at_least_s=1e9) == 3600.0  # an answer cannot put a trigger off for years


def test_one_that_is_tried_again_does_not_hold_the_others_back() -> None:
    made = in_flight()
    first = add(made, "a")
    add(made, "b")
    sent(made, room=1)
    made.rest(first, 0.0)
    assert sent(made, 1.0) == ["b"]
    assert sent(made, 100.0) == ["a"]


def test_a_strict_lane_has_one_out_and_the_others_wait_until_it_is_final() -> None:
    made = in_flight()
    first, second = add(made, "a1", "a"), add(made, "a2", "a")
    add(made, "b1", "b")
    add(made, "free")
    assert sent(made) == ["a1", "b1", "free"]
    made.acknowledged([first], 0.0)
    made.rest(first, 0.0)
    assert sent(made, 1.0) == [], "the first one's rest holds its lane"
    assert sent(made, 100.0) == ["a1"]
    made.remove([first])
    assert sent(made, 100.0) == ["a2"]
    made.remove([second])
    add(made, "a3", "a")
    assert sent(made, 100.0) == ["a3"]


def test_removing_twice_is_harmless() -> None:
    made = in_flight()
    first = add(made, "a1", "a")
    add(made, "a2", "a")
    sent(made)
    made.remove([first])
    made.remove([first])
    assert (made.sent, len(made), sent(made)) == (0, 1, ["a2"])


def test_after_a_lost_connection_what_was_not_acknowledged_is_sent_again_first_and_in_order() -> None:
    made = in_flight()
    for name in "abcd":
        add(made, name)
    assert sent(made, room=3) == ["a", "b", "c"]
    acknowledged = made.find("b")
    assert acknowledged is not None
    made.acknowledged([acknowledged], 0.0)
    made.disconnected(1.0)
    assert made.sent == 0
    made.reconnected(2.0)
    assert sent(made, 2.0) == ["a", "c", "d"]


def test_the_response_time_out_stands_still_while_the_connection_is_lost() -> None:
    made = in_flight()
    entry = add(made, "a")
    sent(made)
    made.acknowledged([entry], 0.0)
    made.disconnected(50.0)
    made.disconnected(55.0)
    assert made.next_deadline() is None
    made.reconnected(1000.0)
    made.reconnected(1005.0)
    assert made.next_deadline() == 1010.0
    assert sent(made, 1009.9) == []
    assert made.next_deadline() == 1010.0
    made.due(1010.0, 1)
    assert entry.phase is FlightPhase.RESTING


def test_a_connection_that_is_lost_at_once_stops_the_time_out_too() -> None:
    made = in_flight()
    entry = add(made, "a")
    sent(made)
    made.acknowledged([entry], 0.0)
    made.disconnected(0.0)
    assert made.next_deadline() is None
    made.reconnected(100.0)
    assert made.next_deadline() == 160.0


def test_what_may_have_been_sent_before_a_restart_has_no_known_attempt() -> None:
    made = in_flight()
    entry = add(made, "a", known=False)
    for tries in (1, 2, 3):
        made.due(1e6 * tries, 1)
        assert (entry.tries, entry.attempt) == (tries, 0)
        made.rest(entry, 1e6 * tries)


def test_nothing_happens_to_one_that_is_being_put_away() -> None:
    made = in_flight()
    entry = add(made, "a")
    sent(made)
    made.acknowledged([entry], 0.0)
    made.ending(entry)
    assert made.next_deadline() is None
    assert sent(made, 1e6) == []
    made.disconnected(1e6)
    made.reconnected(1e6)
    assert sent(made, 2e6) == []
    assert made.find("a") is entry
    made.rest(entry, 2e6)
    assert sent(made, 3e6) == ["a"]


def resting(made: InFlightSet[str], count: int, cause: Cause, tries: int = 1) -> list[InFlight[str]]:
    """So many that were tried in vain."""
    entries = [add(made, f"r{number}") for number in range(count)]
    for entry in entries:
        sent(made)
        entry.tries = tries
        made.rest(entry, 0.0, cause=cause)
    return entries


def test_a_success_wakes_two_and_each_of_their_successes_two_more() -> None:
    made = in_flight()
    resting(made, 7, UNHEARD, tries=11)
    assert made.heard(UNHEARD, 1.0) == 2
    assert sent(made, 1.0) == ["r0", "r1"]
    assert made.heard(UNHEARD, 1.0, 2) == 4
    assert sent(made, 1.0) == ["r2", "r3", "r4", "r5"]
    assert made.heard(BUSY, 1.0) == 0, "that says nothing about these"
    assert made.heard(UNHEARD, 1.0, 4) == 1


def test_one_that_fails_in_spite_of_a_success_is_not_woken_by_the_next_one() -> None:
    made = in_flight()
    (entry,) = resting(made, 1, ENGINE, tries=11)
    woken: list[float] = []
    for tenth in range(1, 10_000):  # others succeed ten times a second
        now = tenth / 10
        if made.heard(ENGINE, now):
            woken.append(now)
            sent(made, now)
            made.rest(entry, now, cause=ENGINE)
    assert [round(after - before) for before, after in pairwise(woken)] == [4, 8, 16, 32, 64, 128, 256]


def test_the_tries_for_a_group_cost_nobody_its_patience_and_leave_its_own_time_as_it_was() -> None:
    made = in_flight()
    entries = resting(made, 3, UNHEARD, tries=11)
    for entry in entries:
        entry.patience = 12
    due = {entry.item: entry.due for entry in entries}
    tried: list[str] = []
    now = 0.0
    while now < 1500.0:
        deadline = made.next_deadline()
        assert deadline is not None
        assert deadline - now <= PROBE_S
        now = deadline
        for name in sent(made, now):
            tried.append(name)
            (probe,) = [entry for entry in entries if entry.item == name]
            made.rest(probe, now, cause=UNHEARD)
    assert 30 <= len(tried) <= 40, "one of them about every 45 s"
    assert made.tired() == []
    assert {entry.item: entry.due for entry in entries} == due
    assert all(entry.tries - entry.free == 11 for entry in entries)


def test_the_tries_for_a_group_heed_what_the_engine_asked_for() -> None:
    made = in_flight()
    entry = add(made, "a")
    sent(made)
    entry.tries = 11
    made.rest(entry, 0.0, 300.0, Cause(CauseKind.FORBIDDEN, "plant"))
    assert made.next_deadline() == 300.0


def test_one_that_went_astray_is_sent_again_at_once_in_its_old_place_and_keeps_its_patience() -> None:
    made = in_flight()
    for name in "abc":
        entry = made.add(name, name, lane=None, known=True, patience=1)
        assert entry is not None
    assert sent(made, room=2) == ["a", "b"]
    for name in "ba":
        entry = made.find(name)
        assert entry is not None
        assert made.acknowledged([entry], 0.0)
        made.resend(entry)
        made.resend(entry)
    assert sent(made) == ["a", "b", "c"]
    first, last = made.find("a"), made.find("c")
    assert first is not None
    assert last is not None
    assert (first.attempt, last.attempt) == (2, 1)
    made.rest(last, 0.0)
    assert [entry.item for entry in made.tired()] == ["c"]
    made.resend(last)
    assert sent(made, 100.0) == [], "it is being put away"


def test_an_answer_is_timed_from_the_last_sending_and_only_while_one_is_waited_for() -> None:
    made = in_flight()
    entry = add(made, "a")
    assert made.answered_after(entry, 5.0) is None, "it was not sent"
    sent(made, 10.0)
    assert made.answered_after(entry, 10.5) == 0.5, "an answer may overtake the acknowledgement"
    made.acknowledged([entry], 11.0)
    assert (made.answered_after(entry, 13.0), made.unanswered) == (3.0, 1)
    made.rest(entry, 13.0, cause=ENGINE)
    assert (made.answered_after(entry, 14.0), made.unanswered) == (None, 0)
    sent(made, 100.0)
    assert made.answered_after(entry, 101.0) == 1.0
    made.remove([entry])
    assert made.answered_after(entry, 102.0) is None
