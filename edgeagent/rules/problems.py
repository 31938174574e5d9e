"""The mistakes in a rule, told before it is compiled, and what its author may not expect of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgeagent.common.names import Glob, is_dns_label, is_dns_subdomain, is_name_prefix
from edgeagent.rules.filters import filter_notes, filter_problems, has_filters, let_nothing_pass
from edgeagent.rules.parameters import argument_problems, parameter_problems, place_problems
from edgeagent.rules.ruleset import Rule
from edgeagent.rules.spec import MAX_RATE_COUNT, MAX_WINDOW_COUNT, Rate, RuleSpec, Window
from edgeagent.wire.messages import OURS
from edgeagent.wire.outputs import MAX_OUTPUT_NAME_CHARS, MAX_OUTPUTS
from edgeagent.workflows.names import TOO_DEEP, is_parameter_name, is_too_deep, quoted

_WORKFLOW_MEMBERS = frozenset({"apiVersion", "kind", "metadata", "spec"})
_RESERVED_LABELS = (OURS, "workflows.argoproj.io/")
_METADATA_MEMBERS = frozenset({"labels", "annotations", "name", "generateName", "namespace"})
# The members that the engine adds, as `kubectl` prints them: they are left out, and `rule_notes` says so.
_MADE_BY_THE_ENGINE = frozenset({"status"})
_METADATA_MADE_BY_THE_ENGINE = frozenset({
    "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generation", "managedFields",
    "resourceVersion", "selfLink", "uid",
})  # fmt: skip


def rule_problems(spec: RuleSpec) -> Iterator[tuple[str, str]]:
    """Yield the mistakes in a rule: key path below the rule, and reason."""
    found = list(_part_problems(spec))
    yield from found or dest_problems(spec)


def dest_problems(spec: RuleSpec) -> Iterator[tuple[str, str]]:
    """Yield which of a rule's `parameters` can never be put into its workflow; the rule has no other problems.

    A `workflow_file` is unknown before it is read into `workflow`, and the arguments' values before there is an event:
    a place that depends on one (`#(value=="0")`) may exist or not.
    """
    if spec.parameters and (spec.template or spec.workflow):
        rule = Rule(spec)
        asks = {f"parameters[{index}].dest" for index, item in enumerate(spec.parameters) if "#(value" in item.dest}
        found = place_problems(rule.parameters, rule.workflow("", {}, {}, [""] * len(rule.parameters.names)))
        yield from ((key, reason) for key, reason in found if key not in asks)


def _part_problems(spec: RuleSpec) -> Iterator[tuple[str, str]]:
    if not is_dns_label(spec.name):
        yield "name", "must be lower-case letters, digits and '-' inside, at most 63"
    if spec.name_prefix and not is_name_prefix(spec.name_prefix):
        yield "name_prefix", "must be lower-case letters, digits, '-' and '.' inside"
    if not is_dns_label(spec.namespace):
        yield "namespace", "must be a Kubernetes namespace (lower-case letters, digits and '-' inside, at most 63)"
    if spec.ttl <= 0:
        yield "ttl", "must be more than 0"
    yield from _field_problems(spec)
    yield from _target_problems(spec)
    yield from ((f"filters.{key}", reason) for key, reason in filter_problems(spec.filters))
    yield from _combination_problems(spec)
    yield from _output_problems(spec)
    yield from ((f"arguments.{key}", reason) for key, reason in argument_problems(spec.arguments))
    yield from parameter_problems(spec.parameters)


def _field_problems(spec: RuleSpec) -> Iterator[tuple[str, str]]:
    """Yield the mistakes in the keys that protect the engine from the field."""
    if spec.window is not None:
        yield from _window_problems(spec.window, spec)
    if spec.rate is not None:
        yield from _rate_problems(spec.rate)
    if spec.throttle is not None and spec.throttle <= 0:
        yield "throttle", "must be more than 0; leave it out for none"
    if spec.rearm is not None:
        if not has_filters(spec.rearm):
            yield "rearm", "needs filters (data, exprs, context or time): after what does the rule fire again?"
        yield from ((f"rearm.{key}", reason) for key, reason in filter_problems(spec.rearm))
        wanted = spec.rearm.context.source if spec.rearm.context is not None else ""
        if wanted and not Glob(spec.source).matches(wanted):
            reason = f"is {wanted!r}, but the rule wants {spec.source!r}: it would never fire again"
            yield "rearm.context.source", reason
    if spec.on_missing == "refuse" and spec.window is not None:
        yield "on_missing", '"refuse" and window exclude each other: what is missing shows only when the window closes'
    if spec.coalesce and spec.window is not None:
        yield "coalesce", "and window exclude each other: one sends only the newest event, the other all together"


def _rate_problems(rate: Rate) -> Iterator[tuple[str, str]]:
    if not 1 <= rate.count <= MAX_RATE_COUNT:
        yield "rate.count", f"must be 1 to {MAX_RATE_COUNT}: so many triggers within rate.time"
    if not rate.time:
        yield "rate.time", 'must be more than 0, as in rate = { count = 3, time = "1m" }'


def _window_problems(window: Window, spec: RuleSpec) -> Iterator[tuple[str, str]]:
    if window.time is None:
        yield "window.time", "is missing: without it the last events of a source would wait for ever"
    elif not 0 < window.time < spec.ttl:
        yield "window.time", "must be more than 0 and less than the rule's ttl"
    if not 1 <= window.count <= MAX_WINDOW_COUNT:
        yield "window.count", f"must be 1 to {MAX_WINDOW_COUNT}"


def _combination_problems(spec: RuleSpec) -> Iterator[tuple[str, str]]:
    """Yield filters that may each be right, but together with the rest of the rule let no event pass."""
    if never := let_nothing_pass(spec.filters, spec.filters_logical_operator):
        yield never, '"or" over nothing lets no event pass; leave it out'
    if spec.filters is not None and spec.filters.context is not None:
        for key, wanted, taken in (
            ("source", spec.filters.context.source, spec.source),
            ("type", spec.filters.context.type, spec.type),
        ):
            if wanted and not Glob(taken).matches(wanted):
                yield f"filters.context.{key}", f"is {wanted!r}, but the rule itself wants {taken!r}: no event has both"


def _output_problems(spec: RuleSpec) -> Iterator[tuple[str, str]]:
    """Yield output parameters that can never come back."""
    if spec.outputs and not spec.track:
        yield "outputs", "needs track = true: without it nobody is told how the workflow ends"
    if len(spec.outputs) > MAX_OUTPUTS:
        yield "outputs", f"has {len(spec.outputs)} names, at most {MAX_OUTPUTS} are taken"
    for index, name in enumerate(spec.outputs):
        if not is_parameter_name(name) or len(name) > MAX_OUTPUT_NAME_CHARS:
            reason = f"must be letters, digits, '-' and '_', at most {MAX_OUTPUT_NAME_CHARS}, is {quoted(name)}"
            yield f"outputs[{index}]", reason
        elif name in spec.outputs[:index]:
            yield f"outputs[{index}]", f"names {quoted(name)} a second time"


def _target_problems(spec: RuleSpec) -> Iterator[tuple[str, str]]:
    given = [key for key in ("template", "workflow", "workflow_file") if getattr(spec, key)]
    if len(given) != 1:
        yield "template", f"give one of template, workflow, workflow_file; given: {', '.join(given) or 'none'}"
    if spec.template and not is_dns_subdomain(spec.template):
        yield "template", "must be the name of a WorkflowTemplate"
    if spec.cluster_scope and not spec.template:
        yield "cluster_scope", "belongs to template"
    for key in spec.labels:
        if key.startswith(_RESERVED_LABELS):
            yield f"labels.{key}", "is made by edgeagent or by the engine"
    if spec.workflow:
        yield from ((f"workflow.{key}".rstrip("."), reason) for key, reason in workflow_problems(spec.workflow))


def workflow_problems(workflow: Any) -> Iterator[tuple[str, str]]:
    """Yield what prevents a rule's own workflow from being rendered: member and reason."""
    if not isinstance(workflow, dict) or is_too_deep(workflow):
        yield "", TOO_DEEP if isinstance(workflow, dict) else "must be an object"
        return
    for key in workflow.keys() - _WORKFLOW_MEMBERS - _MADE_BY_THE_ENGINE:
        yield key, f"is not a member of a Workflow that can be sent (known: {', '.join(sorted(_WORKFLOW_MEMBERS))})"
    if workflow.get("kind", "Workflow") != "Workflow":
        yield "kind", f"must be Workflow, is {workflow['kind']!r}"
    spec = workflow.get("spec")
    if not isinstance(spec, dict) or not spec:
        yield "spec", "must be an object that says what to run"
    elif not _is_arguments(spec.get("arguments")):
        yield "spec.arguments", "must be an object; its parameters an array of objects"
    metadata = workflow.get("metadata")
    if isinstance(metadata, dict):
        yield from _metadata_problems(metadata)
    elif metadata is not None:
        yield "metadata", "must be an object"


