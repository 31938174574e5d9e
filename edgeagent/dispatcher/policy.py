"""Who may start what: `[[allow]]` (contract section 7). Pure.

The first entry that matches agent, namespace and template (or that is `inline`, for a workflow with its own templates)
decides. A trigger that no entry matches is forbidden, also if there are no entries at all.

With `inline = false` the workflow is rebuilt from the members in the Structs below, and one with any other member is
refused: so there is no list of dangerous members that could be incomplete. With `inline = true` the workflow
passes unchanged. It can then run any code and refer to any other template; only the service account is restricted, and
statements that are reserved to Argo, Kubernetes or the dispatcher (`_CLAIMS`): with them a workflow could pass for
finished, outlive its deletion, or have its status sent to another gateway.

Data from devices is in the arguments and in our annotations. Argo replaces `{{…}}` wherever it finds it, in values too:
so it is refused there (`expressions = false`), or a device could read what the workflow can read.

Finished workflows and their pods would stay for ever. So a workflow without a time to live is given one (and its pods
are removed when they end): long enough for a late trigger to find the workflow of its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from edgeagent.common.names import Glob
from edgeagent.config.tables import Allow
from edgeagent.dispatcher.engine import Order
from edgeagent.dispatcher.outcome import Forbidden, Invalid
from edgeagent.wire.messages import OURS
from edgeagent.workflows.names import quoted
from edgeagent.workflows.placeholders import placeholders

# For the dry run: without any entry everything may be rehearsed, because nothing is run.
EVERYTHING = Allow(namespaces=("*",), templates=("*",), cluster_templates=("*",), inline=True)

TTL_STRATEGY = {"secondsAfterCompletion": 7 * 86400}  # as long as a gateway keeps a trigger by default
POD_GC = {"strategy": "OnPodCompletion"}

_ARGOS = "workflows.argoproj.io/"
# Members that only Argo's controller or Kubernetes may write; matched in any letter case, as Argo does.
_CLAIMS = {"": frozenset({"status"}), "metadata": frozenset({"finalizers", "ownerreferences"})}
_UNKNOWN_MEMBER = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)


class _Listed(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """Only the members listed here are passed on."""


class _TemplateRef(_Listed, frozen=True):
    name: str
    cluster_scope: bool = False


class _Parameter(_Listed, frozen=True):
    name: str
    value: str | int | float | bool


class _Arguments(_Listed, frozen=True):
    parameters: list[_Parameter] = []


class _Spec(_Listed, frozen=True):
    workflow_template_ref: _TemplateRef
    arguments: _Arguments = _Arguments()
    service_account_name: str = ""


class _Metadata(_Listed, frozen=True):
    namespace: str
    name: str = ""
    generate_name: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class _Workflow(_Listed, frozen=True):
    api_version: str
    kind: str
    metadata: _Metadata
    spec: _Spec


class _Entry:
    """One `[[allow]]` with its globs compiled."""

    def __init__(self, allow: Allow) -> None:
        self.inline = allow.inline
        self.expressions = allow.expressions
        self.service_account = allow.service_account
        self.labels = tuple(Glob(pattern) for pattern in allow.labels)
        self._operations = frozenset(allow.operations)
        self._names_others = "" in allow.agents
        self._agents, self._namespaces, self._templates, self._cluster_templates = (
            tuple(Glob(pattern) for pattern in patterns)
            for patterns in (allow.agents, allow.namespaces, allow.templates, allow.cluster_templates)
        )

    def fits_agent(self, order: Order) -> bool:
        return any(glob.matches(order.agent) for glob in self._agents)

    def fits_namespace(self, order: Order) -> bool:
        return any(glob.matches(order.namespace) for glob in self._namespaces)

    def fits_operation(self, agent: str, namespace: str, operation: str) -> bool:
        """Whether it allows an operation. A message without an agent must be allowed by name, not by a glob."""
        fits_agent = any(glob.matches(agent) for glob in self._agents) if agent else self._names_others
        fits_namespace = any(glob.matches(namespace) for glob in self._namespaces)
        return operation in self._operations and fits_agent and fits_namespace

    def fits_template(self, order: Order) -> bool:
        if not order.template:
            return self.inline
        globs = self._cluster_templates if order.cluster_scope else self._templates
        return any(glob.matches(order.template) for glob in globs)


class Policy:
    """Owns the entries of `[[allow]]`, in order; the first match decides, and no match forbids."""

    def __init__(self, allows: Sequence[Allow]) -> None:
        self._entries = tuple(_Entry(allow) for allow in allows)

    def decide(self, order: Order) -> Order | Forbidden | Invalid:
        """The order with the workflow that may be passed on, or why it is refused."""
        entry = self._entry_for(order)
        if isinstance(entry, Forbidden):
            return entry
        if not entry.inline:
            passed = _listed_members(order.workflow, entry.labels)
            if not isinstance(passed, dict):
                return passed
            order = msgspec.structs.replace(order, workflow=passed)
        elif claimed := next(_claims(order.workflow), None):
            return Forbidden(f"{claimed} is not allowed: only Argo and Kubernetes, or a trigger's sender, may say that")
        if not entry.expressions and (found := next(placeholders(order.workflow), None)):
            return Invalid(f"{found} has '{{{{', which Argo would replace: [[allow]] expressions = true lets it pass")
        allowed = _with_service_account(order, entry)
        return _with_an_end(allowed) if isinstance(allowed, Order) else allowed

    def allows(self, agent: str, namespace: str, operation: str) -> bool:
        """Whether any entry allows this operation on workflows in a namespace; an agent's are always its own only."""
        return any(entry.fits_operation(agent, namespace, operation) for entry in self._entries)

    def _entry_for(self, order: Order) -> _Entry | Forbidden:
        agent = f"agent {quoted(order.agent)}" if order.agent else "a message without an agent"
        entries = [entry for entry in self._entries if entry.fits_agent(order)]
        if not entries:
            return Forbidden(f"{agent} is not allowed to start workflows")
        entries = [entry for entry in entries if entry.fits_namespace(order)]
        if not entries:
            return Forbidden(f"namespace {quoted(order.namespace)} is not allowed for {agent}")
        for entry in entries:
            if entry.fits_template(order):
                return entry
        where = f"for {agent} in namespace {quoted(order.namespace)}"
        if order.cluster_scope:
            kind = "a ClusterWorkflowTemplate: [[allow]] cluster_templates"
            return Forbidden(f"template {quoted(order.template)} ({kind}) is not allowed {where}")
        if order.template:
            return Forbidden(f"template {quoted(order.template)} is not allowed {where}")
        return Forbidden(f"spec.templates (an inline workflow) is not allowed {where}")


