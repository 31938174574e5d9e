from __future__ import annotations

from edgeagent.dispatcher.outcome import SLOW_S
from edgeagent.dispatcher.refusals import SOON_S, SOON_WINDOW_S, Refusals

KEY = ("plant", "inspect")
OTHER = ("plant", "repair")


def test_the_refusals_that_begin_after_a_success_are_short_and_later_ones_long() -> None:
    refusals = Refusals()
    refusals.allowed(KEY)
    assert refusals.refused(KEY, 100.0) == SOON_S
    assert refusals.refused(KEY, 100.5) == SOON_S  # sixteen may be on their way when the server starts
    assert refusals.refused(KEY, 100.0 + SOON_WINDOW_S) == SLOW_S
    assert refusals.refused(KEY, 10_000.0) == SLOW_S
    refusals.allowed(KEY)
    assert refusals.refused(KEY, 10_001.0) == SOON_S


def test_one_that_is_allowed_says_nothing_of_another_template() -> None:
    refusals = Refusals()
    assert refusals.refused(KEY, 0.0) == SOON_S
    refusals.allowed(OTHER)
    assert refusals.refused(KEY, SOON_WINDOW_S) == SLOW_S


def test_what_is_remembered_is_bounded() -> None:
    refusals = Refusals()
    for number in range(5000):
        refusals.refused(("plant", f"t-{number}"), 0.0)
    assert len(refusals._since_s) == 1000
