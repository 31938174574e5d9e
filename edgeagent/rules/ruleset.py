"""Rules, compiled: which events they match, and the workflows that they start.

A rule is matched when an event is accepted and rendered when its trigger is sent; in between only its name is kept.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from edgeagent.common.names import Glob, is_dns_label, is_dns_subdomain, is_name_prefix
from edgeagent.errors import MessageError
from edgeagent.events.event import Draft, body, envelope
from edgeagent.rules.filters import (
    compile_filters,
    filter_notes,
    filter_problems,
    has_filters,
    let_nothing_pass,
    look_at_body_only,
)
from edgeagent.rules.parameters import Parameters, argument_problems, parameter_problems, place_problems
from edgeagent.rules.spec import MAX_WINDOW_COUNT, RuleSpec, Window
from edgeagent.rules.template import Target, compile_template
from edgeagent.workflows.names import TOO_DEEP, is_too_deep

_WORKFLOW_MEMBERS = frozenset({"apiVersion", "kind", "metadata", "spec"})
# How many pairs of source and type are remembered. A device that keeps inventing new ones costs time, not memory.
_MAX_WANTING = 4096
_METADATA_MEMBERS = frozenset({"labels", "annotations", "name", "generateName", "namespace"})
# The members that the engine adds, as `kubectl` prints them: they are left out, and `rule_notes` says so.
_MADE_BY_THE_ENGINE = frozenset({"status"})
_METADATA_MADE_BY_THE_ENGINE = frozenset({
    "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generation", "managedFields",
    "resourceVersion", "selfLink", "uid",
})  # fmt: skip


class Match(msgspec.Struct, frozen=True):
    """The rules that matched an event, and the undecided ones, with the reason. `high`: one that matched has it."""

    rules: tuple[str, ...]
    errors: tuple[tuple[str, MessageError], ...]
    high: bool


class Rule:
    """One rule, compiled: its filters, its parameters and the template of its trigger. It never changes.

    Build it only from a spec without `rule_problems`.
    """

    def __init__(self, spec: RuleSpec) -> None:
        self.name = spec.name
        self.name_prefix = spec.name_prefix or spec.name
        self.namespace = spec.namespace
        self.high = spec.priority == "high"
        self.strict = spec.order == "strict"
        self.ttl_s = float(spec.ttl)
        self.track = spec.track
        self.window = spec.window
        self.throttle_s = float(spec.throttle or 0)
        self.rearm = compile_filters(spec.rearm) if spec.rearm is not None else None
        self.coalesce = bool(spec.coalesce)
        self.refuses_missing = spec.on_missing == "refuse"
        self.parameters = Parameters(spec.arguments, spec.parameters)
        workflow = spec.workflow or {}
        metadata = workflow.get("metadata") or {}
        self.labels: dict[str, str] = metadata.get("labels") or {}
        self.annotations: dict[str, str] = metadata.get("annotations") or {}
        self._spec = workflow.get("spec") or {"workflowTemplateRef": _template_ref(spec)}
        self._source = Glob(spec.source)
        self._type = Glob(spec.type)
        self.filtered = has_filters(spec.filters)
        self.body_only = look_at_body_only(spec.filters)  # `passes` needs only the data of the envelope
        # The match if no other rule matched or failed, made once: 13 % of the first row of `benchmarks rules`.
        self.alone = Match((spec.name,), (), self.high)
        self._passes = compile_filters(spec.filters, spec.filters_logical_operator)
        self.template = compile_template(
            Target(
                rule=self.name,
                name_prefix=self.name_prefix,
                namespace=self.namespace,
                parameters=self.parameters,
                workflow=self.workflow,
            )
        )

    def wants(self, source: str, event_type: str) -> bool:
        """Whether source and type match, before any filter."""
        return self.wants_source(source) and self.wants_type(event_type)

    def wants_source(self, source: str) -> bool:
        """Whether the source matches."""
        return self._source.matches(source)

    def wants_type(self, event_type: str) -> bool:
        """Whether the type matches."""
        return self._type.matches(event_type)

    def passes(self, seen: dict[str, Any]) -> bool:
        """Whether an envelope meets the filters. With `filtered` False every event does, and needs no envelope.

        Raises:
            MessageError: a filter cannot be decided for this event.
        """
        return self._passes(seen)

    @property
    def remembers(self) -> bool:
        """Whether the rule's decision about an event depends on its last firing for the same source."""
        return bool(self.throttle_s or self.rearm or self.coalesce)

    def spec_with(self, parameters: list[dict[str, str]]) -> dict[str, Any]:
        """The workflow's spec with these argument parameters, replacing those of the same name in the text."""
        if not parameters:
            return self._spec
        names = {parameter["name"] for parameter in parameters}
        arguments = self._spec.get("arguments") or {}
        kept = [parameter for parameter in arguments.get("parameters") or [] if parameter.get("name") not in names]
        return {**self._spec, "arguments": {**arguments, "parameters": [*kept, *parameters]}}

    def workflow(
        self, name: Any, labels: dict[str, Any], annotations: dict[str, Any], arguments: Sequence[Any]
    ) -> dict[str, Any]:
        """The Workflow to start, before the rule's `parameters` are put into it.

        It shares nothing with the rule's own text. `arguments`: the values for `parameters.names`.
        """
        values = zip(self.parameters.names, arguments, strict=True)
        spec = self.spec_with([{"name": parameter, "value": value} for parameter, value in values])
        return {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "metadata": {
                "name": name,
                "namespace": self.namespace,
                "labels": {**self.labels, **labels},
                "annotations": {**self.annotations, **annotations},
            },
            "spec": copy.deepcopy(spec),
        }


