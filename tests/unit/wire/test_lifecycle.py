from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.wire.lifecycle import FINAL, Life, answered, given_up, merged, progressed, published, unknown
from edgeagent.wire.messages import Report, Response, State, Status

STATUSES = ("Pending", "Running", "Succeeded", "Failed", "Error")
GIVEN_UP = (State.REJECTED, State.EXPIRED, State.DROPPED, State.MERGED, State.UNKNOWN)
RUN, LATER = "2026-03-20T11:00:00Z", "2026-03-20T12:00:00Z"


def life(state: State, run: str = "", **members: object) -> Life:
    report = Report("9f2c", "7", "boiler-1", "overheat", state, "before", "overheat-9f2c", "plant")
    return Life(msgspec.structs.replace(report, **members), 1_000, run)


def status(name: str, started_at: str | None = None, **members: object) -> Status:
    told = Status("plant", "overheat-9f2c", name, started_at=started_at)  # type: ignore[arg-type]
    return msgspec.structs.replace(told, **members)


def state_after(before: Life, told: Status) -> str:
    after = progressed(before, told, "now")
    return "-" if after is None else after.report.state


# Which state follows when the engine tells a status: a row for each state, a column for each of STATUSES, - for none.
TABLE = """
    buffered   triggered running   succeeded failed    error
    published  triggered running   succeeded failed    error
    triggered  -         running   succeeded failed    error
    running    -         -         succeeded failed    error
    succeeded  -         -         -         -         -
    failed     -         -         -         -         -
    error      -         -         -         -         -
    rejected   triggered running   succeeded failed    error
    expired    triggered running   succeeded failed    error
    dropped    triggered running   succeeded failed    error
    merged     triggered running   succeeded failed    error
    unknown    triggered running   succeeded failed    error
"""
ROWS = [line.split() for line in TABLE.strip().splitlines()]
CASES = [(row[0], told, after) for row in ROWS for told, after in zip(STATUSES, row[1:], strict=True)]


def test_the_table_names_every_state() -> None:
    assert {row[0] for row in ROWS} == set(State)


@pytest.mark.parametrize(("before", "told", "after"), CASES)
def test_a_status_carries_a_trigger_forward_and_never_back(before: str, told: str, after: str) -> None:
    assert state_after(life(State(before)), status(told)) == after
    assert state_after(life(State(before), RUN), status(told, RUN)) == after
    assert state_after(life(State(before), RUN), status(told)) == after


@pytest.mark.parametrize("before", State)
@pytest.mark.parametrize("told", STATUSES)
def test_a_later_started_at_opens_a_new_run_from_any_state(before: State, told: str) -> None:
    after = progressed(life(before, RUN, progress="100%", message="old"), status(told, LATER), "now")
    assert after is not None
    expected = {"Pending": State.TRIGGERED, "Running": State.RUNNING}.get(told) or State(told.lower())
    assert (after.report.state, after.run) == (expected, LATER)
    assert (after.report.progress, after.report.message, after.report.at) == ("", "", "now")


@pytest.mark.parametrize("before", State)
@pytest.mark.parametrize("told", STATUSES)
def test_a_status_of_an_earlier_run_changes_nothing(before: State, told: str) -> None:
    assert progressed(life(before, LATER), status(told, RUN), "now") is None


def test_the_first_started_at_names_the_run_without_opening_another() -> None:
    running = progressed(life(State.TRIGGERED), status("Running", RUN), "now")
    assert running is not None
    assert running.run == RUN
    assert progressed(running, status("Pending", RUN), "now") is None


def test_progress_and_message_are_told_within_a_state() -> None:
    half = progressed(life(State.RUNNING, RUN), status("Running", RUN, progress="50%", message="step 2"), "now")
    assert half is not None
    assert (half.report.state, half.report.progress, half.report.message) == (State.RUNNING, "50%", "step 2")
    assert progressed(half, status("Running", RUN, progress="50%", message="step 2"), "later") is None
    without = progressed(half, status("Running", RUN), "later")
    assert without is not None
    assert without.report.progress == "50%"


@pytest.mark.parametrize("before", GIVEN_UP)
def test_a_late_200_moves_what_was_given_up_to_triggered(before: State) -> None:
    after = answered(life(before, error="too late"), Response(code=200, workflow_id="w", namespace="n"), "now")
    assert after is not None
    assert (after.report.state, after.report.error, after.report.at) == (State.TRIGGERED, "", "now")
    assert (after.report.workflow_id, after.report.namespace) == ("w", "n")


