"""deploy/: what the accounts may do is what their programs need, and is told on the page."""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from edgeagent.argo.client import ArgoClient
from edgeagent.common.finding import Level
from edgeagent.dispatcher.rights import configmap_finding, template_findings, workflow_findings
from tests.fakes.manifests import ARGO_EVENTS, ARGO_EVENTS_PUBSUB, DISPATCHER, documents
from tests.fakes.pods import PAGE, configuration


@pytest.mark.parametrize(
    ("name", "optional", "allowed"),
    [
        (
            DISPATCHER,
            False,
            {"workflows": ["create", "get", "list", "watch"], "workflowtemplates": ["get"]},
        ),
        (
            DISPATCHER,
            True,
            {
                "workflows": ["create", "get", "list", "watch"],
                "workflowtemplates": ["get"],
                "clusterworkflowtemplates": ["get"],
                "configmaps": ["create", "patch"],
                "workflows for operations": ["delete", "patch", "update"],
                "pods": ["delete"],
            },
        ),
        (ARGO_EVENTS, True, {"workflows": ["create"]}),
        (ARGO_EVENTS_PUBSUB, True, {"workflows": ["create"]}),
    ],
)
def test_an_account_may_do_what_it_needs_and_nothing_else(
    name: str, allowed: dict[str, list[str]], *, optional: bool
) -> None:
    granted: dict[str, list[str]] = {}
    for document in documents(name, optional=optional):
        for rule in document.get("rules", []):
            assert rule.keys() == {"apiGroups", "resources", "verbs"}
            (resource,) = rule["resources"]
            assert rule["apiGroups"] == ([""] if resource in {"configmaps", "pods"} else ["argoproj.io"])
            assert document["kind"] == ("ClusterRole" if resource.startswith("cluster") else "Role")
            manages = resource == "workflows" and not {"create", "get"} & set(rule["verbs"])
            verbs = granted.setdefault(f"{resource} for operations" if manages else resource, [])
            assert not set(verbs) & set(rule["verbs"])
            verbs += rule["verbs"]
    assert {resource: sorted(verbs) for resource, verbs in granted.items()} == allowed


class Asked:
    """Stands for Argo Server and the API server: allows everything, and keeps which right each call takes."""

    def __init__(self) -> None:
        self.rights: set[tuple[str, str]] = set()

    async def create(self, _namespace: str, _workflow: dict[str, Any], *, dry_run: bool) -> None:
        """A dry run of Kubernetes."""
        assert dry_run
        self.rights.add(("workflows", "create"))

    async def get(self, _namespace: str, _name: str) -> None:
        """One workflow."""
        self.rights.add(("workflows", "get"))

    async def list(self, _namespace: str, **_query: object) -> None:
        """The first of a namespace."""
        self.rights.add(("workflows", "list"))

    async def watch(self, _namespace: str, **_query: object) -> AsyncIterator[None]:
        """Nothing changes."""
        self.rights.add(("workflows", "watch"))
        for event in list[None]():
            yield event

    async def has_template(self, namespace: str, _name: str) -> bool:
        """Every template exists."""
        self.rights.add(("workflowtemplates" if namespace else "clusterworkflowtemplates", "get"))
        return True

    async def apply_configmap(self, _namespace: str, _name: str, _configmap: bytes, *, dry_run: bool = False) -> None:
        """A server-side apply, as a dry run."""
        assert dry_run
        self.rights |= {("configmaps", "create"), ("configmaps", "patch")}


async def test_the_rights_are_those_that_doctor_tries(tmp_path: Path) -> None:
    """All but those for operations, which doctor does not try: it would change workflows."""
    config = configuration(tmp_path)
    (allow,) = config.allow
    config = msgspec.structs.replace(config, allow=[msgspec.structs.replace(allow, cluster_templates=["shared"])])
    asked = Asked()
    client = cast(ArgoClient, asked)
    findings = [each async for each in workflow_findings(client, config.watched_namespaces)]
    findings += [each async for each in template_findings(client, config)]
    findings.append(await configmap_finding(asked, "plant"))
    assert {each.level for each in findings} == {Level.OK}
    granted = {
        (resource, verb)
        for document in documents(DISPATCHER, optional=True)
        for rule in document.get("rules", [])
        for resource, verb in itertools.product(rule["resources"], rule["verbs"])
    }
    operations = {("workflows", "update"), ("workflows", "patch"), ("workflows", "delete"), ("pods", "delete")}
    assert granted - operations == asked.rights


@pytest.mark.parametrize("name", [DISPATCHER, ARGO_EVENTS, ARGO_EVENTS_PUBSUB])
def test_every_role_is_bound_in_its_namespace_to_the_account_of_the_pods(name: str) -> None:
    everything = documents(name, optional=True)
    (account,) = [document["metadata"] for document in everything if document["kind"] == "ServiceAccount"]
    roles = [document for document in everything if document["kind"] in {"Role", "ClusterRole"}]
    bindings = [document for document in everything if document["kind"].endswith("RoleBinding")]
    assert len(roles) == len(bindings)
    for role, binding in itertools.product(roles, bindings):
        if role["metadata"]["name"] != binding["roleRef"]["name"]:
            continue
        assert binding["kind"] == f"{role['kind']}Binding"
        assert binding["roleRef"]["kind"] == role["kind"]
        assert binding["metadata"] == role["metadata"]
        subject = {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
        assert binding["subjects"] == [subject]
    assert {role["metadata"]["name"] for role in roles} == {binding["roleRef"]["name"] for binding in bindings}


def test_each_namespace_that_is_allowed_or_watched_has_its_role(tmp_path: Path) -> None:
    roles = [document["metadata"] for document in documents(DISPATCHER) if document["kind"] == "Role"]
    assert tuple(sorted(role["namespace"] for role in roles)) == configuration(tmp_path).watched_namespaces


def test_the_page_and_the_manifest_tell_the_same_rights() -> None:
    granted = {
        (resource, *sorted(rule["verbs"]))
        for document in documents(DISPATCHER, optional=True)
        for rule in document.get("rules", [])
        for resource in rule["resources"]
    }
    section = PAGE.partition("## RBAC")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([a-z]+)(?:\.argoproj\.io)?`[^|]*\| ([a-z`, ]+) \|", section, re.MULTILINE)
    assert {(resource, *sorted(re.findall(r"[a-z]+", verbs))) for resource, verbs in rows} == granted
