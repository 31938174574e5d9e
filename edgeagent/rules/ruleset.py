"""Rules, compiled: which events they match, and the workflows that they start.

A rule is matched when an event is accepted and rendered when its trigger is sent; in between only its name is kept.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from edgeagent.common.names import Glob
from edgeagent.errors import MessageError
from edgeagent.events.event import Draft, body, envelope
from edgeagent.rules.filters import compile_filters, has_filters, look_at_body_only
from edgeagent.rules.parameters import Parameters
from edgeagent.rules.rate import Allowance
from edgeagent.rules.spec import RuleSpec
from edgeagent.rules.template import Target, compile_template
from edgeagent.wire.messages import ANNOTATION_OUTPUTS
from edgeagent.wire.outputs import outputs_asked

# How many pairs of source and type are remembered. A device that keeps inventing new ones costs time, not memory.
_MAX_WANTING = 4096
# An event is late if it is sent so long after it was accepted: then the line, the broker or the engine made it wait. To
# it comes the time of the rule's window, which waits by design.
LATE_S = 60.0


class Match(msgspec.Struct, frozen=True):
    """The rules that matched an event, and the undecided ones, with the reason. `high`: one that matched has it."""

    rules: tuple[str, ...]
    errors: tuple[tuple[str, MessageError], ...]
    high: bool


class Rule:
    """One rule, compiled: its filters, its parameters and the template of its trigger. It never changes.

    Build it only from a spec without problems (`problems.rule_problems`).
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
        self.rate = Allowance(spec.rate.count, round((spec.rate.time or 0) * 1000)) if spec.rate is not None else None
        self.refuses_missing = spec.on_missing == "refuse"
        self.parameters = Parameters(spec.arguments, spec.parameters)
        workflow = spec.workflow or {}
        metadata = workflow.get("metadata") or {}
        self.labels: dict[str, str] = {**(metadata.get("labels") or {}), **spec.labels}
        self.annotations: dict[str, str] = metadata.get("annotations") or {}
        if spec.outputs:
            self.annotations = {**self.annotations, ANNOTATION_OUTPUTS: outputs_asked(spec.outputs)}
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
                late_s=LATE_S + ((spec.window.time or 0) if spec.window is not None else 0),
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


class _Wanting(msgspec.Struct, frozen=True):
    """The rules for events of a source and type, and whether their filters need only the data."""

    rules: tuple[Rule, ...]
    body_only: bool


class RuleSet:
    """The enabled rules, in the order of the configuration, and a memory of which want which events; it owns both.

    It only decides; it must never count or keep anything else. `remembered`: the names of the rules whose firings must
    be kept. `demanding`: the names of the rules that refuse an event without the values they need (`on_missing =
    "refuse"`). `get`: a rule by its name, None if it is gone or disabled; do not keep it, because a reload changes it.
    """

    def __init__(self, specs: Sequence[RuleSpec]) -> None:
        self._rules = {spec.name: Rule(spec) for spec in specs if spec.enabled}
        self.get: Callable[[str], Rule | None] = self._rules.get  # without a method in between, for each trigger
        self._wanting: dict[tuple[str, str], _Wanting] = {}  # by source and type, for those that were seen
        self._rearming = [rule for rule in self if rule.rearm is not None]
        self.remembered = frozenset(rule.name for rule in self if rule.remembers)
        self.demanding = frozenset(rule.name for rule in self if rule.refuses_missing)

    def __iter__(self) -> Iterator[Rule]:
        return iter(self._rules.values())

    def take_over(self, other: RuleSet) -> None:
        """Take over the content of another set, for every part that holds this one: a reload happens in one place.

        Call it in the thread that matches, so that an event is matched by the old rules or by the new ones, never by
        some of both.
        """
        self._rules, self.get, self._wanting = other._rules, other.get, {}
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


def _template_ref(spec: RuleSpec) -> dict[str, Any]:
    reference: dict[str, Any] = {"name": spec.template}
    if spec.cluster_scope:
        reference["clusterScope"] = True
    return reference
