"""Labels of workflows from templates: edgeagent's always, others only if `[[allow]]` names them, Argo's never."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edgeagent.config.tables import Allow
from edgeagent.dispatcher.engine import Order
from edgeagent.dispatcher.outcome import Forbidden
from edgeagent.dispatcher.policy import Policy
from edgeagent.rules.problems import rule_problems
from edgeagent.rules.ruleset import RuleSet
from edgeagent.rules.spec import RuleSpec
from edgeagent.rules.workflow import rule_workflow_problems

PLAIN = Allow(namespaces=("plant",), templates=("*",))
LABELLED = Allow(namespaces=("plant",), templates=("*",), labels=("line", "plant.example/*", "workflows.argoproj.io/*"))


def decided(allow: Allow, **labels: str) -> Order | Forbidden:
    """The decision about a workflow with these labels beside edgeagent's."""
    workflow: dict[str, Any] = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": "w", "namespace": "plant", "labels": {"edgeagent.io/agent": "gw-1", **labels}},
        "spec": {"workflowTemplateRef": {"name": "inspect"}},
    }
    outcome = Policy([allow]).decide(Order("plant", "w", "", "gw-1", "c", 1, "inspect", workflow))
    assert isinstance(outcome, Order | Forbidden)
    return outcome


def test_a_label_that_is_named_is_passed_on() -> None:
    outcome = decided(LABELLED, line="3", **{"plant.example/site": "north"})
    assert isinstance(outcome, Order)
    assert outcome.workflow["metadata"]["labels"] == {
        "edgeagent.io/agent": "gw-1",
        "line": "3",
        "plant.example/site": "north",
    }


@pytest.mark.parametrize(
    ("allow", "label"), [(PLAIN, "line"), (LABELLED, "site"), (LABELLED, "workflows.argoproj.io/completed")]
)
def test_another_label_is_refused_by_name(allow: Allow, label: str) -> None:
    outcome = decided(allow, **{label: "x"})
    assert isinstance(outcome, Forbidden)
    assert f"metadata.labels['{label}']" in outcome.detail


def rule(**labels: str) -> RuleSpec:
    return RuleSpec("overheat", "plant", template="inspect", labels=labels)


def test_a_rules_labels_are_in_its_trigger_beside_edgeagents() -> None:
    [compiled] = RuleSet([rule(line="3")])
    labels = compiled.workflow("w", {"edgeagent.io/agent": "gw-1"}, {}, [])["metadata"]["labels"]
    assert labels == {"line": "3", "edgeagent.io/agent": "gw-1"}


def test_a_rules_label_comes_before_that_of_its_own_workflow() -> None:
    workflow = {"metadata": {"labels": {"line": "1", "site": "north"}}, "spec": {"workflowTemplateRef": {"name": "t"}}}
    [compiled] = RuleSet([msgspec.structs.replace(rule(line="3"), template="", workflow=workflow)])
    assert compiled.labels == {"line": "3", "site": "north"}


@pytest.mark.parametrize("label", ["edgeagent.io/agent", "workflows.argoproj.io/phase"])
def test_a_rule_cannot_set_labels_that_others_make(label: str) -> None:
    assert [path for path, _ in rule_problems(rule(**{label: "x"}))] == [f"labels.{label}"]


@pytest.mark.parametrize(("labels", "where"), [({"line": "north wing"}, "labels.line"), ({"a b": "x"}, "labels")])
def test_a_label_that_kubernetes_refuses_is_found_before_it_is_sent(labels: dict[str, str], where: str) -> None:
    assert [path for path, _ in rule_workflow_problems(rule(**labels))] == [where]
