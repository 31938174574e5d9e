"""What an Argo Server and the Kubernetes behind it refuse, select and leave out: pure functions for the fake of it.

Only as much as matters to somebody who creates workflows and follows them. Member names are compared as they are
written, whereas Argo reads them without regard to case.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

Json = dict[str, Any]

# gRPC codes, which stand in the bodies of refusals.
INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED = 3, 5, 6, 7
RESOURCE_EXHAUSTED, INTERNAL, UNAUTHENTICATED = 8, 13, 16

_MAX_NAME_CHARS = 63
_MAX_TEMPLATE_NAME_CHARS = 128
_MAX_ANNOTATIONS_BYTES = 256 << 10
_TEMPLATE_TYPES = (
    "container", "containerSet", "steps", "script", "resource", "dag", "suspend", "data", "http", "plugin",
)  # fmt: skip
_TEMPLATE_NAME = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]*", re.ASCII)
_PARAMETER_NAME = re.compile(r"[-a-zA-Z0-9_]+", re.ASCII)
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", re.ASCII)
_LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", re.ASCII)
_LABEL_KEY = r"(?:[a-z0-9][-a-z0-9.]*/)?[A-Za-z0-9][-A-Za-z0-9_.]*"
_REQUIREMENT = re.compile(
    rf"\s*(?:!\s*(?P<absent>{_LABEL_KEY})|(?P<key>{_LABEL_KEY})"
    r"(?:\s*(?P<equal>==?|!=)\s*(?P<value>[-A-Za-z0-9_.]*)|\s+(?P<set>in|notin)\s*\((?P<values>[^)]*)\))?)\s*(?:,|$)"
)
_GO_TYPES = {str: "string", dict: "object", list: "array", bool: "bool", int: "number", float: "number"}


class Refusal(Exception):
    """The server answers with this HTTP status, and with the gRPC code and the message in the body."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(status, code, message)
        self.status = status
        self.code = code
        self.message = message


def invalid(message: str) -> Refusal:
    """400: the workflow or the request is wrong."""
    return Refusal(400, INVALID_ARGUMENT, message)


def as_text(value: Any) -> str:
    """A parameter's value as Argo keeps it: a text as it is, any other JSON as its text."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def with_text_values(item: Any) -> Any:
    """Every parameter's value as a text, as Argo keeps it wherever a workflow has parameters."""
    if isinstance(item, list):
        return [with_text_values(part) for part in item]
    if not isinstance(item, dict):
        return item
    made = {name: with_text_values(part) for name, part in item.items()}
    if isinstance(parameters := made.get("parameters"), list):
        made["parameters"] = [
            {**parameter, "value": as_text(parameter["value"])}
            if isinstance(parameter, dict) and parameter.get("value") is not None
            else parameter
            for parameter in parameters
        ]
    return made


def check_workflow(workflow: Json, template_exists: Callable[[str, bool], bool]) -> None:
    """What Argo itself refuses at a create.

    Args:
        workflow: decoded JSON, nothing about it known yet.
        template_exists: whether there is a template of that name; True for one of the whole cluster.

    Raises:
        Refusal: with Argo's words, or near them.
    """
    metadata = _typed(workflow.get("metadata"), dict, "metadata")
    for member in ("name", "generateName", "namespace"):
        _typed(metadata.get(member), str, f"metadata.{member}")
    for member in ("labels", "annotations"):
        for text in _typed(metadata.get(member), dict, f"metadata.{member}").values():
            _typed(text, str, f"metadata.{member}")
    name = metadata.get("name") or ""
    if len(name) > _MAX_NAME_CHARS:
        raise invalid(f'workflow name "{name}" must not be more than 63 characters long (currently {len(name)})')
    spec = _typed(workflow.get("spec"), dict, "spec")
    entrypoint = _typed(spec.get("entrypoint"), str, "spec.entrypoint")
    templates = _typed(spec.get("templates"), list, "spec.templates")
    reference = spec.get("workflowTemplateRef")
    if reference is not None:
        if templates:
            raise invalid("templates is invalid field in spec if workflow referred WorkflowTemplate reference")
        _check_reference(_typed(reference, dict, "spec.workflowTemplateRef"), template_exists)
    else:
        names = set(_template_names(templates, template_exists))
        if not entrypoint:
            raise invalid("spec.entrypoint is required")
        if entrypoint not in names:
            raise invalid(f"spec.entrypoint template name '{entrypoint}' undefined")
    _check_arguments(_typed(spec.get("arguments"), dict, "spec.arguments"))


