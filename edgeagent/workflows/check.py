"""Finds what Argo's validator would refuse in a Workflow, as far as the workflow's own text shows it.

Pure, and linear in the length of the workflow. Whatever depends on a referenced template (`templateRef`,
`workflowTemplateRef`) or on what the engine fills in first (a text with `{{`) is unknown here and passes, so a valid
workflow is never refused. docs/validation.md lists the rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgeagent.common.names import is_dns_subdomain
from edgeagent.workflows.arguments import argument_problems
from edgeagent.workflows.names import (
    MAX_LABEL_CHARS,
    TOO_DEEP,
    Finding,
    as_list,
    as_object,
    as_text,
    is_label_value,
    is_open,
    is_too_deep,
    named,
    quoted,
    template_names,
)
from edgeagent.workflows.types import type_problems

_POD_GC = ("OnPodCompletion", "OnPodSuccess", "OnWorkflowCompletion", "OnWorkflowSuccess")
_SETS = frozenset({"In", "NotIn"})
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


def workflow_check(workflow: Any) -> Iterator[Finding]:
    """Yield every mistake in a workflow: key path below it, and reason. A valid workflow has none.

    Args:
        workflow: any decoded JSON; nothing about it need be known. Wrong types end the check, because the engine's
        decoder
            would stop there too.
    """
    if is_too_deep(workflow):
        yield "", TOO_DEEP
        return
    if not isinstance(workflow, dict):
        yield "", "must be an object"
        return
    wrong_types = list(type_problems(workflow, "Workflow", ""))
    yield from wrong_types
    if wrong_types:
        return
    name = as_text(as_object(workflow.get("metadata")).get("name"))
    if len(name) > MAX_LABEL_CHARS:
        yield "metadata.name", f"must have at most {MAX_LABEL_CHARS} characters, has {len(name)}"
    yield from _spec_problems(workflow, as_object(workflow.get("spec")))


def _spec_problems(workflow: dict[str, Any], spec: dict[str, Any]) -> Iterator[Finding]:
    yield from argument_problems(spec.get("arguments"), "spec.arguments")
    if spec.get("hooks"):
        from edgeagent.workflows.templates import hook_problems  # noqa: PLC0415  as below

        yield from hook_problems(spec["hooks"], "spec.hooks")
    yield from _pod_gc_problems(as_object(spec.get("podGC")))
    if spec.get("podResources") is not None:
        from edgeagent.workflows.leaves import pod_resource_problems  # noqa: PLC0415  as below

        yield from pod_resource_problems(spec["podResources"], "spec.podResources")
    for index, plugin in enumerate(as_list(spec.get("executorPlugins"))):
        yield from _plugin_problems(as_object(plugin), f"spec.executorPlugins[{index}]")
    entries = as_list(spec.get("templates"))
    reference = spec.get("workflowTemplateRef")
    if reference is None:
        yield from template_names(named(entries, "spec.templates"))
        yield from _template_problems(workflow, spec)
        return
    name = as_text(as_object(reference).get("name"))
    if not name:
        yield "spec.workflowTemplateRef.name", "is required"
    elif not is_dns_subdomain(name) and not is_open(name):
        yield "spec.workflowTemplateRef.name", f"must be a DNS subdomain, is {quoted(name)}"
    if entries:
        yield "spec.templates", "cannot stand together with spec.workflowTemplateRef: keep one"


def _template_problems(workflow: dict[str, Any], spec: dict[str, Any]) -> Iterator[Finding]:
    from edgeagent.workflows.templates import Templates  # noqa: PLC0415  0.4 MiB, for workflows with templates of their own

    templates = Templates(workflow)
    arguments = spec.get("arguments")
    entrypoint, at_exit = as_text(spec.get("entrypoint")), as_text(spec.get("onExit"))
    if not entrypoint:
        yield "spec.entrypoint", "is required: the name of the template to begin with"
    for member, name in (("entrypoint", entrypoint), ("onExit", at_exit)):
        if name and name not in templates:
            yield f"spec.{member}", f"{quoted(name)} is not among spec.templates"
        yield from templates.supply_problems(name, arguments, f"spec.{member}")
    yield from templates.problems()


def _pod_gc_problems(pod_gc: dict[str, Any]) -> Iterator[Finding]:
    strategy = as_text(pod_gc.get("strategy"))
    if strategy and strategy not in _POD_GC:
        yield "spec.podGC.strategy", f"must be one of {', '.join(_POD_GC)}, is {quoted(strategy)}"
    selector = as_object(pod_gc.get("labelSelector"))
    for key, value in as_object(selector.get("matchLabels")).items():
        yield from _label_problems(key, [value], "spec.podGC.labelSelector.matchLabels")
    for index, item in enumerate(as_list(selector.get("matchExpressions"))):
        requirement, here = as_object(item), f"spec.podGC.labelSelector.matchExpressions[{index}]"
        operator, values = as_text(requirement.get("operator")), as_list(requirement.get("values"))
        yield from _label_problems(as_text(requirement.get("key")), values, here)
        if operator not in _OPERATORS:
            yield f"{here}.operator", f"must be one of {', '.join(_OPERATORS)}, is {quoted(operator)}"
        elif bool(values) != (operator in _SETS):
            yield f"{here}.values", f"{'are required' if operator in _SETS else 'must be left out'} with {operator}"


def _label_problems(key: str, values: list[Any], path: str) -> Iterator[Finding]:
    prefix, slash, name = key.rpartition("/")
    if not is_label_value(name) or (slash and not is_dns_subdomain(prefix)):
        yield path, f"has {quoted(key)}, which no label can have as its key"
    for value in values:
        if as_text(value) and not is_label_value(as_text(value)):
            yield path, f"has {quoted(value)}, which no label can have"


def _plugin_problems(plugin: dict[str, Any], path: str) -> Iterator[Finding]:
    here = f"{path}.spec.sidecar.container"
    container = as_object(as_object(as_object(plugin.get("spec")).get("sidecar")).get("container"))
    resources = as_object(container.get("resources"))
    if not container.get("name"):
        yield f"{here}.name", "is required"
    if not container.get("ports"):
        yield f"{here}.ports", "is required"
    for member in ("requests", "limits"):
        if resources.get(member) is None:
            yield f"{here}.resources.{member}", "is required"
