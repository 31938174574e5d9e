"""Makes the parts for `[tracing]`, if it is configured: what they need costs memory, and most agents tell no spans."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeagent.agent.traces import UNSAMPLED, SampledTraces, Traces
from edgeagent.config.tables import AgentConfig, TracingTable
from edgeagent.ledger.ledger import Ledger

if TYPE_CHECKING:
    from edgeagent.agent.tracing_parts import TracingParts


def traces_of(table: TracingTable | None) -> Traces:
    """What is said of the traces of triggers."""
    return SampledTraces(table.sample) if table is not None else UNSAMPLED


def make_tracing(config: AgentConfig, agent: str, ledger: Ledger) -> TracingParts | None:
    """The parts; see `TracingParts`. None without the table."""
    if config.tracing is None:
        return None
    from edgeagent.agent.tracing_parts import TracingParts  # noqa: PLC0415  with it comes httpx

    return TracingParts(config.tracing, config.uplink, agent, ledger)
