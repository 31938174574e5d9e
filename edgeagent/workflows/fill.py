"""Fills templates with the variables whose values are known, as Argo's validator does before it checks them.

The validator checks the filled template: its names, targets and timeouts, and the variables that are left. It fills the
texts twice: first with the workflow's own values, then with the template's inputs too, so that a value may name another
variable. For a value that is known only when something calls the template, the validator uses a placeholder, and so
does this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeagent.workflows.names import as_list, as_object, as_text, is_open, placeholder

# A longer value is not filled in and stays a variable, because a large one must not be written out many times.
MAX_VALUE_CHARS = 200
# A text that grows by more than this is treated as unknown.
_MAX_GROWTH_CHARS = 4096
_OPEN = "{{=}}"  # treated like an expression: its value is unknown

# Variables and their values, in layers: looked up and never copied, so that the work is linear in the workflow.
Values = tuple[Mapping[str, str], ...]


class Given:
    """The arguments with which Argo first validates a template.

    `arguments` None: a caller gives them, so only the names of the inputs are known.
    """

    def __init__(self, arguments: dict[str, Any] | None) -> None:
        self.by_caller = arguments is None
        self._parameters = _by_name(as_object(arguments).get("parameters"))
        self._artifacts = _by_name(as_object(arguments).get("artifacts"))

    def inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """A template's inputs with the given values in them."""
        parameters = [self._parameter(as_object(item)) for item in as_list(inputs.get("parameters"))]
        artifacts = [self._artifact(as_object(item)) for item in as_list(inputs.get("artifacts"))]
        return {**inputs, "parameters": parameters, "artifacts": artifacts}

    def _parameter(self, parameter: dict[str, Any]) -> dict[str, Any]:
        name = as_text(parameter.get("name"))
        if self.by_caller:
            return {**parameter, "value": placeholder(f"inputs.parameters.{name}"), "valueFrom": None}
        given = self._parameters.get(name)
        if given is not None:
            return {**parameter, "value": given.get("value"), "valueFrom": given.get("valueFrom")}
        if parameter.get("value") is None:
            return {**parameter, "value": parameter.get("default")}
        return parameter

    def _artifact(self, artifact: dict[str, Any]) -> dict[str, Any]:
        name = as_text(artifact.get("name"))
        given = {"name": name} if self.by_caller else self._artifacts.get(name)
        if given is None:
            return artifact
        return {**given, **{member: artifact.get(member) for member in ("path", "mode", "recurseMode")}}


def filled(template: dict[str, Any], known: Values, given: Given) -> dict[str, Any]:
    """A copy of a template, filled as Argo validates it.

    Args:
        template: a template without `type_problems`.
        known: the variables that have a value whatever calls the template.
        given: the arguments of the call.
    """
    before = {**template, "inputs": given.inputs(as_object(template.get("inputs")))}
    first: dict[str, Any] = _replaced(before, known)
    second: dict[str, Any] = _replaced(first, (_own_values(first), *known))
    return second


def value_text(value: Any) -> str:
    """A parameter's value as Argo keeps it: a text unchanged, any other JSON as its text."""
    if isinstance(value, str):
        return value
    import json  # noqa: PLC0415  0.2 MiB, for workflows with such values

    return json.dumps(value, separators=(",", ":"))


def _own_values(template: dict[str, Any]) -> dict[str, str]:
    inputs, outputs = as_object(template.get("inputs")), as_object(template.get("outputs"))
    values = {"inputs.parameters": placeholder("inputs.parameters")}
    for parameter in map(as_object, as_list(inputs.get("parameters"))):
        if parameter.get("value") is not None:
            values[f"inputs.parameters.{as_text(parameter.get('name'))}"] = value_text(parameter["value"])
    for kind, artifacts in (("inputs", inputs.get("artifacts")), ("outputs", outputs.get("artifacts"))):
        for artifact in map(as_object, as_list(artifacts)):
            if path := as_text(artifact.get("path")):
                values[f"{kind}.artifacts.{as_text(artifact.get('name'))}.path"] = path
    for parameter in map(as_object, as_list(outputs.get("parameters"))):
        if path := as_text(as_object(parameter.get("valueFrom")).get("path")):
            values[f"outputs.parameters.{as_text(parameter.get('name'))}.path"] = path
    return values


def _replaced(value: Any, values: Values) -> Any:
    """A copy of JSON in which the variables in its texts, including names of members, are replaced."""
    if isinstance(value, str):
        return _text(value, values) if "{{" in value else value
    if isinstance(value, list):
        return [_replaced(item, values) for item in value]
    if isinstance(value, dict):
        return {_replaced(name, values): _replaced(item, values) for name, item in value.items()}
    return value


def _text(text: str, values: Values) -> str:
    parts: list[str] = []
    at, length = 0, 0
    while (start := text.find("{{", at)) >= 0 and (end := text.find("}}", start + 2)) >= 0:
        parts += (text[at:start], _tag(text[start + 2 : end], values))
        length += len(parts[-1])
        at = end + 2
        if length > len(text) + _MAX_GROWTH_CHARS:
            return _OPEN + text
    return "".join((*parts, text[at:]))


def _tag(tag: str, values: Values) -> str:
    """The replacement of `{{tag}}`: the tag itself if its value is unknown."""
    if tag.startswith("="):
        return "{{" + tag + "}}"
    value = _value(tag.strip(), values)
    if value is not None:
        return value if len(value) <= MAX_VALUE_CHARS or is_open(value) else _OPEN
    # A variable within the name of another: the inner one is filled in, so the outer one is known the second time.
    outer, inside, inner = tag.rpartition("{{")
    if inside and (value := _value(inner, values)) is not None:
        return "{{" + outer + value + "}}"
    return "{{" + tag + "}}"


def _value(variable: str, values: Values) -> str | None:
    return next((layer[variable] for layer in values if variable in layer), None)


def _by_name(entries: Any) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for entry in map(as_object, as_list(entries)):
        found.setdefault(as_text(entry.get("name")), entry)
    return found
