"""Orders as the check of a trigger makes them, and what a policy says of them."""

from __future__ import annotations

from typing import Any

from edgeagent.config.tables import Allow
from edgeagent.dispatcher.engine import Order
from edgeagent.dispatcher.outcome import Forbidden
from edgeagent.dispatcher.policy import Policy

LABELS = {"edgeagent.io/agent": "gw-1", "edgeagent.io/correlation-id": "c"}
TEMPLATE_SPEC = {
    "workflowTemplateRef": {"name": "inspect"},
    "arguments": {"parameters": [{"name": "temp", "value": "97.1"}]},
}
INLINE_SPEC = {"entrypoint": "main", "templates": [{"name": "main", "container": {"image": "busybox"}}]}

# What each workflow gets that does not say when it goes (contract section 7).
END = {"ttlStrategy": {"secondsAfterCompletion": 604800}, "podGC": {"strategy": "OnPodCompletion"}}

PLANT = Allow(agents=("gw-*",), namespaces=("plant",), templates=("inspect", "stop-*"))


def workflow(spec: dict[str, Any] | None = None, **members: Any) -> dict[str, Any]:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": "a", "namespace": "plant", "labels": LABELS},
        "spec": spec or TEMPLATE_SPEC,
        **members,
    }


def order(
    whole: dict[str, Any] | None = None, *, agent: str = "gw-1", namespace: str = "plant", template: str = "inspect"
) -> Order:
    return Order(namespace, "a", "", agent, "c", 1, template, whole or workflow())


def inline(**spec: Any) -> Order:
    return order(workflow({**INLINE_SPEC, **spec}), template="")


def allowed(policy: Policy, wanted: Order) -> dict[str, Any]:
    decided = policy.decide(wanted)
    assert isinstance(decided, Order), decided
    return decided.workflow


def refused(policy: Policy, wanted: Order) -> str:
    decided = policy.decide(wanted)
    assert isinstance(decided, Forbidden), decided
    return decided.detail
