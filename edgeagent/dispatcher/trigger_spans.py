"""The spans of a trigger at its dispatcher. Pure.

process TOPIC                from its arrival to its answer; belongs to the span in which the agent sent it
create workflow            the engine's part of that
workflow                 from its start to its end, told by the leader; belongs to what its annotation says
"""

from __future__ import annotations

from typing import Final

from edgeagent.common.times import instant
from edgeagent.common.trace_context import TraceContext, own_context, span_id, trace_context
from edgeagent.dispatcher.engine import Order
from edgeagent.dispatcher.progress import FINAL
from edgeagent.dispatcher.traces import CREATE
from edgeagent.tracing.spans import SpanKind, TraceSpan
from edgeagent.wire.messages import Response, Status
from edgeagent.wire.topics import AGENTS_TRIGGER, agent_of_trigger

_SUCCESS: Final = 200
_PROCESS: Final = "process"


def process_span(
    trace: TraceContext, system: str, topic: str, agent: str, response: Response, received_ms: int, now_ms: int
) -> TraceSpan:
    """The span of an answered trigger. `trace`: what came beside it. `system`: the kind of broker."""
    correlation = response.correlation_id
    template = AGENTS_TRIGGER if agent_of_trigger(topic) is not None else topic
    is_first = trace.span_id == own_context(correlation).span_id  # nobody told the span that it would belong to
    about: dict[str, str | int] = {
        "messaging.system": system,
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": topic,
        "messaging.destination.template": template,
        "messaging.message.conversation_id": correlation,
        "edgeagent.agent": agent,
        "edgeagent.code": response.code,
        "edgeagent.duplicate": int(response.duplicate or False),
        "edgeagent.workflow": response.workflow_id,
        "k8s.namespace.name": response.namespace,
    }
    failure = "" if response.code == _SUCCESS else f"{response.error}: {response.detail}"
    made, parent = span_id(correlation, _PROCESS), "" if is_first else trace.span_id
    return TraceSpan(
        trace.trace_id, made, parent, f"process {template}", SpanKind.CONSUMER, received_ms, now_ms, about, failure
    )


def create_span(trace: TraceContext, order: Order, workflow_id: str, began_ms: int, now_ms: int) -> TraceSpan:
    """The span in which the engine made a workflow. `trace`: of its annotation."""
    about = {"edgeagent.workflow": workflow_id, "k8s.namespace.name": order.namespace, "edgeagent.agent": order.agent}
    parent = span_id(order.correlation_id, _PROCESS)
    made = span_id(order.correlation_id, CREATE)
    return TraceSpan(trace.trace_id, made, parent, "create workflow", SpanKind.CLIENT, began_ms, now_ms, about)


def workflow_span(status: Status) -> TraceSpan | None:
    """The span of a run of a workflow; None if it has not ended, its times are not known, or it is not sampled."""
    trace = trace_context(status.traceparent)
    if trace is None or not trace.sampled or status.status not in FINAL:
        return None
    began_ms, ended_ms = _ms(status.started_at), _ms(status.finished_at)
    if began_ms is None or ended_ms is None:
        return None
    about = {
        "edgeagent.workflow": status.workflow_id,
        "k8s.namespace.name": status.namespace,
        "edgeagent.agent": status.agent,
        "messaging.message.conversation_id": status.correlation_id,
        "edgeagent.state": status.status.lower(),
    }
    failure = "" if status.status == "Succeeded" else status.message or status.status
    made = span_id(f"{status.namespace}/{status.workflow_id}", f"run {status.started_at}")  # `argo retry` is another
    return TraceSpan(
        trace.trace_id, made, trace.span_id, "workflow", SpanKind.INTERNAL, began_ms, ended_ms, about, failure
    )


def _ms(text: str | None) -> int | None:
    try:
        return round(instant(text).timestamp() * 1000) if text else None
    except (ValueError, OverflowError):
        return None
