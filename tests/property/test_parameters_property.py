"""A rule that is compiled renders what an interpreter renders that builds the whole document for each event."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgeagent.errors import MessageError
from edgeagent.events.event import Record
from edgeagent.rules.parameters import parameter_problems
from edgeagent.rules.problems import dest_problems
from edgeagent.rules.ruleset import Rule
from edgeagent.rules.spec import ParameterSpec, RuleSpec
from edgeagent.rules.template import Document, Target
from edgeagent.rules.trigger import render
from tests.fakes.naive_trigger import CannotRender, naive_message
from tests.profiles import examples

CORRELATION = "979cfca95dc3c254bdde65b3b9ab74a5"
REPLY_TO = "r/\x006\x00"
WORKFLOW = {
    "metadata": {"labels": {"team": "heat"}, "annotations": {"note": "one"}},
    "spec": {
        "entrypoint": "main",
        "activeDeadlineSeconds": 60,
        "arguments": {
            "parameters": [{"name": "temp", "value": "0"}, {"name": "unit", "value": None}, {"name": "k", "value": 1.5}]
        },
        "templates": [{"name": "main", "container": {"image": "alpine:3", "args": ["a", {"b": "\x006\x00"}]}}],
        "empty": {},
        "none": [],
    },
}
DESTS = [
    "spec.arguments.parameters.0.value",
    "spec.arguments.parameters.1.value",
    "spec.arguments.parameters.2.value",
    "spec.arguments.parameters.5.value",
    "spec.arguments.parameters.-1",
    "spec.arguments.parameters.-1.name",
    "spec.arguments.parameters.:1.name",
    "spec.arguments.parameters.:9.name",
    "spec.arguments.parameters.name",
    'spec.arguments.parameters.#(name=="temp").value',
    'spec.arguments.parameters.#(name=="temp")',
    'spec.arguments.parameters.#(name=="t").name',
    'spec.arguments.parameters.#(name=="unit").value.more',
    'spec.arguments.parameters.#(value=="0").value',
    "spec.activeDeadlineSeconds",
    "spec.entrypoint",
    "spec.entrypoint.0.x",
    "spec.templates.0.container.args",
    "spec.templates.0.container.args.1.b",
    "spec.templates.0.container.args.0",
    "spec.empty.:0.x",
    "spec.empty.0",
    "spec.none.2",
    "spec.none.0.x.-1",
    r"spec.a\.b",
    "spec",
    "metadata.labels.line",
    "metadata.labels.team",
    r"metadata.annotations.example\.com/line",
    "metadata.annotations.note",
]
TEXT = st.text(max_size=5) | st.sampled_from(["0", "temp", '"\\', "\x00", "\x006\x00"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(-1e6, 1e6).map(lambda x: round(x, 2)) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abx"), inner, max_size=3),
    max_leaves=5,
)
KEYS = st.sampled_from(
    ["body", "body.a", "body.b", "body.a.0", "body.c", "topic", "source", "subject", "correlation_id", "agent", "rule"]
)
KEY = st.fixed_dictionaries(
    {}, optional={"dataKey": KEYS, "contextKey": st.sampled_from(["id", "type", "subject"]), "value": TEXT}
)
SOURCE = KEY.filter(bool)
PARAMETER = st.fixed_dictionaries(
    {"src": SOURCE, "dest": st.sampled_from(DESTS)},
    optional={"operation": st.sampled_from(["", "overwrite", "append", "prepend"]), "raw": st.booleans()},
)
ARGUMENTS = st.dictionaries(
    st.sampled_from(["temp", "new", "k"]), KEYS | st.builds(lambda text: {"value": text}, TEXT), max_size=2
)


def event_of(body: Any, subject: str | None = None, source: str = "boiler-1") -> Record:
    return Record(
        agent="gw-042",
        source=source,
        id="018f-7",
        type="reading",
        time="2026-03-20T11:00:00.250Z",
        data=msgspec.json.encode(body),
        is_json=True,
        rules=("overheat",),
        accepted_ms=1,
        uptime_ms=5,
        subject=subject,
        topic="plant/\u00e9",
    )


EVENT = st.builds(event_of, st.dictionaries(st.sampled_from("ab"), JSON, max_size=2) | JSON, st.none() | TEXT, TEXT)


def allowed(parameter: dict[str, Any]) -> dict[str, Any] | None:
    """A parameter as the configuration has it; None when it is refused whatever the workflow is."""
    parameter = deepcopy(parameter)
    if parameter.pop("raw", False):
        parameter["src"]["useRawData"] = True
    return None if list(parameter_problems([msgspec.convert(parameter, ParameterSpec)])) else parameter


def compiled(written: dict[str, Any]) -> Rule:
    return Rule(msgspec.convert(written, RuleSpec))


def rendered(rule: Rule, event: Record) -> str:
    return json.dumps(outcome(lambda: msgspec.json.decode(render(rule, event, CORRELATION, 3, REPLY_TO))))


def outcome(work: Callable[[], Any]) -> Any:
    """What it gives, or None when it says that the event cannot be rendered."""
    try:
        return work()
    except (MessageError, CannotRender):
        return None


@pytest.mark.slow
@settings(max_examples=examples(300))
@given(st.lists(PARAMETER.map(allowed).filter(bool), max_size=4), ARGUMENTS, st.booleans(), EVENT)
@example([], {"temp": "body.a"}, False, event_of({"a": -0.0}))
@example(
    [{"src": {"dataKey": "body.a"}, "dest": "spec.arguments.parameters.0.value"}], {}, False, event_of({"a": -0.0})
)
@example(
    [{"src": {"dataKey": "body.a", "useRawData": True}, "dest": "spec.arguments.parameters.0.value"}],
    {},
    False,
    event_of({"a": -0.0}),
)
def test_whatever_the_parameters_and_the_event_both_render_the_same_or_both_refuse(
    parameters: list[dict[str, Any]], arguments: dict[str, Any], inline: bool, event: Record
) -> None:
    target = {"workflow": WORKFLOW} if inline else {"template": "inspect"}
    written = {"name": "overheat", "namespace": "plant", "arguments": arguments, "parameters": parameters, **target}
    before = deepcopy(written)
    rule = compiled(written)
    expected = outcome(lambda: naive_message(written, event, CORRELATION, 3, REPLY_TO))
    for _ in range(2):  # the first leaves nothing behind
        assert rendered(rule, event) == json.dumps(expected)
    rule.template = Document(
        Target(
            rule=rule.name,
            name_prefix=rule.name_prefix,
            namespace=rule.namespace,
            parameters=rule.parameters,
            workflow=rule.workflow,
            late_s=60,
        )
    )
    assert rendered(rule, event) == json.dumps(expected), "what is slow and what is fast must agree"
    assert written == before
    never = [reason for key, reason in dest_problems(msgspec.convert(written, RuleSpec)) if key.endswith(".dest")]
    assert expected is None or not never
