from __future__ import annotations

import math

from hypothesis import example, given
from hypothesis import strategies as st

from edgeagent.agent import query_schedule
from edgeagent.agent.query_schedule import MAX_QUERIES_A_MINUTE, QuerySchedule
from edgeagent.wire.messages import MAX_QUERY_IDS

HOUR_S, DAY_S = 3600.0, 86400.0


def connected(status_timeout_s: float = HOUR_S, give_up_after_s: float = DAY_S, now: float = 0.0) -> QuerySchedule:
    schedule = QuerySchedule(status_timeout_s, give_up_after_s)
    schedule.connected(now, session_lost=False)
    return schedule


def test_a_trigger_is_asked_for_when_nothing_was_heard_for_the_timeout_and_not_before() -> None:
    schedule = connected()
    schedule.follow("a", 100.0)
    assert schedule.next_due(100.0) == 100 + HOUR_S
    assert schedule.due(99 + HOUR_S) == ([], {}, [])
    assert schedule.due(100 + HOUR_S) == (["a"], {"a": 1}, [])
    assert schedule.due(101 + HOUR_S) == ([], {}, [])
    assert schedule.due(100 + 2 * HOUR_S) == (["a"], {"a": 2}, [])


def test_whatever_is_heard_of_it_begins_the_wait_anew() -> None:
    schedule = connected()
    schedule.follow("a", 0.0)
    schedule.due(HOUR_S)
    assert schedule.heard("a", HOUR_S + 1), "its count must be kept as 0 again"
    assert not schedule.heard("a", HOUR_S + 2)
    assert not schedule.heard("nobody", HOUR_S + 2)
    assert schedule.next_due(HOUR_S + 2) == 2 * HOUR_S + 2
    assert schedule.due(2 * HOUR_S + 2).asks == {"a": 1}


def test_after_a_day_of_questions_in_vain_it_is_given_up_and_forgotten() -> None:
    schedule = connected()
    schedule.follow("a", 0.0)
    now, asked = 0.0, 0
    while not (due := schedule.due(now)).give_up:
        asked += len(due.ask)
        now = schedule.next_due(now)
    assert (asked, now, due.give_up) == (24, HOUR_S + DAY_S, ["a"])
    assert len(schedule) == 0
    assert schedule.next_due(now) == math.inf


def test_how_often_it_was_asked_for_before_a_restart_counts() -> None:
    schedule = connected()
    schedule.follow("a", 0.0, asks=23)
    assert schedule.due(HOUR_S).asks == {"a": 24}
    assert schedule.due(2 * HOUR_S).give_up == ["a"]


def test_patience_that_is_shorter_than_the_timeout_makes_the_wait_shorter() -> None:
    schedule = connected(HOUR_S, 60.0)
    schedule.follow("a", 0.0)
    assert schedule.due(60.0).ask == ["a"]
    assert schedule.due(120.0).give_up == ["a"]


def test_what_has_ended_is_not_asked_for() -> None:
    schedule = connected()
    schedule.follow("a", 0.0)
    schedule.ended("a")
    schedule.ended("a")
    assert schedule.due(DAY_S) == ([], {}, [])


def test_after_a_lost_session_all_are_asked_for_at_once_and_those_not_heard_of_again() -> None:
    schedule = QuerySchedule(HOUR_S, DAY_S)
    schedule.follow("a", 0.0)
    schedule.follow("b", 0.0)
    schedule.connected(1.0, session_lost=True)
    assert schedule.next_due(1.0) == 1.0
    assert schedule.due(1.0) == (["a", "b"], {}, []), "that the session was lost is nobody's silence"
    schedule.heard("a", 1.5)
    assert schedule.due(6.0).ask == ["b"]
    assert schedule.due(31.0).ask == ["b"]
    schedule.follow("c", 40.0)
    schedule.heard("b", 50.0)
    assert schedule.due(301.0).ask == []
    assert schedule.next_due(301.0) == 1.5 + HOUR_S


def test_a_session_that_was_kept_asks_for_nothing() -> None:
    schedule = QuerySchedule(HOUR_S, DAY_S)
    schedule.follow("a", 0.0)
    schedule.connected(1.0, session_lost=False)
    assert schedule.due(1.0).ask == []


def test_after_a_long_outage_what_the_broker_has_kept_comes_before_anybody_is_given_up() -> None:
    schedule = QuerySchedule(HOUR_S, DAY_S)
    schedule.follow("a", 0.0, asks=24)
    schedule.connected(3 * DAY_S, session_lost=False)
    assert schedule.due(3 * DAY_S) == ([], {}, [])
    schedule.heard("a", 3 * DAY_S + 1)
    assert schedule.due(3 * DAY_S + 60) == ([], {}, [])


def test_ten_thousand_are_asked_for_in_bounded_messages_and_few_of_them_a_minute() -> None:
    schedule = QuerySchedule(HOUR_S, DAY_S)
    for number in range(10_000):
        schedule.follow(str(number), 0.0)
    schedule.connected(1.0, session_lost=True)
    now, sent, asked = 1.0, list[float](), list[str]()
    while len(asked) < 10_000:
        due = schedule.due(now)
        if due.ask:
            assert len(due.ask) <= MAX_QUERY_IDS
            sent.append(now)
            asked += due.ask
            for correlation_id in due.ask:
                schedule.heard(correlation_id, now)
        now = max(schedule.next_due(now), now + 0.01)
    assert sorted(asked, key=int) == [str(number) for number in range(10_000)]
    for at in sent:
        assert len([other for other in sent if at <= other < at + 60]) <= MAX_QUERIES_A_MINUTE
    assert now < 400


def test_no_more_are_followed_than_fit_and_others_when_there_is_room_again() -> None:
    schedule = connected()
    for number in range(query_schedule.MAX_FOLLOWED):
        assert schedule.follow(str(number), 0.0)
    assert not schedule.is_half_empty
    assert not schedule.follow("one more", 0.0)
    assert schedule.follow("0", 1.0), "it is followed already"
    schedule.ended("1")
    assert schedule.follow("one more", 2.0)


@example([("follow", 0, 0.0), *[("due", 0, 10.0)] * 3, ("lost", 0, 0.0), ("due", 0, 10.0)])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["follow", "heard", "end", "lost", "back", "due"]), st.integers(0, 5), st.floats(0, 90)
        )
    )
)
def test_whatever_happens_nothing_is_asked_twice_in_a_message_and_silence_ends(
    steps: list[tuple[str, int, float]],
) -> None:
    schedule = connected(10.0, 30.0)
    now = 0.0
    for what, number, wait_s in steps:
        now += wait_s
        name = str(number)
        if what == "follow":
            schedule.follow(name, now)
        elif what == "heard":
            schedule.heard(name, now)
        elif what == "end":
            schedule.ended(name)
        elif what in {"lost", "back"}:
            schedule.connected(now, session_lost=what == "lost")
        else:
            due = schedule.due(now)
            assert len(set(due.ask)) == len(due.ask)
            assert not set(due.ask) & set(due.give_up)
            assert all(schedule.is_followed(each) for each in due.ask)
            assert not any(schedule.is_followed(each) for each in due.give_up)
            assert set(due.asks) <= set(due.ask)
        assert schedule.next_due(now) >= min(now, schedule.next_due(now))
    schedule.connected(now, session_lost=False)
    for _ in range(2000):
        if not len(schedule):
            break
        schedule.due(now)
        now = max(schedule.next_due(now), now + 0.01)
    assert not len(schedule), "of which nobody tells is given up in the end"
