"""A workflow is judged as it reads after Argo has put in what it knows: the values, and placeholders for the rest."""

from __future__ import annotations

from typing import Any

import pytest

from edgeagent.workflows.check import workflow_check
from edgeagent.workflows.fill import MAX_VALUE_CHARS
from tests.fakes.workflow_examples import Json, dag, gives, one, runs, says, step, steps, takes, writes

T = "spec.templates[0]"
NOWHERE = "{{workflow.parameters.nowhere}}"


def with_default(value: Any, name: str = "p") -> Json:
    return {"parameters": [{"name": name, "value": value}]}


def caller(call: Json, worker: Json | None = None, **spec: Any) -> Json:
    """A workflow that calls `main` from its entrypoint, so that nobody knows yet what `main` is given."""
    main = {"name": "main", "inputs": takes("p"), "steps": [[call]]}
    begin = {"name": "begin", "steps": [[step("go", "main", arguments=gives(p="x"))]]}
    return {"spec": {"entrypoint": "begin", "templates": [main, begin, worker or runs()], **spec}}


def of_colours(value: Any, *colours: str) -> Json:
    return {"parameters": [{"name": "p", "value": value, "enum": list(colours or ("red", "blue"))}]}


WRONG: list[tuple[str, Json, str, str]] = [
    ("an argument's value that names what is not there, where it is used",
     one(says("{{workflow.parameters.p}}"), arguments=gives(p=NOWHERE)), f"{T}.container.args[0]",
     "spec.arguments; it comes with the value of {{workflow.parameters.p}}"),
    ("an argument's value that an input of the entrypoint takes",
     one(runs(inputs=takes("p")), arguments=gives(p=NOWHERE)), f"{T}.inputs.parameters[0].value",
     "uses {{workflow.parameters.nowhere}}"),
    ("an input's own value in the entrypoint", one(runs(inputs=with_default("{{inputs.parameters.gone}}"))),
     f"{T}.inputs.parameters[0].value", "uses {{inputs.parameters.gone}}, which is not an input of this template"),
    ("a value that names another, over two steps",
     one(says("{{workflow.parameters.p}}"), arguments=gives(p="{{workflow.parameters.q}}", q="{{pod.nam}}")),
     f"{T}.container.args[0]", "uses {{pod.nam}}"),
    ("a variable within the name of one that is not there", steps(step(withItems=["a"], arguments=gives(
        p="{{inputs.parameters.{{item}}}}"))), f"{T}.steps[0][0].arguments.parameters[0].value",
     "which is not an input"),
    ("a name with an item in it", steps(step("a-{{item}}", withItems=["x"])), f"{T}.steps[0][0].name", "'a-{{item}}'"),
    ("a name with a value that no name can have", steps(step("a-{{inputs.parameters.p}}"), inputs=with_default("x y")),
     f"{T}.steps[0][0].name", "is 'a-x y'"),
    ("two names that are one", caller(step(), arguments=gives(n="a")) | {"spec": {
        **steps(step("a"), step("{{workflow.parameters.n}}"))["spec"], "arguments": gives(n="a")}},
     f"{T}.steps[1][0].name", "'a' is the name of an earlier one"),
    ("a template by an item", steps(step("a", "{{item}}", withItems=["work"])), f"{T}.steps[0][0].template",
     "'{{item}}' is not among spec.templates"),
    ("a template by a value that names none", steps(step("a", "{{inputs.parameters.p}}"), inputs=with_default("gone")),
     f"{T}.steps[0][0].template", "'gone' is not among"),
    ("a target by a value that names no task", dag(step(), target="{{workflow.parameters.t}}") | {"spec": {
        **dag(step(), target="{{workflow.parameters.t}}")["spec"], "arguments": gives(t="z")}},
     f"{T}.dag.target", "names 'z', which is not a task here"),
    ("a task that waits for an item", dag(step("a"), step("b", withItems=["a"], depends="{{item}}")),
     f"{T}.dag.tasks[1].depends", "names 'item', which is not a task here"),
    ("a timeout by a value without a unit", one(runs(timeout="{{inputs.parameters.p}}", inputs=with_default(5))),
     f"{T}.timeout", "needs a unit"),
    ("a metric's name that only a caller knows", caller(step(), runs(metrics={"prometheus": [
        {"name": "m_{{inputs.parameters.p}}", "help": "h"}]}, inputs=with_default("x"))),
     "spec.templates[2].metrics.prometheus[0].name", "is 'm_{{inputs.parameters.p}}'"),
    ("an enum without the value that is put in", steps(step(arguments=of_colours("{{inputs.parameters.p}}")),
                                                       inputs=with_default("green")),
     f"{T}.steps[0][0].arguments.parameters[0].value", "is 'green', which is not in its enum"),
    ("an enum and a value that only a caller knows", caller(step(arguments=of_colours("{{inputs.parameters.p}}"))),
     f"{T}.steps[0][0].arguments.parameters[0].value", "is '{{inputs.parameters.p}}', which is not in its enum"),
    ("an enum and an item", steps(step(withItems=["red"], arguments=of_colours("{{item}}"))),
     f"{T}.steps[0][0].arguments.parameters[0].value", "is '{{item}}', which is not in its enum"),
    ("an enum of the workflow, with a variable", one(runs(), arguments=of_colours("{{workflow.name}}")),
     "spec.arguments.parameters[0].value", "is '{{workflow.name}}', which is not in its enum"),
    ("an input from nothing", one(runs(inputs={"parameters": [{"name": "p", "valueFrom": {}}]})),
     "spec.entrypoint", "no value for 'p'"),
    ("an inline template's own value",
     steps(step("a", "", inline=runs("", inputs=with_default("{{inputs.parameters.no}}")))),
     f"{T}.steps[0][0].inline.inputs.parameters[0].value", "uses {{inputs.parameters.no}}"),
    ("no steps", one({"name": "work", "steps": []}), f"{T}.steps", "must have at least one step"),
    ("a result of a container set without main", steps(step(), step("b", when="{{steps.a.outputs.result}}"), worker={
        "name": "work", "containerSet": {"containers": [{"name": "side", "image": "alpine:3"}]}}),
     f"{T}.steps[1][0].when", "uses {{steps.a.outputs.result}}"),
    ("a result of a template that only waits", steps(step(), step("b", when="{{steps.a.outputs.result}}"), worker={
        "name": "work", "suspend": {}}), f"{T}.steps[1][0].when", "uses {{steps.a.outputs.result}}"),
    ("outputs of a sequence together", steps(step(withSequence={"count": 2}), step(
        "b", when="{{steps.a.outputs.parameters}}"), worker=runs(outputs=writes("q"))),
     f"{T}.steps[1][0].when", "uses"),
    *((f"outputs of a task that is not waited for, in {member}",
       dag(step(), step("b", **{member: "x {{ tasks.a.outputs.result }}"})), f"{T}.dag.tasks[1].{member}",
       "is from 'a', which the task does not wait for") for member in ("when", "withParam")),
    ("own outputs", dag(step(arguments=gives(p="<{{tasks.a.outputs.result}}>"))),
     f"{T}.dag.tasks[0].arguments.parameters[0].value", "is from 'a', which the task does not wait for"),
    ("a step's hook without a condition", steps(step(hooks={"running": {"template": "work"}})),
     f"{T}.steps[0][0].hooks['running'].expression", "is required"),
]  # fmt: skip


