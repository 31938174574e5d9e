"""The course of a trigger: its steps with times, and what it waits for, from what the agent's parts know. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import UNSET, UnsetType

from edgeagent.agent.facts import Surroundings, TriggerFacts
from edgeagent.agent.hangs import hang_of
from edgeagent.common.foreign import line
from edgeagent.common.plural import counted
from edgeagent.common.times import rfc3339
from edgeagent.events.event import Record
from edgeagent.outbox.records import DEAD, PARKED, UNANSWERED, WINDOWS
from edgeagent.ports.where import Course, CourseStep
from edgeagent.wire.lifecycle import GIVEN_UP, TAKEN_ON, Life
from edgeagent.wire.messages import Report, State
from edgeagent.wire.steps import earlier


def course_of(facts: TriggerFacts, around: Surroundings, now_ms: int) -> Course:
    """What a person is told of a trigger at this moment. Texts from outside are on one line, and escaped."""
    state = state_of(facts)
    life = facts.followed.life if facts.followed is not None else None
    report = life.report if life is not None else None
    record = facts.stored.record if facts.stored is not None else None
    namespace = (report.namespace if report is not None else "") or facts.of_rule.namespace
    return Course(
        facts.correlation_id,
        report.event_id if report is not None else record.id if record is not None else "",
        report.source if report is not None else record.source if record is not None else "",
        facts.rule,
        str(state),
        (report.workflow_id or None) if report is not None else None,
        namespace or None,
        [*_steps(facts, life, state)],
        hang_of(facts, around, state, now_ms),
        outputs=report.outputs if report is not None else UNSET,
        traceparent=_trace(report, record),
    )


def _trace(report: Report | None, record: Record | None) -> str | UnsetType:
    """The trace as reports have it, else the event's own."""
    if report is not None:
        return report.traceparent
    return record.traceparent or UNSET if record is not None else UNSET


def state_of(facts: TriggerFacts) -> State:
    """The state of a trigger: the ledger's, else what follows from its place in the outbox."""
    if facts.followed is not None:
        return facts.followed.life.report.state
    stored = facts.stored
    if stored is not None and (stored.log == DEAD or stored.is_doomed):
        return State.REJECTED
    if facts.flight is not None and facts.flight.is_published:
        return State.PUBLISHED
    return State.BUFFERED


def _steps(facts: TriggerFacts, life: Life | None, state: State) -> Iterator[CourseStep]:
    stored = facts.stored
    accepted_ms = life.accepted_ms if life is not None else stored.record.accepted_ms if stored is not None else 0
    yield CourseStep("accepted", rfc3339(accepted_ms))
    yield from _moves(facts)
    if life is not None:
        yield from _of_life(life)
        relayed = facts.followed
        if relayed is not None and relayed.relayed_ms and not relayed.untold:
            yield CourseStep("relayed", rfc3339(relayed.relayed_ms), "devices were told of this state")
        return
    if state is State.PUBLISHED:
        detail = None if facts.of_rule.tracks else "its rule has track = false: times and states are not kept"
        yield CourseStep("published", None, detail)


def _moves(facts: TriggerFacts) -> Iterator[CourseStep]:
    """The moves in the outbox of which the trigger's own record tells."""
    stored = facts.stored
    if stored is None or stored.moved is None:
        return
    at, moved = rfc3339(stored.moved.at_ms), stored.moved
    if stored.log == WINDOWS:
        yield CourseStep("gathered", at, f"{counted(len(stored.record.events), 'event')} in one trigger")
    elif stored.log == PARKED and moved.reason == UNANSWERED:
        yield CourseStep("parked", at, f"{UNANSWERED} after {counted(moved.attempts, 'try', 'tries')}")
    elif (stored.log == DEAD or stored.is_doomed) and facts.followed is None:
        yield CourseStep(str(State.REJECTED), at, line(moved.reason))


def _of_life(life: Life) -> Iterator[CourseStep]:
    report = life.report
    past = [*earlier(life.steps, life.accepted_ms)]
    known = {each.state for each in past} | {report.state}
    if State.PUBLISHED not in known and known & TAKEN_ON:
        yield CourseStep(str(State.PUBLISHED), None, "its time was not kept")
    # A trigger that was given up, put back and given up again ended twice; a state with several statuses began once.
    goes_on = bool(past) and past[-1].state is report.state and report.state not in GIVEN_UP
    last = past.pop() if goes_on else None
    for each in past:
        yield CourseStep(str(each.state), each.at)
    if report.state is State.BUFFERED:
        return
    detail = _detail(life)
    if last is None:
        yield CourseStep(str(report.state), report.at, detail)
        return
    again = f"last status {report.at}"
    yield CourseStep(str(last.state), last.at, f"{detail}; {again}" if detail else again)


def _detail(life: Life) -> str | None:
    report = life.report
    if report.state is State.MERGED:
        return f"it ended in trigger {report.into}"
    if report.state in GIVEN_UP:
        return line(report.error) or None
    if report.state is State.TRIGGERED:
        return f"workflow {line(report.workflow_id)}" if report.workflow_id else None
    if report.state is State.PUBLISHED:
        return "settled by the broker: the engine's answer is not waited for" if life.ends_published else None
    return ": ".join(text for text in (line(report.progress), line(report.message)) if text) or None
