"""What rules cost an event: from the decoded envelope to the bytes of its trigger, and a hundred rules beside one.

The way of an event of 200 bytes whose data is decoded: matched, its correlation id made, and rendered from the record
that the outbox keeps, which decodes the data a second time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from benchmarks.events import record
from benchmarks.measure import Checked, least_us, show_checked
from edgeagent.events.event import Draft, Record
from edgeagent.rules.ruleset import RuleSet
from edgeagent.rules.spec import RuleSpec
from edgeagent.rules.trigger import correlation_id, render

_EVENTS = 100_000
_LONG_EVENTS = 1_000_000
_RULES = 100
_REPLY_TO = "argo/workflows/response/gw-042"
_EVENT = record(85)  # 95 degrees

_LIMIT_US = 5.0
_MANY_RATIO = 1.5

_FILTERS = {"data": [{"path": "body.temp", "type": "number", "comparator": ">=", "value": ["90"]}]}
_ARGUMENTS = {"temp": "body.temp", "device": "source"}
_WORKFLOW = {
    "spec": {
        "entrypoint": "main",
        "arguments": {"parameters": [{"name": "temp", "value": ""}, {"name": "device", "value": ""}]},
        "templates": [{"name": "main", "container": {"image": "alpine:3"}}],
    }
}
_PARAMETERS = [
    {"src": {"dataKey": "body.temp"}, "dest": "spec.arguments.parameters.0.value"},
    {"src": {"contextKey": "source"}, "dest": "spec.arguments.parameters.1.value"},
]
# What the second sets lies in what the first brings: the document has to be built.
_BUILT = [
    {"src": {"dataKey": "body", "useRawData": True}, "dest": "spec.data"},
    {"src": {"contextKey": "source"}, "dest": "spec.data.device"},
]


def run(*, long: bool) -> None:
    """Print what an event costs. `long`: more events."""
    events = _LONG_EVENTS if long else _EVENTS
    one = _spec(template="inspect", arguments=_ARGUMENTS)
    whole = _whole_way(one)
    rows = [
        Checked("one number filter, two arguments", least_us(whole, events), "us", _LIMIT_US),
        Checked("two parameters with a fixed place instead", least_us(_whole_way(_inline(_PARAMETERS)), events), "us"),
        Checked("two parameters, the document built", least_us(_whole_way(_inline(_BUILT)), events), "us"),
    ]
    many = [_spec(name=f"rule-{n}", source=f"boiler-{n}-*", template="inspect") for n in range(_RULES)]
    sources = [f"boiler-{n}-a" for n in range(_RULES)]
    alone_us = least_us(_matching(many[:1], sources[:1]), events)
    many_us = least_us(_matching(many, sources), events)
    unknown = (f"boiler-1-{number}" for number in itertools.count())
    rows += [
        Checked("matching: one rule", alone_us, "us"),
        Checked(f"matching: {_RULES} rules over as many sources", many_us, "us", alone_us * _MANY_RATIO),
        Checked(f"matching: {_RULES} rules, a source never seen", least_us(_matching(many, unknown), events), "us"),
    ]
    show_checked("rules, an event", rows)


def _spec(**members: Any) -> RuleSpec:
    given = {"name": "overheat", "namespace": "plant", "source": "boiler-*", "filters": _FILTERS}
    return msgspec.convert(given | members, RuleSpec)


def _inline(parameters: Sequence[dict[str, Any]]) -> RuleSpec:
    return _spec(workflow=_WORKFLOW, parameters=parameters)


def _draft(source: str) -> Draft:
    return Draft(
        source=source,
        data=_EVENT.data,
        is_json=True,
        value=msgspec.json.decode(_EVENT.data),
        id=_EVENT.id,
        type=_EVENT.type,
        time=_EVENT.time,
    )


def _whole_way(spec: RuleSpec) -> Callable[[], bytes]:
    rules = RuleSet([spec])
    draft, kept = _draft(_EVENT.source), msgspec.structs.replace(_EVENT, rules=(spec.name,))

    def way() -> bytes:
        [name] = rules.match(draft).rules
        return _rendered(rules, name, kept)

    return way


def _rendered(rules: RuleSet, name: str, kept: Record) -> bytes:
    rule = rules.get(name)
    if rule is None:
        raise AssertionError(f"no rule {name}")
    return render(rule, kept, correlation_id(kept.agent, kept.source, kept.id, name), 1, _REPLY_TO)


def _matching(specs: Sequence[RuleSpec], sources: Any) -> Callable[[], object]:
    """The next event of these sources, in turn; one that no rule wants is a mistake here."""
    rules, draft = RuleSet(specs), _draft("")
    following = iter(sources) if not isinstance(sources, list) else itertools.cycle(sources)

    def way() -> None:
        draft.source = next(following)
        if not rules.match(draft).rules:
            raise AssertionError(f"no rule wants {draft.source}")

    return way
