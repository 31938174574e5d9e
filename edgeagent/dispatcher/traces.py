"""The trace of a workflow: what its annotation says, for the steps of the workflow and for its statuses. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from edgeagent.common.trace_context import TraceContext, is_sampled, own_context, span_id, trace_context
from edgeagent.ports.link import Message
from edgeagent.wire.messages import Response

if TYPE_CHECKING:
    from edgeagent.dispatcher.validate import Checked

# The span in which a dispatcher starts the workflow: what the workflow does belongs to it.
CREATE: Final = "create"


class WorkflowTraces:
    """Without `[tracing]`: what came beside the trigger is passed on, if it says more than the correlation id does.

    The dispatcher tells it what happens to triggers, which only `DispatchTracing` makes something of.
    """

    def annotation(self, traceparent: str | None, correlation_id: str) -> str:
        """The `traceparent` for the workflow; "" for none."""
        trace = trace_context(traceparent)
        return "" if trace is None or trace == own_context(correlation_id) else str(trace)

    def received(self, messages: Sequence[Message]) -> None:
        """Triggers came."""

    def answered(self, message: Message, checked: Checked, response: Response) -> None:
        """The answer to one of them is about to be published."""

    def forget(self) -> None:
        """The connection ended: what was not answered comes again."""


def sampled_trace(traceparent: str | None, correlation_id: str, ratio: float) -> TraceContext:
    """With `[tracing]`: the trace of a trigger. One that begins here is sampled by the ratio."""
    own, given = own_context(correlation_id), trace_context(traceparent)
    if given is None or given == own:
        return msgspec.structs.replace(own, sampled=is_sampled(own.trace_id, ratio))
    return given


def create_context(trace: TraceContext, correlation_id: str) -> TraceContext:
    """With `[tracing]`: the trace in a workflow's annotation, and in it the dispatcher's span."""
    return msgspec.structs.replace(trace, span_id=span_id(correlation_id, CREATE))


PASSED_ON: Final = WorkflowTraces()
