from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.argo.wire import Metadata, Workflow, WorkflowStatus
from edgeagent.dispatcher.cursor import MARGIN_S
from edgeagent.dispatcher.progress import MIN_GAP_S, WorkflowProgress, percent, status_of
from edgeagent.wire.messages import LABEL_AGENT, LABEL_CORRELATION_ID, Status

NOON_S = 1_774_008_000.0  # 2026-03-20T12:00:00Z


def at(second: int = 0) -> str:
    """A time of that day, seconds after noon."""
    return f"2026-03-20T{12 + second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z"


class Cluster:
    """Makes workflows as they are seen, each with the next resource version."""

    def __init__(self) -> None:
        self.version = 0

    def __call__(
        self,
        phase: str = "",
        progress: str = "",
        *,
        name: str = "w",
        uid: str = "u1",
        started: str | None = None,
        ended: str | None = None,
        message: str = "",
        version: str | None = None,
    ) -> Workflow:
        """One in this phase; "" is one that the controller has not seen."""
        self.version += 1
        labels = {LABEL_AGENT: "gw-1", LABEL_CORRELATION_ID: f"c-{name}"}
        metadata = Metadata(name, "plant", uid, version or str(self.version), at(), labels)
        if not phase:
            return Workflow(metadata)
        return Workflow(metadata, WorkflowStatus(phase, progress, message, started or at(), ended))


@pytest.fixture
def workflow() -> Cluster:
    return Cluster()


def leader(cursor_s: float | None = None) -> WorkflowProgress:
    progress = WorkflowProgress("plant")
    assert progress.lead(cursor_s, 0.0) == []
    return progress


def told(status: Status | None) -> tuple[str, str] | None:
    return None if status is None else (status.status, status.progress)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("0/0", "0%"),
        ("5/0", "0%"),
        ("0/1", "0%"),
        ("1/2", "50%"),
        ("2/3", "66%"),
        ("199/200", "99%"),
        ("3/3", "100%"),
        ("", ""),
        ("50%", ""),
        ("1/", ""),
        ("/2", ""),
        ("-1/2", ""),
        ("3/2", ""),
        ("1/2/3", ""),
        ("1.5/2", ""),
        ("1/²", ""),
        ("1" * 5000 + "/2", ""),
    ],
)
def test_progress_is_a_percentage_rounded_down_or_nothing(text: str, shown: str) -> None:
    assert percent(text) == shown


def test_a_status_has_what_the_workflow_and_its_labels_say(workflow: Cluster) -> None:
    seen = workflow("Failed", "1/2", started=at(1), ended=at(9), message="boom")
    assert status_of("plant", seen) == Status(
        "plant", "w", "Failed", "50%", "boom", "c-w", "gw-1", started_at=at(1), finished_at=at(9)
    )


def test_a_workflow_that_the_controller_has_not_seen_is_pending() -> None:
    assert status_of("plant", Workflow(Metadata("w"))) == Status("plant", "w", "Pending")
    unset = WorkflowStatus(started_at=None, finished_at=None)
    assert status_of("plant", Workflow(Metadata("w"), unset)) == Status("plant", "w", "Pending")


def test_what_has_no_name_or_an_unknown_phase_has_no_status() -> None:
    assert status_of("plant", Workflow()) is None
    assert status_of("plant", Workflow(Metadata("w"), WorkflowStatus("Omitted"))) is None


@pytest.mark.parametrize("agent", ["a/b", "+", "#", "Gw", ""])
def test_an_agent_that_is_no_agent_id_never_becomes_a_topic(agent: str) -> None:
    status = status_of("plant", Workflow(Metadata("w", labels={LABEL_AGENT: agent})))
    assert status is not None
    assert status.agent == ""


def test_a_change_of_phase_goes_out_at_once(workflow: Cluster) -> None:
    progress = leader()
    assert told(progress.seen(workflow(), 0.0)) == ("Pending", "")
    assert told(progress.seen(workflow("Running", "0/1"), 0.1)) == ("Running", "0%")
    assert told(progress.seen(workflow("Succeeded", "1/1", ended=at(1)), 0.2)) == ("Succeeded", "100%")
    assert progress.unfinished() == {}


def test_the_same_event_twice_publishes_nothing(workflow: Cluster) -> None:
    progress = leader()
    running, succeeded = workflow("Running", "0/1"), workflow("Succeeded", ended=at(1))
    assert progress.seen(running, 0.0)
    assert progress.seen(running, 100.0) is None
    assert progress.due(200.0) == []
    assert progress.seen(succeeded, 0.0)
    assert progress.seen(succeeded, 100.0) is None


