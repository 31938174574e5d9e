"""`parameters` mean what the same fields mean in a Sensor of Argo Events."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from edgeagent.errors import MessageError
from edgeagent.events.event import Record
from edgeagent.rules.problems import rule_problems
from edgeagent.rules.ruleset import Rule
from edgeagent.rules.spec import RuleSpec
from edgeagent.rules.template import Document, Template
from edgeagent.rules.trigger import render
from tests.fakes.readings import reading

CORRELATION = "979cfca95dc3c254bdde65b3b9ab74a5"
DATA = (
    b'{"temp": 97.10, "count": 60.0, "tiny": 1.5e-7, "big": 12345678901234567890123, "ok": true, "none": null,'
    b' "name": "boiler", "empty": "", "tags": ["a", {"x": 1}], "many": [1, 2]}'
)
EVENT = reading(data=DATA, topic="plant/boiler-1")
WORKFLOW = {
    "metadata": {"labels": {"team": "heat"}},
    "spec": {
        "entrypoint": "main",
        "arguments": {"parameters": [{"name": "temp", "value": "0"}, {"name": "none", "value": None}]},
        "templates": [{"name": "main", "container": {"image": "alpine:3", "args": ["a", "b"]}}],
    },
}


def rule(parameters: list[dict[str, Any]], **members: Any) -> RuleSpec:
    given = {"name": "overheat", "namespace": "plant", "workflow": WORKFLOW, "parameters": parameters} | members
    return msgspec.convert(given, RuleSpec)


def workflow(spec: RuleSpec, event: Record = EVENT) -> Any:
    assert not list(rule_problems(spec))
    return msgspec.json.decode(render(Rule(spec), event, CORRELATION, 1, "r"))["workflow"]


def first(src: dict[str, Any], **parameter: Any) -> Any:
    """The first argument's value after one parameter."""
    made = {"src": src, "dest": "spec.arguments.parameters.0.value", **parameter}
    return workflow(rule([made]))["spec"]["arguments"]["parameters"][0]["value"]


@pytest.mark.parametrize(
    ("src", "value"),
    [
        ({"dataKey": "body.name"}, "boiler"),
        ({"dataKey": "body.temp"}, "97.1"),
        ({"dataKey": "body.count"}, "60"),
        ({"dataKey": "body.big"}, "12345678901234567890123"),
        ({"dataKey": "body.ok"}, "true"),
        ({"dataKey": "body.none"}, "null"),
        ({"dataKey": "body.none", "value": "default"}, "null"),
        ({"dataKey": "body.empty", "value": "default"}, ""),
        ({"dataKey": "body.tags"}, '["a",{"x":1}]'),
        ({"dataKey": "body.tags.0"}, "a"),
        ({"dataKey": "body.gone", "value": "default"}, "default"),
        ({"dataKey": "body.gone", "value": ""}, ""),
        ({"dataKey": "topic"}, "plant/boiler-1"),
        ({"contextKey": "id"}, "018f-7"),
        ({"contextKey": "type"}, "reading"),
        ({"contextKey": "specversion"}, "1.0"),
        ({"contextKey": "subject", "value": "none"}, "none"),
        ({"dataKey": "body.name", "contextKey": "id"}, "boiler"),
        ({"dataKey": "body.gone", "contextKey": "id", "value": "default"}, "default"),
        ({"value": "north"}, "north"),
        ({"value": "7", "useRawData": True}, "7"),
        ({"dataKey": "correlation_id"}, CORRELATION),
        ({"dataKey": "agent"}, "gw-042"),
        ({"dataKey": "rule"}, "overheat"),
        ({"dataKey": "body.name", "dependencyName": "whatever"}, "boiler"),
    ],
)
def test_a_value_is_found_by_data_key_then_context_key_then_value_and_is_a_text(
    src: dict[str, Any], value: str
) -> None:
    assert first(src) == value


@pytest.mark.parametrize(
    ("src", "value"),
    [
        ({"dataKey": "body.temp"}, 97.1),
        ({"dataKey": "body.count"}, 60),
        ({"dataKey": "body.tiny"}, 1.5e-7),
        ({"dataKey": "body.big"}, 12345678901234567890123),
        ({"dataKey": "body.ok"}, True),
        ({"dataKey": "body.none"}, None),
        ({"dataKey": "body.tags"}, ["a", {"x": 1}]),
        ({"dataKey": "body.name"}, "boiler"),
        ({"dataKey": "body.gone", "value": "60"}, "60"),
        ({"contextKey": "id"}, "018f-7"),
    ],
)
def test_raw_data_is_json_but_texts_and_defaults_stay_texts(src: dict[str, Any], value: object) -> None:
    found = first({**src, "useRawData": True})
    assert json.dumps(found) == json.dumps(value)


