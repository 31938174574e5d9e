"""The variables in a workflow's texts, `{{inputs.parameters.temp}}`: which there are, and which are in scope.

Argo resolves a variable only when it begins with one of `_ROOTS`; every other, and every expression `{{=...}}`, it
passes on. Scopes are asked, never copied, and a step's outputs are looked up in what is known of its template: so the
work grows with the length of the workflow and not with its square.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from edgeagent.core.workflow_names import Finding, as_list, as_object, as_text, has_tag

_ROOTS = ("item.", "steps.", "inputs.", "outputs.", "pod.", "workflow.", "tasks.")
# What the engine fills in later, or looks up by itself: whatever follows is taken.
_ALWAYS = (
    "outputs.", "steps.name", "tasks.name", "node.name",
    "workflow.creationTimestamp", "workflow.scheduledTime", "workflow.duration",
)  # fmt: skip
_GLOBALS = (
    "workflow.name", "workflow.namespace", "workflow.mainEntrypoint", "workflow.serviceAccountName", "workflow.uid",
    "workflow.status", "workflow.annotations", "workflow.annotations.json", "workflow.labels", "workflow.labels.json",
)  # fmt: skip
_MISSING = {
    "item": "but no item of withItems has it, and there is no withParam",
    "steps": "which no earlier step of this template gives",
    "tasks": "which no task of this template gives that comes before",
    "inputs": "which is no input of this template: declare it in its inputs",
    "pod": "which there is only in templates that run a pod",
    "workflow": "which this workflow does not have: its parameters are those of spec.arguments",
}
_OF_EVERY_NODE = frozenset({"id", "startedAt", "finishedAt", "hostNodeName"})
_WITHOUT_RESULT = frozenset({"steps", "dag"})


class Outline(msgspec.Struct, frozen=True):
    """What a call of a template needs to know of it: what it must be given, and what it gives."""

    kind: str
    parameters: frozenset[str]
    required_parameters: dict[str, None]
    required_artifacts: dict[str, None]
    output_parameters: frozenset[str]
    output_artifacts: frozenset[str]
    daemon: bool


class Node(msgspec.Struct, frozen=True):
    """A step or task as others may refer to it. `outline` None: its template is not known here."""

    outline: Outline | None
    looped: bool

    def gives(self, member: str) -> bool:
        """Whether `steps.NAME.<member>` can be resolved."""
        outline = self.outline
        if outline is None or member in _OF_EVERY_NODE:
            return True
        has_result = outline.kind not in _WITHOUT_RESULT
        single = {
            "ip": outline.daemon,
            "exitCode": has_result,
            "outputs.result": has_result,
            "outputs.parameters": self.looped,
        }
        if member in single:
            return single[member]
        for prefix, names in (
            ("outputs.parameters.", outline.output_parameters),
            ("outputs.artifacts.", outline.output_artifacts),
        ):
            if member.startswith(prefix):
                return member.removeprefix(prefix) in names
        return False


class Scope:
    """What the variables of one template, or of one inline template within it, can be.

    Attributes:
        names: variables as they are written.
        nodes: steps and tasks whose outputs are there, by `steps.NAME` and `tasks.NAME`.
        with_status: those whose status is there; asked with the node's name.
        any_item: items come from a parameter, so they may have any members.
    """

    def __init__(self, parent: Scope | None = None) -> None:
        self._parent = parent
        self.names: set[str] = set()
        self.nodes: dict[str, Node] = {}
        self.with_status: Callable[[str], bool] = lambda _: False
        self.any_item = False
        self.any_output = False

    def __contains__(self, tag: str) -> bool:
        return self._has(tag) or (self._parent is not None and tag in self._parent)

    def _has(self, tag: str) -> bool:
        if tag in self.names:
            return True
        root, _, rest = tag.partition(".")
        if root == "item":
            return self.any_item
        if root == "workflow":
            return self.any_output and rest.startswith("outputs.")
        if root not in {"steps", "tasks"}:
            return False
        name, _, member = rest.partition(".")
        if member == "status":
            return self.with_status(f"{root}.{name}")
        node = self.nodes.get(f"{root}.{name}")
        return node is not None and node.gives(member)


def outline_of(template: dict[str, Any], kind: str) -> Outline:
    """The outline of a template, whatever is wrong with it."""
    inputs, outputs = as_object(template.get("inputs")), as_object(template.get("outputs"))
    parameters = [as_object(item) for item in as_list(inputs.get("parameters"))]
    artifacts = [as_object(item) for item in as_list(inputs.get("artifacts"))]
    return Outline(
        kind=kind,
        parameters=_names(parameters),
        required_parameters=dict.fromkeys(
            as_text(parameter.get("name"))
            for parameter in parameters
            if all(parameter.get(member) is None for member in ("value", "default", "valueFrom"))
        ),
        required_artifacts=dict.fromkeys(
            as_text(artifact.get("name"))
            for artifact in artifacts
            if artifact.get("optional") is not True and not has_location(artifact)
        ),
        output_parameters=_names(as_list(outputs.get("parameters"))),
        output_artifacts=_names(as_list(outputs.get("artifacts"))),
        daemon=template.get("daemon") is True,
    )


def has_location(artifact: dict[str, Any]) -> bool:
    """Whether an artifact says where it is, or at least under which key."""
    places = ("s3", "git", "http", "artifactory", "hdfs", "raw", "oss", "gcs", "azure", "plugin")
    return any(artifact.get(place) is not None for place in places)


def global_scope(workflow: dict[str, Any], templates: Iterable[dict[str, Any]], *, references: bool) -> Scope:
    """The variables of the whole workflow.

    Args:
        workflow: the whole.
        templates: its own templates.
        references: some step calls a template that is not here; it may give the workflow any outputs.
    """
    metadata, spec = as_object(workflow.get("metadata")), as_object(workflow.get("spec"))
    more = as_object(spec.get("workflowMetadata"))
    scope = Scope()
    scope.names.update(_GLOBALS)
    scope.any_output = references
    if parameters := as_list(as_object(spec.get("arguments")).get("parameters")):
        scope.names.update(("workflow.parameters", "workflow.parameters.json"))
        scope.names.update(f"workflow.parameters.{name}" for name in _names(parameters))
    for source in (metadata.get("annotations"), more.get("annotations")):
        scope.names.update(f"workflow.annotations.{name}" for name in as_object(source))
    for source in (metadata.get("labels"), more.get("labels"), more.get("labelsFrom")):
        scope.names.update(f"workflow.labels.{name}" for name in as_object(source))
    if spec.get("priority") is not None:
        scope.names.add("workflow.priority")
    for template in templates:
        outputs = as_object(template.get("outputs"))
        for member in ("parameters", "artifacts"):
            for output in as_list(outputs.get(member)):
                name = as_text(as_object(output).get("globalName"))
                scope.names.add(f"workflow.outputs.{member}.{name}")
                scope.any_output = scope.any_output or has_tag(name)
    return scope


def input_scope(outline: Outline, template: dict[str, Any], parent: Scope) -> Scope:
    """A template's own scope: its inputs, over the workflow's or an outer template's."""
    scope = Scope(parent)
    if outline.parameters:
        scope.names.add("inputs.parameters")
    scope.names.update(f"inputs.parameters.{name}" for name in outline.parameters)
    for name in _names(as_list(as_object(template.get("inputs")).get("artifacts"))):
        scope.names.update((f"inputs.artifacts.{name}", f"inputs.artifacts.{name}.path"))
    return scope