def test_a_change_of_progress_goes_out_at_most_every_five_seconds_and_the_last_one_always(workflow: Cluster) -> None:
    progress = leader()
    assert progress.seen(workflow("Running", "0/4"), 0.0)
    assert progress.seen(workflow("Running", "1/4"), 1.0) is None
    assert progress.seen(workflow("Running", "2/4"), 2.0) is None
    assert progress.due(MIN_GAP_S - 0.1) == []
    assert [told(status) for status in progress.due(MIN_GAP_S)] == [("Running", "50%")]
    assert progress.due(100.0) == []
    assert told(progress.seen(workflow("Running", "3/4"), 100.0)) == ("Running", "75%")


def test_a_message_waits_like_progress(workflow: Cluster) -> None:
    progress = leader()
    progress.seen(workflow("Running", "0/4"), 0.0)
    assert progress.seen(workflow("Running", "0/4", message="retrying"), 1.0) is None
    assert [status.message for status in progress.due(6.0)] == ["retrying"]


def test_progress_that_went_back_before_it_was_told_is_not_told(workflow: Cluster) -> None:
    progress = leader()
    progress.seen(workflow("Running", "1/2"), 0.0)
    progress.seen(workflow("Running", "1/4"), 1.0)
    progress.seen(workflow("Running", "1/2"), 2.0)
    assert progress.due(10.0) == []


def test_what_waits_is_overtaken_by_the_final_status(workflow: Cluster) -> None:
    progress = leader()
    progress.seen(workflow("Running", "0/2"), 0.0)
    progress.seen(workflow("Running", "1/2"), 1.0)
    assert told(progress.seen(workflow("Succeeded", "2/2", ended=at(2)), 2.0)) == ("Succeeded", "100%")
    assert progress.due(10.0) == []


def test_an_argo_retry_opens_a_new_run_also_after_the_old_one_is_forgotten(workflow: Cluster) -> None:
    progress = leader()
    assert progress.seen(workflow("Failed", started=at(1), ended=at(2)), 0.0)
    assert told(progress.seen(workflow("Running", "0/1", started=at(5)), 0.0)) == ("Running", "0%")
    assert progress.seen(workflow("Failed", started=at(5), ended=at(6)), 0.0)
    progress.finished.taken("w", at(5))
    progress.seen(workflow("Failed", name="x", started=at(900), ended=at(900)), 0.0)
    progress.finished.taken("x", at(900))
    assert progress.finished.move(NOON_S + 2000) == NOON_S + 900
    assert progress.finished.run("w") is None
    assert told(progress.seen(workflow("Running", "0/1", started=at(950)), 0.0)) == ("Running", "0%")
    assert told(progress.seen(workflow("Succeeded", "1/1", started=at(950), ended=at(960)), 0.0))


def test_a_retry_whose_beginning_was_not_seen_is_told_by_its_end(workflow: Cluster) -> None:
    progress = leader()
    assert progress.seen(workflow("Failed", started=at(1), ended=at(2)), 0.0)
    assert told(progress.seen(workflow("Succeeded", started=at(3), ended=at(4)), 0.0)) == ("Succeeded", "")


def test_a_list_that_is_older_than_the_watch_takes_nothing_back(workflow: Cluster) -> None:
    progress = leader()
    early, late = workflow("Running", "0/4"), workflow("Running", "2/4")
    progress.seen(late, 0.0)
    assert progress.seen(early, 100.0) is None
    assert progress.due(200.0) == []
    progress.seen(workflow("Succeeded", "4/4", ended=at(3)), 101.0)
    assert progress.seen(late, 102.0) is None
    assert progress.unfinished() == {}


def test_versions_are_compared_as_numbers(workflow: Cluster) -> None:
    progress = leader()
    progress.seen(workflow("Running", "0/4", version="9"), 0.0)
    assert progress.seen(workflow("Running", "1/4", version="10"), 100.0)
    assert progress.seen(workflow("Running", "0/4", version="9"), 200.0) is None


def test_a_workflow_deleted_before_its_end_ends_as_error(workflow: Cluster) -> None:
    progress = leader()
    progress.seen(workflow("Running", "1/2"), 0.0)
    status = progress.deleted(workflow("Running", "1/2"), 0.0)
    assert status is not None
    assert (status.status, status.message, status.progress, status.agent) == (
        "Error",
        "workflow deleted",
        "50%",
        "gw-1",
    )
    assert progress.unfinished() == {}
    assert progress.deleted(workflow("Running", "1/2"), 0.0) is None


