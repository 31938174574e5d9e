"""The dispatcher's spans, on their way to a collector."""

from __future__ import annotations

import time
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, Final

from edgeagent.common.trace_context import trace_context
from edgeagent.config.addresses import messaging_system
from edgeagent.config.tables import Broker, TracingTable
from edgeagent.dispatcher.engine import Engine, Order
from edgeagent.dispatcher.outcome import CanaryHeard, Created, Duplicate, Invalid, NameTaken
from edgeagent.dispatcher.traces import WorkflowTraces, create_context, sampled_trace
from edgeagent.dispatcher.trigger_spans import create_span, process_span, workflow_span
from edgeagent.dispatcher.validate import Checked
from edgeagent.ports.link import Message
from edgeagent.tracing.backlog import SpanCounts
from edgeagent.tracing.collector import Collector
from edgeagent.tracing.exporter import Exporter
from edgeagent.tracing.spans import service_attributes
from edgeagent.wire.messages import Response, Status
from edgeagent.wire.topics import agent_of_trigger

# Far more than a broker sends unacknowledged. A message that is no trigger is not answered, and stays here.
_MAX_RECEIVED: Final = 4096


class DispatchTracing(WorkflowTraces):
    """With `[tracing]`: tells the spans of triggers and workflows. The `tasks` must run; made in the running loop."""

    def __init__(self, table: TracingTable, broker: Broker, instance: str) -> None:
        """Connect the parts. `instance`: this dispatcher's name in its group."""
        self._ratio = table.sample
        self._system = messaging_system(broker.addresses[0])
        self._exporter = Exporter(Collector(table), service_attributes("edgeagent-dispatch", instance))
        self._received: dict[int | str, int] = {}  # by receipt: when

    @property
    def counts(self) -> SpanCounts:
        """What became of spans since the start."""
        return self._exporter.counts

    def tasks(self) -> dict[str, Coroutine[Any, Any, None]]:
        """What must run, by name."""
        return {"tracing": self._exporter.run()}

    def traced(self, engine: Engine) -> Engine:
        """The engine, with a span for each workflow that it makes."""
        return _TracedEngine(engine, self._exporter)

    def annotation(self, traceparent: str | None, correlation_id: str) -> str:
        """See `WorkflowTraces`."""
        trace = sampled_trace(traceparent, correlation_id, self._ratio)
        return str(create_context(trace, correlation_id))

    def received(self, messages: Sequence[Message]) -> None:
        """See `WorkflowTraces`."""
        now_ms = _now_ms()
        self._received.update((message.receipt, now_ms) for message in messages if message.receipt is not None)
        while len(self._received) > _MAX_RECEIVED:
            del self._received[next(iter(self._received))]

    def answered(self, message: Message, checked: Checked, response: Response) -> None:
        """See `WorkflowTraces`. What is to be tried again is not over; canaries have no trace."""
        received_ms = self._received.pop(message.receipt, None) if message.receipt is not None else None
        if received_ms is None or response.retryable or isinstance(checked.result, CanaryHeard):
            return
        trace = sampled_trace(message.traceparent, response.correlation_id, self._ratio)
        if trace.sampled:
            agent = checked.result.agent if isinstance(checked.result, Order) else agent_of_trigger(message.topic) or ""
            span = process_span(trace, self._system, message.topic, agent, response, received_ms, _now_ms())
            self._exporter.tell([span])

    def forget(self) -> None:
        """See `WorkflowTraces`."""
        self._received.clear()

    def report(self, statuses: Iterable[Status]) -> None:
        """Statuses were published: those of workflows that have ended are told as spans."""
        if spans := [span for status in statuses if (span := workflow_span(status)) is not None]:
            self._exporter.tell(spans)


class _TracedEngine:
    """An `Engine` that tells how long another one took to make each workflow."""

    def __init__(self, engine: Engine, exporter: Exporter) -> None:
        self._engine = engine
        self._exporter = exporter

    @property
    def dry_run(self) -> bool:
        """See `Engine`."""
        return self._engine.dry_run

    async def create(self, order: Order) -> Created | Duplicate | NameTaken | Invalid:
        """See `Engine`."""
        began_ms = _now_ms()
        outcome = await self._engine.create(order)
        trace = trace_context(order.traceparent)
        if isinstance(outcome, Created) and trace is not None and trace.sampled:
            self._exporter.tell([create_span(trace, order, outcome.workflow_id, began_ms, _now_ms())])
        return outcome

    async def probe(self) -> None:
        """See `Engine`."""
        await self._engine.probe()

    async def drain(self) -> None:
        """See `Engine`."""
        await self._engine.drain()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
