"""Checks the workflow that a rule starts in the form in which it is sent: its text with the rule's arguments in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from edgeagent.errors import MessageError
from edgeagent.lang.sjson import Hole, NotKnown
from edgeagent.rules.parameters import Setting
from edgeagent.rules.ruleset import Rule
from edgeagent.rules.spec import RuleSpec
from edgeagent.rules.template import workflow_name
from edgeagent.wire import messages
from edgeagent.workflows.check import workflow_check
from edgeagent.workflows.metadata import can_label, metadata_problems
from edgeagent.workflows.names import Finding, as_list, as_object, as_text, listed, named, quoted
from edgeagent.workflows.types import join, texts

_ANY_ID = "0" * 32
# Stands for a value of an event: the check accepts every text with an expression in it.
_FROM_EVENT = "{{=event}}"
# The members in which it accepts such a text. Elsewhere (a template's name) the text affects other places.
_OPEN_MEMBERS = frozenset({"args", "command", "image", "source", "value"})
_TABLES = ("labels", "annotations")
_OVERWRITES = ("", "overwrite")
_USE = re.compile(r"workflow\.parameters(?:\.([-a-zA-Z0-9_]+))?", re.ASCII)


def rule_workflow_problems(spec: RuleSpec) -> Iterator[Finding]:
    """Yield the mistakes in a rule's workflow: key path below the rule, and reason.

    Args:
        spec: a rule without `rule_problems`; a `workflow_file` has been read into `workflow`.
    """
    rule = Rule(spec)
    if not rule.parameters.settings:
        yield from _argument_problems(spec.arguments, as_object(spec.workflow))
    yield from _default_problems(spec, rule)
    yield from _output_problems(spec.outputs, as_object(spec.workflow))
    for path, reason in metadata_problems(_metadata_to_send(rule)):
        yield _place(spec, rule, path), reason
    workflow = _workflow_to_send(rule)
    if workflow is None:
        return
    size_bytes = len(msgspec.json.encode(workflow))
    if size_bytes > messages.MAX_TRIGGER_BYTES:
        most = messages.MAX_TRIGGER_BYTES
        yield "workflow", f"has {size_bytes} bytes as JSON: a message with it would be refused, it can have {most}"
    for path, reason in workflow_check(workflow):
        if spec.workflow is None:
            yield "template", f"{path} {reason}"
        else:
            yield join("workflow", path), reason


def _default_problems(spec: RuleSpec, rule: Rule) -> Iterator[Finding]:
    """Yield labels that an event without the value would set, and that Kubernetes refuses."""
    for index, (parameter, setting) in enumerate(zip(spec.parameters, rule.parameters.settings, strict=True)):
        default = parameter.src.value
        if setting.read is None or default is None or not _label(setting) or parameter.operation not in _OVERWRITES:
            continue
        if not can_label(default):
            yield f"parameters[{index}].src.value", f"is {quoted(default)}, which no label can have"


def _label(setting: Setting) -> str:
    """The label that a parameter sets, "" if it sets something else."""
    names = [step.name for step in setting.dest.steps]
    return names[-1] if names[:2] == ["metadata", "labels"] else ""


def _metadata_to_send(rule: Rule) -> dict[str, Any]:
    """The workflow's labels and annotations, with one letter for each value of an event: every label accepts that."""
    own = [setting for setting in rule.parameters.settings if setting.dest.steps[0].name == "metadata"]
    metadata = as_object(as_object(_with_settings(rule, own)).get("metadata"))
    return {
        table: {key: _joined(text, "x") if isinstance(text, Hole) else text for key, text in metadata[table].items()}
        for table in _TABLES
        if table in metadata
    }


def _place(spec: RuleSpec, rule: Rule, path: str) -> str:
    """The key of a rule that causes a mistake in its workflow's metadata."""
    for setting in reversed(rule.parameters.settings):
        name = setting.dest.steps[-1].name
        if setting.dest.steps[0].name == "metadata" and path.endswith(f"[{quoted(name)}]"):
            return setting.key if setting.read else f"{setting.key}.src.value"
    for key in spec.labels:
        if path.endswith(f"labels[{quoted(key)}]"):
            return f"labels.{key}"
    if spec.labels and path == "metadata.labels":
        return "labels"
    return join("workflow", path) if spec.workflow is not None else "parameters"


