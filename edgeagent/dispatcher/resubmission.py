"""The order that runs a workflow again under a name made from the request (contract section 15). Pure.

Argo's own call for this generates a name, so that a request whose answer was lost would start a second workflow. Here
the new workflow is an order like a trigger's: it passes the same policy, and is started once. Only what a trigger may
state is taken over from a workflow that refers to a template.
"""

from __future__ import annotations

import re
from typing import Any

from edgeagent.dispatcher.engine import Order
from edgeagent.dispatcher.workflow import API_VERSION, KIND
from edgeagent.rules.template import workflow_name
from edgeagent.wire.manage import ManageRequest, resubmitted_id
from edgeagent.wire.messages import LABEL_AGENT, LABEL_CORRELATION_ID, LABEL_RESUBMIT_OF, OURS

_ARGOS = "workflows.argoproj.io/"
# The state of the earlier run, not part of what was asked for.
_STATE = frozenset({"shutdown", "suspend"})
_ID_ENDING = re.compile(r"-[0-9a-f]{32}\Z")


def resubmission(request: ManageRequest, whole: dict[str, Any]) -> Order:
    """The order for another run of a workflow, as the engine has it. Its labels name the workflow that it repeats."""
    metadata, spec = _members(whole, "metadata"), _members(whole, "spec")
    reference = _members(spec, "workflowTemplateRef")
    labels = _texts(metadata, "labels", only_ours=bool(reference))
    earlier = labels.get(LABEL_CORRELATION_ID) or request.correlation_id
    correlation_id, agent = resubmitted_id(request), labels.get(LABEL_AGENT, "")
    labels |= {LABEL_CORRELATION_ID: correlation_id}
    if earlier:
        labels[LABEL_RESUBMIT_OF] = earlier
    name = resubmitted_name(request, str(metadata.get("name") or ""))
    made: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": name,
            "namespace": request.namespace,
            "labels": labels,
            "annotations": _texts(metadata, "annotations", only_ours=True),
        },
        "spec": _from_template(spec, reference) if reference else _inline(spec),
    }
    return Order(
        namespace=request.namespace,
        name=name,
        generate_name="",
        agent=agent,
        correlation_id=correlation_id,
        attempt=0,  # an earlier delivery of the request may have started it
        template=str(reference.get("name", "")),
        workflow=made,
        cluster_scope=reference.get("clusterScope") is True,
    )


def resubmitted_name(request: ManageRequest, name: str) -> str:
    """The name of the workflow that this request makes of the one of this name."""
    return workflow_name(_ID_ENDING.sub("", name) or "resubmit", resubmitted_id(request))


def _from_template(spec: dict[str, Any], reference: dict[str, Any]) -> dict[str, Any]:
    parameters = _members(spec, "arguments").get("parameters")
    kept = [
        {"name": parameter["name"], "value": parameter["value"]}
        for parameter in (parameters if isinstance(parameters, list) else ())
        if isinstance(parameter, dict) and parameter.get("value") is not None and "name" in parameter
    ]
    scope = {"clusterScope": True} if reference.get("clusterScope") is True else {}
    return {"workflowTemplateRef": {"name": reference.get("name", ""), **scope}, "arguments": {"parameters": kept}}


def _inline(spec: dict[str, Any]) -> dict[str, Any]:
    return {member: value for member, value in spec.items() if member not in _STATE}


def _members(value: dict[str, Any], name: str) -> dict[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _texts(metadata: dict[str, Any], name: str, *, only_ours: bool) -> dict[str, str]:
    """Labels or annotations without those that Argo's controller writes; with `only_ours`, only edgeagent's."""
    return {
        key: str(text)
        for key, text in _members(metadata, name).items()
        if key.startswith(OURS) or not (only_ours or key.startswith(_ARGOS))
    }