def test_a_retried_workflow_deleted_before_its_end_ends_as_error(workflow: Cluster) -> None:
    progress = leader()
    progress.seen(workflow("Failed", started=at(1), ended=at(2)), 0.0)
    progress.seen(workflow("Running", started=at(5)), 0.0)
    assert told(progress.deleted(workflow("Running", started=at(5)), 0.0)) == ("Error", "")


def test_a_workflow_deleted_after_its_end_is_not_told_again(workflow: Cluster) -> None:
    progress = leader()
    progress.seen(workflow("Succeeded", ended=at(1)), 0.0)
    assert progress.deleted(workflow("Succeeded", ended=at(1)), 0.0) is None


def test_a_workflow_whose_end_only_its_deletion_shows_ends_as_it_did(workflow: Cluster) -> None:
    progress = leader()
    progress.seen(workflow("Running"), 0.0)
    assert told(progress.deleted(workflow("Succeeded", "1/1", ended=at(1)), 0.0)) == ("Succeeded", "100%")


def test_a_new_workflow_of_the_same_name_is_another_one(workflow: Cluster) -> None:
    progress = leader()
    old = workflow("Running")
    progress.seen(old, 0.0)
    progress.seen(workflow("", uid="u2"), 0.0)
    assert progress.deleted(old, 0.0) is None  # comes late
    assert progress.unfinished() == {"w": "u2"}
    assert progress.seen(workflow("Succeeded", uid="u2", ended=at(3)), 0.0)
    assert told(progress.seen(workflow("Running", uid="u3"), 0.0)) == ("Running", "")


def test_who_does_not_lead_tells_nothing_and_knows_what_is_unfinished(workflow: Cluster) -> None:
    progress = WorkflowProgress("plant")
    assert progress.seen(workflow("Running", name="a"), 0.0) is None
    assert progress.seen(workflow("Running", name="b"), 0.0) is None
    assert progress.seen(workflow("Succeeded", name="b", ended=at(1)), 0.0) is None
    assert progress.unfinished() == {"a": "u1"}
    assert [status.workflow_id for status in progress.lead(None, 0.0)] == ["a"]


def test_a_new_leader_tells_every_unfinished_one_again_and_each_only_once(workflow: Cluster) -> None:
    progress = leader()
    running = workflow("Running", "1/2")
    progress.seen(running, 0.0)
    progress.follow()
    assert [told(status) for status in progress.lead(None, 1.0)] == [("Running", "50%")]
    assert progress.seen(running, 1.0) is None


def test_what_was_deleted_while_nobody_led_is_told_by_the_next_leader(workflow: Cluster) -> None:
    progress = WorkflowProgress("plant")
    running = workflow("Running")
    progress.seen(running, 0.0)
    progress.deleted(workflow("Running"), 1.0)
    progress.seen(running, 2.0)  # an older list
    assert progress.unfinished() == {}
    assert [told(status) for status in progress.lead(None, 2.0)] == [("Error", "")]
    assert progress.seen(running, 3.0) is None


def test_what_was_deleted_while_another_led_is_forgotten_in_time(workflow: Cluster) -> None:
    progress = WorkflowProgress("plant")
    progress.seen(workflow("Running"), 0.0)
    progress.deleted(workflow("Running"), 50.0)
    progress.forget_deleted(50.0)
    assert len(progress._open) == 1
    progress.forget_deleted(51.0)
    assert progress.lead(None, 60.0) == []


def test_without_a_cursor_everything_that_finished_is_told(workflow: Cluster) -> None:
    assert leader().seen(workflow("Succeeded", ended=at()), 0.0)


def test_with_a_cursor_only_what_finished_since_then_is_told_less_a_margin(workflow: Cluster) -> None:
    progress = leader(NOON_S + 600)
    edge = int(600 - MARGIN_S)
    assert progress.seen(workflow("Succeeded", name="a", ended=at(edge - 1)), 0.0) is None
    assert progress.seen(workflow("Succeeded", name="b", ended=at(edge)), 0.0)
    assert progress.seen(workflow("Succeeded", name="c", ended=at(700)), 0.0)