def check_object(metadata: Json, namespace: str) -> None:
    """What Kubernetes refuses of a workflow that Argo has let pass.

    Raises:
        Refusal: 400 in every case.
    """
    if metadata.get("namespace") != namespace:
        raise invalid("the namespace of the provided object does not match the namespace sent on the request")
    name = metadata.get("name") or ""
    what = f'Workflow.argoproj.io "{name}" is invalid'
    if not name and not metadata.get("generateName"):
        raise invalid(f"{what}: metadata.name: Required value: name or generateName is required")
    made = name or f"{metadata['generateName'][:58]}xxxxx"
    if _SUBDOMAIN.fullmatch(made) is None:
        member = "metadata.name" if name else "metadata.generateName"
        shown = name or metadata["generateName"]
        raise invalid(
            f'{what}: {member}: Invalid value: "{shown}": a lowercase RFC 1123 subdomain must consist of lower case '
            "alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character"
        )
    for key, value in (metadata.get("labels") or {}).items():
        if re.fullmatch(_LABEL_KEY, key) is None or len(key.rpartition("/")[2]) > _MAX_NAME_CHARS:
            raise invalid(f'{what}: metadata.labels: Invalid value: "{key}": name part must consist of alphanumerics')
        if _LABEL.fullmatch(value) is None:
            raise invalid(f'{what}: metadata.labels: Invalid value: "{value}": a valid label must be an empty string')
    annotations = metadata.get("annotations") or {}
    if sum(len(key.encode()) + len(text.encode()) for key, text in annotations.items()) > _MAX_ANNOTATIONS_BYTES:
        raise invalid(f"{what}: metadata.annotations: Too long: may not be more than {_MAX_ANNOTATIONS_BYTES} bytes")


def _typed(value: Any, kind: type, path: str) -> Any:
    """The value, or the empty one of its type where there is none."""
    if value is None:
        return kind()
    if not isinstance(value, kind):
        given = _GO_TYPES[type(value)]
        raise invalid(f"json: cannot unmarshal {given} into Go struct field {path} of type {_GO_TYPES[kind]}")
    return value


def _check_reference(reference: Json, template_exists: Callable[[str, bool], bool]) -> None:
    name = _typed(reference.get("name"), str, "spec.workflowTemplateRef.name")
    cluster = _typed(reference.get("clusterScope"), bool, "spec.workflowTemplateRef.clusterScope")
    if not template_exists(name, cluster):
        kind = "clusterworkflowtemplates" if cluster else "workflowtemplates"
        raise Refusal(404, NOT_FOUND, f'{kind}.argoproj.io "{name}" not found')


def _template_names(templates: list[Any], template_exists: Callable[[str, bool], bool]) -> Iterator[str]:
    seen: set[str] = set()
    for index, template in enumerate(templates):
        _typed(template, dict, "spec.templates")
        name = _typed(template.get("name"), str, "spec.templates.name")
        if not name:
            raise invalid(f"templates[{index}].name: name is required")
        if len(name) > _MAX_TEMPLATE_NAME_CHARS or _TEMPLATE_NAME.fullmatch(name) is None:
            raise invalid(
                f"templates[{index}].name: '{name}' is invalid: name must consist of alpha-numeric characters"
            )
        if name in seen:
            raise invalid(f"templates[{index}].name '{name}' is not unique")
        seen.add(name)
        types = [kind for kind in _TEMPLATE_TYPES if template.get(kind) is not None]
        if not types:
            raise invalid(f"templates.{name} template type is unknown")
        if len(types) > 1:
            raise invalid(f"templates.{name} multiple template types specified. choose one of: {', '.join(types)}")
        for call, reference in _template_calls(template):
            if not template_exists(reference.get("name", ""), reference.get("clusterScope") is True):
                used = f"{reference.get('name')}.{reference.get('template')}"
                raise invalid(f"templates.{name}.{call} template reference {used} not found")
        yield name


