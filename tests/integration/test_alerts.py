"""The alert rules, tried by Prometheus's own program with series that should raise an alert, and with such that not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from edgeagent.common.exposition import MetricFamily, exposition
from tests.fakes.metrics import agent_metrics, dispatcher_metrics

HERE = Path(__file__).parent
RULES = HERE.parents[1] / "deploy" / "prometheus" / "edgeagent.rules.yml"
SERIES = HERE / "alerts.test.yml"


@pytest.fixture(scope="session")
def promtool() -> str:
    """The program, beside this Python or in the path."""
    found = shutil.which("promtool", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    assert found is not None, "promtool is missing: make promtool (or install Prometheus, which has it)"
    return found


def run(promtool: str, *arguments: str | Path) -> None:
    done = subprocess.run([promtool, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("families", [agent_metrics, dispatcher_metrics])
def test_prometheus_has_nothing_against_the_metrics(promtool: str, families: Callable[[], list[MetricFamily]]) -> None:
    text = exposition(families())
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_prometheus_takes_the_rules(promtool: str) -> None:
    run(promtool, "check", "rules", RULES)


def test_each_alert_fires_when_it_should_and_not_otherwise(promtool: str) -> None:
    run(promtool, "test", "rules", SERIES)


def test_every_alert_is_tried() -> None:
    tried = SERIES.read_text("utf-8")
    for alert in yaml.safe_load(RULES.read_text("utf-8"))["groups"][0]["rules"]:
        assert alert["alert"] in tried
