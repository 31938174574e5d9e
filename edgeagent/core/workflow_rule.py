"""What is wrong with the workflow that a rule starts, as it will be sent: its text with the rule's arguments in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from edgeagent.core import messages
from edgeagent.core.rules import Rule
from edgeagent.core.rulespec import RuleSpec
from edgeagent.core.sjson import Gap, NotKnown
from edgeagent.core.trigger import workflow_name
from edgeagent.core.workflow_check import workflow_check
from edgeagent.core.workflow_names import Finding, as_list, as_object, as_text, listed, named
from edgeagent.core.workflow_templates import Templates
from edgeagent.core.workflow_types import join, texts
from edgeagent.errors import MessageError

_ANY_ID = "0" * 32
# In the place of what an event brings. The check says nothing of a text with an expression in it.
_FROM_EVENT = "{{=event}}"
# Where the check says nothing of such a text. Elsewhere (a template's name) it decides about other places.
_OPEN_MEMBERS = frozenset({"args", "command", "image", "source", "value"})
_USE = re.compile(r"workflow\.parameters(?:\.([-a-zA-Z0-9_]+))?", re.ASCII)


def rule_workflow_problems(spec: RuleSpec) -> Iterator[Finding]:
    """What is wrong with a rule's workflow: key path below the rule, and reason.

    Args:
        spec: a rule without `rule_problems`; a `workflow_file` has been read into `workflow`.
    """
    rule = Rule(spec)
    if not rule.parameters.settings:
        yield from _argument_problems(spec.arguments, as_object(spec.workflow))
    workflow = _workflow_to_send(rule)
    for path, reason in workflow_check(workflow) if workflow is not None else ():
        if spec.workflow is None:
            yield "template", f"{path} {reason}"
        else:
            yield join("workflow", path), reason


def _argument_problems(arguments: dict[str, Any], workflow: dict[str, Any]) -> Iterator[Finding]:
    """Arguments that a workflow of the rule's own has no use for. What a template takes, only the engine knows."""
    spec = as_object(workflow.get("spec"))
    templates = Templates(workflow)
    if not spec.get("templates") or spec.get("workflowTemplateRef") is not None or templates.refers:
        return
    known = dict.fromkeys(
        name for _, name in named(as_list(as_object(spec.get("arguments")).get("parameters")), "") if name
    )
    for member in ("entrypoint", "onExit"):
        known.update(dict.fromkeys(sorted(templates.inputs_of(as_text(spec.get(member))))))
    for _, text in texts(spec, "any", ""):  # members that we do not know, too
        for name in _USE.findall(text):
            if name in {"", "json"}:  # all of them are used, or one whose name is computed
                return
            # In an expression a-b may be a name, and may be a difference.
            known.update({name: None, name.partition("-")[0]: None})
    for name in arguments:
        if name not in known:
            yield f"arguments.{name}", f"is no parameter of the workflow (it has: {listed(known)}): it would go unused"


def _workflow_to_send(rule: Rule) -> dict[str, Any] | None:
    """The workflow as it is sent, with `_FROM_EVENT` for what events bring; None when nothing can be told of it."""
    workflow = rule.workflow(
        workflow_name(rule.name_prefix, _ANY_ID),
        dict.fromkeys((messages.LABEL_AGENT, messages.LABEL_RULE, messages.LABEL_CORRELATION_ID), "x"),
        dict.fromkeys((messages.ANNOTATION_SOURCE, messages.ANNOTATION_EVENT_ID, messages.ANNOTATION_EVENT_TIME), "x"),
        [_FROM_EVENT if argument.read else argument.constant for argument in rule.parameters.arguments],
    )
    try:
        for setting in rule.parameters.settings:
            setting.put(workflow, Gap(0, is_text=not setting.use_raw) if setting.read else setting.constant)
    except (MessageError, NotKnown):
        return None
    return workflow if _fill(workflow) else None


def _fill(workflow: dict[str, Any]) -> bool:
    """Put `_FROM_EVENT` into all gaps; False when there is one where the check cannot do with any text."""
    waiting: list[tuple[Any, str, bool]] = [(workflow, "", False)]
    while waiting:
        holder, inside, is_metadata = waiting.pop()
        entries = list(enumerate(holder)) if isinstance(holder, list) else list(holder.items())
        for key, value in entries:
            member = key if isinstance(key, str) else inside
            if isinstance(value, Gap):
                if not value.is_text and member != "value":
                    return False
                if not is_metadata and member not in _OPEN_MEMBERS:
                    return False
                holder[key] = _FROM_EVENT
            elif isinstance(value, (dict, list)):
                waiting.append((value, member, is_metadata or (holder is workflow and key == "metadata")))
    return True
