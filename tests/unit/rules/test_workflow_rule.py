"""What `edgeagent check` says of the workflow of a rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeagent.config import load_agent
from edgeagent.config.workflows import config_notes
from edgeagent.dispatcher.workflow import workflow_problems as refused
from edgeagent.errors import ConfigError
from edgeagent.rules.problems import rule_problems
from edgeagent.rules.ruleset import Rule
from edgeagent.rules.spec import RuleSpec
from edgeagent.rules.workflow import rule_workflow_problems
from edgeagent.wire import messages
from edgeagent.workflows.names import quoted
from tests.fakes.workflow_examples import gives, one, runs, says, step, steps, takes

FLOW = "{{inputs.parameters.flow}}"
INSPECT = one(says(FLOW, inputs=takes("flow")))


def problems(workflow: dict[str, Any] | None, arguments: Any = None, parameters: Any = ()) -> list[tuple[str, str]]:
    """What is wrong with a rule that has no other problem."""
    rule = {"name": "leak", "namespace": "plant", "arguments": arguments or {}, "parameters": list(parameters)}
    rule |= {"template": "inspect"} if workflow is None else {"workflow": workflow}
    spec = msgspec.convert(rule, RuleSpec)
    assert list(rule_problems(spec)) == []
    return list(rule_workflow_problems(spec))


def test_a_rules_arguments_are_values_for_the_workflows_inputs() -> None:
    assert problems(INSPECT, {"flow": "body.flow"}) == []
    ((key, reason),) = problems(INSPECT)
    assert key == "workflow.spec.entrypoint"
    assert "no value for 'flow'" in reason


def test_an_output_that_the_workflow_cannot_give_is_told_with_those_that_it_has() -> None:
    def told(workflow: dict[str, Any], *outputs: str) -> list[tuple[str, str]]:
        rule = {"name": "leak", "namespace": "plant", "workflow": workflow, "outputs": outputs}
        return list(rule_workflow_problems(msgspec.convert(rule, RuleSpec)))

    path = {"path": "/tmp/result"}  # noqa: S108  in the workflow's container
    given = [{"name": "verdict", "globalName": "result", "valueFrom": path}, {"name": "local", "valueFrom": path}]
    workflow = one(runs(outputs={"parameters": given}))
    assert told(workflow, "result") == []
    reason = "'local' is the globalName of no output parameter of the workflow (it has: result)"
    assert told(workflow, "result", "local") == [("outputs[1]", reason)]
    elsewhere = steps(step("a", "", templateRef={"name": "library", "template": "inspect"}))
    assert told(elsewhere, "result") == []


def test_an_argument_that_the_workflow_does_not_have_is_told_with_those_that_it_has() -> None:
    workflow = one(says(FLOW, inputs=takes("flow")), arguments=gives(site="north"))
    found = dict(problems(workflow, {"flwo": "body.flow"}))
    assert found["arguments.flwo"] == "is not a parameter of the workflow (it has: site, flow): it would go unused"


@pytest.mark.parametrize(
    "workflow",
    [
        None,  # a template's parameters are known to the engine alone
        {"spec": {"workflowTemplateRef": {"name": "inspect"}}},
        one(says("{{workflow.parameters.flow}}")),
        one(says("{{=workflow.parameters.flow-1}}")),
        one(says("{{=workflow.parameters['flow']}}")),
        one(says("{{workflow.parameters.json}}")),
        one(runs(notYetInvented="{{workflow.parameters.flow}}")),
        steps(step("a", "", templateRef={"name": "library", "template": "inspect"})),
        one(runs(), templates=[runs(), runs("end", inputs=takes("flow"))], onExit="end"),
        one(runs(), arguments=gives(flow=0)),
    ],
)
def test_an_argument_that_may_be_used_is_not_refused(workflow: dict[str, Any] | None) -> None:
    assert problems(workflow, {"flow": "body.flow"}) == []


def test_the_labels_that_edgeagent_makes_can_be_used() -> None:
    assert problems(one(says("{{workflow.labels.edgeagent.io/correlation-id}}"))) == []
    ((key, _),) = problems(one(says("{{workflow.labels.edgeagent.io/corelation-id}}")))
    assert key == "workflow.spec.templates[0].container.args[0]"


def put(dest: str, *, raw: bool = False, **source: str) -> dict[str, Any]:
    """A Sensor's parameter."""
    return {"src": {"useRawData": raw, **(source or {"dataKey": "body.x"})}, "dest": dest}


