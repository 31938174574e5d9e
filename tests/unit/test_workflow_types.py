"""The types that Argo's decoder insists on: a wrong one ends the check, as it ends the decoding."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgeagent.core.workflow_check import workflow_check
from edgeagent.core.workflow_names import MAX_DEPTH
from tests.fakes.workflow_examples import gives, one, runs, step, steps

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