class _Wanting(NamedTuple):
    """The rules for events of a source and type, and whether their filters need only the data."""

    rules: tuple[Rule, ...]
    body_only: bool


class RuleSet:
    """The enabled rules, in the order of the configuration, and a memory of which want which events; it owns both.

    It only decides; it must never count or keep anything else. `remembered`: the names of the rules whose firings must
    be kept. `demanding`: the names of the rules that refuse an event without the values they need (`on_missing =
    "refuse"`).
    """

    def __init__(self, specs: Sequence[RuleSpec]) -> None:
        self._rules = {spec.name: Rule(spec) for spec in specs if spec.enabled}
        self._wanting: dict[tuple[str, str], _Wanting] = {}  # by source and type, for those that were seen
        self._rearming = [rule for rule in self if rule.rearm is not None]
        self.remembered = frozenset(rule.name for rule in self if rule.remembers)
        self.demanding = frozenset(rule.name for rule in self if rule.refuses_missing)

    def get(self, name: str) -> Rule | None:
        """A rule by its name, None if it is gone or disabled."""
        return self._rules.get(name)

    def __iter__(self) -> Iterator[Rule]:
        return iter(self._rules.values())

    def take_over(self, other: RuleSet) -> None:
        """Take over the content of another set, for every part that holds this one: a reload happens in one place.

        Call it in the thread that matches, so that an event is matched by the old rules or by the new ones, never by
        some of both.
        """
        self._rules, self._wanting = other._rules, {}
        self._rearming, self.remembered = other._rearming, other.remembered
        self.demanding = other.demanding

    def match(self, draft: Draft) -> Match:
        """The rules that match this event. JSON data must have been checked.

        The event goes to the `high` log if one of the matched rules has that priority.
        """
        wanting = self._wanting.get((draft.source, draft.type))
        if wanting is None:
            wanting = self._want(draft.source, draft.type)
        matched: list[Rule] = []
        errors: list[tuple[str, MessageError]] = []
        seen: Any = None
        for rule in wanting.rules:
            try:
                if rule.filtered:
                    if seen is None:  # at most once: source and type alone decide most events
                        seen = {"body": body(draft)} if wanting.body_only else envelope(draft)
                    if not rule.passes(seen):
                        continue
            except MessageError as exc:
                errors.append((rule.name, exc))
                continue
            matched.append(rule)
        if len(matched) == 1 and not errors:
            return matched[0].alone
        return Match(tuple(rule.name for rule in matched), tuple(errors), any(rule.high for rule in matched))

    def rearming(self, source: str) -> list[Rule]:
        """The rules with `rearm` that want events of this source."""
        return [rule for rule in self._rearming if rule.wants_source(source)]

    def _want(self, source: str, event_type: str) -> _Wanting:
        """The rules whose source and type match, remembered: otherwise a hundred rules cost 28 us instead of 1.2.

        `benchmarks rules` has a row for each ("a source never seen").
        """
        rules = tuple(rule for rule in self._rules.values() if rule.wants(source, event_type))
        wanting = _Wanting(rules, all(rule.body_only for rule in rules))
        if len(self._wanting) >= _MAX_WANTING:
            self._wanting.clear()
        self._wanting[source, event_type] = wanting
        return wanting


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
    yield from ((f"arguments.{key}", reason) for key, reason in argument_problems(spec.arguments))
    yield from parameter_problems(spec.parameters)


def _field_problems(spec: RuleSpec) -> Iterator[tuple[str, str]]:
    """Yield the mistakes in the keys that protect the engine from the field."""
    if spec.window is not None:
        yield from _window_problems(spec.window, spec)
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


def _target_problems(spec: RuleSpec) -> Iterator[tuple[str, str]]:
    given = [key for key in ("template", "workflow", "workflow_file") if getattr(spec, key)]
    if len(given) != 1:
        yield "template", f"give one of template, workflow, workflow_file; given: {', '.join(given) or 'none'}"
    if spec.template and not is_dns_subdomain(spec.template):
        yield "template", "must be the name of a WorkflowTemplate"
    if spec.cluster_scope and not spec.template:
        yield "cluster_scope", "belongs to template"
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


def _template_ref(spec: RuleSpec) -> dict[str, Any]:
    reference: dict[str, Any] = {"name": spec.template}
    if spec.cluster_scope:
        reference["clusterScope"] = True
    return reference