def _metadata_problems(metadata: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key in metadata.keys() - _METADATA_MEMBERS - _METADATA_MADE_BY_THE_ENGINE:
        yield f"metadata.{key}", "only labels and annotations are taken over; name and namespace are made by edgeagent"
    for key in ("labels", "annotations"):
        texts = metadata.get(key)
        if texts is None:
            continue
        if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
            yield f"metadata.{key}", "must be an object of texts"


def rule_notes(spec: RuleSpec) -> Iterator[tuple[str, str]]:
    """Yield what is allowed in a rule but may be unintended: key path below the rule, and what happens.

    Args:
        spec: a rule without `rule_problems`; a `workflow_file` has been read into `workflow`.
    """
    yield from ((f"filters.{key}", why) for key, why in filter_notes(spec.filters))
    yield from ((f"rearm.{key}", why) for key, why in filter_notes(spec.rearm))
    if spec.workflow is not None:
        yield from ((f"workflow.{key}", why) for key, why in _workflow_notes(spec.workflow))


def _workflow_notes(workflow: dict[str, Any]) -> Iterator[tuple[str, str]]:
    why = "is made by the engine, as kubectl prints it; it is passed over"
    yield from ((member, why) for member in sorted(workflow.keys() & _MADE_BY_THE_ENGINE))
    members = (workflow.get("metadata") or {}).keys()
    yield from ((f"metadata.{member}", why) for member in sorted(members & _METADATA_MADE_BY_THE_ENGINE))


def _is_arguments(arguments: Any) -> bool:
    if arguments is None:
        return True
    if not isinstance(arguments, dict):
        return False
    parameters = arguments.get("parameters")
    if parameters is None:
        return True
    return isinstance(parameters, list) and all(isinstance(parameter, dict) for parameter in parameters)
