"""The spans of a trigger's life at its agent, from what the ledger knows of it. Pure.

    trigger RULE                 from the acceptance of its event to its end; belongs to the device's span
      send TOPIC                 to the broker's acknowledgement; the dispatcher's spans belong to this one
      await answer               from there to the engine's answer
      await end                  from there to the last status

A span is told when it has ended. Its id is made of the trigger's and its name, so that who tells it again, as after a
crash, tells the same one.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple

from edgeagent.agent.traces import PUBLISH
from edgeagent.common.times import instant
from edgeagent.common.trace_context import own_context, span_id, trace_context
from edgeagent.tracing.spans import Attributes, SpanKind, TraceSpan
from edgeagent.wire.lifecycle import GIVEN_UP, TAKEN_ON, Life
from edgeagent.wire.messages import State
from edgeagent.wire.steps import earlier

_ENDED_WELL: Final = frozenset({State.SUCCEEDED, State.MERGED, State.PUBLISHED})


class Destination(NamedTuple):
    """Where triggers go. `system`: the kind of broker, as OpenTelemetry names it; `template`: as configured."""

    system: str
    template: str
    topic: str


def ended_spans(before: Life | None, life: Life, destination: Destination) -> list[TraceSpan]:
    """The spans that ended with this change of a trigger's life; none if its trace is not sampled."""
    known = {span.span_id for span in _spans(before, destination)} if before is not None else set()
    return [span for span in _spans(life, destination) if span.span_id not in known]


def _spans(life: Life, destination: Destination) -> Iterator[TraceSpan]:
    report = life.report
    trace = trace_context(report.traceparent)
    if trace is None or not trace.sampled:
        return
    correlation = report.correlation_id
    own = own_context(correlation).span_id
    times = _times(life)
    accepted, published = life.accepted_ms, times.get(State.PUBLISHED)
    answered = min((times[state] for state in TAKEN_ON if state in times), default=None)
    about = _about(life)

    def child(name: str, label: str, kind: SpanKind, start: int, end: int, more: Attributes, failure: str) -> TraceSpan:
        made = span_id(correlation, name)
        return TraceSpan(trace.trace_id, made, own, label, kind, start, end, {**about, **more}, failure)

    if published is not None:
        more = _sent(destination)
        yield child(PUBLISH, f"send {destination.template}", SpanKind.PRODUCER, accepted, published, more, "")
        heard = times.get(State.REJECTED) if answered is None else answered
        if heard is not None:
            yield child(
                "answer", "await answer", SpanKind.CLIENT, published, heard, {}, _failure(life, {State.REJECTED})
            )
    if not life.final:
        return
    ended = times[report.state]
    if answered is not None and report.state in TAKEN_ON:
        yield child("end", "await end", SpanKind.INTERNAL, answered, ended, {}, _failure(life, TAKEN_ON))
    parent = trace.span_id if trace.span_id != own else ""
    failure = _failure(life, TAKEN_ON | GIVEN_UP)
    name = f"trigger {report.rule}"
    yield TraceSpan(trace.trace_id, own, parent, name, SpanKind.CONSUMER, accepted, ended, about, failure)


def _times(life: Life) -> dict[State, int]:
    """When a trigger first had each of its states, as far as that is known; Unix milliseconds."""
    known = [*earlier(life.steps, life.accepted_ms), (life.report.state, life.report.at)]
    times: dict[State, int] = {}
    for state, at in known:
        if at is not None and state not in times:
            times[state] = _ms(at, life.accepted_ms)
    return times


def _ms(at: str, accepted_ms: int) -> int:
    try:
        return round(instant(at).timestamp() * 1000)
    except (ValueError, OverflowError):  # a text from a file that something else wrote
        return accepted_ms


def _about(life: Life) -> Attributes:
    report = life.report
    return {
        "messaging.message.conversation_id": report.correlation_id,
        "edgeagent.rule": report.rule,
        "edgeagent.source": report.source,
        "edgeagent.event.id": report.event_id,
        "edgeagent.state": str(report.state),
        "edgeagent.workflow": report.workflow_id,
        "k8s.namespace.name": report.namespace,
    }


def _sent(destination: Destination) -> Attributes:
    return {
        "messaging.system": destination.system,
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": destination.topic,
        "messaging.destination.template": destination.template,
    }


def _failure(life: Life, states: AbstractSet[State]) -> str:
    """Why a span failed that ends in one of these states; "" if it did not."""
    report = life.report
    if report.state not in states or report.state in _ENDED_WELL or report.state in {State.TRIGGERED, State.RUNNING}:
        return ""
    return report.error or report.message or str(report.state)