def _listed_members(workflow: dict[str, Any], labels: Sequence[Glob]) -> dict[str, Any] | Forbidden | Invalid:
    """The workflow rebuilt from the listed members only; any other member is refused by name."""
    try:
        listed = msgspec.convert(workflow, _Workflow)
    except msgspec.ValidationError as exc:
        return _refusal(exc)
    for key in listed.metadata.annotations:
        if not key.startswith(OURS):
            return Forbidden(f"metadata.annotations[{quoted(key)}] is not allowed: only {OURS}* is (inline = false)")
    for key in listed.metadata.labels:
        allowed = key.startswith(OURS) or any(glob.matches(key) for glob in labels)
        if key.startswith(_ARGOS) or not allowed:
            others = "what [[allow]] labels names" if labels else "[[allow]] labels names none"
            only = f"only {OURS}* is (inline = false), and {others}"
            return Forbidden(f"metadata.labels[{quoted(key)}] is not allowed: {only}")
    passed: dict[str, Any] = msgspec.to_builtins(listed)
    return passed


def _claims(workflow: dict[str, Any]) -> Iterator[str]:
    """The members by which a workflow claims what only Argo, Kubernetes or the dispatcher may state."""
    metadata, spec = workflow["metadata"], workflow["spec"]
    for path, members in (("", workflow), ("metadata", metadata)):
        for member, value in members.items():
            if member.casefold() in _CLAIMS[path] and value:
                yield f"{path}.{member}".lstrip(".")
    for key in metadata.get("labels") or {}:
        if key.startswith(_ARGOS):
            yield f"metadata.labels[{quoted(key)}]"
    # The controller writes these labels to the workflow itself.
    for path, own in _members(spec, "workflowMetadata", "spec"):
        for inner, labels in (*_members(own, "labels", path), *_members(own, "labelsFrom", path)):
            for key in labels:
                if key.startswith((_ARGOS, OURS)):
                    yield f"{inner}[{quoted(key)}]"


def _members(parent: dict[str, Any], name: str, path: str) -> list[tuple[str, dict[str, Any]]]:
    """The objects that Argo could take for this member, with their paths."""
    return [
        (f"{path}.{member}", value)
        for member, value in parent.items()
        if member.casefold() == name.casefold() and isinstance(value, dict)
    ]


def _refusal(exc: msgspec.ValidationError) -> Forbidden | Invalid:
    reason, _, where = str(exc).rpartition(" - at `$")
    reason, where = (reason, where.strip("`.")) if reason else (str(exc), "")
    unknown = _UNKNOWN_MEMBER.fullmatch(reason)
    if unknown is None:
        return Invalid(f"{where}: {reason[:1].lower()}{reason[1:]}")
    member = f"{where}.{unknown[1]}" if where else unknown[1]
    return Forbidden(f"{member[:100]} is not allowed in a workflow from a template (inline = false)")


def _with_service_account(order: Order, entry: _Entry) -> Order | Forbidden:
    spec: dict[str, Any] = order.workflow["spec"]
    account = entry.service_account
    if not account:
        if not entry.inline and spec.get("serviceAccountName"):
            return Forbidden("spec.serviceAccountName is not allowed in a workflow from a template (inline = false)")
        return order
    for member, value in _account_members(spec):
        if value != account:
            return Forbidden(f"{member} {quoted(value)} is not allowed: workflows run as {account!r}")
    workflow = {**order.workflow, "spec": {**spec, "serviceAccountName": account}}
    return msgspec.structs.replace(order, workflow=workflow)


def _with_an_end(order: Order) -> Order:
    """Give an inline workflow the default time to live and pod collection unless it has its own; null is no value."""
    spec: dict[str, Any] = order.workflow["spec"]
    absent = {
        member: default
        for member, default in (("ttlStrategy", TTL_STRATEGY), ("podGC", POD_GC))
        if spec.get(member) is None
    }
    return msgspec.structs.replace(order, workflow={**order.workflow, "spec": {**spec, **absent}})


def _account_members(spec: dict[str, Any]) -> Iterator[tuple[str, object]]:
    """Every member, at any depth, that names a service account, or might, as a textual patch of the pod does."""
    waiting: list[Any] = [spec]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            waiting.extend(value.values())
            for member, inner in value.items():
                if member.casefold() in {"serviceaccountname", "podspecpatch"} and inner:
                    yield member, inner
