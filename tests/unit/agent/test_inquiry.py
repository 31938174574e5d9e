from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from edgeagent.agent import inquiry as inquiry_module
from edgeagent.agent.inquiry import MAX_QUERIES_A_MINUTE, Inquiry
from edgeagent.wire.messages import MAX_QUERY_IDS

HOUR_S, DAY_S = 3600.0, 86400.0


def connected(status_timeout_s: float = HOUR_S, give_up_after_s: float = DAY_S, now: float = 0.0) -> Inquiry:
    inquiry = Inquiry(status_timeout_s, give_up_after_s)
    inquiry.connected(now, session_lost=False)
    return inquiry


def test_a_trigger_is_asked_for_when_nothing_was_heard_for_the_timeout_and_not_before() -> None:
    inquiry = connected()
    inquiry.follow("a", 100.0)
    assert inquiry.next_due(100.0) == 100 + HOUR_S
    assert inquiry.due(99 + HOUR_S) == ([], {}, [])
    assert inquiry.due(100 + HOUR_S) == (["a"], {"a": 1}, [])
    assert inquiry.due(101 + HOUR_S) == ([], {}, [])
    assert inquiry.due(100 + 2 * HOUR_S) == (["a"], {"a": 2}, [])


def test_whatever_is_heard_of_it_begins_the_wait_anew() -> None:
    inquiry = connected()
    inquiry.follow("a", 0.0)
    inquiry.due(HOUR_S)
    assert inquiry.heard("a", HOUR_S + 1), "its count must be kept as 0 again"
    assert not inquiry.heard("a", HOUR_S + 2)
    assert not inquiry.heard("nobody", HOUR_S + 2)
    assert inquiry.next_due(HOUR_S + 2) == 2 * HOUR_S + 2
    assert inquiry.due(2 * HOUR_S + 2).asks == {"a": 1}


def test_after_a_day_of_questions_in_vain_it_is_given_up_and_forgotten() -> None:
    inquiry = connected()
    inquiry.follow("a", 0.0)
    now, asked = 0.0, 0
    while not (due := inquiry.due(now)).give_up:
        asked += len(due.ask)
        now = inquiry.next_due(now)
    assert (asked, now, due.give_up) == (24, HOUR_S + DAY_S, ["a"])
    assert len(inquiry) == 0
    assert inquiry.next_due(now) == math.inf


def test_how_often_it_was_asked_for_before_a_restart_counts() -> None:
    inquiry = connected()
    inquiry.follow("a", 0.0, asks=23)
    assert inquiry.due(HOUR_S).asks == {"a": 24}
    assert inquiry.due(2 * HOUR_S).give_up == ["a"]


def test_patience_that_is_shorter_than_the_timeout_makes_the_wait_shorter() -> None:
    inquiry = connected(HOUR_S, 60.0)
    inquiry.follow("a", 0.0)
    assert inquiry.due(60.0).ask == ["a"]
    assert inquiry.due(120.0).give_up == ["a"]


def test_what_has_ended_is_not_asked_for() -> None:
    inquiry = connected()
    inquiry.follow("a", 0.0)
    inquiry.ended("a")
    inquiry.ended("a")
    assert inquiry.due(DAY_S) == ([], {}, [])


def test_after_a_lost_session_all_are_asked_for_at_once_and_those_not_heard_of_again() -> None:
    inquiry = Inquiry(HOUR_S, DAY_S)
    inquiry.follow("a", 0.0)
    inquiry.follow("b", 0.0)
    inquiry.connected(1.0, session_lost=True)
    assert inquiry.next_due(1.0) == 1.0
    assert inquiry.due(1.0) == (["a", "b"], {}, []), "that the session was lost is nobody's silence"
    inquiry.heard("a", 1.5)
    assert inquiry.due(6.0).ask == ["b"]
    assert inquiry.due(31.0).ask == ["b"]
    inquiry.follow("c", 40.0)
    inquiry.heard("b", 50.0)
    assert inquiry.due(301.0).ask == []
    assert inquiry.next_due(301.0) == 1.5 + HOUR_S


def test_a_session_that_was_kept_asks_for_nothing() -> None:
    inquiry = Inquiry(HOUR_S, DAY_S)
    inquiry.follow("a", 0.0)
    inquiry.connected(1.0, session_lost=False)
    assert inquiry.due(1.0).ask == []


def test_after_a_long_outage_what_the_broker_has_kept_comes_before_anybody_is_given_up() -> None:
    inquiry = Inquiry(HOUR_S, DAY_S)
    inquiry.follow("a", 0.0, asks=24)
    inquiry.connected(3 * DAY_S, session_lost=False)
    assert inquiry.due(3 * DAY_S) == ([], {}, [])
    inquiry.heard("a", 3 * DAY_S + 1)
    assert inquiry.due(3 * DAY_S + 60) == ([], {}, [])


def test_ten_thousand_are_asked_for_in_bounded_messages_and_few_of_them_a_minute() -> None:
    inquiry = Inquiry(HOUR_S, DAY_S)
    for number in range(10_000):
        inquiry.follow(str(number), 0.0)
    inquiry.connected(1.0, session_lost=True)
    now, sent, asked = 1.0, list[float](), list[str]()
    while len(asked) < 10_000:
        due = inquiry.due(now)
        if due.ask:
            assert len(due.ask) <= MAX_QUERY_IDS
            sent.append(now)
            asked += due.ask
            for correlation_id in due.ask:
                inquiry.heard(correlation_id, now)
        now = max(inquiry.next_due(now), now + 0.01)
    assert sorted(asked, key=int) == [str(number) for number in range(10_000)]
    for at in sent:
        assert len([other for other in sent if at <= other < at + 60]) <= MAX_QUERIES_A_MINUTE
    assert now < 400


def test_no_more_are_followed_than_fit_and_others_when_there_is_room_again() -> None:
    inquiry = connected()
    for number in range(inquiry_module.MAX_FOLLOWED):
        assert inquiry.follow(str(number), 0.0)
    assert not inquiry.is_half_empty
    assert not inquiry.follow("one more", 0.0)
    assert inquiry.follow("0", 1.0), "it is followed already"
    inquiry.ended("1")
    assert inquiry.follow("one more", 2.0)


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
    inquiry = connected(10.0, 30.0)
    now = 0.0
    for what, number, wait_s in steps:
        now += wait_s
        name = str(number)
        if what == "follow":
            inquiry.follow(name, now)
        elif what == "heard":
            inquiry.heard(name, now)
        elif what == "end":
            inquiry.ended(name)
        elif what in {"lost", "back"}:
            inquiry.connected(now, session_lost=what == "lost")
        else:
            due = inquiry.due(now)
            assert len(set(due.ask)) == len(due.ask)
            assert not set(due.ask) & set(due.give_up)
            assert all(inquiry.is_followed(each) for each in due.ask)
            assert not any(inquiry.is_followed(each) for each in due.give_up)
            assert set(due.asks) <= set(due.ask)
        assert inquiry.next_due(now) >= min(now, inquiry.next_due(now))
    inquiry.connected(now, session_lost=False)
    for _ in range(2000):
        if not len(inquiry):
            break
        inquiry.due(now)
        now = max(inquiry.next_due(now), now + 0.01)
    assert not len(inquiry), "of which nobody tells is given up in the end"
