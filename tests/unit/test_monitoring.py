"""deploy/grafana and deploy/prometheus: they use what is shown, and nothing else. test_alerts.py tries the alerts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeagent.common.exposition import MetricFamily, MetricKind
from tests.fakes.metrics import agent_metrics, dispatcher_metrics

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "metrics.md").read_text("utf-8")
DASHBOARDS = {"agent": agent_metrics, "dispatcher": dispatcher_metrics}
# A word that is followed by neither a bracket nor an equals sign, outside of strings and of what `by` and `on` list.
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_GROUPING = re.compile(r"\b(?:by|on|without|ignoring|group_left)\s*\([^)]*\)")
_RANGE = re.compile(r"\[[^\]]*\]")
_NAME = re.compile(r"\b((?:edgeagent|process)_\w+|up)\b")
_LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_TARGET_LABELS = frozenset({"job", "instance"})


def names_in(families: list[MetricFamily]) -> dict[str, frozenset[str]]:
    """Every name that a query can use, with the labels that it has."""
    names: dict[str, frozenset[str]] = {}
    for family in families:
        labels = frozenset(label for sample in family.samples for label, _ in sample.labels)
        if family.kind is MetricKind.HISTOGRAM:
            names |= {f"{family.name}_bucket": labels, f"{family.name}_sum": labels, f"{family.name}_count": labels}
        else:
            names[family.name] = labels
    return names


def used_in(expression: str) -> Iterator[tuple[str, frozenset[str]]]:
    """Every metric that a query uses, with the labels that it selects by."""
    bare = _RANGE.sub("", _GROUPING.sub("", _STRING.sub('""', expression)))
    for match in _NAME.finditer(bare):
        selector = re.match(r"\{([^}]*)\}", bare[match.end() :])
        yield match[1], frozenset(_LABEL.findall(selector[1])) if selector else frozenset()


def dashboard(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / f"{name}.json").read_text("utf-8"))
    return found


def panels(name: str) -> list[dict[str, Any]]:
    return [panel for panel in dashboard(name)["panels"] if panel["type"] != "row"]


def alerts() -> list[dict[str, Any]]:
    document = yaml.safe_load((ROOT / "deploy" / "prometheus" / "edgeagent.rules.yml").read_text("utf-8"))
    (group,) = document["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def check(expression: str, names: dict[str, frozenset[str]]) -> list[str]:
    """The names that an expression uses; each must be there, with the labels that it is selected by."""
    used = list(used_in(expression))
    assert used, f"{expression} uses no metric"
    for name, labels in used:
        assert name in names, f"{expression}: nothing shows {name}"
        assert labels - _TARGET_LABELS <= names[name], f"{expression}: {name} has no {labels - names[name]}"
    return [name for name, _ in used]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_uses_only_metrics_and_labels_that_exist(name: str) -> None:
    names = names_in(DASHBOARDS[name]())
    for panel in panels(name):
        for target in panel["targets"]:
            check(target["expr"], names)
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                used = [names[metric] for metric, _ in used_in(target["expr"])]
                assert label == "instance" or any(label in labels for labels in used), f"{panel['title']}: {label}"


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_shows_every_metric_that_is_for_a_picture(name: str) -> None:
    used = {metric for panel in panels(name) for target in panel["targets"] for metric, _ in used_in(target["expr"])}
    left_out = {
        metric
        for metric in names_in(DASHBOARDS[name]())
        if metric not in used and not metric.endswith(("_info", "_sum", "_count")) and metric.startswith("edgeagent_")
    }
    assert left_out == set()


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_fits_any_prometheus_and_any_gateway(name: str) -> None:
    board = dashboard(name)
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    assert list(variables) == ["datasource", "job", "instance"]
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    names = names_in(DASHBOARDS[name]())
    for variable in ("job", "instance"):
        metric, asked = re.fullmatch(
            r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", variables[variable]["definition"]
        ).groups()  # type: ignore[union-attr]
        assert (metric in names, asked) == (True, variable)
    for panel in panels(name):
        for place in (panel, *panel["targets"]):
            assert place["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
        for target in panel["targets"]:
            asked = re.findall(r"\{([^{}]*)\}", target["expr"])
            assert asked
            assert all('job=~"$job", instance=~"$instance"' in selector for selector in asked), target["expr"]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_is_one_that_grafana_imports(name: str) -> None:
    board = dashboard(name)
    assert board["schemaVersion"] == 42, "Grafana 12"
    assert board["uid"]
    assert "id" not in board, "an id belongs to one Grafana"
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(set(numbers)) == len(numbers)
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, f"{panel['title']} lies over another panel"
        taken |= cells
    for panel in panels(name):
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)


def test_the_alerts_use_only_metrics_and_labels_that_exist() -> None:
    names = names_in(agent_metrics())
    for alert in alerts():
        without_comments = re.sub(r"^\s*#.*$", "", alert["expr"], flags=re.MULTILINE)
        used = check(without_comments, names)
        labels = {label for metric in used for label in names[metric]} | _TARGET_LABELS
        for text in alert["annotations"].values():
            assert set(re.findall(r"\$labels\.(\w+)", text)) <= labels, alert["alert"]


def test_each_alert_says_what_it_is_and_what_to_do() -> None:
    assert len(alerts()) == 7
    for alert in alerts():
        assert alert["labels"]["severity"] in {"warning", "critical"}
        assert "{{ $labels.instance }}" in alert["annotations"]["summary"], "which gateway"
        assert len(alert["annotations"]["description"]) > 100, "what to do"
        assert f"`{alert['alert']}`" in PAGE


def test_the_page_names_no_alert_that_is_not_there() -> None:
    assert re.findall(r"^\| `(Edgeagent\w+)` \|", PAGE, re.MULTILINE) == [alert["alert"] for alert in alerts()]
