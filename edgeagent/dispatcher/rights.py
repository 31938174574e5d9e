"""Whether the engine permits what a dispatcher does, found out from the Argo Server by trying; nothing is created.

A creation is tried as a server-side dry run, in which Kubernetes checks rights, quota and admission rules and then
stores nothing. A forbidden watch is refused at once; an allowed one is silent until something changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import aclosing
from typing import Any, Protocol

from edgeagent.argo.client import ArgoClient
from edgeagent.common.finding import Finding, fail, ok, warn
from edgeagent.common.names import Glob
from edgeagent.config.tables import Allow, DispatcherConfig
from edgeagent.dispatcher.verdict import FORBIDDEN
from edgeagent.errors import EngineRefused
from edgeagent.wire.messages import LABEL_CORRELATION_ID

# No workflow has this name, and none has this label.
_NAME = "edgeagent-doctor"
_SELECTOR = f"{LABEL_CORRELATION_ID}={_NAME}"
# A watch that is not refused for this long is allowed.
_WATCH_S = 1.5
_WORKFLOW_RIGHTS = "create, get, list and watch of workflows"
# v4.0.5 reads templates with its own rights.
_WITHOUT = "an Argo Server that reads templates with this token starts no workflow of them without it"


class ConfigMapClient(Protocol):
    """The operation needed of the Kubernetes client."""

    async def apply_configmap(self, namespace: str, name: str, configmap: bytes, *, dry_run: bool = False) -> None:
        """Apply a ConfigMap; as a dry run nothing is stored."""


async def workflow_findings(client: ArgoClient, namespaces: Sequence[str]) -> AsyncIterator[Finding]:
    """One finding for each namespace: which of the four verbs are allowed in it."""
    for namespace in namespaces:
        asked = {
            "create": await _refusal(client.create(namespace, _workflow(namespace), dry_run=True)),
            "get": await _refusal(client.get(namespace, _NAME)),
            "list": await _refusal(client.list(namespace, labels=_SELECTOR, limit=1)),
            "watch": await _refusal(_watch(client, namespace)),
        }
        refused = {verb: error for verb, error in asked.items() if error is not None}
        subject = f"namespace {namespace}"
        if not refused:
            yield ok(subject, f"{_WORKFLOW_RIGHTS} are allowed")
            continue
        first = next(iter(refused.values()))
        remedy = f"grant {_WORKFLOW_RIGHTS} in it to the token's account, and check its quota and admission rules"
        yield fail(subject, f"may not {', '.join(refused)} workflows: {first.status}: {first.message}", remedy)


async def template_findings(client: ArgoClient, config: DispatcherConfig) -> AsyncIterator[Finding]:
    """One finding for each template that `[[allow]]` names in full; globs are skipped."""
    seen: set[tuple[str, tuple[str, ...]]] = set()
    for allow in config.allow:
        namespaces = _namespaces(allow, config.watched_namespaces)
        for name in allow.templates:
            if "*" in name or (name, namespaces) in seen:
                continue
            seen.add((name, namespaces))
            yield await _template_finding(client, name, namespaces)
    for name in dict.fromkeys(name for allow in config.allow for name in allow.cluster_templates if "*" not in name):
        yield await _cluster_template_finding(client, name)


async def configmap_finding(client: ConfigMapClient, namespace: str) -> Finding:
    """Whether results may be written as ConfigMaps in this namespace."""
    subject = f"configmaps in {namespace}"
    body = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"%s"}}' % _NAME.encode()
    refused = await _refusal(client.apply_configmap(namespace, _NAME, body, dry_run=True))
    if refused is None:
        return ok(subject, "create and patch are allowed")
    remedy = "grant create and patch of configmaps in it to the pod's service account"
    return fail(subject, f"they may not be written: {refused.status}: {refused.message}", remedy)


async def _template_finding(client: ArgoClient, name: str, namespaces: Sequence[str]) -> Finding:
    subject = f"template {name}"
    found, missing = list[str](), list[str]()
    for namespace in namespaces:
        try:
            (found if await client.has_template(namespace, name) else missing).append(namespace)
        except EngineRefused as exc:
            if exc.status != FORBIDDEN:
                raise
            remedy = f"grant get of workflowtemplates in it: {_WITHOUT}"
            return fail(subject, f"may not be read in {namespace}: {exc.message}", remedy)
    if missing and not found:
        remedy = "create the WorkflowTemplate, or correct its name in [[allow]]"
        return fail(subject, f"does not exist in {', '.join(missing)}", remedy)
    if missing:
        remedy = f"create it there too, if gateways start it in {', '.join(missing)}"
        return warn(subject, f"exists in {', '.join(found)}, but not in {', '.join(missing)}", remedy)
    return ok(subject, f"exists in {', '.join(found)}")


async def _cluster_template_finding(client: ArgoClient, name: str) -> Finding:
    subject = f"cluster template {name}"
    try:
        if await client.has_template("", name):
            return ok(subject, "exists")
    except EngineRefused as exc:
        if exc.status != FORBIDDEN:
            raise
        remedy = f"grant get of clusterworkflowtemplates: {_WITHOUT}"
        return fail(subject, f"may not be read: {exc.message}", remedy)
    return fail(subject, "does not exist", "create the ClusterWorkflowTemplate, or correct its name in [[allow]]")


def _namespaces(allow: Allow, watched: Sequence[str]) -> tuple[str, ...]:
    """The namespaces that an entry allows, as far as their names are known."""
    return tuple(name for name in watched if any(Glob(glob).matches(name) for glob in allow.namespaces))


def _workflow(namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": _NAME, "namespace": namespace},
        "spec": {"entrypoint": "main", "templates": [{"name": "main", "suspend": {}}]},
    }


async def _watch(client: ArgoClient, namespace: str) -> None:
    """Return if a watch is not refused for a while."""
    try:
        async with asyncio.timeout(_WATCH_S), aclosing(client.watch(namespace, labels=_SELECTOR)) as events:
            async for _ in events:
                pass
    except TimeoutError:
        return


async def _refusal(attempt: Awaitable[object]) -> EngineRefused | None:
    """The refusal of an attempt; None if it was not refused. An existing or a missing object is no refusal."""
    try:
        await attempt
    except EngineRefused as exc:
        return exc
    return None