def variable_problems(found: Iterable[tuple[str, str]], scope: Scope) -> Iterator[Finding]:
    """Variables in texts that cannot be resolved.

    Args:
        found: key paths and texts that Argo reads as one: a variable that is not closed in one text swallows what
            comes after it, and then nothing can be told.
        scope: what there is.
    """
    problems: list[Finding] = []
    for path, text in found:
        if "{{" not in text:
            continue
        tags, rest = _split(text)
        if rest is not None:
            tag = rest.lstrip(" ")
            if not tag.startswith(_ROOTS) or tag.startswith(_ALWAYS):
                return
            problems.append((path, "has a '{{' without its '}}'"))
        problems.extend((path, _reason(tag)) for tag in tags if _is_missing(tag, scope))
    yield from problems


def _split(text: str) -> tuple[list[str], str | None]:
    """The variables in a text; and what comes after the last `{{` when it is not closed."""
    tags: list[str] = []
    start = text.find("{{")
    while start >= 0:
        end = text.find("}}", start + 2)
        if end < 0:
            return tags, text[start + 2 :]
        tags.append(text[start + 2 : end])
        start = text.find("{{", end + 2)
    return tags, None


def _is_missing(tag: str, scope: Scope) -> bool:
    name = tag.strip(" ")
    # A variable within a variable is filled in first: what then is asked for, nobody knows yet.
    if has_tag(tag) or not name.startswith(_ROOTS) or name.startswith(_ALWAYS):
        return False
    return name not in scope


def _reason(tag: str) -> str:
    name = tag.strip(" ")
    return "uses {{" + name[:100] + "}}, " + _MISSING[name.partition(".")[0]]


def _names(entries: Iterable[Any]) -> frozenset[str]:
    return frozenset(as_text(as_object(entry).get("name")) for entry in entries)
