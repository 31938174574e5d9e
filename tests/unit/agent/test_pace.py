from __future__ import annotations

import pytest

from edgeagent.agent.congestion import FIRST_WINDOW, Pace


def play_round(pace: Pace, round_s: float, now: float, out: int | None = None) -> float:
    """Publish as much as the window allows, and have it all acknowledged after `round_s`; the time then."""
    out = pace.window if out is None else out
    pace.sent(out, now)
    pace.acknowledged(out, now + round_s)
    return now + round_s


def test_a_quick_broker_gets_the_whole_window_within_a_few_rounds() -> None:
    pace = Pace(100)
    windows, now = [pace.window], 0.0
    while pace.window < 100:
        now = play_round(pace, 0.05, now)
        windows.append(pace.window)
    assert windows == [4, 8, 16, 32, 64, 100]


def test_a_slow_round_halves_the_window_and_it_grows_by_one_from_then_on() -> None:
    pace = Pace(100)
    now = 0.0
    for _ in range(4):
        now = play_round(pace, 0.05, now)
    now = play_round(pace, 5.0, now)
    windows = [pace.window]
    for _ in range(3):
        now = play_round(pace, 0.05, now)
        windows.append(pace.window)
    assert windows == [32, 33, 34, 35]


def test_a_window_that_held_nothing_back_does_not_grow() -> None:
    pace = Pace(100)
    now = 0.0
    for _ in range(50):
        now = play_round(pace, 0.05, now, out=1)
    assert pace.window == FIRST_WINDOW


def test_a_new_connection_begins_anew() -> None:
    pace = Pace(100)
    now = 0.0
    for _ in range(5):
        now = play_round(pace, 0.001, now)
    pace.sent(100, now)  # never acknowledged: the connection ended
    pace.begin()
    assert pace.window == FIRST_WINDOW
    # Twice the quickest round of the last connection and more: here it is the first, so it is quick.
    play_round(pace, 2.0, now)
    assert pace.window == 2 * FIRST_WINDOW


def test_a_busy_moment_of_a_near_broker_is_no_congestion() -> None:
    pace = Pace(8)
    now = play_round(pace, 0.0002, 0.0)
    play_round(pace, 0.08, now)
    assert pace.window == 8


def test_a_link_that_turned_slow_for_good_is_used_again() -> None:
    pace = Pace(100)
    now = 0.0
    for _ in range(5):
        now = play_round(pace, 0.05, now)
    for _ in range(60):
        now = play_round(pace, 3.0, now)
    assert pace.window > 30


def test_publications_within_a_round_do_not_lengthen_it() -> None:
    pace = Pace(100)
    pace.sent(4, 0.0)
    pace.sent(4, 0.9)
    pace.acknowledged(4, 1.0)
    pace.sent(8, 1.0)
    pace.acknowledged(8, 3.5)  # more than 2 x 1.0 + 0.1
    assert pace.window == 4


def test_an_acknowledgement_of_what_was_not_counted_changes_nothing() -> None:
    pace = Pace(100)
    pace.acknowledged(3, 1.0)
    assert pace.window == FIRST_WINDOW


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_small_limit_is_kept(limit: int) -> None:
    pace = Pace(limit)
    now = 0.0
    for round_s in (0.05, 0.05, 9.0, 0.05, 0.05):
        now = play_round(pace, round_s, now)
        assert 1 <= pace.window <= limit
