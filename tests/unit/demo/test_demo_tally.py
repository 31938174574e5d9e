from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edgeagent.demo.series import Reading
from edgeagent.demo.tally import RESPONSES, STATUSES, TRIGGERS, DemoTally, promised_for
from edgeagent.errors import MessageError
from edgeagent.ports.account import Account, EventCounts
from edgeagent.rules.trigger import correlation_id

EVENTS = EventCounts(received=2, stored=1, filtered=1)
ACCOUNT = Account(
    accepted=1,
    imported=0,
    settled=1,
    pending=0,
    dead=0,
    discarded=0,
    expired=0,
    dropped=0,
    merged=0,
    exported=0,
    damaged=0,
)


def hear(tally: DemoTally, topic: str, *, dup: bool = False, **members: Any) -> None:
    tally.heard(topic, msgspec.json.encode(members), None, duplicate=dup)


def hear_trigger(tally: DemoTally, correlation_id: str = "c1", *, dup: bool = False) -> None:
    hear(tally, TRIGGERS, namespace="water", workflow={}, correlation_id=correlation_id, dup=dup)


def hear_response(tally: DemoTally, *, duplicate: bool, dup: bool = False) -> None:
    hear(tally, RESPONSES, correlation_id="c1", code=200, workflowId="leak-c1", duplicate=duplicate, dup=dup)


def hear_status(tally: DemoTally, status: str, started_at: str | None = None) -> None:
    hear(
        tally,
        STATUSES,
        namespace="water",
        workflowId="leak-c1",
        status=status,
        correlation_id="c1",
        startedAt=started_at,
    )


@pytest.fixture
def done() -> DemoTally:
    """One event of interest and one of none, and the whole life of the workflow that was promised."""
    tally = DemoTally()
    tally.accepted([])
    tally.accepted(["c1"])
    hear_trigger(tally)
    hear_response(tally, duplicate=False)
    hear_status(tally, "Pending")
    hear_status(tally, "Running", "2022-03-24T09:00:00Z")
    hear_status(tally, "Succeeded", "2022-03-24T09:00:00Z")
    return tally


def problems(tally: DemoTally, account: Account = ACCOUNT, events: EventCounts = EVENTS) -> list[str]:
    return list(tally.problems(events, account, {"c1"}))


def test_kept_promises_are_no_problem(done: DemoTally) -> None:
    assert problems(done) == []
    assert (done.events, done.filtered, done.sent, done.started, done.lost, done.doubled) == (2, 1, 1, 1, 0, 0)


def test_a_promise_whose_workflow_never_succeeded_is_lost(done: DemoTally) -> None:
    done.accepted(["c2"])
    hear_trigger(done, "c2")
    assert done.lost == 1
    assert problems(done)[0] == "1 of 2 workflows that were promised have not succeeded"


def test_a_second_creation_is_doubled(done: DemoTally) -> None:
    hear_response(done, duplicate=False)
    assert done.doubled == 1
    assert problems(done) == ["1 workflows were started twice"]


def test_a_second_beginning_is_doubled(done: DemoTally) -> None:
    hear_status(done, "Pending")
    assert done.doubled == 1


def test_a_second_run_is_doubled(done: DemoTally) -> None:
    hear_status(done, "Succeeded", "2022-03-24T09:00:07Z")
    assert done.doubled == 1


def test_a_trigger_that_was_sent_again_and_recognised_is_not_doubled(done: DemoTally) -> None:
    hear_trigger(done)
    hear_response(done, duplicate=True)
    assert (done.sent, done.sent_again, done.answers, done.known_before, done.doubled) == (1, 1, 2, 1, 0)


def test_a_redelivery_by_the_broker_is_no_second_message(done: DemoTally) -> None:
    hear_trigger(done, dup=True)
    hear_response(done, duplicate=False, dup=True)
    assert (done.sent_again, done.doubled) == (0, 0)


def test_a_workflow_that_nobody_was_promised_is_a_problem(done: DemoTally) -> None:
    hear_trigger(done, "c9")
    assert problems(done) == ["1 workflows were requested that no event was promised"]


def test_an_agent_that_does_not_tell_of_the_success_is_a_problem(done: DemoTally) -> None:
    assert list(done.problems(EVENTS, ACCOUNT, set())) == [
        "the agent does not report to the sensor that 1 workflows succeeded"
    ]


def test_an_account_that_does_not_add_up_or_has_other_figures_is_a_problem(done: DemoTally) -> None:
    assert "imported = 1 is not" in problems(done, msgspec.structs.replace(ACCOUNT, settled=0))[0]
    assert "settled 0 of 1" in problems(done, msgspec.structs.replace(ACCOUNT, settled=0, dead=1))[0]
    assert "received 3 is not" in problems(done, events=EventCounts(received=3, stored=1, filtered=1))[0]
    assert problems(done, events=EventCounts(received=1, stored=1)) == ["the agent counts 1 events, and acknowledged 2"]


def test_waiting_are_the_promises_without_a_workflow(done: DemoTally) -> None:
    done.accepted(["c2"])
    assert done.waiting == 1
    hear(done, RESPONSES, correlation_id="c2", code=503, error="unreachable")
    assert done.waiting == 1


def test_a_malformed_message_is_an_error(done: DemoTally) -> None:
    with pytest.raises(MessageError, match="workflow"):
        hear(done, TRIGGERS, namespace="water")


def test_a_reading_of_a_loss_promises_the_workflow_that_its_event_and_the_rule_name_and_no_other_does() -> None:
    loss, usual = Reading("2022-03-29T09:00:00+02:00", 24.27), Reading("2022-03-29T10:00:00+02:00", 102.0)
    assert promised_for(loss) == [correlation_id("demo", "water-main/branch-1", loss.time, "leak")]
    assert promised_for(usual) == []