def test_one_that_was_known_to_be_unfinished_is_told_however_early_it_finished(workflow: Cluster) -> None:
    progress = leader(NOON_S + 600)
    progress.seen(workflow("Running"), 0.0)
    assert progress.seen(workflow("Succeeded", ended=at(1)), 0.0)


def test_the_cursor_stops_before_what_the_broker_has_not_taken(workflow: Cluster) -> None:
    progress = leader()
    for name, second in (("a", 10), ("b", 20), ("c", 30)):
        progress.seen(workflow("Succeeded", name=name, ended=at(second)), 0.0)
    assert progress.finished.move(NOON_S + 100) is None
    progress.finished.taken("c", at())
    assert progress.finished.move(NOON_S + 100) == NOON_S + 10
    progress.finished.taken("a", at())
    assert progress.finished.move(NOON_S + 100) == NOON_S + 20
    progress.finished.taken("b", at())
    assert progress.finished.move(NOON_S + 100) == NOON_S + 30


def test_the_cursor_is_never_later_than_now(workflow: Cluster) -> None:
    progress = leader()
    progress.seen(workflow("Succeeded", ended=at(3600)), 0.0)
    progress.finished.taken("w", at())
    assert progress.finished.move(NOON_S) == NOON_S


def test_a_deleted_workflow_does_not_move_the_cursor(workflow: Cluster) -> None:
    progress = leader(NOON_S)
    progress.deleted(workflow("Running"), 0.0)
    progress.finished.taken("w", at())
    assert progress.finished.move(NOON_S + 100) == NOON_S


def test_finished_workflows_do_not_stay_in_memory(workflow: Cluster) -> None:
    progress = leader()
    for second in range(1000):
        progress.seen(workflow("Running", name=f"w{second}"), 0.0)
        progress.seen(workflow("Succeeded", name=f"w{second}", ended=at(second)), 0.0)
        progress.finished.taken(f"w{second}", at())
        progress.finished.move(NOON_S + 10_000)
    assert len(progress.finished._runs) <= MARGIN_S + 1
    assert not progress.finished._untaken
    assert not progress._open


STEP = st.tuples(
    st.sampled_from(["Pending", "Running", "Succeeded", "Failed", "deleted", "lead", "follow", "repeat"]),
    st.integers(0, 3),
    st.floats(0, 7),
)


@given(st.lists(STEP, max_size=40))
def test_whatever_happens_a_leader_has_told_the_present_state_in_the_end(steps: list[tuple[str, int, float]]) -> None:
    cluster, progress, now_s = Cluster(), WorkflowProgress("plant"), 0.0
    state: dict[str, Any] = {"run": 0, "now": None}
    told_last: Status | None = None
    progress.lead(None, 0.0)
    for what, done, wait_s in steps:
        now_s += wait_s
        published: list[Status | None] = []
        if what in {"lead", "follow"}:
            published = [*progress.lead(None, now_s)] if what == "lead" else []
            if what == "follow":
                progress.follow()
                published = [*progress.lead(None, now_s)]
            if state["now"] is not None:  # a new leader lists everything
                published.append(progress.seen(state["now"], now_s))
        elif what == "repeat" and state["now"] is not None:
            published = [progress.seen(state["now"], now_s)]
        elif what not in {"deleted", "repeat"}:
            final = what in {"Succeeded", "Failed"}
            if state["now"] is not None and state["now"].status.finished_at:
                state["run"] += 1
            started = at(state["run"] * 10)
            state["now"] = cluster(
                what, f"{done}/3", started=started, ended=at(state["run"] * 10 + 5) if final else None
            )
            published = [progress.seen(state["now"], now_s)]
        published += progress.due(now_s)
        told_last = next((status for status in reversed(published) if status), told_last)
    told_last = next(iter(progress.due(now_s + 2 * MIN_GAP_S)), told_last)  # the gap alone may round down
    if state["now"] is not None:
        assert told_last == status_of("plant", state["now"])


def test_a_resubmitted_workflow_is_no_gateways(workflow: Cluster) -> None:
    copied = {LABEL_AGENT: "gw-1", LABEL_CORRELATION_ID: "c-w", "workflows.argoproj.io/resubmitted-from-workflow": "w"}
    seen = workflow("Running", name="w-x7k2p")
    seen = Workflow(msgspec.structs.replace(seen.metadata, labels=copied), seen.status)
    status = status_of("plant", seen)
    assert status is not None
    assert (status.workflow_id, status.agent, status.correlation_id) == ("w-x7k2p", "", "")