def test_what_a_parameter_puts_into_the_workflow_is_part_of_it() -> None:
    workflow = one(says(FLOW, inputs=takes("flow")), arguments={"parameters": [{"name": "flow"}]})
    assert [key for key, _ in problems(workflow)] == ["workflow.spec.arguments.parameters[0]"]
    assert problems(workflow, parameters=[put("spec.arguments.parameters.0.value")]) == []
    assert problems(workflow, parameters=[put("spec.arguments.parameters.0.value", raw=True)]) == []
    assert problems(INSPECT, parameters=[put(r"metadata.labels.site")])[0][0] == "workflow.spec.entrypoint"


def test_a_parameter_with_a_fixed_value_is_held_against_the_workflow() -> None:
    ((key, reason),) = problems(one(runs()), parameters=[put("spec.entrypoint", value="gone")])
    assert key == "workflow.spec.entrypoint"
    assert "'gone' is not among" in reason


@pytest.mark.parametrize(
    "parameter",
    [put("spec.entrypoint"), put("spec", raw=True), put("spec.templates.0.name"), put("spec.parallelism", raw=True)],
)
def test_where_the_event_decides_what_runs_nothing_is_told(parameter: dict[str, Any]) -> None:
    assert problems(one(runs(), entrypoint="gone"), parameters=[parameter]) == []


LABELLED = one(runs()) | {"metadata": {"labels": {"zone": "north"}, "annotations": {"note": "anything goes"}}}
ZONE = "metadata.labels.zone"


def test_labels_and_annotations_that_kubernetes_takes_are_right() -> None:
    assert problems(LABELLED) == []
    assert problems(LABELLED, parameters=[put(ZONE), put(ZONE, value=""), put(ZONE, value="n_1.a-B")]) == []
    assert problems(LABELLED, parameters=[put(r"metadata.annotations.example\.com/note", value="north wing -")]) == []
    assert problems(LABELLED, parameters=[put(ZONE, dataKey="body.zone", value="none")]) == []
    assert problems(LABELLED, parameters=[put(ZONE) | {"operation": "append"}]) == []


@pytest.mark.parametrize("value", ["north-", "north wing", "-", "ä", "x" * 64])
def test_a_label_that_kubernetes_refuses_is_found_when_the_configuration_is_read(value: str) -> None:
    reason = f"is {quoted(value)}, which no label can have"
    labels = {"metadata": {"labels": {"zone": value}}}
    assert problems(one(runs()) | labels) == [("workflow.metadata.labels['zone']", reason)]
    assert problems(one(runs()), parameters=[put(ZONE, value=value)]) == [("parameters[0].src.value", reason)]
    assert problems(None, parameters=[put(ZONE, value=value)]) == [("parameters[0].src.value", reason)]
    assert problems(None, parameters=[put(ZONE, dataKey="body.zone", value=value)]) == [
        ("parameters[0].src.value", reason)
    ]


def test_what_is_put_behind_a_label_is_judged_with_it() -> None:
    behind = put(ZONE, value=" wing") | {"operation": "append"}
    ((key, reason),) = problems(LABELLED, parameters=[behind])
    assert (key, reason) == ("parameters[0].src.value", "is 'north wing', which no label can have")
    ((key, _),) = problems(LABELLED, parameters=[behind, put(ZONE) | {"operation": "append"}])
    assert key == "parameters[1]"


def test_labels_are_looked_at_where_the_event_decides_what_runs() -> None:
    workflow = one(runs()) | {"metadata": {"labels": {"a b": "north"}}}
    ((key, reason),) = problems(workflow, parameters=[put("spec.entrypoint")])
    assert (key, reason) == ("workflow.metadata.labels", "has 'a b', which is not a valid key")


def test_annotations_that_are_too_large_together_are_found() -> None:
    notes = {"metadata": {"annotations": {f"note-{number}": "x" * (64 << 10) for number in range(4)}}}
    ((key, reason),) = problems(one(runs()) | notes)
    assert key == "workflow.metadata.annotations"
    assert reason.endswith("at most 262144 are allowed")


def test_a_workflow_that_no_message_can_carry_is_found() -> None:
    ((key, reason),) = problems(one(says("x" * messages.MAX_TRIGGER_BYTES)))
    assert key == "workflow"
    assert "a message with it would be refused" in reason


@pytest.mark.parametrize(
    ("metadata", "spec"),
    [
        ({"labels": {"zone": "north-"}}, {}),
        ({"labels": {"a/b/c": "north"}}, {}),
        ({"annotations": {"-": "x"}}, {}),
        ({"annotations": {"a": "x" * (257 << 10)}}, {}),
        ({}, {"entrypoint": ""}),
        ({}, {"serviceAccountName": 5}),
        ({}, {"arguments": {"parameters": [{"name": "a b", "value": ""}]}}),
        ({}, {"arguments": {"parameters": [{"name": "a"}]}}),
        ({}, {"templates": []}),
        ({}, {"EntryPoint": "work"}),
        ({}, {"templates": None, "workflowTemplateRef": {"name": "Not_A_Name"}}),
        ({}, {"templates": None, "workflowTemplateRef": {"clusterScope": False}}),
    ],
)
def test_what_the_dispatcher_refuses_is_an_error_of_the_check(metadata: dict[str, Any], spec: dict[str, Any]) -> None:
    workflow = one(runs()) | {"metadata": metadata}
    workflow["spec"].update(spec)
    received = workflow | {"metadata": {"name": "leak-1", **metadata}}
    assert list(refused(received, "plant")) != []
    assert problems(workflow) != []


