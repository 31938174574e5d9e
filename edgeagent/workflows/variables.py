"""The variables in a workflow's texts, `{{inputs.parameters.temp}}`: which exist, and which are in scope.

Argo resolves a variable only if it begins with one of `_ROOTS`, and passes on every other one and every expression
`{{=...}}`. Scopes are never copied, and a step's outputs are looked up in the outline of its template, so that the work
grows with the length of the workflow and not with its square.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from edgeagent.workflows.names import Finding, as_list, as_object, as_text, has_tag, is_open

_ROOTS = ("item.", "steps.", "inputs.", "outputs.", "pod.", "workflow.", "tasks.")
# What the engine fills in later, or looks up by itself: anything may follow.
_ALWAYS = (
    "outputs.", "steps.name", "tasks.name", "node.name",
    "workflow.creationTimestamp", "workflow.scheduledTime", "workflow.duration",
)  # fmt: skip
_GLOBALS = (
    "workflow.name", "workflow.namespace", "workflow.mainEntrypoint", "workflow.serviceAccountName", "workflow.uid",
    "workflow.status", "workflow.annotations", "workflow.annotations.json", "workflow.labels", "workflow.labels.json",
)  # fmt: skip
# An incomplete location of these kinds is reported at the location itself.
_REPORTED_IN_PLACE = ("git", "hdfs")
_MISSING = {
    "item": "but no item of withItems has it, and there is no withParam",
    "steps": "which no earlier step of this template gives",
    "tasks": "which no task of this template gives that comes before",
    "inputs": "which is not an input of this template: declare it in its inputs",
    "pod": "which there is only in templates that run a pod",
    "workflow": "which this workflow does not have: its parameters are those of spec.arguments",
}
_OF_EVERY_NODE = frozenset({"id", "startedAt", "finishedAt", "hostNodeName"})
_WITH_RESULT = frozenset({"container", "script", "data", "http", "plugin"})
_WITH_RESULT_OF_ITEMS = frozenset({"script", "containerSet"})
# The locations that an artifact can have, in the order in which Argo checks them: the first one given counts. One of
# the members must be there, or all of those joined by a +.
_LOCATIONS = {
    "artifactory": ("url+usernameSecret",), "azure": ("blob",), "git": ("repo",), "gcs": ("key",),
    "hdfs": ("path", "addresses"), "http": ("url",), "oss": ("key",), "raw": (), "s3": ("key",), "plugin": ("key",),
}  # fmt: skip


class Outline(msgspec.Struct, frozen=True):
    """What a call of a template needs to know about it: what it must get, and what it gives."""

    kind: str
    has_result: bool
    parameters: frozenset[str]
    required_parameters: dict[str, None]
    required_artifacts: dict[str, None]
    output_parameters: frozenset[str]
    output_artifacts: frozenset[str]
    daemon: bool


class Node(msgspec.Struct, frozen=True):
    """A step or task, as others may refer to it. `outline` None: its template is not known here."""

    outline: Outline | None
    looped: bool

    def gives(self, member: str) -> bool:
        """Whether `steps.NAME.<member>` can be resolved."""
        outline = self.outline
        if outline is None or member in _OF_EVERY_NODE:
            return True
        has_result = outline.has_result or (self.looped and outline.kind in _WITH_RESULT_OF_ITEMS)
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
    """The variables that one template, or one inline template within it, can use.

    Attributes:
        names: variables as they are written.
        nodes: steps and tasks whose outputs are available, by `steps.NAME` and `tasks.NAME`.
        with_status: those whose status is available; called with the node's name.
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
    """The outline of a template, even of an invalid one."""
    inputs, outputs = as_object(template.get("inputs")), as_object(template.get("outputs"))
    parameters = [as_object(item) for item in as_list(inputs.get("parameters"))]
    artifacts = [as_object(item) for item in as_list(inputs.get("artifacts"))]
    return Outline(
        kind=kind,
        has_result=kind in _WITH_RESULT or (kind == "containerSet" and "main" in _containers(template)),
        parameters=_names(parameters),
        required_parameters=dict.fromkeys(
            as_text(parameter.get("name"))
            for parameter in parameters
            if all(parameter.get(member) is None for member in ("value", "default"))
            and as_object(parameter.get("valueFrom")).get("configMapKeyRef") is None
        ),
        required_artifacts=dict.fromkeys(
            as_text(artifact.get("name"))
            for artifact in artifacts
            if artifact.get("optional") is not True
            and not has_location(artifact)
            and all(artifact.get(place) is None for place in _REPORTED_IN_PLACE)
        ),
        output_parameters=_names(as_list(outputs.get("parameters"))),
        output_artifacts=_names(as_list(outputs.get("artifacts"))),
        daemon=template.get("daemon") is True,
    )