def _template_calls(template: Json) -> Iterator[tuple[str, Json]]:
    """Where a template calls one of a WorkflowTemplate."""
    groups = _typed(template.get("steps"), list, "spec.templates.steps")
    steps = [step for group in groups for step in _typed(group, list, "spec.templates.steps")]
    tasks = _typed(_typed(template.get("dag"), dict, "spec.templates.dag").get("tasks"), list, "spec.templates.dag")
    for call in (*steps, *tasks):
        if call.get("templateRef") is not None:
            yield f"{'steps' if steps else 'tasks'}.{call.get('name')}", call["templateRef"]


def _check_arguments(arguments: Json) -> None:
    seen: set[str] = set()
    for index, parameter in enumerate(_typed(arguments.get("parameters"), list, "spec.arguments.parameters")):
        _typed(parameter, dict, "spec.arguments.parameters")
        name = _typed(parameter.get("name"), str, "spec.arguments.parameters.name")
        if not name:
            raise invalid(f"spec.arguments.parameters[{index}].name: name is required")
        if _PARAMETER_NAME.fullmatch(name) is None:
            raise invalid(f"spec.arguments.parameters[{index}].name: '{name}' is invalid: Parameter/Artifact names")
        if name in seen:
            raise invalid(f"spec.arguments.parameters[{index}].name '{name}' is not unique")
        seen.add(name)
        if parameter.get("value") is None and parameter.get("valueFrom") is None:
            raise invalid(f"spec.arguments.{name}.value or spec.arguments.{name}.valueFrom is required")


class Selector:
    """A label selector: requirements joined by commas; the empty one selects everything.

    Raises:
        Refusal: it cannot be read.
    """

    def __init__(self, text: str) -> None:
        self._requirements: list[Callable[[Json], bool]] = []
        position = 0
        while position < len(text):
            match = _REQUIREMENT.match(text, position)
            if match is None:
                raise invalid(f"unable to parse requirement: found '{text[position:]}'")
            self._requirements.append(_requirement(match))
            position = match.end()

    def selects(self, workflow: Json) -> bool:
        """Whether the workflow's labels are as required."""
        labels = workflow["metadata"].get("labels") or {}
        return all(requirement(labels) for requirement in self._requirements)


def _requirement(match: re.Match[str]) -> Callable[[Json], bool]:
    absent, key, equal, value, operator, values = match.group("absent", "key", "equal", "value", "set", "values")
    if absent is not None:
        return lambda labels: absent not in labels
    if equal is None and operator is None:
        return lambda labels: key in labels
    wanted = {value} if operator is None else {text.strip() for text in values.split(",")}
    # What is not equal, or not in a set, may also be missing.
    if equal == "!=" or operator == "notin":
        return lambda labels: labels.get(key) not in wanted
    return lambda labels: labels.get(key) in wanted


class Fields:
    """The `fields` of a query: what to keep, or after a `-` what to leave out. The empty text keeps everything.

    A parent is kept when it is a prefix, as a text, of a wanted path: `status` and also `stat` for `status.phase`.

    Args:
        text: `a.b,c.d` or `-a.b,c.d`.
        prefix: what every path may begin with and is removed.
    """

    def __init__(self, text: str, prefix: str = "") -> None:
        self._exclude = text.startswith("-")
        self._paths = frozenset(path.removeprefix(prefix) for path in text.removeprefix("-").split(",") if text)

    def __bool__(self) -> bool:
        return bool(self._paths)

    def clean(self, item: Any, path: str = "") -> Any:
        """The JSON without what is not wanted. A list's items have the list's own path."""
        if isinstance(item, list):
            return [self.clean(part, path) for part in item]
        if not isinstance(item, dict):
            return item
        kept = {}
        for name, part in item.items():
            here = f"{path}.{name}" if path else name
            named = here in self._paths
            if self._exclude:
                if not named:
                    kept[name] = self.clean(part, here)
            elif named:
                kept[name] = part
            elif any(wanted.startswith(here) for wanted in self._paths):
                kept[name] = self.clean(part, here)
        return kept
