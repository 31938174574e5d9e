from __future__ import annotations

from typing import Any

import msgspec

from edgeagent.argo.wire import Workflow
from edgeagent.common.trace_context import own_context, span_id, trace_context
from edgeagent.dispatcher.engine import Order
from edgeagent.dispatcher.progress import status_of
from edgeagent.dispatcher.traces import PASSED_ON, create_context, sampled_trace
from edgeagent.dispatcher.trigger_spans import create_span, process_span, workflow_span
from edgeagent.dispatcher.validate import check
from edgeagent.ports.link import Message
from edgeagent.wire.messages import Response

CORRELATION = "9f2c0d1e2f3a4b5c6d7e8f9011223344"
TRACE, AGENTS_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{AGENTS_SPAN}-01"
ANNOTATION = "edgeagent.io/traceparent"
TOPIC = "argo/workflows/trigger/gw-1"


def order_of(traceparent: str | None, annotations: dict[str, str] | None = None) -> Order:
    """What is made of a trigger that came with this beside it."""
    metadata: dict[str, Any] = {"name": "w", "namespace": "plant"}
    if annotations is not None:
        metadata["annotations"] = annotations
    trigger = {
        "namespace": "plant",
        "correlation_id": CORRELATION,
        "agent": "gw-1",
        "workflow": {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "metadata": metadata,
            "spec": {"workflowTemplateRef": {"name": "inspect"}},
        },
    }
    result = check(Message(TOPIC, msgspec.json.encode(trigger), traceparent=traceparent), bind_agent=True).result
    assert isinstance(result, Order), result
    return result


def annotation_of(order: Order) -> str | None:
    found: str | None = (order.workflow["metadata"].get("annotations") or {}).get(ANNOTATION)
    return found


def test_a_trace_beside_a_trigger_becomes_an_annotation_of_its_workflow_beside_the_others() -> None:
    order = order_of(TRACEPARENT, {"edgeagent.io/source": "boiler-1", ANNOTATION: "of the sender"})
    assert order.workflow["metadata"]["annotations"] == {"edgeagent.io/source": "boiler-1", ANNOTATION: TRACEPARENT}
    assert order.traceparent == TRACEPARENT


def test_a_trace_that_only_repeats_the_correlation_id_and_a_malformed_one_leave_the_workflow_as_it_is() -> None:
    for nothing in (None, "", "00-bad", str(own_context(CORRELATION))):
        assert annotation_of(order_of(nothing)) is None
        assert order_of(nothing).traceparent == ""


def test_with_tracing_a_workflow_belongs_to_the_span_that_made_it() -> None:
    trace = sampled_trace(TRACEPARENT, CORRELATION, 0.0)
    assert str(create_context(trace, CORRELATION)) == f"00-{TRACE}-{span_id(CORRELATION, 'create')}-01"
    own = sampled_trace(str(own_context(CORRELATION)), CORRELATION, 0.0)
    assert (own.trace_id, own.sampled) == (CORRELATION, False), "an agent that tells no spans leaves it to the ratio"
    assert sampled_trace(None, "order-17", 1.0) == own_context("order-17")
    assert PASSED_ON.annotation(TRACEPARENT, CORRELATION) == TRACEPARENT


def test_the_spans_of_a_trigger_belong_to_each_other() -> None:
    trace = sampled_trace(TRACEPARENT, CORRELATION, 1.0)
    answer = Response(CORRELATION, 200, workflow_id="w", namespace="plant", duplicate=False)
    process = process_span(trace, "mqtt", TOPIC, "gw-1", answer, 1000, 1500)
    assert (process.name, process.parent_id, process.failure) == (f"process {TOPIC[:-4]}{{agent}}", AGENTS_SPAN, "")
    order = order_of(TRACEPARENT)
    create = create_span(create_context(trace, CORRELATION), order, "w", 1100, 1400)
    assert (create.span_id, create.parent_id) == (span_id(CORRELATION, "create"), process.span_id)
    first = process_span(own_context(CORRELATION), "mqtt", TOPIC, "gw-1", answer, 1000, 1500)
    assert first.parent_id == "", "nobody told the span that it would belong to"
    refused = Response(CORRELATION, 400, error="Invalid workflow definition", detail="spec is required")
    failed = process_span(trace, "mqtt", TOPIC, "gw-1", refused, 1000, 1500)
    assert failed.failure == "Invalid workflow definition: spec is required"


def workflow(phase: str, **state: Any) -> Workflow:
    metadata = {"name": "w", "annotations": {ANNOTATION: TRACEPARENT, "edgeagent.io/outputs": "a"}}
    return msgspec.convert({"metadata": metadata, "status": {"phase": phase, **state}}, Workflow)


def test_a_status_has_the_trace_of_its_workflow_and_a_malformed_one_is_left_out() -> None:
    status = status_of("plant", workflow("Running", startedAt="2026-03-20T12:00:00Z"))
    assert status is not None
    assert status.traceparent == TRACEPARENT
    assert b'"traceparent":"00-' in msgspec.json.encode(status)
    malformed = msgspec.convert({"metadata": {"name": "w", "annotations": {ANNOTATION: "x" * 300}}}, Workflow)
    status = status_of("plant", malformed)
    assert status is not None
    assert b"traceparent" not in msgspec.json.encode(status)


def test_a_workflow_that_has_ended_is_a_span_and_each_retry_another() -> None:
    times = {"startedAt": "2026-03-20T12:00:00Z", "finishedAt": "2026-03-20T12:01:00Z"}
    runs = []
    for state in (times, {**times, "startedAt": "2026-03-20T12:00:30Z"}):
        status = status_of("plant", workflow("Failed", message="exit code 3", **state))
        assert status is not None
        span = workflow_span(status)
        assert span is not None
        runs.append(span)
    assert [run.end_ms - run.start_ms for run in runs] == [60_000, 30_000]
    assert runs[0].span_id != runs[1].span_id
    assert (runs[0].parent_id, runs[0].failure) == (AGENTS_SPAN, "exit code 3")


def test_a_workflow_that_goes_on_or_is_not_sampled_or_has_no_times_is_no_span() -> None:
    running = status_of("plant", workflow("Running", startedAt="2026-03-20T12:00:00Z"))
    ended = status_of("plant", workflow("Succeeded", startedAt="2026-03-20T12:00:00Z", finishedAt="now"))
    assert running is not None
    assert ended is not None
    unsampled = msgspec.structs.replace(ended, finished_at=ended.started_at, traceparent=TRACEPARENT[:-2] + "00")
    for status in (running, ended, unsampled, msgspec.structs.replace(unsampled, traceparent="")):
        assert workflow_span(status) is None
    assert trace_context(TRACEPARENT) is not None