def _argument_problems(arguments: dict[str, Any], workflow: dict[str, Any]) -> Iterator[Finding]:
    """Yield arguments that the rule's own workflow does not use. What a template uses, only the engine knows."""
    spec = as_object(workflow.get("spec"))
    if not spec.get("templates") or spec.get("workflowTemplateRef") is not None:
        return
    from edgeagent.workflows.templates import Templates  # noqa: PLC0415  only for workflows with templates of their own

    templates = Templates(workflow)
    if templates.refers:
        return
    known = dict.fromkeys(
        name for _, name in named(as_list(as_object(spec.get("arguments")).get("parameters")), "") if name
    )
    for member in ("entrypoint", "onExit"):
        known.update(dict.fromkeys(sorted(templates.inputs_of(as_text(spec.get(member))))))
    for _, text in texts(spec, "any", ""):  # includes members that we do not know
        for name in _USE.findall(text):
            if name in {"", "json"}:  # all of them are used, or one whose name is computed
                return
            # In an expression a-b may be a name or a difference.
            known.update({name: None, name.partition("-")[0]: None})
    for name in arguments:
        if name not in known:
            yield (
                f"arguments.{name}",
                f"is not a parameter of the workflow (it has: {listed(known)}): it would go unused",
            )


def _output_problems(outputs: Sequence[str], workflow: dict[str, Any]) -> Iterator[Finding]:
    """Yield outputs that the rule's own workflow does not have. What a template has, only the engine knows."""
    if not outputs or not as_object(workflow.get("spec")).get("templates"):
        return
    from edgeagent.workflows.templates import Templates  # noqa: PLC0415  as above

    known = Templates(workflow).outputs
    for index, name in enumerate(outputs if known is not None else ()):
        if known is not None and name not in known:
            what = f"{quoted(name)} is the globalName of no output parameter of the workflow"
            yield f"outputs[{index}]", f"{what} (it has: {listed(known)})"


def _workflow_to_send(rule: Rule) -> dict[str, Any] | None:
    """The workflow as it is sent, with `_FROM_EVENT` for values of events; None if that depends on the event."""
    workflow = _with_settings(rule, rule.parameters.settings)
    return workflow if workflow is not None and _fill(workflow) else None


def _with_settings(rule: Rule, settings: Sequence[Setting]) -> dict[str, Any] | None:
    """The workflow with these parameters in it, and holes for values of events; None if that depends on the event."""
    workflow = rule.workflow(
        workflow_name(rule.name_prefix, _ANY_ID),
        dict.fromkeys((messages.LABEL_AGENT, messages.LABEL_RULE, messages.LABEL_CORRELATION_ID), "x"),
        dict.fromkeys((messages.ANNOTATION_SOURCE, messages.ANNOTATION_EVENT_ID, messages.ANNOTATION_EVENT_TIME), "x"),
        [_FROM_EVENT if argument.read else argument.constant for argument in rule.parameters.arguments],
    )
    try:
        for setting in settings:
            setting.put(workflow, Hole(0, is_text=not setting.use_raw) if setting.read else setting.constant)
    except (MessageError, NotKnown):
        return None
    return workflow


def _joined(hole: Hole, from_event: str) -> str:
    return "".join(part if isinstance(part, str) else from_event for part in hole.parts)


def _fill(workflow: dict[str, Any]) -> bool:
    """Put `_FROM_EVENT` into all holes; False if one is in a place where the check cannot accept any text."""
    waiting: list[tuple[Any, str, bool]] = [(workflow, "", False)]
    while waiting:
        holder, inside, is_metadata = waiting.pop()
        entries = list(enumerate(holder)) if isinstance(holder, list) else list(holder.items())
        for key, value in entries:
            member = key if isinstance(key, str) else inside
            if isinstance(value, Hole):
                if not value.is_text and member != "value":
                    return False
                if not is_metadata and member not in _OPEN_MEMBERS:
                    return False
                holder[key] = _joined(value, _FROM_EVENT)
            elif isinstance(value, (dict, list)):
                waiting.append((value, member, is_metadata or (holder is workflow and key == "metadata")))
    return True
