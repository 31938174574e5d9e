"""The dispatcher's counters in Prometheus's text format 0.0.4. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from edgeagent.common.exposition import MetricFamily, MetricKind, MetricSample, build_info
from edgeagent.dispatcher.gate import GateState
from edgeagent.dispatcher.stats import DispatcherStats
from edgeagent.dispatcher.statuses import StatusesStats

if TYPE_CHECKING:
    from edgeagent.tracing.backlog import SpanCounts

PREFIX = "edgeagent_dispatch_"


class _Metric(NamedTuple):
    """`name` follows `PREFIX`; a name that ends in `_total` is a counter's, any other a gauge's."""

    name: str
    help: str


# By the names of the two Structs' fields; fields that are not here have labels.
_DISPATCHER = {
    "received": _Metric("received_total", "Messages received as triggers."),
    "unanswerable": _Metric("unanswerable_total", "Messages that are no triggers and name no sender to answer."),
    "duplicates": _Metric("duplicates_total", "Responses that say that the workflow was there already."),
    "canaries": _Metric("canaries_total", "Responses to canaries of agents that the broker took."),
    "unheard": _Metric("unheard_total", "Responses to whose topic nobody subscribed."),
    "refused": _Metric("refused_total", "Messages that the broker refused."),
    "statuses_published": _Metric("dry_run_statuses_published_total", "Statuses of a dry run that the broker took."),
    "statuses_dropped": _Metric("dry_run_statuses_dropped_total", "Statuses of a dry run that were lost."),
    "connected": _Metric("connected", "1 while there is a connection to the broker."),
    "waiting": _Metric("waiting", "Triggers that wait for the engine or for room (engine.max_active)."),
}
_STATUSES = {
    "leading": _Metric("leading", "1 while this dispatcher publishes the statuses of its group."),
    "published": _Metric("statuses_published_total", "Statuses that the broker took, each of their topics."),
    "refused": _Metric("statuses_refused_total", "Statuses that the broker refused, each of their topics."),
    "pending": _Metric("statuses_pending", "Statuses that the broker has not answered, or has refused for now."),
    "lost": _Metric("statuses_lost_total", "Statuses that the broker refused for now until they were given up."),
    "unfinished": _Metric("unfinished_workflows", "Workflows that are not known to be finished or gone."),
    "queries_answered": _Metric("queries_answered_total", "Queries for statuses that were answered."),
    "queries_dropped": _Metric("queries_dropped_total", "Queries for statuses that were too many."),
    "configmaps_applied": _Metric("configmaps_applied_total", "ConfigMaps of finished workflows that were applied."),
    "configmaps_pending": _Metric("configmaps_pending", "ConfigMaps that are still to be applied."),
    "configmaps_lost": _Metric("configmaps_lost_total", "ConfigMaps that were given up."),
}
_ANSWERED = _Metric("answered_total", "Responses that the broker took, by their code.")
_WEBHOOKS = _Metric("webhook_deliveries_total", "Statuses for webhooks, by what became of them.")
_ACTIVE = _Metric("active_workflows", "Unfinished workflows that a key of engine.max_active counts.")
_MOST = _Metric("max_active_workflows", "How many of them there may be.")
_MANAGED = _Metric("manage_requests_total", "Requests about workflows, by operation and by how they were answered.")
_SPANS = _Metric("spans_total", "Spans for a collector, by what became of them.")
_GATE = _Metric("gate", "1 for where the gate to the engine stands: triggers are taken while open or holding.")


def dispatcher_families(
    stats: DispatcherStats,
    statuses: StatusesStats | None,
    webhooks: Mapping[str, int] | None = None,
    *,
    managed: Mapping[tuple[str, str], int] | None = None,
    spans: SpanCounts | None = None,
    version: str,
    python: str,
) -> Iterator[MetricFamily]:
    """Every counter; without `statuses`, none of theirs. `webhooks`: what became of deliveries, by outcome.

    `managed`: the requests about workflows, by operation and outcome; None where none are taken. `spans`: what became
    of them; None without `[tracing]`.
    """
    yield build_info(PREFIX + "build_info", version, python)
    yield from _plain(_DISPATCHER, stats)
    yield _family(
        _ANSWERED, *(MetricSample(count, (("code", str(code)),)) for code, count in sorted(stats.answered.items()))
    )
    yield _family(_GATE, *(MetricSample(state is stats.gate, (("state", state),)) for state in GateState))
    if stats.limits:
        yield _family(_ACTIVE, *(MetricSample(use.active, (("limit", use.key),)) for use in stats.limits))
        yield _family(_MOST, *(MetricSample(use.most, (("limit", use.key),)) for use in stats.limits))
    if statuses is not None:
        yield from _plain(_STATUSES, statuses)
    if webhooks:
        yield _family(_WEBHOOKS, *(MetricSample(count, (("outcome", outcome),)) for outcome, count in webhooks.items()))
    if managed is not None:
        samples = (
            MetricSample(count, (("operation", operation), ("outcome", outcome)))
            for (operation, outcome), count in sorted(managed.items())
        )
        yield _family(_MANAGED, *samples)
    if spans is not None:
        outcomes = ("exported", spans.exported), ("dropped", spans.dropped)
        yield _family(_SPANS, *(MetricSample(count, (("outcome", outcome),)) for outcome, count in outcomes))


def _plain(metrics: Mapping[str, _Metric], values: object) -> Iterator[MetricFamily]:
    for field, metric in metrics.items():
        yield _family(metric, MetricSample(getattr(values, field)))


def _family(metric: _Metric, *samples: MetricSample) -> MetricFamily:
    kind = MetricKind.COUNTER if metric.name.endswith("_total") else MetricKind.GAUGE
    return MetricFamily(PREFIX + metric.name, kind, metric.help, samples)
