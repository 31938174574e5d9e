"""Checks templates that do work themselves (run a container, apply a resource, wait), and what all templates share."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from edgeagent.workflows.arguments import location_problems
from edgeagent.workflows.graph import cycle_in
from edgeagent.workflows.names import (
    TEMPLATE_TYPES,
    Finding,
    as_list,
    as_object,
    as_text,
    is_open,
    is_unknown,
    named,
    quoted,
    template_names,
)

_CALL_OTHERS = frozenset({"steps", "dag"})
_RUN_A_POD = frozenset({"container", "containerSet", "script", "resource", "data"})
_POD_ONLY = {
    "podResources": frozenset({"http", "plugin"}),
    "resourceClaims": frozenset(TEMPLATE_TYPES) - _RUN_A_POD,
}
_ACTIONS = ("get", "create", "apply", "delete", "replace", "patch")
_WITHOUT_MANIFEST = frozenset({"get", "delete"})
_RETRY_POLICIES = ("Always", "OnFailure", "OnError", "OnTransientError")
_OURS_ALONE = frozenset({"wait", "supervisor"})
_METRIC_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
_POD_RESOURCES = re.compile(r"cpu|memory|hugepages-.+", re.ASCII | re.DOTALL)
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]+", re.ASCII)


def type_of(template: dict[str, Any]) -> str:
    """The template's type, "" if it has none or several."""
    types = [kind for kind in TEMPLATE_TYPES if template.get(kind) is not None]
    return types[0] if len(types) == 1 else ""


def runs_a_pod(kind: str) -> bool:
    """Whether templates of this type have a pod of their own, and so `pod.name`."""
    return kind in _RUN_A_POD


def kind_problems(template: dict[str, Any], defaults: dict[str, Any], path: str) -> Iterator[Finding]:
    """Check that a template has exactly one type, which may come from `templateDefaults`."""
    types = [kind for kind in TEMPLATE_TYPES if template.get(kind) is not None]
    if len(types) > 1:
        yield path, f"has more than one type: {', '.join(types)}: keep one"
    elif not types and not any(defaults.get(kind) is not None for kind in TEMPLATE_TYPES):
        yield path, f"has no type: one of {', '.join(TEMPLATE_TYPES)} is required"
    elif types == ["plugin"] and len(as_object(template["plugin"])) != 1:
        yield f"{path}.plugin", "must have exactly one member: the plugin's name"


def leaf_problems(template: dict[str, Any], kind: str, defaults: dict[str, Any], path: str) -> Iterator[Finding]:
    """Yield the mistakes in what a template itself does; `kind` is its type."""
    body = as_object(template.get(kind))
    image = body.get("image") or as_object(defaults.get(kind)).get("image")
    if kind in {"container", "script"} and not image:
        yield f"{path}.{kind}.image", "is required"
    if kind == "container":
        yield from _mount_problems(template, body, path)
    elif kind == "containerSet":
        yield from _container_set_problems(template, body, path)
    elif kind == "resource":
        yield from _resource_problems(template, body, path)
    if template.get("parallelism") is not None:
        yield f"{path}.parallelism", "is only for steps and dag templates"
    yield from _deadline_problems(template.get("activeDeadlineSeconds"), f"{path}.activeDeadlineSeconds")


def retry_problems(template: dict[str, Any], path: str) -> Iterator[Finding]:
    """Yield the mistakes in how a template is retried, before anything is filled in."""
    policy = as_text(as_object(template.get("retryStrategy")).get("retryPolicy"))
    if policy and policy not in _RETRY_POLICIES:
        yield f"{path}.retryStrategy.retryPolicy", f"must be one of {', '.join(_RETRY_POLICIES)}, is {quoted(policy)}"


def common_problems(template: dict[str, Any], kind: str, path: str) -> Iterator[Finding]:
    """Yield the mistakes in what templates of every type have."""
    yield from _time_problems(template, kind, path)
    for index, container in enumerate(as_list(template.get("initContainers"))):
        if not as_object(container).get("name"):
            yield f"{path}.initContainers[{index}].name", "is required"
    yield from _reserved_problems(as_list(template.get("sidecars")), f"{path}.sidecars")
    yield from location_problems(as_object(template.get("archiveLocation")), f"{path}.archiveLocation")
    for member, kinds in _POD_ONLY.items():
        if template.get(member) and kind in kinds:
            yield f"{path}.{member}", f"is only for templates that run a pod, not for {kind}"
    yield from pod_resource_problems(template.get("podResources"), f"{path}.podResources")
    for index, metric in enumerate(as_list(as_object(template.get("metrics")).get("prometheus"))):
        yield from _metric_problems(as_object(metric), f"{path}.metrics.prometheus[{index}]")


def _time_problems(template: dict[str, Any], kind: str, path: str) -> Iterator[Finding]:
    if kind in _CALL_OTHERS:
        for member in ("activeDeadlineSeconds", "timeout", "pendingTimeout"):
            if template.get(member) is not None and template[member] != "":
                yield f"{path}.{member}", f"is only for templates that run something, not for {kind}"
    timeout = as_text(template.get("timeout"))
    if _WHOLE_NUMBER.fullmatch(timeout):
        yield f"{path}.timeout", f'needs a unit, such as "{timeout[:20]}s"'


def pod_resource_problems(resources: Any, path: str) -> Iterator[Finding]:
    """Yield resources that a pod as a whole cannot have."""
    members = as_object(resources)
    if as_list(members.get("claims")):
        yield f"{path}.claims", "is not for a whole pod: use resourceClaims"
    for member in ("requests", "limits"):
        for name in as_object(members.get(member)):
            if _POD_RESOURCES.fullmatch(name) is None:
                yield f"{path}.{member}", f"can have cpu, memory and hugepages-*, has {quoted(name)}"