def test_what_kubectl_prints_beside_a_workflow_is_passed_over_with_a_note(tmp_path: Path) -> None:
    printed = LABELLED | {"status": {"phase": "Succeeded"}, "metadata": {"creationTimestamp": None, "uid": "1-2"}}
    assert problems(printed) == []
    (tmp_path / "leak.json").write_bytes(msgspec.json.encode(printed))
    path = tmp_path / "config.toml"
    path.write_text(f'{RULE}workflow_file = "leak.json"\n')
    why = "is made by the engine, as kubectl prints it; it is passed over"
    assert list(config_notes(load_agent(path, {}))) == [
        ("rule[0].workflow_file", f"leak.json: {member}: {why}")
        for member in ("status", "metadata.creationTimestamp", "metadata.uid")
    ]


def test_null_in_a_workflow_file_is_as_good_as_nothing(tmp_path: Path) -> None:
    empty = one(runs(), arguments=None) | {"metadata": {"labels": None, "annotations": None}}
    (tmp_path / "leak.json").write_bytes(msgspec.json.encode(empty))
    path = tmp_path / "config.toml"
    path.write_text(f'{RULE}workflow_file = "leak.json"\n')
    (rule,) = load_agent(path, {}).rule
    assert Rule(rule).workflow("a", {"b": "c"}, {}, [])["metadata"]["labels"] == {"b": "c"}


@pytest.mark.parametrize("parameters", ["", '[[rule.parameters]]\nsrc.dataKey = "body.x"\ndest = "spec.entrypoint"\n'])
def test_a_workflow_that_is_nested_too_deep_is_refused_before_it_is_copied(tmp_path: Path, parameters: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f"{RULE}{parameters}[rule.workflow.spec{'.a' * 900}]\n")
    assert told(path) == {"rule[0].workflow": "is nested deeper than 100 levels"}
    path.write_text(f'{RULE}workflow_file = "deep.json"\n{parameters}')
    (tmp_path / "deep.json").write_text('{"a":' * 900 + "1" + "}" * 900)
    assert told(path) == {"rule[0].workflow_file": "deep.json: is nested deeper than 100 levels"}


def told(path: Path) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        load_agent(path, {})
    return dict(caught.value.problems)


RULE = '[[rule]]\nname = "leak"\nnamespace = "plant"\n'


def test_a_workflow_in_the_configuration_is_checked_with_everything_else(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'{RULE}workflow = {{ spec = {{ entrypoint = "a" }} }}\n[uplink]\nurl = "tcp://a"\n')
    assert sorted(told(path)) == ["rule[0].workflow.spec.entrypoint", "uplink.url"]


def test_a_workflow_in_a_file_is_checked_and_named_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'{RULE}workflow_file = "leak.json"\narguments = {{ p = "body.p" }}\n')
    (tmp_path / "leak.json").write_bytes(msgspec.json.encode(one(says(FLOW))))
    assert told(path) == {
        "rule[0].arguments.p": "is not a parameter of the workflow (it has: none): it would go unused",
        "rule[0].workflow_file": "leak.json: spec.templates[0].container.args[0]: uses {{inputs.parameters.flow}}, "
        "which is not an input of this template: declare it in its inputs",
    }


def test_a_place_that_a_workflow_in_a_file_does_not_have_is_told(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        f'{RULE}workflow_file = "leak.json"\n'
        '[[rule.parameters]]\nsrc.dataKey = "body.x"\ndest = "spec.templates.first"\n'
    )
    (tmp_path / "leak.json").write_bytes(msgspec.json.encode(one(runs())))
    assert list(told(path)) == ["rule[0].parameters[0].dest"]


def test_of_a_workflow_with_many_problems_only_the_first_are_told(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'{RULE}workflow_file = "leak.json"\n')
    (tmp_path / "leak.json").write_bytes(msgspec.json.encode(one({"name": "work", "dag": {"tasks": [{}] * 50}})))
    with pytest.raises(ConfigError) as caught:
        load_agent(path, {})
    assert len(caught.value.problems) == 21
    assert caught.value.problems[-1].reason == "leak.json: has more problems than these 20"