@pytest.mark.parametrize(("workflow", "path", "reason"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_what_comes_of_the_values_is_told(workflow: Json, path: str, reason: str) -> None:
    ((found, why),) = workflow_check(workflow)
    assert found == path
    assert reason in why


RIGHT: list[tuple[str, Json]] = [
    ("all inputs where there are none", one(says("{{inputs.parameters}}"))),
    ("all inputs in a template that calls", steps(step(arguments=gives(p="{{inputs.parameters}}")))),
    ("an inline template's own value, from the template around it", steps(step("a", "", inline=runs(
        "", inputs=with_default("{{inputs.parameters.p}}", "q"))), inputs=with_default("x"))),
    ("an input's value that its caller replaces",
     caller(step(arguments=gives(p="x")), runs(inputs=with_default(NOWHERE)))),
    ("where an input is, when its caller says it", caller(
        step(arguments={"artifacts": [{"name": "f", "raw": {"data": ""}}]}),
        runs(inputs={"artifacts": [{"name": "f", "path": "/f", "s3": {"key": NOWHERE}}]}))),
    ("an argument's value that nothing uses", one(runs(), arguments=gives(p=NOWHERE))),
    ("a variable within the name of another", one(says("{{workflow.parameters.{{workflow.parameters.which}}}}"),
                                                  arguments=gives(which="b", b="x"))),
    ("a template by a value", steps(step("a", "{{inputs.parameters.p}}"), inputs=with_default("work"))),
    ("a name by a value", steps(step("a-{{inputs.parameters.p}}"), inputs=with_default("x"))),
    ("a name that only a caller knows", caller(step("a-{{inputs.parameters.p}}"))),
    ("a target by a value", dag(step(), target="{{workflow.parameters.t}}") | {"spec": {
        **dag(step(), target="{{workflow.parameters.t}}")["spec"], "arguments": gives(t="a")}}),
    ("an enum with the value that is put in", steps(step(arguments=of_colours("{{inputs.parameters.p}}")),
                                                    inputs=with_default("red"))),
    ("an enum and an expression", steps(step(arguments=of_colours("{{=inputs.parameters.p}}")))),
    ("a deadline that only a caller knows", caller(step(arguments=gives(p="5")), runs(
        inputs=takes("p"), activeDeadlineSeconds="{{inputs.parameters.p}}"))),
    ("an action that only a caller knows", caller(step(arguments=gives(p="get")), {
        "name": "work", "inputs": takes("p"), "resource": {"action": "{{inputs.parameters.p}}", "manifest": "a: 1"}})),
    ("the number of a try", steps(step("a-{{retries}}"), retryStrategy={"limit": 2})),
    ("a task's hook without a condition", dag(step(hooks={"running": {"template": "work"}}))),
    ("outputs of its own in a task's hook", dag(step(hooks={"exit": {
        "template": "work", "arguments": gives(p="{{tasks.a.outputs.result}}")}}))),
    ("outputs of a task that is waited for",
     dag(step(), step("b", dependencies=["a"], when="{{tasks.a.outputs.result}}"))),
    ("outputs of items together", steps(step(withItems=[1]), step("b", when="{{steps.a.outputs.parameters}}"),
                                        worker=runs(outputs=writes("q")))),
    ("null for whatever may be left out", {
        "metadata": None, "status": None,
        "spec": {**one(runs(inputs=None, outputs=None, metadata=None))["spec"], "arguments": None, "hooks": None}}),
    ("null for the lists in it", {
        "metadata": {"labels": None, "annotations": None, "creationTimestamp": None},
        "spec": {**one(runs(inputs={"parameters": None}))["spec"],
                 "arguments": {"parameters": None, "artifacts": None}}}),
]  # fmt: skip


@pytest.mark.parametrize("workflow", [case[1] for case in RIGHT], ids=[case[0] for case in RIGHT])
def test_what_argo_takes_after_filling_in_is_not_refused(workflow: Json) -> None:
    assert list(workflow_check(workflow)) == []


def test_a_long_value_is_not_written_out_at_each_of_its_uses() -> None:
    many = "{{workflow.parameters.p}}" * 20_000
    for value in ("x" * (MAX_VALUE_CHARS + 1), "{{workflow.parameters.q}}" * 7, "y" * MAX_VALUE_CHARS):
        workflow = one(says(many), arguments=gives(p=value, q="z" * MAX_VALUE_CHARS))
        assert list(workflow_check(workflow)) == []


def test_the_workflow_that_is_looked_at_is_not_changed() -> None:
    workflow = caller(step(arguments=gives(p="{{inputs.parameters.p}}")), runs(inputs=takes("p")))
    before = repr(workflow)
    assert list(workflow_check(workflow)) == []
    assert repr(workflow) == before
