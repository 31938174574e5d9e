from __future__ import annotations

import re
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgeagent.common.names import is_name_prefix
from edgeagent.errors import MessageError
from edgeagent.rules.filters import filter_problems
from edgeagent.rules.ruleset import Rule
from edgeagent.rules.spec import DataFilter, Filters, ParameterSpec, RuleSpec
from edgeagent.rules.template import workflow_name
from edgeagent.rules.trigger import correlation_id, render, traceparent
from tests.fakes.naive_trigger import naive_message
from tests.fakes.readings import reading

GOLDEN = Path(__file__).parents[2] / "golden"
DNS_1123 = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
OVERHEAT = "979cfca95dc3c254bdde65b3b9ab74a5"

EVENT = reading(data=b'{"temp":97.10,"tags":["a","\xc3\xa4"]}', topic="plant/boiler-1")


def rule(**members: Any) -> Rule:
    return Rule(msgspec.convert({"name": "overheat", "namespace": "plant"} | members, RuleSpec))


TEMPLATE = {
    "template": "inspect",
    "arguments": {
        "temp": "body.temp",
        "device": "source",
        "site": {"value": "north"},
        "trace": "correlation_id",
        "gateway": "agent",
        "why": "rule",
        "tags": "body.tags",
    },
}
CLUSTER = {"template": "inspect", "cluster_scope": True, "name_prefix": "plant.north-"}
INLINE = {
    "workflow": {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {
            "name": "mine",
            "labels": {"team": "heat", "edgeagent.io/rule": "forged"},
            "annotations": {"doc": "see the wiki"},
        },
        "spec": {
            "entrypoint": "main",
            "arguments": {"parameters": [{"name": "temp", "value": "0"}, {"name": "unit", "value": "C"}]},
            "templates": [{"name": "main", "container": {"image": "alpine", "command": ["true"]}}],
        },
    },
    "arguments": {"temp": "body.temp"},
}


@pytest.mark.parametrize(
    ("agent", "source", "event_id", "name", "expected"),
    [
        ("gw-042", "boiler-1", "018f-7", "overheat", OVERHEAT),
        ("a", "b", "c", "d", "9f7deb1aa797376b70c0a3a6268b4823"),
        ("gw-042", "Kühler/2", "1", "überhitzt", "ec2796eb3341a15b60d9913402c0f5af"),
    ],
)
def test_a_correlation_id_is_the_hash_of_agent_source_event_and_rule(
    agent: str, source: str, event_id: str, name: str, expected: str
) -> None:
    text = b"\0".join(part.encode() for part in (agent, source, event_id, name))
    assert blake2b(text, digest_size=16).hexdigest() == expected
    assert correlation_id(agent, source, event_id, name) == expected


def test_another_agent_source_event_or_rule_is_another_trigger() -> None:
    parts = ["gw", "boiler", "7", "overheat"]
    others = [[*parts[:index], parts[index] + "x", *parts[index + 1 :]] for index in range(4)]
    assert len({correlation_id(*each) for each in [parts, *others]}) == 5


@pytest.mark.parametrize(
    ("prefix", "name"),
    [
        ("overheat", f"overheat-{OVERHEAT}"),
        ("plant.north-", f"plant.north-{OVERHEAT}"),
        ("a.", f"a-{OVERHEAT}"),
        ("x" * 63, f"{'x' * 30}-{OVERHEAT}"),
        (f"{'x' * 28}-.y", f"{'x' * 28}-{OVERHEAT}"),
    ],
)
def test_a_workflow_is_named_by_its_rule_and_its_correlation_id(prefix: str, name: str) -> None:
    assert workflow_name(prefix, OVERHEAT) == name


@given(st.from_regex(r"[a-z0-9][-.a-z0-9]{0,70}", fullmatch=True).filter(is_name_prefix), st.text(), st.text())
@example("a" * 63, "", "")
@example(f"{'a' * 29}--b", "", "")
@example(f"{'a' * 29}.b", "", "")
def test_every_prefix_gives_a_name_that_kubernetes_takes(prefix: str, source: str, event_id: str) -> None:
    correlation = correlation_id(
        "gw", source.encode(errors="replace").decode(), event_id.encode(errors="replace").decode(), "r"
    )
    name = workflow_name(prefix, correlation)
    assert len(name) <= 63
    assert DNS_1123.fullmatch(name)
    assert name.endswith(f"-{correlation}")


@pytest.mark.parametrize(
    ("golden", "members"), [("template", TEMPLATE), ("cluster-scope", CLUSTER), ("inline", INLINE)]
)
def test_a_trigger_message_is_the_golden_one(golden: str, members: dict[str, Any]) -> None:
    message = render(rule(**members), EVENT, OVERHEAT, 1, "argo/workflows/response/gw-042")
    expected = (GOLDEN / f"trigger-{golden}.json").read_bytes()
    assert msgspec.json.decode(message) == msgspec.json.decode(expected)


def test_rendering_twice_gives_the_same_bytes_and_leaves_the_rule_as_it_was() -> None:
    inline = rule(**INLINE)
    first = render(inline, EVENT, OVERHEAT, 1, "r")
    render(inline, msgspec.structs.replace(EVENT, data=b'{"temp": 5}'), OVERHEAT, 1, "r")
    assert render(inline, EVENT, OVERHEAT, 1, "r") == first


