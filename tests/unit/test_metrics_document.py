"""docs/metrics.md names what is shown, with its type and its labels, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from edgeagent.common.exposition import MetricFamily
from edgeagent.host.process import process_families
from tests.fakes.metrics import agent_metrics, dispatcher_metrics

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text("utf-8")
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| ?(.*?) ?\| (.+?) \| ?(.*?) ?\|$", re.MULTILINE)


class Told(NamedTuple):
    """What the page says, or what is shown, of one metric."""

    kind: str
    labels: frozenset[str]


def told(heading: str) -> dict[str, Told]:
    """The rows of a table, by the metric's name."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return {
        name: Told(kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels, *_ in ROW.findall(section)
    }


def shown(families: Iterable[MetricFamily]) -> dict[str, Told]:
    return {
        family.name: Told(
            family.kind.value, frozenset(label for sample in family.samples for label, _ in sample.labels)
        )
        for family in families
    }


PROCESS = shown(process_families())


def test_every_metric_of_an_agent_is_told_of_and_no_other() -> None:
    assert {**told("The agent"), **PROCESS} == shown(agent_metrics())


def test_every_metric_of_a_dispatcher_is_told_of_and_no_other() -> None:
    assert {**told("The dispatcher"), **PROCESS} == shown(dispatcher_metrics())


def test_every_metric_of_the_process_is_told_of_and_no_other() -> None:
    assert told("The process, of both") == PROCESS


def test_every_value_of_a_label_that_is_ours_is_told_of() -> None:
    named = {row[0]: row[3] for row in ROW.findall(PAGE)}
    for family in [*agent_metrics(), *dispatcher_metrics()]:
        for sample in family.samples:
            for label, value in sample.labels:
                if label not in {"le", "agent", "version", "python", "rule", "reason", "code", "limit"}:
                    assert f"`{value}`" in named[family.name], f"{family.name}: {label}={value}"


def test_names_follow_what_prometheus_asks_for() -> None:
    for family in [*agent_metrics(), *dispatcher_metrics()]:
        assert re.fullmatch(r"(edgeagent|process)_[a-z_]+", family.name)
        assert family.name.endswith("_total") == (family.kind.value == "counter"), family.name
        assert family.help.endswith("."), family.name
