from __future__ import annotations

import pytest

from edgeagent.agent.congestion import FIRST_ALLOWED, Congestion


def play_round(congestion: Congestion, round_s: float, now: float, out: int | None = None) -> float:
    """Publish as much as is allowed, and have it all acknowledged after `round_s`; the time then."""
    out = congestion.allowed if out is None else out
    congestion.sent(out, now)
    congestion.acknowledged(out, now + round_s)
    return now + round_s


def test_a_quick_broker_gets_all_that_is_allowed_within_a_few_rounds() -> None:
    congestion = Congestion(100)
    allowed, now = [congestion.allowed], 0.0
    while congestion.allowed < 100:
        now = play_round(congestion, 0.05, now)
        allowed.append(congestion.allowed)
    assert allowed == [4, 8, 16, 32, 64, 100]


def test_a_slow_round_halves_what_is_allowed_and_it_grows_by_one_from_then_on() -> None:
    congestion = Congestion(100)
    now = 0.0
    for _ in range(4):
        now = play_round(congestion, 0.05, now)
    now = play_round(congestion, 5.0, now)
    allowed = [congestion.allowed]
    for _ in range(3):
        now = play_round(congestion, 0.05, now)
        allowed.append(congestion.allowed)
    assert allowed == [32, 33, 34, 35]


def test_a_limit_that_held_nothing_back_does_not_grow() -> None:
    congestion = Congestion(100)
    now = 0.0
    for _ in range(50):
        now = play_round(congestion, 0.05, now, out=1)
    assert congestion.allowed == FIRST_ALLOWED


def test_a_new_connection_begins_anew() -> None:
    congestion = Congestion(100)
    now = 0.0
    for _ in range(5):
        now = play_round(congestion, 0.001, now)
    congestion.sent(100, now)  # never acknowledged: the connection ended
    congestion.begin()
    assert congestion.allowed == FIRST_ALLOWED
    # Twice the quickest round of the last connection and more: here it is the first, so it is quick.
    play_round(congestion, 2.0, now)
    assert congestion.allowed == 2 * FIRST_ALLOWED


def test_a_busy_moment_of_a_near_broker_is_no_congestion() -> None:
    congestion = Congestion(8)
    now = play_round(congestion, 0.0002, 0.0)
    play_round(congestion, 0.08, now)
    assert congestion.allowed == 8


def test_a_link_that_turned_slow_for_good_is_used_again() -> None:
    congestion = Congestion(100)
    now = 0.0
    for _ in range(5):
        now = play_round(congestion, 0.05, now)
    for _ in range(60):
        now = play_round(congestion, 3.0, now)
    assert congestion.allowed > 30


def test_publications_within_a_round_do_not_lengthen_it() -> None:
    congestion = Congestion(100)
    congestion.sent(4, 0.0)
    congestion.sent(4, 0.9)
    congestion.acknowledged(4, 1.0)
    congestion.sent(8, 1.0)
    congestion.acknowledged(8, 3.5)  # more than 2 x 1.0 + 0.1
    assert congestion.allowed == 4


def test_an_acknowledgement_of_what_was_not_counted_changes_nothing() -> None:
    congestion = Congestion(100)
    congestion.acknowledged(3, 1.0)
    assert congestion.allowed == FIRST_ALLOWED


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_small_limit_is_kept(limit: int) -> None:
    congestion = Congestion(limit)
    now = 0.0
    for round_s in (0.05, 0.05, 9.0, 0.05, 0.05):
        now = play_round(congestion, round_s, now)
        assert 1 <= congestion.allowed <= limit
