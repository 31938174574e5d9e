"""Checks arguments, inputs and outputs: what a workflow and its templates get, and what they give."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Any

from edgeagent.workflows.fill import value_text
from edgeagent.workflows.names import (
    Finding,
    as_list,
    as_object,
    as_text,
    is_open,
    is_parameter_name,
    is_unknown,
    named,
    parameter_names,
    quoted,
)
from edgeagent.workflows.variables import has_location, location_of

_RUN_A_CONTAINER = frozenset({"container", "containerSet", "script"})
_HAVE_FILES = _RUN_A_CONTAINER | {"resource", "data", "http", "plugin"}
_CALL_OTHERS = frozenset({"steps", "dag"})
_NEVER_IN_ARGUMENTS = ("path", "jsonPath", "parameter", "expression")
# The members that each of the two Kerberos logins needs.
_KERBEROS = {
    "krbCCacheSecret": ("krbServicePrincipalName", "krbConfigConfigMap"),
    "krbKeytabSecret": ("krbServicePrincipalName", "krbConfigConfigMap", "krbUsername", "krbRealm"),
}
# Argo takes this for a variable in the name of a global output, and then checks no further.
_VARIABLE = re.compile(r"{{[-a-zA-Z0-9]+(?:\.[-a-zA-Z0-9_]+)*}}", re.ASCII)
_OUTPUT_SOURCES = ("path", "jqFilter", "jsonPath", "parameter", "expression")


def argument_problems(arguments: Any, path: str) -> Iterator[Finding]:
    """Yield the mistakes in the arguments of a workflow, a step or a task."""
    parameters = as_list(as_object(arguments).get("parameters"))
    artifacts = as_list(as_object(arguments).get("artifacts"))
    yield from parameter_names(named(parameters, f"{path}.parameters"))
    yield from parameter_names(named(artifacts, f"{path}.artifacts"))
    for index, parameter in enumerate(parameters):
        yield from _argument_problems(as_object(parameter), f"{path}.parameters[{index}]")
    for index, item in enumerate(artifacts):
        artifact, here = as_object(item), f"{path}.artifacts[{index}]"
        source, expression = as_text(artifact.get("from")), as_text(artifact.get("fromExpression"))
        if source and expression:
            yield here, "has both from and fromExpression: keep one"
        elif not source and not expression and not has_location(artifact):
            yield here, _no_location(artifact)


def _argument_problems(parameter: dict[str, Any], path: str) -> Iterator[Finding]:
    value, source, choices = parameter.get("value"), parameter.get("valueFrom"), parameter.get("enum")
    if value is None and source is None:
        yield path, "needs value or valueFrom"
    if isinstance(source, dict):
        wrong = [member for member in _NEVER_IN_ARGUMENTS if source.get(member)]
        right = source.get("configMapKeyRef") is not None or source.get("event") or source.get("supplied") is not None
        if wrong:
            yield f"{path}.valueFrom.{wrong[0]}", "is not for arguments: use configMapKeyRef or supplied"
        elif not right:
            yield f"{path}.valueFrom", "needs configMapKeyRef or supplied"
    if isinstance(choices, list):
        if not choices:
            yield f"{path}.enum", "must name at least one value"
        elif value is None:
            yield f"{path}.value", "is required where there is an enum"
        elif not is_open(value_text(value)) and value_text(value) not in map(value_text, choices):
            yield f"{path}.value", f"is {quoted(value)}, which is not in its enum"


def _no_location(artifact: dict[str, Any]) -> str:
    place, needed = location_of(artifact)
    return f"has no location: {place} needs {needed}" if place else "needs from, or a location such as s3 or raw"


def input_problems(template: dict[str, Any], kind: str, path: str) -> Iterator[Finding]:
    """Yield the mistakes in a template's inputs."""
    inputs = as_object(template.get("inputs"))
    artifacts = as_list(inputs.get("artifacts"))
    yield from parameter_names(named(as_list(inputs.get("parameters")), f"{path}.inputs.parameters"))
    yield from parameter_names(named(artifacts, f"{path}.inputs.artifacts"))
    for index, item in enumerate(artifacts):
        artifact, here = as_object(item), f"{path}.inputs.artifacts[{index}]"
        yield from _path_problems(artifact, kind, here)
        if artifact.get("from"):
            yield f"{here}.from", "is not for inputs: the step or task that calls the template says where it is from"
        yield from location_problems(artifact, here)


