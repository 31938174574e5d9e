"""The earlier states of a trigger, as the ledger keeps them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.wire.lifecycle import Life, answered, progressed, published, unknown
from edgeagent.wire.messages import Report, Response, State, Status
from edgeagent.wire.steps import MAX_STEPS, EarlierState, earlier, left

ACCEPTED_MS = 1_774_004_400_000  # 2026-03-20T11:00:00Z
LONGEST = len("r") + len(str(1 << 63)) + 1


def at(second: int) -> str:
    return f"2026-03-20T11:00:{second:02}.000Z"


def status(name: str, progress: str = "") -> Status:
    return Status("plant", "overheat-9f2c", name, progress)  # type: ignore[arg-type]


def test_a_life_keeps_when_each_of_its_states_began() -> None:
    life = Life(Report("9f2c", "7", "boiler-1", "overheat", State.BUFFERED, at(0)), ACCEPTED_MS)
    steps: tuple[Callable[[Life, str], Life | None], ...] = (
        published,
        lambda known, when: answered(known, Response("9f2c", 200, workflow_id="overheat-9f2c"), when),
        lambda known, when: progressed(known, status("Running", "1/3"), when),
        lambda known, when: progressed(known, status("Running", "2/3"), when),
        lambda known, when: unknown(known, "no status came", when),
        lambda known, when: progressed(known, status("Succeeded", "3/3"), when),
    )
    for number, step in enumerate(steps, 1):
        changed = step(life, at(number))
        assert changed is not None
        life = changed
    assert (life.report.state, life.report.at) == (State.SUCCEEDED, at(6))
    assert [*earlier(life.steps, ACCEPTED_MS)] == [
        EarlierState(State.PUBLISHED, at(1)),
        EarlierState(State.TRIGGERED, at(2)),
        EarlierState(State.RUNNING, at(3)),
        EarlierState(State.UNKNOWN, at(5)),
    ]


def test_a_workflow_that_is_tried_for_ever_keeps_the_first_and_the_last_states() -> None:
    steps = left("", State.PUBLISHED, at(1), ACCEPTED_MS)
    for number in range(500):
        state = State.FAILED if number % 2 else State.RUNNING
        steps = left(steps, state, at(number % 60), ACCEPTED_MS)
    kept = [*earlier(steps, ACCEPTED_MS)]
    assert len(kept) == MAX_STEPS
    assert kept[0] == EarlierState(State.PUBLISHED, at(1))
    assert kept[-1] == EarlierState(State.FAILED, at(499 % 60))


@pytest.mark.parametrize("damaged", ["p", "pnonsense", "?12", "p99999999999999999999", "p-1 ☃"])
def test_a_damaged_text_never_hides_the_rest(damaged: str) -> None:
    kept = [*earlier(f"{damaged} r900", ACCEPTED_MS)]
    assert kept[-1] == EarlierState(State.RUNNING, "2026-03-20T11:00:00.900Z")
    assert all(each.at is None or each.at.endswith("Z") for each in kept)


@given(st.lists(st.tuples(st.sampled_from(State), st.text(max_size=30) | st.just(at(3))), max_size=40))
def test_whatever_comes_the_text_stays_short_and_readable(changes: list[tuple[State, str]]) -> None:
    steps = ""
    for state, when in changes:
        steps = left(steps, state, when, ACCEPTED_MS)
    kept = [*earlier(steps, ACCEPTED_MS)]
    assert len(kept) <= MAX_STEPS
    assert len(steps) <= MAX_STEPS * LONGEST
    noted = [state for state, _ in changes if state is not State.BUFFERED]
    if noted:
        assert kept[-1].state is noted[-1]
