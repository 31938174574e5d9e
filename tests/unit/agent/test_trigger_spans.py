from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from edgeagent.agent.traces import UNSAMPLED, SampledTraces
from edgeagent.agent.trigger_spans import Destination, ended_spans
from edgeagent.common.times import rfc3339
from edgeagent.common.trace_context import own_context, span_id, trace_context
from edgeagent.events.event import Record
from edgeagent.tracing.spans import TraceSpan
from edgeagent.wire import lifecycle
from edgeagent.wire.lifecycle import Life
from edgeagent.wire.messages import Report, Response, State, Status

CORRELATION = "9f2c0d1e2f3a4b5c6d7e8f9011223344"
TRACE, DEVICE = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
OWN = f"00-{TRACE}-{DEVICE}-01"
UNSAMPLED_OWN = OWN[:-2] + "00"
T0 = 1_774_004_400_000
THERE = Destination("mqtt", "argo/workflows/trigger/{agent}", "argo/workflows/trigger/gw-1")
ROOT, SEND = own_context(CORRELATION).span_id, span_id(CORRELATION, "publish")


def record(traceparent: str | None = None) -> Record:
    return Record("gw-1", "boiler-1", "e7", "event", "now", b"1", True, ("overheat",), T0, 0, traceparent=traceparent)


def at(after_ms: int) -> str:
    return rfc3339(T0 + after_ms)


def published(traceparent: str = OWN, after_ms: int = 100) -> Life:
    report = Report(
        CORRELATION,
        "e7",
        "boiler-1",
        "overheat",
        State.PUBLISHED,
        at(after_ms),
        namespace="plant",
        traceparent=traceparent,
    )
    return Life(report, T0)


def answered(life: Life, after_ms: int = 300) -> Life:
    made = lifecycle.answered(life, Response(CORRELATION, 200, workflow_id="w"), at(after_ms))
    assert made is not None
    return made


def status(life: Life, phase: str, after_ms: int, message: str = "") -> Life:
    told = msgspec.convert({"namespace": "plant", "workflowId": "w", "status": phase, "message": message}, Status)
    made = lifecycle.progressed(life, told, at(after_ms))
    assert made is not None
    return made


def told(*lives: Life) -> list[TraceSpan]:
    """What is told while a trigger's life goes through these."""
    befores: Sequence[Life | None] = (None, *lives[:-1])
    return [span for before, life in zip(befores, lives, strict=True) for span in ended_spans(before, life, THERE)]


def shown(spans: Sequence[TraceSpan]) -> list[tuple[str, int, int, str]]:
    return [(span.name, span.start_ms - T0, span.end_ms - T0, span.failure) for span in spans]


def test_a_trigger_is_told_as_it_goes_on_and_each_span_once() -> None:
    first = published()
    taken = answered(first)
    runs = status(taken, "Running", 400)
    done = status(runs, "Succeeded", 900)
    spans = told(first, taken, runs, done)
    assert shown(spans) == [
        ("send argo/workflows/trigger/{agent}", 0, 100, ""),
        ("await answer", 100, 300, ""),
        ("await end", 300, 900, ""),
        ("trigger overheat", 0, 900, ""),
    ]
    assert {span.trace_id for span in spans} == {TRACE}
    assert [(span.span_id, span.parent_id) for span in (spans[0], spans[3])] == [(SEND, ROOT), (ROOT, DEVICE)]
    assert len({span.span_id for span in spans}) == 4
    assert spans[0].attributes["messaging.destination.name"] == "argo/workflows/trigger/gw-1"
    assert spans[3].attributes["edgeagent.workflow"] == "w"


def test_a_process_that_knows_nothing_of_what_was_told_tells_the_same_spans_again() -> None:
    done = status(status(answered(published()), "Running", 400), "Succeeded", 900)
    assert {span.span_id for span in told(done)} == {
        span.span_id for span in told(published(), answered(published()), done)
    }


def test_a_trace_that_begins_at_the_agent_has_no_parent_and_the_correlation_id() -> None:
    traces = SampledTraces(1.0)
    traceparent = traces.told(record(), CORRELATION)
    assert isinstance(traceparent, str)
    (root,) = [
        span for span in told(status(published(traceparent), "Succeeded", 900)) if span.name.startswith("trigger")
    ]
    assert (root.trace_id, root.span_id, root.parent_id) == (CORRELATION, ROOT, "")


@pytest.mark.parametrize("traceparent", [UNSAMPLED_OWN, "", "00-bad"])
def test_what_is_not_sampled_is_not_told(traceparent: str) -> None:
    assert told(published(traceparent), status(published(traceparent), "Succeeded", 900)) == []
    assert told(Life(msgspec.structs.replace(published().report, traceparent=msgspec.UNSET), T0)) == []


def test_a_failed_workflow_and_a_trigger_that_was_given_up_say_why() -> None:
    failed = status(answered(published()), "Failed", 900, "exit code 3")
    assert [(span.name, span.failure) for span in told(published(), answered(published()), failed)][-2:] == [
        ("await end", "exit code 3"),
        ("trigger overheat", "exit code 3"),
    ]
    rejected = lifecycle.given_up(published(), State.REJECTED, "template not found", at(500))
    assert rejected is not None
    assert shown(told(published(), rejected))[1:] == [
        ("await answer", 100, 500, "template not found"),
        ("trigger overheat", 0, 500, "template not found"),
    ]
    expired = Life(msgspec.structs.replace(published().report, state=State.EXPIRED, error="older than its ttl"), T0)
    assert shown(told(expired)) == [("trigger overheat", 0, 100, "older than its ttl")]


def test_with_the_broker_as_the_end_a_published_trigger_is_over() -> None:
    life = msgspec.structs.replace(published(), ends_published=True)
    assert shown(told(life)) == [
        ("send argo/workflows/trigger/{agent}", 0, 100, ""),
        ("trigger overheat", 0, 100, ""),
    ]


def test_a_late_success_of_a_trigger_that_was_given_up_does_not_tell_its_end_twice() -> None:
    lost = lifecycle.unknown(answered(published()), "nothing was heard", at(5000))
    assert lost is not None
    spans = told(published(), answered(published()), lost, status(lost, "Succeeded", 9000))
    assert [span.name for span in spans].count("trigger overheat") == 1
    assert spans[-1].name == "await end"


def test_without_tracing_an_events_trace_goes_on_as_it_is() -> None:
    assert UNSAMPLED.sent(record(OWN), CORRELATION) == OWN
    assert UNSAMPLED.told(record(OWN), CORRELATION) == OWN
    assert UNSAMPLED.sent(record(), CORRELATION) == f"00-{CORRELATION}-{ROOT}-01"
    assert UNSAMPLED.told(record(), CORRELATION) is msgspec.UNSET


def test_with_tracing_the_trigger_belongs_to_the_agents_span_and_a_retry_to_the_same() -> None:
    traces = SampledTraces(1.0)
    assert traces.sent(record(OWN), CORRELATION) == f"00-{TRACE}-{SEND}-01" == traces.sent(record(OWN), CORRELATION)
    assert traces.sent(record(UNSAMPLED_OWN), CORRELATION) == f"00-{TRACE}-{SEND}-00"
    assert traces.sent(record(), CORRELATION) == f"00-{CORRELATION}-{SEND}-01"
    unsampled = trace_context(SampledTraces(0.0).sent(record(), CORRELATION))
    assert unsampled is not None
    assert not unsampled.sampled
    assert SampledTraces(0.0).sent(record(OWN), CORRELATION).endswith("-01"), "the flag of an event's own trace counts"
