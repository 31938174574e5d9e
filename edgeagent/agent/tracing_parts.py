"""The agent's spans, on their way to a collector."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from edgeagent.agent.trigger_spans import Destination, ended_spans
from edgeagent.config.addresses import messaging_system
from edgeagent.config.tables import TracingTable, Uplink
from edgeagent.ledger.ledger import Ledger
from edgeagent.tracing.backlog import SpanCounts
from edgeagent.tracing.collector import Collector
from edgeagent.tracing.exporter import Exporter
from edgeagent.tracing.spans import service_attributes
from edgeagent.wire.lifecycle import Life
from edgeagent.wire.topics import with_agent


class TracingParts:
    """Tells the spans of triggers; the `tasks` must run. Must be made in the running loop."""

    def __init__(self, table: TracingTable, uplink: Uplink, agent: str, ledger: Ledger) -> None:
        """Connect the parts. `agent`: its id."""
        template = uplink.trigger_topic
        self._destination = Destination(messaging_system(uplink.addresses[0]), template, with_agent(template, agent))
        self._exporter = Exporter(Collector(table), service_attributes("edgeagent", agent))
        ledger.observe(self._changed)

    @property
    def counts(self) -> SpanCounts:
        """What became of spans since the start."""
        return self._exporter.counts

    def tasks(self) -> dict[str, Coroutine[Any, Any, None]]:
        """What must run, by name."""
        return {"tracing": self._exporter.run()}

    def stats(self) -> dict[str, Any]:
        """Figures for `/v1/stats`, ready for JSON."""
        return self._exporter.stats()

    def _changed(self, before: Life | None, life: Life) -> None:
        if spans := ended_spans(before, life, self._destination):
            self._exporter.tell(spans)