def test_without_a_key_and_a_value_it_is_the_whole_event() -> None:
    event = json.loads(first({"dependencyName": "sensor"}))
    assert event["context"] == {
        "id": "018f-7",
        "source": "boiler-1",
        "specversion": "1.0",
        "type": "reading",
        "time": "2026-03-20T11:00:00.250Z",
    }
    assert json.loads(base64.b64decode(event["data"])) == {"topic": "plant/boiler-1", "body": json.loads(DATA)}


@pytest.mark.parametrize("src", [{"dataKey": "body.gone"}, {"contextKey": "subject"}, {"dataKey": "body.gone.x"}])
def test_a_value_that_the_event_does_not_have_is_an_error_that_names_the_parameter(src: dict[str, Any]) -> None:
    spec = rule([{"src": {"value": "1"}, "dest": "spec.priority"}, {"src": src, "dest": "spec.entrypoint"}])
    with pytest.raises(MessageError, match=r"^parameter: parameters\[1\]: the event has no "):
        workflow(spec)


@pytest.mark.parametrize(
    ("operation", "src", "dest", "value"),
    [
        ("append", {"dataKey": "body.temp"}, "spec.entrypoint", "main97.1"),
        ("prepend", {"dataKey": "body.temp"}, "spec.entrypoint", "97.1main"),
        ("append", {"dataKey": "body.temp", "useRawData": True}, "spec.entrypoint", "main97.1"),
        ("append", {"dataKey": "body.none", "useRawData": True}, "spec.entrypoint", "mainnull"),
        ("append", {"value": "-x"}, "spec.entrypoint", "main-x"),
        ("append", {"dataKey": "body.name"}, "spec.templates.0.container.args", '["a","b"]boiler'),
        ("prepend", {"dataKey": "body.name"}, "spec.arguments.parameters.1.value", "boiler"),
        ("append", {"dataKey": "body.many", "useRawData": True}, "spec.hosts", [1, 2]),
        ("prepend", {"dataKey": "body.temp"}, "spec.new.text", "97.1"),
        ("append", {"dataKey": "body.temp", "useRawData": True}, "metadata.labels.new", "97.1"),
        ("prepend", {"dataKey": "body.none", "useRawData": True}, "metadata.annotations.new", "null"),
        ("overwrite", {"dataKey": "body.name"}, "spec.entrypoint", "boiler"),
        ("", {"dataKey": "body.name"}, "spec.entrypoint", "boiler"),
    ],
)
def test_what_is_prepended_or_appended_makes_a_text_with_what_is_there(
    operation: str, src: dict[str, Any], dest: str, value: object
) -> None:
    found = workflow(rule([{"src": src, "dest": dest, "operation": operation}]))
    for key in dest.split("."):
        found = found[int(key)] if key.isdecimal() else found[key]
    assert found == value


@pytest.mark.parametrize("operation", ["append", "prepend"])
def test_what_is_joined_to_a_label_is_a_text_also_as_raw_data(operation: str) -> None:
    raw = {"src": {"dataKey": "body.temp", "useRawData": True}, "dest": "metadata.labels.a", "operation": operation}
    parameters = [{"src": {"value": "x"}, "dest": "metadata.labels.a"}, raw]
    assert list(rule_problems(rule(parameters))) == []
    expected = "x97.1" if operation == "append" else "97.1x"
    assert workflow(rule(parameters))["metadata"]["labels"]["a"] == expected


def test_parameters_are_applied_in_their_order_after_the_arguments() -> None:
    spec = rule(
        [
            {"src": {"dataKey": "body.name"}, "dest": "spec.arguments.parameters.1.value", "operation": "append"},
            {"src": {"value": "-"}, "dest": "spec.arguments.parameters.1.value", "operation": "append"},
            {"src": {"contextKey": "id"}, "dest": "spec.arguments.parameters.1.value", "operation": "append"},
            {"src": {"dataKey": "body.ok"}, "dest": "spec.arguments.parameters.-1.name"},
            {"src": {"dataKey": "source"}, "dest": "spec.arguments.parameters.2.value"},
        ],
        arguments={"temp": "body.temp"},
    )
    assert workflow(spec)["spec"]["arguments"]["parameters"] == [
        {"name": "none", "value": None},
        {"name": "temp", "value": "97.1boiler-018f-7"},
        {"name": "true", "value": "boiler-1"},
    ]