def test_opaque_data_is_a_base64_parameter() -> None:
    event = msgspec.structs.replace(EVENT, data=b"\xff\x00", is_json=False)
    message = msgspec.json.decode(render(rule(template="t", arguments={"raw": "body"}), event, OVERHEAT, 2, "r"))
    assert message["workflow"]["spec"]["arguments"]["parameters"] == [{"name": "raw", "value": "/wA="}]
    assert message["attempt"] == 2


def test_data_that_no_parameter_asks_for_is_not_decoded() -> None:
    render(rule(template="t"), msgspec.structs.replace(EVENT, data=b"{"), OVERHEAT, 1, "r")


@pytest.mark.parametrize("data", [b'{"other": 1}', b"{"])
def test_a_trigger_that_cannot_be_rendered_says_why(data: bytes) -> None:
    with pytest.raises(MessageError, match=r"^(parameter: temp: the event has no body\.temp|event: data: is not JSON)"):
        render(rule(**TEMPLATE), msgspec.structs.replace(EVENT, data=data), OVERHEAT, 1, "r")


def test_a_parameter_nested_as_deep_as_json_may_be_is_rendered_or_refused() -> None:
    deep = b'{"temp": ' + b"[" * 900 + b"]" * 900 + b"}"
    arguments = {"temp": "body.temp"}
    message = render(
        rule(template="t", arguments=arguments), msgspec.structs.replace(EVENT, data=deep), OVERHEAT, 1, "r"
    )
    [parameter] = msgspec.json.decode(message)["workflow"]["spec"]["arguments"]["parameters"]
    assert parameter["value"] == "[" * 900 + "]" * 900


def test_the_events_own_trace_goes_on_and_else_one_begins_with_the_correlation_id() -> None:
    own = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert traceparent(msgspec.structs.replace(EVENT, traceparent=own), OVERHEAT) == own
    assert traceparent(EVENT, OVERHEAT) == f"00-{OVERHEAT}-{OVERHEAT[:16]}-01"


TEXT = st.text(max_size=20)


@given(TEXT, TEXT, TEXT, TEXT, st.integers(0, 10**6))
@example("\x006\x00", "\x00", '"\\\n', "\u27e8", 0)
def test_whatever_the_texts_are_the_message_is_the_one_that_is_built_without_gaps(
    source: str, event_id: str, time: str, value: str, attempt: int
) -> None:
    event = msgspec.structs.replace(
        EVENT, source=source, id=event_id, time=time, data=msgspec.json.encode({"temp": value})
    )
    spec = {"entrypoint": "main", "note": "\x006\x00", "arguments": {"parameters": [{"name": "x"}]}}
    written = {
        "name": "overheat",
        "namespace": "plant",
        "workflow": {"spec": spec},
        "arguments": {"temp": "body.temp", "again": "source"},
    }
    message = msgspec.json.decode(render(rule(**written), event, OVERHEAT, attempt, "r/\x007\x00"))
    assert message == naive_message(written, event, OVERHEAT, attempt, "r/\x007\x00")


def test_the_age_is_a_number_where_raw_data_is_asked_for_and_a_text_elsewhere() -> None:
    parameters = [
        {"src": {"dataKey": "late", "useRawData": True}, "dest": "spec.suspend"},
        {"src": {"dataKey": "age_s", "useRawData": True}, "dest": "spec.priority"},
        {"src": {"dataKey": "age_s"}, "dest": "metadata.labels.age"},
    ]
    spec = {"entrypoint": "main", "templates": [{"name": "main", "container": {"image": "alpine:3"}}]}
    asked = msgspec.convert(parameters, list[ParameterSpec])
    workflow = msgspec.json.decode(
        render(rule(workflow={"spec": spec}, parameters=asked), EVENT, OVERHEAT, 2, "r", age_s=3600.7)
    )["workflow"]
    assert (workflow["spec"]["suspend"], workflow["spec"]["priority"]) == (True, 3600)
    assert workflow["metadata"]["labels"]["age"] == "3600"


def test_filters_do_not_have_what_is_known_only_when_a_trigger_is_sent() -> None:
    condition = DataFilter(path="age_s", type="number", value=["60"])
    [(_, reason)] = filter_problems(Filters(data=[condition]))
    assert "'age_s' is known when a trigger is sent, so only arguments and parameters have it" in reason


def test_a_parameter_may_have_the_trace_of_its_event_and_a_filter_may_not() -> None:
    own = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    parameters = [{"src": {"dataKey": "traceparent", "value": "none"}, "dest": "metadata.annotations.trace"}]
    spec = {"entrypoint": "main", "templates": [{"name": "main", "container": {"image": "alpine:3"}}]}
    made = rule(workflow={"spec": spec}, parameters=msgspec.convert(parameters, list[ParameterSpec]))
    for event, expected in ((msgspec.structs.replace(EVENT, traceparent=own), own), (EVENT, "none")):
        workflow = msgspec.json.decode(render(made, event, OVERHEAT, 1, "r"))["workflow"]
        assert workflow["metadata"]["annotations"]["trace"] == expected
    condition = DataFilter(path="traceparent", type="string", value=[own])
    [(_, reason)] = filter_problems(Filters(data=[condition]))
    assert "so only arguments and parameters have it" in reason
