"""What the agent says of the traces of its triggers: beside the trigger message, and in reports. Pure."""

from __future__ import annotations

from typing import Final

from msgspec import UNSET, UnsetType

from edgeagent.common.trace_context import TraceContext, is_sampled, own_context, span_id, trace_context
from edgeagent.events.event import Record
from edgeagent.rules.trigger import traceparent

# The span in which the agent brings a trigger to the broker: what the engine's side does belongs to it.
PUBLISH: Final = "publish"


class Traces:
    """Without `[tracing]`: an event's own trace is passed on as it came; the others have one in the trigger only."""

    # The `traceparent` beside the trigger message (contract section 3); without a method in between, for each trigger.
    sent = staticmethod(traceparent)

    def told(self, event: Record, correlation: str) -> str | UnsetType:  # noqa: ARG002  `SampledTraces` needs it
        """The `traceparent` in reports about the trigger; none if its event has none."""
        return event.traceparent or UNSET


class SampledTraces(Traces):
    """With `[tracing]`: every trigger has a trace, the event's or its own, and the agent has spans in it.

    Whether they are told, an event with a trace decides by the flag in it, for all others the ratio does.
    """

    def __init__(self, ratio: float) -> None:
        """`ratio`: which part of the traces that begin here is sampled, 0 to 1."""
        self._ratio = ratio

    def sent(self, event: Record, correlation: str) -> str:
        """As `Traces.sent`: the same trace, and in it the agent's span."""
        trace = self._trace(event, correlation)
        return str(TraceContext(trace.trace_id, span_id(correlation, PUBLISH), trace.sampled))

    def told(self, event: Record, correlation: str) -> str | UnsetType:
        """As `Traces.told`: the event's own, else the agent's."""
        return event.traceparent or str(self._trace(event, correlation))

    def _trace(self, event: Record, correlation: str) -> TraceContext:
        return trace_context(event.traceparent) or own_context(
            correlation, sampled=is_sampled(correlation, self._ratio)
        )


UNSAMPLED: Final = Traces()
