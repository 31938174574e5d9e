from __future__ import annotations

import pytest

from edgeagent.agent.causes import UNHEARD
from edgeagent.agent.inflight import InFlight
from edgeagent.agent.resting import Resting

WEEK_OF_TRIES = 20_000


def sleeper(token: int) -> InFlight[str]:
    return InFlight(token, f"c{token}", "", None, 1, 1000, cause=UNHEARD)


def test_a_cause_that_lasts_for_weeks_costs_no_memory_for_each_try() -> None:
    resting: Resting[InFlight[str]] = Resting()
    stays, tried = sleeper(1), sleeper(2)
    resting.join(stays, 0.0)
    for number in range(WEEK_OF_TRIES):
        tried.wake_at = float(number)
        resting.join(tried, 0.0)
        resting.leave(tried)
    (group,) = resting._groups.values()
    assert len(group.later) + len(group.now) < 100


@pytest.mark.slow
def test_tries_between_successes_cost_no_memory_either_and_nobody_is_forgotten() -> None:
    resting: Resting[InFlight[str]] = Resting()
    sleepers = [sleeper(token) for token in range(1, 11)]
    for each in sleepers:
        resting.join(each, 0.0)
    for number in range(WEEK_OF_TRIES):
        (woken, *_) = resting.heard(UNHEARD, float(number), 1)
        resting.leave(sleepers[number % 10])
        for each in sleepers:
            each.wake_at = number + 1.0
            resting.join(each, 0.0)
        assert woken in sleepers
    (group,) = resting._groups.values()
    assert len(group.later) + len(group.now) < 100
    assert {each.token for each in resting.heard(UNHEARD, 1e6, 10)} == set(range(1, 11))