def test_a_label_and_an_annotation_are_added_beside_those_of_edgeagent() -> None:
    metadata = workflow(
        rule(
            [
                {"src": {"dataKey": "body.name"}, "dest": "metadata.labels.line"},
                {"src": {"dataKey": "body.temp"}, "dest": r"metadata.annotations.example\.com/temp"},
            ]
        )
    )["metadata"]
    assert metadata["labels"]["line"] == "boiler"
    assert metadata["labels"]["edgeagent.io/rule"] == "overheat"
    assert metadata["labels"]["team"] == "heat"
    assert metadata["annotations"]["example.com/temp"] == "97.1"


def test_the_whole_spec_may_come_from_the_event() -> None:
    event = msgspec.structs.replace(EVENT, data=b'{"spec": {"a": 1}, "deep": {"b": 2}}')
    spec = rule(
        [
            {"src": {"dataKey": "body.spec", "useRawData": True}, "dest": "spec"},
            {"src": {"dataKey": "body.deep", "useRawData": True}, "dest": "spec.x"},
            {"src": {"dataKey": "body.deep", "useRawData": True}, "dest": "spec.y"},
            {"src": {"value": "3"}, "dest": "spec.x.b"},
            {"src": {"dataKey": "body.deep.b"}, "dest": "spec.z"},
        ]
    )
    assert workflow(spec, event)["spec"] == {"a": 1, "x": {"b": "3"}, "y": {"b": 2}, "z": "2"}


def test_a_place_that_only_this_event_does_not_have_is_an_error_of_this_event() -> None:
    spec = rule(
        [
            {"src": {"dataKey": "body.spec", "useRawData": True}, "dest": "spec"},
            {"src": {"value": "3"}, "dest": "spec.list.name"},
        ]
    )
    assert workflow(spec, msgspec.structs.replace(EVENT, data=b'{"spec": {}}'))["spec"] == {"list": {"name": "3"}}
    with pytest.raises(MessageError, match=r"^parameter: parameters\[1\]\.dest: 'name' is a name"):
        workflow(spec, msgspec.structs.replace(EVENT, data=b'{"spec": {"list": []}}'))


@pytest.mark.parametrize(
    ("parameters", "kind"),
    [
        ([], Template),
        ([{"src": {"dataKey": "body.temp"}, "dest": "spec.arguments.parameters.0.value"}], Template),
        ([{"src": {"dataKey": "body.tags", "useRawData": True}, "dest": "spec.x.-1"}], Template),
        ([{"src": {"dataKey": "body.temp"}, "dest": "spec.new.3.x", "operation": "append"}], Template),
        ([{"src": {"dataKey": "body"}, "dest": 'spec.arguments.parameters.#(name=="temp").value'}], Template),
        (
            [
                {"src": {"dataKey": "body", "useRawData": True}, "dest": "spec.x"},
                {"src": {"value": ""}, "dest": "spec.x.y"},
            ],
            Document,
        ),
        ([{"src": {"value": ""}, "dest": "spec.templates.name"}], Document),
    ],
)
def test_the_document_is_built_anew_only_where_an_event_decides_about_its_form(
    parameters: list[dict[str, Any]], kind: type
) -> None:
    compiled = Rule(rule(parameters))
    try:
        render(compiled, EVENT, CORRELATION, 1, "r")
    except MessageError:
        assert kind is Document
    assert isinstance(compiled.template, kind)


@pytest.mark.parametrize("dest", ["spec.a", "spec"])
def test_an_event_nested_too_deep_is_refused_not_a_crash(dest: str) -> None:
    deep = b'{"a": ' + b'{"x": ' * 900 + b"1" + b"}" * 901
    spec = rule(
        [
            {"src": {"dataKey": "body.a", "useRawData": True}, "dest": dest},
            {"src": {"value": "1"}, "dest": f"{dest}.x"},
        ]
    )
    event = msgspec.structs.replace(EVENT, data=deep)
    with suppress(MessageError):
        assert workflow(spec, event)["spec"]


def problems(parameter: dict[str, Any], **members: Any) -> dict[str, str]:
    given = {"src": {"value": "x"}, "dest": "spec.x"} | parameter
    return dict(rule_problems(rule([given], **members)))


