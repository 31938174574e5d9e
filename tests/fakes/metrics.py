"""Everything that `/metrics` can show, and what a parser of Prometheus's format makes of it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from edgeagent.agent.canary import CanaryReport
from edgeagent.agent.counts import RuleCounts
from edgeagent.agent.metrics import AgentFigures, LinkFigures, UploadFigures, agent_families
from edgeagent.common.certificate_ends import Ends
from edgeagent.common.exposition import MetricFamily, exposition
from edgeagent.common.histogram import Histogram
from edgeagent.dispatcher.capacity import LimitUse
from edgeagent.dispatcher.metrics import dispatcher_families
from edgeagent.dispatcher.stats import DispatcherStats
from edgeagent.dispatcher.statuses import StatusesStats
from edgeagent.host.process import process_families
from edgeagent.listener.broker import BrokerCounts
from edgeagent.listener.server import ListenerFigures
from edgeagent.outbox.commit import Health
from edgeagent.ports.account import Account, EventCounts, EventWay
from edgeagent.ports.manage import ManageFigures
from edgeagent.ports.verification import DeadHealth
from edgeagent.tracing.backlog import SpanCounts
from edgeagent.webhooks.courier import OUTCOMES

END = datetime(2030, 1, 2, tzinfo=UTC)
Labels = tuple[tuple[str, str], ...]


def health(account: Account | None = None) -> Health:
    """Of an outbox with three triggers, one of them dead; two of five have left."""
    known = account or Account(5, 0, 1, 2, 1, 0, 0, 1, 0, 0, 0)
    return Health(known, 1000, 2000, True, "", 1, (), 100.0, DeadHealth(count=1))


def agent_figures(**changes: Any) -> AgentFigures:
    """Figures of an agent with everything configured, none of them absent."""
    answers = Histogram((0.5, 1))
    for took_s in (0.1, 0.6, 7.0):
        answers.observe(took_s)
    listener = ListenerFigures(3, 4, 5, 6, {"not_authorized": 7}, 8, BrokerCounts(), 9, 10, Ends(END, END))
    figures = AgentFigures(
        agent="gw-1",
        version="1.2.3",
        python="3.11.2",
        events={way: EventCounts(stored=11) for way in EventWay},
        health=health(),
        in_flight=2,
        unanswered=1,
        gathering=0,
        oldest_s=1000.5,
        headroom_s=3600.0,
        syncs=Histogram((0.1,)),
        written_bytes=12,
        answers=answers,
        links={"uplink": LinkFigures(True, 2, 2000.0), "local": LinkFigures(False, 1)},
        ends={"uplink": Ends(END, None), "listener": Ends(END, END)},
        rules={"overheat": RuleCounts(matched=13)},
        listener=listener,
        canary=CanaryReport(60.0, "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.250Z", 0.25),
        webhooks=dict.fromkeys(OUTCOMES, 1),
        spans=SpanCounts(exported=4, dropped=1),
        uploads=UploadFigures({"waiting": 3, "sending": 2, "failed": 1, "refused": 0}, 4096, 8192, 5),
        spool=(3, 12288),
        managed=ManageFigures({("stop", "made"): 2, ("stop", "done"): 1}, 1),
    )
    return msgspec.structs.replace(figures, **changes)


def agent_metrics(**changes: Any) -> list[MetricFamily]:
    """What an agent shows, its process included."""
    return [*agent_families(agent_figures(**changes)), *process_families()]


def dispatcher_metrics() -> list[MetricFamily]:
    """What a dispatcher shows, its process included."""
    stats = DispatcherStats(answered={200: 1}, limits=(LimitUse("plant/*", 20, 3), LimitUse("plant/inspect", 5, 2)))
    statuses = msgspec.convert({**dict.fromkeys(StatusesStats.__struct_fields__, 0), "leading": True}, StatusesStats)
    return [
        *dispatcher_families(
            stats,
            statuses,
            dict.fromkeys(OUTCOMES, 1),
            managed={("stop", "done"): 1},
            spans=SpanCounts(exported=4, dropped=1),
            version="1.2.3",
            python="3.11.2",
        ),
        *process_families(),
    ]


def parsed(text: str) -> list[Metric]:
    """The families; no two samples may have the same name and labels. A counter's name is without `_total` there."""
    families = list(text_string_to_metric_families(text))
    samples = [(sample.name, tuple(sorted(sample.labels.items()))) for one in families for sample in one.samples]
    assert len(set(samples)) == len(samples)
    return families


def values_of(families: Iterable[MetricFamily] | str) -> dict[tuple[str, Labels], float]:
    """The value of each sample, by its name and its labels in order, after a way through the format and a parser."""
    text = families if isinstance(families, str) else exposition(families).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parsed(text)
        for sample in family.samples
    }