def _containers(template: dict[str, Any]) -> frozenset[str]:
    return _names(as_list(as_object(template.get("containerSet")).get("containers")))


def has_location(artifact: dict[str, Any]) -> bool:
    """Whether an artifact gives its location, or at least its key."""
    place, needed = location_of(artifact)
    return bool(place) and not needed


def location_of(artifact: dict[str, Any]) -> tuple[str, str]:
    """The kind of an artifact's location, "" for none, and what it lacks, "" for nothing."""
    place = next((place for place in _LOCATIONS if artifact.get(place) is not None), "")
    if not place or not (ways := _LOCATIONS[place]):
        return place, ""
    location = as_object(artifact[place])
    if place == "artifactory" and "/" in as_text(location.get("url")).partition("://")[2]:
        return place, ""  # the path of its URL serves as key
    if any(all(location.get(member) for member in way.split("+")) for way in ways):
        return place, ""
    return place, " or ".join(ways).replace("+", " and ")


def global_scope(workflow: dict[str, Any], templates: Iterable[dict[str, Any]], *, references: bool) -> Scope:
    """The variables of the whole workflow.

    Args:
        workflow: the whole workflow.
        templates: its own templates.
        references: whether a step calls a template that is not here; it may give the workflow any outputs.
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
    """A template's own scope: its inputs, on top of the scope of the workflow or of an outer template."""
    scope = Scope(parent)
    scope.names.add("inputs.parameters")  # all of them, as JSON: an empty list in a template without any
    scope.names.update(f"inputs.parameters.{name}" for name in outline.parameters)
    for name in _names(as_list(as_object(template.get("inputs")).get("artifacts"))):
        scope.names.update((f"inputs.artifacts.{name}", f"inputs.artifacts.{name}.path"))
    return scope


def variable_problems(
    found: Iterable[tuple[str, str]], scope: Scope, written: Iterable[tuple[str, str]] = ()
) -> Iterator[Finding]:
    """Yield variables in texts that cannot be resolved.

    Args:
        found: key paths and texts that Argo reads as one text: a variable that is not closed in one of them swallows
        what
            comes after it, and then nothing is reported.
        scope: the variables that exist.
        written: the same texts before anything was filled in.
    """
    problems: list[tuple[str, str]] = []
    missing: list[tuple[int, str]] = []
    for path, text in found:
        if "{{" not in text:
            continue
        tags, rest = variables_in(text)
        if rest is not None:
            tag = rest.lstrip(" ")
            if not tag.startswith(_ROOTS) or tag.startswith(_ALWAYS):
                return
            problems.append((path, "has a '{{' without its '}}'"))
        for tag in tags:
            if _is_missing(tag, scope):
                missing.append((len(problems), tag))
                problems.append((path, _reason(tag)))
    if missing:
        before = dict(written)
        for number, tag in missing:
            path, reason = problems[number]
            if path in before and tag not in before[path]:
                problems[number] = path, reason + _way(before[path])
    yield from problems


def _way(text: str) -> str:
    """How a variable got into a text in which it was not written."""
    tags, _ = variables_in(text)
    return "; it comes with the value of {{" + tags[0][:100] + "}}" if tags else ""


def variables_in(text: str) -> tuple[list[str], str | None]:
    """The variables in a text, and the rest after the last `{{` if it is not closed."""
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
    # An expression within a variable is filled in first, so the resulting variable is unknown.
    if is_open(tag) or not name.startswith(_ROOTS) or name.startswith(_ALWAYS):
        return False
    return name not in scope


def _reason(tag: str) -> str:
    name = tag.strip(" ")
    return "uses {{" + name[:100] + "}}, " + _MISSING[name.partition(".")[0]]


def _names(entries: Iterable[Any]) -> frozenset[str]:
    return frozenset(as_text(as_object(entry).get("name")) for entry in entries)
