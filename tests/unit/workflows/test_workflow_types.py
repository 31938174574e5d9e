"""The types that Argo's decoder insists on: a wrong one ends the check, as it ends the decoding."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgeagent.workflows.check import workflow_check
from edgeagent.workflows.names import MAX_DEPTH
from tests.fakes.workflow_examples import dag, gives, one, runs, step, steps

T = "spec.templates[0]"


def with_spec(**spec: Any) -> dict[str, Any]:
    return one(runs(), **spec)


def with_container(**members: Any) -> dict[str, Any]:
    return one({"name": "work", "container": {"image": "alpine:3", **members}})


WRONG: list[tuple[Any, str, str]] = [
    ([], "", "must be an object"),
    ("{}", "", "must be an object"),
    (None, "", "must be an object"),
    ({"spec": []}, "spec", "must be an object, is a list"),
    ({"spec": {}, "metadata": "a"}, "metadata", "must be an object, is a text"),
    ({"spec": {}, "metadata": {"name": 5}}, "metadata.name", "must be a text, is a number"),
    ({"spec": {}, "metadata": {"labels": {"a": 5}}}, "metadata.labels['a']", "must be a text, is a number"),
    ({"spec": {}, "metadata": {"annotations": {"a": True}}}, "metadata.annotations['a']", "is true or false"),
    ({"Spec": {}}, "Spec", "must be written spec"),
    (with_spec(entrypoint=5), "spec.entrypoint", "must be a text"),
    (with_spec(EntryPoint="work"), "spec.EntryPoint", "must be written entrypoint"),
    (with_spec(templates={}), "spec.templates", "must be a list, is an object"),
    (with_spec(templates=["work"]), "spec.templates[0]", "must be an object"),
    (with_spec(parallelism="2"), "spec.parallelism", "must be a whole number, is a text"),
    (with_spec(parallelism=2.5), "spec.parallelism", "is the number 2.5"),
    (with_spec(parallelism=1 << 63), "spec.parallelism", "must be a whole number"),
    (with_spec(suspend="true"), "spec.suspend", "must be true or false"),
    (with_spec(ttlStrategy={"secondsAfterSuccess": "7d"}), "spec.ttlStrategy.secondsAfterSuccess", "whole number"),
    (with_spec(nodeSelector={"arch": 64}), "spec.nodeSelector['arch']", "must be a text"),
    (with_spec(arguments=[{"name": "p"}]), "spec.arguments", "must be an object, is a list"),
    (with_spec(arguments={"parameters": {"p": 1}}), "spec.arguments.parameters", "must be a list"),
    (with_spec(hooks=[]), "spec.hooks", "must be an object"),
    (one({"name": "work", "steps": [step()]}), f"{T}.steps[0]", "must be a list, is an object"),
    (one({"name": "work", "steps": {}}), f"{T}.steps", "must be a list of lists"),
    (one({"name": "work", "dag": {"tasks": [{"name": "a", "dependencies": "b"}]}}), f"{T}.dag.tasks[0].dependencies",
     "must be a list"),
    (one({"name": "work", "suspend": {"duration": 20}}), f"{T}.suspend.duration", "must be a text"),
    (one(runs(activeDeadlineSeconds=1.5)), f"{T}.activeDeadlineSeconds", "a whole number or a text"),
    (one(runs(retryStrategy={"limit": True})), f"{T}.retryStrategy.limit", "a whole number or a text"),
    (with_container(args="-v"), f"{T}.container.args", "must be a list, is a text"),
    (with_container(command=[1]), f"{T}.container.command[0]", "must be a text"),
    (with_container(env=[{"name": "A", "value": 5}]), f"{T}.container.env[0].value", "must be a text"),
    (with_container(resources={"limits": 1}), f"{T}.container.resources.limits", "must be an object"),
    (with_container(securityContext={"runAsUser": "1000"}), f"{T}.container.securityContext.runAsUser",
     "must be a whole number, is a text"),
    (with_container(env=[{"name": "A", "valueFrom": {"secretKeyRef": {"key": 1}}}]),
     f"{T}.container.env[0].valueFrom.secretKeyRef.key", "must be a text"),
    (with_container(livenessProbe={"httpGet": {"port": []}}), f"{T}.container.livenessProbe.httpGet.port",
     "a whole number or a text"),
    (with_spec(volumes=[{"name": "a", "emptyDir": {"sizeLimit": "1GB"}}]), "spec.volumes[0].emptyDir.sizeLimit",
     "must be an amount such as 500m, 64Mi or 64M, is '1GB'"),
    (with_spec(volumes={"name": "a"}), "spec.volumes", "must be a list"),
    (with_spec(volumeClaimTemplates=[{"spec": {"accessModes": "ReadWriteOnce"}}]),
     "spec.volumeClaimTemplates[0].spec.accessModes", "must be a list, is a text"),
    (with_spec(tolerations=[{"tolerationSeconds": "60"}]), "spec.tolerations[0].tolerationSeconds", "a whole number"),
    (with_spec(securityContext={"runAsNonRoot": "yes"}), "spec.securityContext.runAsNonRoot", "must be true or false"),
    (with_spec(synchronization={"mutexes": ["a"]}), "spec.synchronization.mutexes[0]", "must be an object"),
    (one(runs(memoize={"cache": {"configMap": "c"}})), f"{T}.memoize.cache.configMap", "must be an object"),
    (one(runs(outputs={"artifacts": [{"name": "a", "path": "/a", "s3": {"key": 1}}]})),
     f"{T}.outputs.artifacts[0].s3.key", "must be a text"),
    (one({"name": "work", "http": {"url": "u", "bodyFrom": {"bytes": "a b"}}}), f"{T}.http.bodyFrom.bytes",
     "must be a text in base64, is 'a b'"),
    (one(runs(inputs={"artifacts": [{"name": "g", "path": "/g", "git": {"repo": "r", "depth": -1}}]})),
     f"{T}.inputs.artifacts[0].git.depth", "must be a whole number from 0"),
    ({"spec": {}, "metadata": {"creationTimestamp": "today"}}, "metadata.creationTimestamp", "is 'today'"),
]  # fmt: skip


@pytest.mark.parametrize(("workflow", "path", "reason"), WRONG, ids=[f"{path} {reason}" for _, path, reason in WRONG])
def test_a_value_of_the_wrong_type_is_the_only_thing_told(workflow: Any, path: str, reason: str) -> None:
    ((found, why),) = workflow_check(workflow)
    assert found == path
    assert reason in why


@pytest.mark.parametrize(
    "workflow",
    [
        *(with_spec(arguments=gives(p=value)) for value in ("a", 5, 1.5, True, {"a": [None]}, [1], "")),
        with_spec(nodeSelector={"arch": None}, parallelism=None, hooks=None),
        one(runs(activeDeadlineSeconds="10", retryStrategy={"limit": 2})),
        one(runs(retryStrategy={"limit": "{{workflow.name}}", "backoff": {"factor": 2}})),
        with_container(resources={"limits": {"cpu": 1, "memory": "1Gi"}}, ports=[{"containerPort": 80}]),
        one({"name": "work", "steps": [None, [step("a", "", inline=runs())]]}),
        one({"name": "work", "http": {"url": "u", "headers": [{"name": "a", "value": "b"}]}}),
        with_spec(volumes=[{"name": "a", "anything": {"at": ["all"]}}]),
        with_spec(volumes=[{"name": "a", "emptyDir": {}}, {"name": "b", "secret": {"items": [{"mode": 256}]}}]),
        {**with_spec(), "metadata": {"name": "work", "creationTimestamp": None, "uid": "a"}, "status": {}},
        steps(step(withItems=[1, "a", True, None, {"a": 1}, [1]])),
    ],
)
def test_what_argo_decodes_passes(workflow: dict[str, Any]) -> None:
    assert list(workflow_check(workflow)) == []


@pytest.mark.parametrize("brackets", ["[]", '{"a":}'])
@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 400])
def test_what_is_nested_too_deep_is_refused_and_not_walked(brackets: str, depth: int) -> None:
    deep = json.loads(brackets[:-1] * depth + "1" + brackets[-1] * depth)
    assert list(workflow_check(with_spec(affinity=deep))) == [("", f"is nested deeper than {MAX_DEPTH} levels")]


def test_inline_templates_within_inline_templates_are_looked_at_as_deep_as_they_may_go() -> None:
    template: dict[str, Any] = {"container": {}}
    for _ in range((MAX_DEPTH - 10) // 4):
        template = {"steps": [[step("a", "", inline=template)]]}
    ((path, reason),) = workflow_check(one({"name": "work", **template}))
    assert path.endswith(".inline.container.image")
    assert reason == "is required"


@pytest.mark.parametrize("amount", ["1", "0.5", ".5", "500m", "64Mi", "64M", "1e3", "2E", "-1", " 1Gi ", 1, 0.5])
def test_an_amount_that_kubernetes_reads_is_taken(amount: object) -> None:
    assert list(workflow_check(with_container(resources={"limits": {"memory": amount}}))) == []


@pytest.mark.parametrize("amount", ["64MB", "", "1 Gi", "64mi", "a", "1Ki2", "{{inputs.parameters.p}}", True, [], {}])
def test_an_amount_that_kubernetes_cannot_read_is_told_with_examples(amount: object) -> None:
    ((path, reason),) = workflow_check(with_container(resources={"limits": {"memory": amount}}))
    assert path == f"{T}.container.resources.limits['memory']"
    assert "must be an amount such as 500m, 64Mi or 64M" in reason


def test_a_member_that_no_step_has_is_told_as_argo_refuses_it() -> None:
    ((path, reason),) = workflow_check(steps(step(argumnets={})))
    assert path == f"{T}.steps[0][0].argumnets"
    assert reason.startswith("is not a member of a step (known: name, ")


def test_a_member_that_no_task_has_is_dropped_by_argo_and_by_nobody_minded() -> None:
    assert list(workflow_check(dag(step(argumnets={})))) == []
