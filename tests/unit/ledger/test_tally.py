from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.common.times import rfc3339
from edgeagent.ledger.tally import Tally, bucket_of, percentile, step_of
from edgeagent.wire.lifecycle import Life
from edgeagent.wire.messages import Report, State

ACCEPTED_MS = 1_800_000_000_000


def life(state: State, after_s: float = 1.0) -> Life:
    at = rfc3339(ACCEPTED_MS + int(after_s * 1000))
    return Life(Report("a", "e", "boiler-1", "overheat", state, at), ACCEPTED_MS)


def told(*states: State) -> Tally:
    """What is counted for a trigger that goes through these states."""
    tally, before = Tally(), None
    for number, state in enumerate(states, 1):
        now = life(state, number * 10.0)
        tally.note(step_of(before, now))
        before = now
    return tally


def counts(tally: Tally) -> dict[str, int]:
    names = ("triggers", "succeeded", "failed", "unknown", "rejected", "expired", "merged")
    return {name: count for name in names if (count := getattr(tally, name))}


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([State.PUBLISHED], {"triggers": 1}),
        ([State.PUBLISHED, State.TRIGGERED, State.RUNNING, State.SUCCEEDED], {"triggers": 1, "succeeded": 1}),
        ([State.PUBLISHED, State.SUCCEEDED], {"triggers": 1, "succeeded": 1}),
        ([State.TRIGGERED, State.ERROR], {"triggers": 1, "failed": 1}),
        ([State.REJECTED], {"triggers": 1, "rejected": 1}),
        ([State.PUBLISHED, State.EXPIRED], {"triggers": 1, "expired": 1}),
        ([State.PUBLISHED, State.UNKNOWN, State.SUCCEEDED], {"triggers": 1, "succeeded": 1}),
        ([State.PUBLISHED, State.FAILED, State.RUNNING, State.SUCCEEDED], {"triggers": 1, "succeeded": 1}),
        ([State.PUBLISHED, State.FAILED, State.RUNNING], {"triggers": 1}),
    ],
)
def test_a_trigger_is_counted_once_by_how_it_ended_in_the_end(states: list[State], expected: dict[str, int]) -> None:
    assert counts(told(*states)) == expected


def test_progress_without_another_state_counts_nothing() -> None:
    tally = Tally()
    running = life(State.RUNNING)
    further = msgspec.structs.replace(running, report=msgspec.structs.replace(running.report, progress="9/10"))
    tally.note(step_of(running, further))
    assert tally == Tally()


def test_the_times_to_the_answer_and_to_the_end_are_counted_once() -> None:
    tally = told(State.PUBLISHED, State.TRIGGERED, State.RUNNING, State.SUCCEEDED)
    assert (tally.answer, tally.end) == ({bucket_of(20): 1}, {bucket_of(40): 1})


@given(st.floats(0.011, 2_500_000.0))
def test_a_time_is_told_within_nine_per_cent(seconds: float) -> None:
    found = percentile({bucket_of(seconds): 1}, 0.5)
    assert found is not None
    assert abs(found - seconds) <= 0.1 * seconds


@pytest.mark.parametrize(("seconds", "bucket"), [(-86_400.0, 0), (0.0, 0), (0.01, 0), (1e12, 112)])
def test_a_clock_that_jumped_makes_no_bucket_of_its_own(seconds: float, bucket: int) -> None:
    assert bucket_of(seconds) == bucket


def test_percentiles_of_sums_are_those_of_all_times() -> None:
    one, other = Tally(answer={bucket_of(1): 94}), Tally(answer={bucket_of(100): 6})
    one.add(other)
    assert percentile(one.answer, 0.5) == pytest.approx(1, rel=0.1)
    assert percentile(one.answer, 0.95) == pytest.approx(100, rel=0.1)
    assert percentile({}, 0.5) is None


def test_sums_survive_their_encoding() -> None:
    tally = told(State.PUBLISHED, State.TRIGGERED, State.FAILED)
    tally.account, tally.offline_s = {"received": 3}, 1.5
    assert msgspec.json.decode(msgspec.json.encode(tally), type=Tally) == tally


def test_a_text_that_is_no_time_counts_no_time() -> None:
    tally = Tally()
    tally.note(step_of(None, Life(Report("a", "e", "s", "r", State.TRIGGERED, "now"), ACCEPTED_MS)))
    assert (tally.triggers, tally.answer) == (1, {})
