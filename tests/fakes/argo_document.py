"""Argo's own API document, as far as `hera` has it as models: holds the requests and the answers of the fake to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import kubernetes_validate
from hera.workflows import models
from pydantic import BaseModel, ValidationError

from tests.fakes.argo_rules import Json, with_text_values

# The query of each call: what the fake does, and not all that the document has.
LIST_QUERY = frozenset(
    {
        "listOptions.labelSelector",
        "listOptions.fieldSelector",
        "listOptions.limit",
        "listOptions.continue",
        "fields",
    }
)
WATCH_QUERY = frozenset({"listOptions.labelSelector", "listOptions.resourceVersion", "fields"})
GET_QUERY = frozenset({"fields"})


def request_problems(request: Any) -> Iterator[str]:
    """What the document does not know of a create request: wrong types, and members that Argo would drop in silence."""
    # The document says that a parameter's value is a text. Argo takes any JSON there.
    yield from _problems(models.WorkflowCreateRequest, with_text_values(request), "the request", whole=True)


def operation_problems(operation: str, request: Any) -> Iterator[str]:
    """What the document does not know of a request to stop, terminate, suspend, resume or retry a workflow."""
    model = getattr(models, f"Workflow{operation.capitalize()}Request")
    yield from _problems(model, request, "the request", whole=True)


def workflow_problems(workflow: Json) -> Iterator[str]:
    """What is wrong with the answer of a create or a get."""
    yield from _problems(models.Workflow, workflow, "the answer")


def list_problems(page: Json) -> Iterator[str]:
    """What is wrong with the answer of a list."""
    yield from _problems(models.WorkflowList, page, "the answer")


def event_problems(event: Json) -> Iterator[str]:
    """What is wrong with one event of a watch."""
    yield from _problems(models.WorkflowWatchEvent, event, "the event")


def version_problems(version: Json) -> Iterator[str]:
    """What is wrong with the answer to the question for the version."""
    yield from _problems(models.Version, version, "the answer")


def configmap_problems(applied: Any) -> Iterator[str]:
    """What the Kubernetes API's schema has against a ConfigMap."""
    try:
        kubernetes_validate.validate(applied, kubernetes_validate.latest_version(), strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"the ConfigMap: {error.message}"


def _problems(model: type[BaseModel], value: Any, what: str, *, whole: bool = False) -> Iterator[str]:
    try:
        parsed = model.model_validate(value)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            yield f"{what}: {'.'.join(map(str, detail['loc']))}: {detail['msg']}"
        return
    if whole:
        known = parsed.model_dump(by_alias=True, exclude_unset=True, warnings=False)
        for path in _missing(value, known, ""):
            yield f"{what}: {path}: Argo's API document has no such member"


def _missing(given: Any, known: Any, path: str) -> Iterator[str]:
    """The paths of members that are given and not known."""
    if isinstance(given, dict) and isinstance(known, dict):
        for name, part in given.items():
            here = f"{path}.{name}" if path else name
            if name in known:
                yield from _missing(part, known[name], here)
            else:
                yield here
    elif isinstance(given, list) and isinstance(known, list):
        for index, (part, known_part) in enumerate(zip(given, known, strict=True)):
            yield from _missing(part, known_part, f"{path}[{index}]")