@pytest.mark.parametrize("before", [State.BUFFERED, State.PUBLISHED])
def test_a_200_moves_what_was_sent_to_triggered(before: State) -> None:
    after = answered(life(before), Response(code=200), "now")
    assert after is not None
    assert (after.report.state, after.report.workflow_id) == (State.TRIGGERED, "overheat-9f2c")


@pytest.mark.parametrize("before", [state for state in State if state not in {"buffered", "published", *GIVEN_UP}])
def test_a_200_that_comes_after_a_status_adds_only_the_workflow(before: State) -> None:
    assert answered(life(before), Response(code=200, workflow_id="overheat-9f2c", namespace="plant"), "now") is None
    named = answered(life(before, workflow_id=""), Response(code=200, workflow_id="w"), "now")
    assert named is not None
    assert (named.report.state, named.report.workflow_id, named.report.at) == (before, "w", "before")


@pytest.mark.parametrize("before", State)
def test_a_publish_is_told_once_and_never_after_an_answer(before: State) -> None:
    after = published(life(before, error="x"), "now")
    if before is State.BUFFERED or before in GIVEN_UP:
        assert after is not None
        assert (after.report.state, after.report.error, after.report.at) == (State.PUBLISHED, "", "now")
    else:
        assert after is None


@pytest.mark.parametrize("before", State)
@pytest.mark.parametrize("end", GIVEN_UP[:-1])
def test_only_what_the_engine_did_not_take_is_given_up(before: State, end: State) -> None:
    after = given_up(life(before), end, "why", "now")
    if before in {State.BUFFERED, State.PUBLISHED, *GIVEN_UP}:
        assert after is not None
        assert (after.report.state, after.report.error, after.report.at) == (end, "why", "now")
    else:
        assert after is None


@pytest.mark.parametrize("before", State)
def test_only_what_the_engine_did_not_take_is_merged_and_once(before: State) -> None:
    after = merged(life(before, error="x"), "8e1b", "now")
    if before in {State.BUFFERED, State.PUBLISHED, *GIVEN_UP}:
        assert after is not None
        assert (after.report.state, after.report.into, after.report.error) == (State.MERGED, "8e1b", "")
        assert merged(after, "8e1b", "later") is None
    else:
        assert after is None


@pytest.mark.parametrize("before", State)
def test_only_what_has_no_end_becomes_unknown(before: State) -> None:
    after = unknown(life(before), "why", "now")
    if before in {State.BUFFERED, State.PUBLISHED, State.TRIGGERED, State.RUNNING}:
        assert after is not None
        assert (after.report.state, after.report.error, after.report.at) == (State.UNKNOWN, "why", "now")
        assert unknown(after, "why", "later") is None
    else:
        assert after is None


def test_a_late_status_moves_an_unknown_one_on_within_its_run() -> None:
    lost = unknown(life(State.RUNNING, RUN, progress="50%"), "why", "then")
    assert lost is not None
    after = progressed(lost, status("Succeeded", RUN), "now")
    assert after is not None
    assert (after.report.state, after.report.error, after.run) == (State.SUCCEEDED, "", RUN)


def test_what_goes_on_after_it_was_merged_no_longer_names_another_trigger() -> None:
    before = life(State.MERGED, into="8e1b")
    for after in (
        answered(before, Response(code=200), "now"),
        progressed(before, status("Running"), "now"),
        published(before, "now"),
        given_up(before, State.EXPIRED, "old", "now"),
    ):
        assert after is not None
        assert after.report.into is msgspec.UNSET


@pytest.mark.parametrize("state", State)
def test_what_is_final(state: State) -> None:
    ends = {"succeeded", "failed", "error", "rejected", "expired", "dropped", "merged", "unknown"}
    assert life(state).final is (state in ends)
    by_broker = msgspec.structs.replace(life(state), ends_published=True)
    assert by_broker.final is (state in ends | {"published"})


ORDER = {State.BUFFERED: 0, State.PUBLISHED: 1, State.TRIGGERED: 2, State.RUNNING: 3}


@given(st.lists(st.tuples(st.sampled_from(STATUSES), st.sampled_from([None, RUN])), max_size=8))
def test_in_whatever_order_statuses_come_a_run_never_goes_back(told: list[tuple[str, str | None]]) -> None:
    now = life(State.PUBLISHED)
    for name, started_at in told:
        after = progressed(now, status(name, started_at), "now") or now
        assert ORDER.get(after.report.state, 4) >= ORDER.get(now.report.state, 4)
        if now.report.state in FINAL:
            assert after.report.state is now.report.state
        now = after