@pytest.mark.parametrize(
    ("parameter", "key", "reason"),
    [
        ({"src": {"dataKey": "temp"}}, "src", "its data is in body: did you mean body.temp?"),
        ({"src": {"dataKey": "temp.x|y"}}, "src", "body"),
        ({"src": {"dataKey": "body..x"}}, "src", "empty part"),
        ({"src": {"contextKey": "body"}}, "src", "must be one of id"),
        ({"dest": ""}, "dest", "empty"),
        ({"dest": "spec|x"}, "dest", "sets nothing"),
        ({"dest": "@this"}, "dest", "sets nothing"),
        ({"dest": "spec.x.5000"}, "dest", "too large"),
        ({"dest": "status.phase"}, "dest", "must be in spec"),
        ({"dest": "apiVersion"}, "dest", "must be in spec"),
        ({"dest": "kind"}, "dest", "must be in spec"),
        ({"dest": "meta*.labels.x"}, "dest", "must be in spec"),
        ({"dest": "metadata"}, "dest", "made by edgeagent"),
        ({"dest": "metadata.name"}, "dest", "made by edgeagent"),
        ({"dest": "metadata.generateName"}, "dest", "made by edgeagent"),
        ({"dest": "metadata.namespace"}, "dest", "made by edgeagent"),
        ({"dest": "metadata.labels"}, "dest", "made by edgeagent"),
        ({"dest": "metadata.*.x"}, "dest", "made by edgeagent"),
        ({"dest": "metadata.:name.x"}, "dest", "made by edgeagent"),
        ({"dest": r"metadata.labels.edgeagent\.io/rule"}, "dest", "made by edgeagent"),
        ({"dest": r"metadata.annotations.edgeagent\.io/source"}, "dest", "made by edgeagent"),
        ({"dest": "metadata.labels.example.com/line"}, "dest", r"written \."),
        ({"dest": "metadata.labels.*"}, "dest", "one name"),
        ({"dest": "metadata.labels.x", "src": {"dataKey": "body.temp", "useRawData": True}}, "dest", "are texts"),
        ({"dest": "spec.:0", "operation": "append"}, "dest", "overwrites"),
        ({"dest": "spec.templates.name"}, "dest", "is an array"),
        ({"dest": 'spec.arguments.parameters.#(name=="gone").value'}, "dest", "is nowhere"),
        ({"dest": "spec.*.gone"}, "dest", "is nowhere"),
    ],
)
def test_a_parameter_that_can_never_work_is_told_when_the_rule_is_read(
    parameter: dict[str, Any], key: str, reason: str
) -> None:
    found = problems(parameter)
    assert list(found) == [f"parameters[0].{key}"]
    assert reason in found[f"parameters[0].{key}"]


@pytest.mark.parametrize(
    ("parameter", "reason"),
    [
        ({"dest": "spec"}, "make the workflow's spec a text"),
        ({"dest": "spec", "src": {"dataKey": "body.spec"}}, "make the workflow's spec a text"),
        ({"dest": "spec.arguments.parameters.2.value"}, "without a name"),
        ({"dest": "spec.arguments.parameters.9.name"}, "without a name"),
        ({"dest": "spec.arguments.parameters.-1"}, "without a name"),
    ],
)
def test_parameters_that_leave_no_workflow_are_told_when_the_rule_is_read(
    parameter: dict[str, Any], reason: str
) -> None:
    found = problems(parameter)
    assert list(found) == ["parameters"]
    assert reason in found["parameters"]


def test_a_template_takes_an_argument_by_its_index_when_its_name_is_set_too() -> None:
    named = [
        {"src": {"value": "temp"}, "dest": "spec.arguments.parameters.0.name"},
        {"src": {"dataKey": "body.temp"}, "dest": "spec.arguments.parameters.0.value"},
    ]
    spec = rule(named, workflow=None, template="inspect")
    assert workflow(spec)["spec"] == {
        "workflowTemplateRef": {"name": "inspect"},
        "arguments": {"parameters": [{"name": "temp", "value": "97.1"}]},
    }
    assert [key for key, _ in rule_problems(rule(named[1:], workflow=None, template="inspect"))] == ["parameters"]


def test_of_a_workflow_in_a_file_nothing_is_told_before_it_is_read() -> None:
    spec = rule([{"src": {"value": "x"}, "dest": "spec.templates.name"}], workflow=None, workflow_file="w.yaml")
    assert not list(rule_problems(spec))