def _mount_problems(template: dict[str, Any], container: dict[str, Any], path: str) -> Iterator[Finding]:
    taken: set[str] = set()
    yield from _taken(as_list(container.get("volumeMounts")), "mountPath", f"{path}.container.volumeMounts", taken)
    artifacts = as_list(as_object(template.get("inputs")).get("artifacts"))
    yield from _taken(artifacts, "path", f"{path}.inputs.artifacts", taken)


def _taken(entries: list[Any], member: str, path: str, taken: set[str]) -> Iterator[Finding]:
    for index, entry in enumerate(entries):
        place = as_text(as_object(entry).get(member))
        if place and place in taken and not is_open(place):
            yield f"{path}[{index}].{member}", f"{quoted(place)} is taken by another mount or artifact"
        taken.add(place)


def _container_set_problems(template: dict[str, Any], body: dict[str, Any], path: str) -> Iterator[Finding]:
    here = f"{path}.containerSet"
    containers = as_list(body.get("containers"))
    if not containers:
        yield f"{here}.containers", "must have at least one container"
        return
    yield from template_names(named(containers, f"{here}.containers"))
    yield from _reserved_problems(containers, f"{here}.containers")
    yield from _taken(as_list(body.get("volumeMounts")), "mountPath", f"{here}.volumeMounts", set())
    before = {
        as_text(as_object(container).get("name")): [
            as_text(name) for name in as_list(as_object(container).get("dependencies"))
        ]
        for container in containers
    }
    for index, container in enumerate(containers):
        for name in as_list(as_object(container).get("dependencies")):
            if as_text(name) not in before and not is_unknown(as_text(name)):
                yield f"{here}.containers[{index}].dependencies", f"names {quoted(name)}, which is not a container here"
    if cycle := cycle_in(before):
        yield f"{here}.containers", f"wait for each other in a circle: {quoted(cycle)} is in it"
    inputs, outputs = as_object(template.get("inputs")), as_object(template.get("outputs"))
    passes = as_list(inputs.get("artifacts")) or as_list(outputs.get("parameters")) or as_list(outputs.get("artifacts"))
    if passes and "main" not in before:
        yield f"{here}.containers", "need one named main: it is the one that artifacts and outputs are for"


def _reserved_problems(containers: list[Any], path: str) -> Iterator[Finding]:
    for index, container in enumerate(containers):
        name = as_text(as_object(container).get("name"))
        if name in _OURS_ALONE or name.startswith("artifact-plugin-"):
            yield f"{path}[{index}].name", f"{quoted(name)} is the name of one of the engine's own containers"


def _resource_problems(template: dict[str, Any], body: dict[str, Any], path: str) -> Iterator[Finding]:
    here, action = f"{path}.resource", as_text(body.get("action"))
    if not is_unknown(action) and action not in _ACTIONS:
        yield f"{here}.action", f"must be one of {', '.join(_ACTIONS)}, is {quoted(action)}"
    if is_unknown(action) or action in _WITHOUT_MANIFEST:
        return
    manifest, source = body.get("manifest"), body.get("manifestFrom")
    if not manifest and source is None:
        yield here, "needs manifest or manifestFrom"
    elif manifest and source is not None:
        yield here, "has both manifest and manifestFrom: keep one"
    elif isinstance(artifact := as_object(source).get("artifact"), dict):
        inputs = as_list(as_object(template.get("inputs")).get("artifacts"))
        name = as_text(artifact.get("name"))
        if not is_unknown(name) and all(as_object(item).get("name") != name for item in inputs):
            yield (
                f"{here}.manifestFrom.artifact.name",
                f"is {quoted(name)}, which is not an input artifact of the template",
            )


def _deadline_problems(value: Any, path: str) -> Iterator[Finding]:
    if isinstance(value, str):
        variable = (value.startswith("{{") and value.endswith("}}")) or is_unknown(value)
        wrong = not variable and (_WHOLE_NUMBER.fullmatch(value) is None or value.startswith("-"))
    else:
        wrong = isinstance(value, int) and value < 0
    if wrong:
        yield path, f"must be a number of seconds, or one variable, is {quoted(value)}"


def _metric_problems(metric: dict[str, Any], path: str) -> Iterator[Finding]:
    name = as_text(metric.get("name"))
    if not is_open(name) and _METRIC_NAME.fullmatch(name) is None:
        yield f"{path}.name", f"must be letters, digits and '_', and not begin with a digit, is {quoted(name)}"
    for index, item in enumerate(as_list(metric.get("labels"))):
        key = as_text(as_object(item).get("key"))
        if not is_open(key) and _METRIC_NAME.fullmatch(key) is None:
            yield f"{path}.labels[{index}].key", f"must be letters, digits and '_', is {quoted(key)}"
    if not metric.get("help"):
        yield f"{path}.help", "is required: say what the metric counts"
    for member in ("gauge", "counter", "histogram"):
        measure = metric.get(member)
        if isinstance(measure, dict) and not measure.get("value"):
            yield f"{path}.{member}.value", "is required"
    gauge = as_object(metric.get("gauge"))
    if gauge.get("realtime") is True and "resourcesDuration." in as_text(gauge.get("value")):
        yield f"{path}.gauge.value", "cannot use resourcesDuration in a realtime gauge: it is known only at the end"
