"""A trigger message as the words of the contract say it: the document is built anew, one parameter after the other.

It shares no code with `edgeagent.rules.trigger`, `parameters` and `sjson`, has no speed, and knows only the dests that
have names, indexes, `-1`, `:name` and `#(name=="text")`.
"""

from __future__ import annotations

import base64
import json
import re
from copy import deepcopy
from decimal import Decimal
from typing import Any

from edgeagent.events.event import Record


class CannotRender(Exception):
    """The event has no value for a parameter, or the workflow no place."""


def naive_message(rule: dict[str, Any], event: Record, correlation: str, attempt: int, reply_to: str) -> dict[str, Any]:
    """The message for a rule as it stands in the configuration, decoded."""
    seen = _seen(rule, event, correlation)
    own = deepcopy(rule.get("workflow") or {"spec": {"workflowTemplateRef": {"name": rule.get("template")}}})
    spec = own["spec"]
    made = [{"name": name, "value": _argument(value, seen)} for name, value in rule.get("arguments", {}).items()]
    if made:
        arguments = spec.setdefault("arguments", {})
        kept = [each for each in arguments.get("parameters", []) if each.get("name") not in rule["arguments"]]
        arguments["parameters"] = kept + made
    workflow = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {
            "name": f"{rule['name']}-{correlation}",
            "namespace": rule["namespace"],
            "labels": {
                **own.get("metadata", {}).get("labels", {}),
                "edgeagent.io/agent": event.agent,
                "edgeagent.io/rule": rule["name"],
                "edgeagent.io/correlation-id": correlation,
            },
            "annotations": {
                **own.get("metadata", {}).get("annotations", {}),
                "edgeagent.io/source": event.source,
                "edgeagent.io/event-id": event.id,
                "edgeagent.io/event-time": event.time,
            },
        },
        "spec": spec,
    }
    for parameter in rule.get("parameters", []):
        value, as_json = _resolved(parameter["src"], seen)
        steps = _steps(parameter["dest"])
        if parameter.get("operation") in {"prepend", "append"}:
            found, present = _present(workflow, steps)
            if found:
                text, there, as_json = text_of(value), "" if present is None else text_of(present), False
                value = there + text if parameter["operation"] == "append" else text + there
            elif steps[0] == "metadata":
                value, as_json = text_of(value), False
        workflow = _set(workflow, steps, deepcopy(value) if as_json else text_of(value))
    members = {"namespace": rule["namespace"], "workflow": workflow, "correlation_id": correlation}
    return {**members, "agent": event.agent, "attempt": attempt, "reply_to": reply_to}


def text_of(value: Any) -> str:
    """A value's text as gjson gives it."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        # Go's strconv.FormatFloat(value, 'f', -1, 64), by which -0.0 is -0.
        return format(value, ".0f") if value.is_integer() else format(Decimal(repr(value)), "f")
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _seen(rule: dict[str, Any], event: Record, correlation: str) -> dict[str, Any]:
    optional = {"subject": event.subject, "datacontenttype": event.datacontenttype, "topic": event.topic}
    body = json.loads(event.data) if event.is_json else base64.b64encode(event.data).decode()
    return {
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "time": event.time,
        **{name: value for name, value in optional.items() if value is not None},
        "body": body,
        "correlation_id": correlation,
        "agent": event.agent,
        "rule": rule["name"],
    }


def _argument(value: Any, seen: dict[str, Any]) -> str:
    if isinstance(value, dict):
        return text_of(value["value"])
    found, inside = _get(seen, value.split("."))
    if not found:
        raise CannotRender(value)
    return text_of(inside)


def _resolved(src: dict[str, Any], seen: dict[str, Any]) -> tuple[Any, bool]:
    """The value, and whether it goes in as JSON."""
    if "dataKey" in src:
        found, value = _get(seen, src["dataKey"].split("."))
        if found:
            as_json = bool(src.get("useRawData"))
            # In JSON -0.0 is 0, as Go writes it and everybody reads it; its text has the sign, see `text_of`.
            return int(value) if as_json and isinstance(value, float) and value.is_integer() else value, as_json
    elif "contextKey" in src and src["contextKey"] in seen:
        return seen[src["contextKey"]], False
    if "value" not in src:
        raise CannotRender(src)
    return src["value"], False


def _get(node: Any, keys: list[str]) -> tuple[bool, Any]:
    for key in keys:
        if isinstance(node, dict) and key in node:
            node = node[key]
        elif isinstance(node, list) and key.isdecimal() and int(key) < len(node):
            node = node[int(key)]
        else:
            return False, None
    return True, node


def _steps(dest: str) -> list[str]:
    r"""Parts between dots, a query as one part, `\.` as a dot."""
    return [part.replace("\\.", ".") for part in re.findall(r"#\([^)]*\)|(?:\\.|[^.\\])+", dest)]


def _query(step: str, node: Any) -> str:
    """The index that a query finds, as a step."""
    match = re.fullmatch(r'#\((\w+)=="(.*)"\)', step)
    if match is None:
        return step
    if isinstance(node, list):
        for index, each in enumerate(node):
            if isinstance(each, dict) and each.get(match[1]) == match[2]:
                return str(index)
    raise CannotRender(step)


def _present(node: Any, steps: list[str]) -> tuple[bool, Any]:
    for step in steps:
        try:
            found, node = _get(node, [_query(step, node)])
        except CannotRender:
            return False, None
        if not found:
            return False, None
    return True, node


def _set(node: Any, steps: list[str], value: Any, *, finds: bool | None = None) -> Any:
    """The node with the value at these steps; `...` for a node that is not there."""
    if not steps:
        return value
    if finds is None:
        finds = any(step.startswith("#(") for step in steps)
    step, rest = _query(steps[0], node), steps[1:]
    forced, key = step.startswith(":"), step.removeprefix(":")
    is_index = key.isdecimal() and not forced
    if not isinstance(node, (dict, list)):
        node = [] if is_index or (node is ... and step == "-1") else {}
    if isinstance(node, dict):
        if finds and key not in node:
            raise CannotRender(step)
        return {**node, key: _set(node.get(key, ...), rest, value, finds=finds)}
    if key.isdecimal() and int(key) < len(node):
        return [_set(each, rest, value, finds=finds) if n == int(key) else each for n, each in enumerate(node)]
    if finds or not (is_index or step == "-1"):
        raise CannotRender(step)
    padding = [None] * (int(key) - len(node)) if is_index else []
    return [*node, *padding, _set(..., rest, value, finds=finds)]
