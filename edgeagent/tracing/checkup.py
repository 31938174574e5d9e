"""The check of `edgeagent doctor` on the collector of `[tracing]`: a request without spans."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from edgeagent.common.finding import Finding, fail, ok, warn
from edgeagent.config.tables import TracingTable
from edgeagent.errors import CollectorFailed
from edgeagent.tracing.collector import Collector, CollectorTimes
from edgeagent.tracing.spans import request_body

_TIMES: Final = CollectorTimes(connect_s=2.0, answer_s=5.0, total_s=10.0)
_SUCCESS: Final = 2


async def collector_findings(table: TracingTable, times: CollectorTimes = _TIMES) -> AsyncIterator[Finding]:
    """A finding about the collector. One that is away is no failure: nothing but spans waits for it."""
    collector = Collector(table, times)
    subject = f"tracing {collector.shown}"
    try:
        answer = await collector.post(request_body({}, []))
    except CollectorFailed as exc:
        yield warn(subject, exc.reason, "start the collector, or correct tracing.endpoint; only spans wait meanwhile")
    else:
        if answer.status // 100 == _SUCCESS:
            yield ok(subject, "takes spans")
        else:
            remedy = "name a collector that takes OTLP/HTTP in JSON, and what it asks for in tracing.headers_file"
            yield fail(subject, f"answers {answer.status}: {answer.text}", remedy)
    finally:
        await collector.aclose()
