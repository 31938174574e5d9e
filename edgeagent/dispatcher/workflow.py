"""What is wrong with a received Workflow, as far as its own text shows it (Argo's basic rules, and Kubernetes' names).

Pure. Each function yields texts for a person, the first problem first; none changes anything. What only the engine can
know (does the template exist, which parameters does it need) is left to the engine.

Argo reads member names without regard to case, and the last of several wins. A member such as `spec.Templates` is
therefore refused wherever this module or the policy reads `templates`: it would be overlooked here and obeyed there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeGuard

from edgeagent.common import names
from edgeagent.workflows.metadata import metadata_problems
from edgeagent.workflows.names import (
    MAX_TEMPLATE_NAME_CHARS,
    TEMPLATE_TYPES,
    is_parameter_name,
    is_template_name,
    quoted,
)

KIND = "Workflow"
API_VERSION = "argoproj.io/v1alpha1"

MAX_NAME_CHARS = 63  # the name becomes the value of a label
# What Kubernetes keeps of generateName before it adds five characters.
_GENERATED_BASE_CHARS = 58

_WORKFLOW_MEMBERS = ("apiVersion", "kind", "metadata", "spec")
_METADATA_MEMBERS = ("name", "generateName", "namespace", "labels", "annotations")
_SPEC_MEMBERS = (
    "entrypoint", "templates", "templateDefaults", "workflowTemplateRef", "arguments", "serviceAccountName",
    "ttlStrategy", "podGC",
)  # fmt: skip


def workflow_problems(workflow: dict[str, Any], namespace: str) -> Iterator[str]:
    """Everything wrong with a workflow that is to run in this namespace."""
    yield from _misspelt(workflow, _WORKFLOW_MEMBERS, "")
    if workflow.get("kind", KIND) != KIND:
        yield f"kind must be {KIND}, is {quoted(workflow['kind'])}"
    if workflow.get("apiVersion", API_VERSION) != API_VERSION:
        yield f"apiVersion must be {API_VERSION}, is {quoted(workflow['apiVersion'])}"
    metadata = workflow.get("metadata")
    if _is_object(metadata):
        yield from _metadata_problems(metadata, namespace)
    else:
        yield "metadata is required" if metadata is None else "metadata must be an object"
    spec = workflow.get("spec")
    if _is_object(spec):
        yield from _spec_problems(spec)
    else:
        yield "spec is required" if spec is None else "spec must be an object"


def _metadata_problems(metadata: dict[str, Any], namespace: str) -> Iterator[str]:
    yield from _misspelt(metadata, _METADATA_MEMBERS, "metadata.")
    name, base = metadata.get("name"), metadata.get("generateName")
    if name is None and base is None:
        yield "metadata.name is required"
    if name is not None and not (isinstance(name, str) and names.is_dns_subdomain(name, MAX_NAME_CHARS)):
        yield f"metadata.name must be a DNS subdomain of at most {MAX_NAME_CHARS} characters, is {quoted(name)}"
    if base is not None and not (isinstance(base, str) and _is_generate_name(base)):
        yield f"metadata.generateName must be the beginning of a DNS subdomain, is {quoted(base)}"
    own = metadata.get("namespace")
    if own is not None and own != namespace:
        yield f"metadata.namespace is {quoted(own)}, but the message's namespace is {quoted(namespace)}"
    yield from (f"{path} {reason}" for path, reason in metadata_problems(metadata))


def _is_generate_name(base: str) -> bool:
    """Whether what Kubernetes makes of it is a name."""
    return bool(base) and names.is_dns_subdomain(base[:_GENERATED_BASE_CHARS] + "xxxxx", MAX_NAME_CHARS)


def _spec_problems(spec: dict[str, Any]) -> Iterator[str]:
    yield from _misspelt(spec, _SPEC_MEMBERS, "spec.")
    reference = spec.get("workflowTemplateRef")
    entrypoint = spec.get("entrypoint")
    if entrypoint is not None and not isinstance(entrypoint, str):
        yield "spec.entrypoint must be a text"
    elif not entrypoint and reference is None:
        yield "spec.entrypoint is required"
    if reference is None:
        yield from _template_problems(spec)
    else:
        yield from _reference_problems(reference)
        if spec.get("templates"):
            yield "spec.templates cannot stand together with spec.workflowTemplateRef"
    account = spec.get("serviceAccountName")
    if account is not None and not isinstance(account, str):
        yield "spec.serviceAccountName must be a text"
    yield from _argument_problems(spec.get("arguments"))


def _reference_problems(reference: object) -> Iterator[str]:
    path = "spec.workflowTemplateRef"
    if not _is_object(reference):
        yield f"{path} must be an object"
        return
    yield from _misspelt(reference, ("name", "clusterScope"), f"{path}.")
    name = reference.get("name")
    if not isinstance(name, str) or not name:
        yield f"{path}.name is required"
    elif not names.is_dns_subdomain(name):
        yield f"{path}.name must be a DNS subdomain, is {quoted(name)}"
    if not isinstance(reference.get("clusterScope", False), bool):
        yield f"{path}.clusterScope must be true or false"


def _template_problems(spec: dict[str, Any]) -> Iterator[str]:
    templates = spec.get("templates")
    if not isinstance(templates, list) or not templates:
        yield "spec.templates must be an array with at least one template"
        return
    seen: set[str] = set()
    for index, template in enumerate(templates):
        path = f"spec.templates[{index}]"
        if not _is_object(template):
            yield f"{path} must be an object"
            continue
        yield from _misspelt(template, ("name", *TEMPLATE_TYPES), f"{path}.")
        name = template.get("name")
        if not isinstance(name, str) or not name:
            yield f"{path}.name is required"
        elif not is_template_name(name):
            yield f"{path}.name must be letters, digits and '-', at most {MAX_TEMPLATE_NAME_CHARS}, is {quoted(name)}"
        elif name in seen:
            yield f"{path}.name {quoted(name)} is the name of an earlier template"
        else:
            seen.add(name)
        yield from _type_problems(template, path, defaults=spec.get("templateDefaults") is not None)
    entrypoint = spec.get("entrypoint")
    if isinstance(entrypoint, str) and entrypoint and entrypoint not in seen:
        yield f"spec.entrypoint {quoted(entrypoint)} is not among spec.templates"


def _type_problems(template: dict[str, Any], path: str, *, defaults: bool) -> Iterator[str]:
    """A template has exactly one type; with `templateDefaults` it may have it from there."""
    types = [kind for kind in TEMPLATE_TYPES if template.get(kind) is not None]
    if len(types) > 1:
        yield f"{path} has more than one type: {', '.join(types)}"
    elif not types and not defaults:
        yield f"{path} has no type: one of {', '.join(TEMPLATE_TYPES)} is required"


def _argument_problems(arguments: object) -> Iterator[str]:
    if arguments is None:
        return
    if not _is_object(arguments):
        yield "spec.arguments must be an object"
        return
    yield from _misspelt(arguments, ("parameters",), "spec.arguments.")
    parameters = arguments.get("parameters", [])
    if not isinstance(parameters, list):
        yield "spec.arguments.parameters must be an array"
        return
    seen: set[str] = set()
    for index, parameter in enumerate(parameters):
        path = f"spec.arguments.parameters[{index}]"
        if not _is_object(parameter):
            yield f"{path} must be an object"
            continue
        yield from _misspelt(parameter, ("name", "value", "valueFrom"), f"{path}.")
        name = parameter.get("name")
        if not isinstance(name, str) or not name:
            yield f"{path}.name is required"
        elif not is_parameter_name(name):
            yield f"{path}.name must be letters, digits, '-' and '_', is {quoted(name)}"
        elif name in seen:
            yield f"{path}.name {quoted(name)} is the name of an earlier parameter"
        else:
            seen.add(name)
        if parameter.get("value") is None and parameter.get("valueFrom") is None:
            yield f"{path} {quoted(name)} needs value or valueFrom"


def _misspelt(members: dict[str, Any], known: tuple[str, ...], path: str) -> Iterator[str]:
    """Members that Argo would take for a known one although they are written otherwise."""
    spelling = {member.casefold(): member for member in known}
    for member in members:
        right = spelling.get(member.casefold())
        if right is not None and member != right:
            yield f"{path}{member} must be written {path}{right}"


def _is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)
