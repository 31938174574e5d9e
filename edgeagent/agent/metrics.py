"""The agent's metrics, from its figures: names, types, and what each means (docs/metrics.md). Pure.

Everything is counted elsewhere. No label has more values than a configuration has rules, and of those it names
`MAX_RULES`: never a source, an event's id or a correlation id.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from edgeagent.agent.counts import RuleCounts
from edgeagent.common.certificate_ends import Ends
from edgeagent.common.exposition import MetricFamily, MetricSample, build_info, counter, gauge, histogram
from edgeagent.common.histogram import Histogram
from edgeagent.common.times import instant
from edgeagent.outbox.commit import Health
from edgeagent.ports.account import EventCounts, EventWay

if TYPE_CHECKING:
    from edgeagent.agent.canary import CanaryReport
    from edgeagent.listener.server import ListenerFigures
    from edgeagent.ports.manage import ManageFigures
    from edgeagent.tracing.backlog import SpanCounts

MAX_RULES: Final = 100
# Stands for all rules beyond the first `MAX_RULES`, and for one that is called so.
OTHER_RULES: Final = "other"
_EVENT_OUTCOMES = ("stored", "duplicate", "filtered", "throttled", "refused", "conflict")
_TRIGGER_OUTCOMES = (
    *("accepted", "imported", "settled", "discarded", "expired", "dropped", "merged", "exported", "damaged"),
)
_RULE_OUTCOMES = (
    *("matched", "throttled", "disarmed", "errors", "gathered", "merged", "published", "settled", "dead", "expired"),
)


class LinkFigures(msgspec.Struct, frozen=True):
    """A link to a broker.

    `last_ack_s`: when it last took a trigger (Unix seconds), 0 if it never did; None for a link without triggers.
    """

    is_up: bool
    connects: int
    last_ack_s: float | None = None


class UploadFigures(msgspec.Struct, frozen=True):
    """Uploads of large data: how many are in each state, what waits, and what was done since the start."""

    states: Mapping[str, int]
    waiting_bytes: int
    uploaded_bytes: int
    failures: int


class AgentFigures(msgspec.Struct, frozen=True):
    """What the agent's metrics are made from; times are Unix seconds.

    Attributes:
        agent: its id.
        version: the agent's.
        python: Python's version.
        events: what became of them since the start, by the way in which they came.
        health: the state of the outbox.
        in_flight: how many triggers are in flight.
        unanswered: how many of those wait for the engine.
        gathering: how many are in windows of their rules, which have not closed or are not synced yet.
        oldest_s: when the oldest trigger that waits was accepted; None: there is none, or the disk did not say in time.
        headroom_s: how long until the outbox is full; None while it does not grow.
        syncs: how long syncs took.
        written_bytes: what was written to the outbox.
        answers: how long answers took.
        links: by name.
        ends: until when certificates are valid, by the name of the link, or `listener`.
        rules: what each rule did.
        listener: the agent's own MQTT listener; None without one.
        canary: what is known by canaries; None if none are sent.
        webhooks: how many deliveries to webhooks ended in which way; None where none is configured.
        spans: what became of them; None without `[tracing]`.
        uploads: of large data; None without `[artifacts]`.
        spool: how many files of large data wait on disk, and the bytes that they count for; None without a spool.
        managed: the requests about workflows; None of an agent that has made none.
    """

    agent: str
    version: str
    python: str
    events: Mapping[EventWay, EventCounts]
    health: Health
    in_flight: int
    unanswered: int
    gathering: int
    oldest_s: float | None
    headroom_s: float | None
    syncs: Histogram
    written_bytes: int
    answers: Histogram
    links: Mapping[str, LinkFigures]
    ends: Mapping[str, Ends]
    rules: Mapping[str, RuleCounts]
    listener: ListenerFigures | None
    canary: CanaryReport | None
    webhooks: Mapping[str, int] | None
    spans: SpanCounts | None
    uploads: UploadFigures | None
    spool: tuple[int, int] | None
    managed: ManageFigures | None


def agent_families(figures: AgentFigures) -> Iterator[MetricFamily]:
    """Every metric of the agent but those of its process."""
    yield build_info("edgeagent_build_info", figures.version, figures.python, ("agent", figures.agent))
    yield from _events_and_triggers(figures)
    yield from _outbox(figures)
    yield from _links(figures.links, figures.ends)
    yield histogram(
        "edgeagent_answer_seconds",
        "From sending a trigger to the engine's answer, in seconds.",
        figures.answers,
    )
    yield counter("edgeagent_rule_triggers_total", "What rules did with events and triggers.", *_rules(figures.rules))
    if figures.canary is not None:
        yield from _canary(figures.canary)
    if figures.webhooks is not None:
        yield counter(
            "edgeagent_webhook_deliveries_total",
            "Deliveries of reports to webhooks, by how they ended.",
            *_by("outcome", figures.webhooks),
        )
    if figures.spans is not None:
        spans = {"exported": figures.spans.exported, "dropped": figures.spans.dropped}
        yield counter("edgeagent_spans_total", "Spans for a collector, by what became of them.", *_by("outcome", spans))
    if figures.managed is not None:
        yield from _managed(figures.managed)
    if figures.spool is not None:
        files, used_bytes = figures.spool
        yield gauge("edgeagent_spool_files", "Files of large data in the spool.", MetricSample(files))
        yield gauge("edgeagent_spool_bytes", "What the spool takes of the outbox's limit.", MetricSample(used_bytes))
    if figures.uploads is not None:
        yield from _uploads(figures.uploads)
    if figures.listener is not None:
        yield from _listener(figures.listener)


def _events_and_triggers(figures: AgentFigures) -> Iterator[MetricFamily]:
    account = figures.health.account
    yield counter(
        "edgeagent_events_total",
        "Events since the start, by what became of them and how they came.",
        *(
            MetricSample(getattr(counts, outcome), (("outcome", outcome), ("via", way)))
            for way, counts in figures.events.items()
            for outcome in _EVENT_OUTCOMES
        ),
    )
    yield counter(
        "edgeagent_triggers_total",
        "Triggers since the outbox was made, by how they came or ended.",
        *_by("outcome", {outcome: getattr(account, outcome) for outcome in _TRIGGER_OUTCOMES}),
    )
    states = {
        "pending": account.pending,
        "parked": figures.health.parked,
        "in_flight": figures.in_flight,
        "unanswered": figures.unanswered,
        "gathering": figures.gathering,
        "dead": account.dead,
    }
    yield gauge("edgeagent_triggers", "Triggers on disk now, by state.", *_by("state", states))
    yield gauge(
        "edgeagent_account_balanced",
        "1 while the account of triggers adds up.",
        MetricSample(not [*account.problems()]),
    )


def _outbox(figures: AgentFigures) -> Iterator[MetricFamily]:
    health = figures.health
    yield gauge("edgeagent_outbox_bytes", "What the outbox takes on disk.", MetricSample(health.used_bytes))
    yield gauge("edgeagent_outbox_limit_bytes", "outbox.max_bytes.", MetricSample(health.max_bytes))
    yield gauge(
        "edgeagent_outbox_oldest_timestamp_seconds",
        "When the oldest trigger that waits was accepted; absent while none waits.",
        *_known(figures.oldest_s),
    )
    yield gauge(
        "edgeagent_outbox_headroom_seconds",
        "How long until the outbox is full, at the rate of the last hour; absent while it does not grow.",
        *_known(figures.headroom_s),
    )
    yield counter(
        "edgeagent_outbox_written_bytes_total",
        "Bytes written to the outbox's files.",
        MetricSample(figures.written_bytes),
    )
    yield gauge(
        "edgeagent_outbox_failing",
        "1 while the disk refuses, and no event is acknowledged.",
        MetricSample(bool(health.failure)),
    )
    yield histogram("edgeagent_outbox_sync_seconds", "How long a sync of the outbox took.", figures.syncs)


def _links(links: Mapping[str, LinkFigures], ends: Mapping[str, Ends]) -> Iterator[MetricFamily]:
    yield gauge(
        "edgeagent_link_up",
        "1 while there is a connection to the broker.",
        *_by("link", {name: link.is_up for name, link in links.items()}),
    )
    yield counter(
        "edgeagent_link_connects_total",
        "Connections made to the broker since the start.",
        *_by("link", {name: link.connects for name, link in links.items()}),
    )
    yield gauge(
        "edgeagent_link_last_ack_timestamp_seconds",
        "When the broker last took a trigger for which it has a subscriber; 0 if it has not since the start.",
        *_by("link", {name: link.last_ack_s for name, link in links.items() if link.last_ack_s is not None}),
    )
    known = [
        (link, kind, end)
        for link, both in ends.items()
        for kind, end in (("own", both.own), ("authority", both.authority))
        if end is not None
    ]
    if known:
        yield gauge(
            "edgeagent_certificate_expiry_timestamp_seconds",
            "When a certificate in use ends.",
            *(MetricSample(end.timestamp(), (("link", link), ("certificate", kind))) for link, kind, end in known),
        )


def _canary(report: CanaryReport) -> Iterator[MetricFamily]:
    is_known = bool(report.problem) or report.answered is not None
    yield gauge(
        "edgeagent_canary_answered",
        "1 while canaries get through to a dispatcher and back; absent until that is known.",
        *_known((not report.problem) if is_known else None),
    )
    yield gauge(
        "edgeagent_canary_last_answer_timestamp_seconds",
        "When a canary was last answered; 0 if none was since the start.",
        MetricSample(instant(report.answered).timestamp() if report.answered is not None else 0),
    )
    yield gauge(
        "edgeagent_canary_round_trip_seconds",
        "How long the last canary that was answered took, in seconds.",
        *_known(report.round_trip_s),
    )


def _managed(figures: ManageFigures) -> Iterator[MetricFamily]:
    yield counter(
        "edgeagent_manage_requests_total",
        "Requests about workflows, by operation and by what became of them.",
        *(
            MetricSample(count, (("operation", operation), ("outcome", outcome)))
            for (operation, outcome), count in sorted(figures.counts.items())
        ),
    )
    yield gauge(
        "edgeagent_manage_requests_waiting",
        "Requests about workflows that have no answer yet.",
        MetricSample(figures.waiting),
    )


def _rules(rules: Mapping[str, RuleCounts]) -> Iterator[MetricSample]:
    """A set of samples for each of the first rules, and one for all others.

    The counts of a rule that left the configuration stay, in their place. So a rule has the same label for as long as
    the agent runs, and no counter falls.
    """
    named = [name for name in rules if name != OTHER_RULES][:MAX_RULES]
    for name in named:
        for outcome in _RULE_OUTCOMES:
            yield MetricSample(getattr(rules[name], outcome), (("rule", name), ("outcome", outcome)))
    others = [counts for name, counts in rules.items() if name not in set(named)]
    if others:
        for outcome in _RULE_OUTCOMES:
            total = sum(getattr(counts, outcome) for counts in others)
            yield MetricSample(total, (("rule", OTHER_RULES), ("outcome", outcome)))


def _listener(figures: ListenerFigures) -> Iterator[MetricFamily]:
    yield gauge(
        "edgeagent_listener_devices", "Devices that are connected to the listener.", MetricSample(figures.devices)
    )
    yield gauge(
        "edgeagent_listener_sessions", "Sessions of devices, with those that are away.", MetricSample(figures.sessions)
    )
    yield counter("edgeagent_listener_connects_total", "Devices that were let in.", MetricSample(figures.connects))
    yield counter(
        "edgeagent_listener_refused_total",
        "Connections that were refused, by reason.",
        *_by("reason", {"too_many_connections": figures.crowded_out, **figures.refusals}),
    )
    broker = figures.broker
    messages = {
        "received": figures.messages,
        "sent": broker.sent,
        "dropped": broker.dropped,
        "unkept": broker.unkept,
    }
    yield counter("edgeagent_listener_messages_total", "Messages of and for devices.", *_by("outcome", messages))
    yield gauge("edgeagent_listener_queued_bytes", "What waits for devices.", MetricSample(figures.queued_bytes))
    yield gauge("edgeagent_listener_retained_bytes", "Retained messages.", MetricSample(figures.retained_bytes))


def _uploads(figures: UploadFigures) -> Iterator[MetricFamily]:
    yield gauge("edgeagent_uploads", "Uploads of large data that have not ended.", *_by("state", figures.states))
    waiting = MetricSample(figures.waiting_bytes)
    yield gauge("edgeagent_upload_waiting_bytes", "Large data that is not in the store yet.", waiting)
    uploaded = MetricSample(figures.uploaded_bytes)
    yield counter("edgeagent_uploaded_bytes_total", "Large data that was put into the store.", uploaded)
    failures = MetricSample(figures.failures)
    yield counter("edgeagent_upload_failures_total", "Tries of uploads that failed and are made again.", failures)


def _by(label: str, values: Mapping[str, float]) -> Iterator[MetricSample]:
    return (MetricSample(value, ((label, name),)) for name, value in values.items())


def _known(value: float | None) -> tuple[MetricSample, ...]:
    return () if value is None else (MetricSample(value),)