def output_problems(template: dict[str, Any], kind: str, path: str) -> Iterator[Finding]:
    """Yield the mistakes in a template's outputs."""
    outputs = as_object(template.get("outputs"))
    parameters, artifacts = as_list(outputs.get("parameters")), as_list(outputs.get("artifacts"))
    yield from parameter_names(named(parameters, f"{path}.outputs.parameters"))
    yield from parameter_names(named(artifacts, f"{path}.outputs.artifacts"))
    for index, item in enumerate(artifacts):
        artifact, here = as_object(item), f"{path}.outputs.artifacts[{index}]"
        yield from _path_problems(artifact, kind, here)
        yield from _global_name_problems(artifact, here)
    for index, item in enumerate(parameters):
        parameter, here = as_object(item), f"{path}.outputs.parameters[{index}]"
        yield from _source_problems(parameter, kind, here)
        yield from _global_name_problems(parameter, here)


def _source_problems(parameter: dict[str, Any], kind: str, path: str) -> Iterator[Finding]:
    """Check that an output parameter has one value, from one source that its template's type can have."""
    source = parameter.get("valueFrom")
    if parameter.get("value") is not None:
        if source is not None:
            yield path, "has both value and valueFrom: keep one"
        return
    if not isinstance(source, dict):
        yield path, "needs value or valueFrom"
        return
    given = [member for member in _OUTPUT_SOURCES if source.get(member)]
    if source.get("supplied") is not None:
        given.append("supplied")
    if len(given) > 1:
        yield f"{path}.valueFrom", f"has more than one source: keep one of {', '.join(given)}"
    elif not given:
        yield f"{path}.valueFrom", f"needs one source: {', '.join(_OUTPUT_SOURCES)} or supplied"
    elif kind in _RUN_A_CONTAINER and given != ["path"]:
        yield f"{path}.valueFrom.path", f"is required: a {kind} template gives what is in a file"
    elif kind == "resource" and given[0] not in {"jqFilter", "jsonPath"}:
        yield f"{path}.valueFrom", "needs jqFilter or jsonPath: a resource template gives what is in the resource"
    elif kind in _CALL_OTHERS and given[0] not in {"parameter", "expression"}:
        yield f"{path}.valueFrom", f"needs parameter or expression: a {kind} template gives what its {kind} give"


def _global_name_problems(output: dict[str, Any], path: str) -> Iterator[Finding]:
    name = as_text(output.get("globalName"))
    if name and not is_unknown(name) and not _VARIABLE.search(name) and not is_parameter_name(name):
        yield f"{path}.globalName", f"must be letters, digits, '-' and '_', is {quoted(name)}"


def _path_problems(artifact: dict[str, Any], kind: str, path: str) -> Iterator[Finding]:
    """Yield the mistakes in the path of an artifact."""
    place = as_text(artifact.get("path"))
    if kind in _CALL_OTHERS:
        if place:
            yield f"{path}.path", "is only for templates that run something: steps and dag pass artifacts on"
    elif not place:
        if kind in _HAVE_FILES:
            yield f"{path}.path", "is required: the file or directory in the container"
    elif leads_out(place):
        yield f"{path}.path", f"must not lead out of its directory by '..', is {quoted(place)}"


def leads_out(place: str) -> bool:
    """Whether `..` in a path leads out of the directory before the first `..`."""
    before, found, _ = place.partition("/../")
    if not found:
        before = place[: -len("/..")] if place.endswith("/..") else ""
    if not before:
        return False
    # Python keeps two leading slashes, Go makes them one.
    cleaned = posixpath.normpath(place).replace("//", "/", 1)
    return not cleaned.startswith(f"{before}/")


def location_problems(location: dict[str, Any], path: str) -> Iterator[Finding]:
    """Yield the mistakes in the location of an artifact."""
    git, hdfs = location.get("git"), location.get("hdfs")
    if isinstance(git, dict) and not git.get("repo"):
        yield f"{path}.git.repo", "is required"
    if isinstance(hdfs, dict):
        yield from _hdfs_problems(hdfs, f"{path}.hdfs")


def _hdfs_problems(hdfs: dict[str, Any], path: str) -> Iterator[Finding]:
    place = as_text(hdfs.get("path"))
    if not as_list(hdfs.get("addresses")):
        yield f"{path}.addresses", "is required"
    if not place:
        yield f"{path}.path", "is required"
    elif not is_unknown(place) and not place.startswith("/"):
        yield f"{path}.path", f"must begin with '/', is {quoted(place)}"
    if not hdfs.get("hdfsUser") and all(hdfs.get(member) is None for member in _KERBEROS):
        yield path, f"needs hdfsUser, {' or '.join(_KERBEROS)}"
    for by, members in _KERBEROS.items():
        missing = [member for member in members if not hdfs.get(member)] if hdfs.get(by) is not None else []
        if missing:
            yield f"{path}.{missing[0]}", f"is required with {by}"
