"""The rules for steps, tasks and variables: each with what breaks it, and with what keeps it."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from edgeagent.workflows.check import workflow_check
from edgeagent.workflows.graph import MAX_RELATED
from tests.fakes.workflow_examples import dag, gives, one, runs, says, step, steps, takes, writes

S, D = "spec.templates[0].steps", "spec.templates[0].dag"
REF = {"name": "library", "template": "inspect"}
GIVES_P = runs(outputs=writes("p"))
TAKES_P = runs(inputs=takes("p"))
GIVES_F = runs(outputs={"artifacts": [{"name": "f", "path": "/f"}]})
F_OF_A = {"artifacts": [{"name": "f", "from": "{{tasks.a.outputs.artifacts.f}}"}]}
FILE = {"artifacts": [{"name": "f", "path": "/f", "raw": {"data": ""}}]}
P_OF_A = "{{tasks.a.outputs.parameters.p}}"


class Case(NamedTuple):
    """`bad` has one problem, at `path`, with `reason` in its text; `good` has none."""

    bad: dict[str, Any]
    path: str
    reason: str
    good: dict[str, Any]


def asks(text: str) -> dict[str, Any]:
    """A step or task that comes after `a` and has this text."""
    return step("b", when=text)


def after(text: str, **members: Any) -> dict[str, Any]:
    """A task that waits for `a` and has this text."""
    return step("b", when=text, dependencies=["a"], **members)


def whole(text: str, **spec: Any) -> dict[str, Any]:
    """A workflow with a text in a container of its entrypoint."""
    return one(says(text), **spec)


CALLS = [
    Case(steps(step("")), f"{S}[0][0].name", "is required", steps(step("a"))),
    Case(steps(step("a"), step("a")), f"{S}[1][0].name", "earlier", steps(step("a"), step("b"))),
    Case(steps(step("a_b")), f"{S}[0][0].name", "must be letters", steps(step("{{workflow.name}}"))),
    Case(steps(step("a", "gone")), f"{S}[0][0].template", "'gone' is not among", steps(step("a", "{{workflow.name}}"))),
    Case(steps(step("a", "")), f"{S}[0][0]", "what is to run", steps(step("a", "", templateRef=REF))),
    Case(steps(step(templateRef=REF)), f"{S}[0][0]", "keep one", steps(step("a", "", inline=runs("")))),
    Case(steps(step("a", "", templateRef={"name": "library"})), f"{S}[0][0].templateRef.template", "is required",
         steps(step("a", "", templateRef=REF, arguments=gives(anything=1)))),
    Case(steps(step(), worker=TAKES_P), f"{S}[0][0]", "no value for 'p' of inputs.parameters",
         steps(step(arguments=gives(p=1)), worker=TAKES_P)),
    Case(dag(step(arguments=gives(q=1)), worker=TAKES_P), f"{D}.tasks[0]", "no value for 'p'",
         dag(step(arguments=gives(p="")), worker=TAKES_P)),
    Case(steps(step(), worker=runs(inputs={"artifacts": [{"name": "f", "path": "/f"}]})), f"{S}[0][0]", "inputs.art",
         steps(step(), worker=runs(inputs={"artifacts": [{"name": "f", "path": "/f", "optional": True}]}))),
    Case(steps(step("a", "", inline=TAKES_P)), f"{S}[0][0]", "no value for 'p'",
         steps(step("a", "", inline=TAKES_P, arguments=gives(p=1)))),
    Case(steps(step(arguments={"parameters": [{"name": "p"}]})), f"{S}[0][0].arguments.parameters[0]", "needs value",
         steps(step(arguments=gives(p=True)))),
    Case(steps(step(withItems=[1], withParam="[]")), f"{S}[0][0]", "more than one of withItems, withParam",
         steps(step(withItems=[], withParam="[]"))),
    Case(dag(step(withSequence={"count": 2, "end": 3})), f"{D}.tasks[0].withSequence", "both count and end",
         dag(step(withSequence={"count": "2"}))),
    Case(steps(step(hooks={"late": {"template": "work"}})), f"{S}[0][0].hooks['late'].expression", "is required",
         steps(step(hooks={"exit": {"template": "work"}}))),
    Case(steps(step("a", "", inline={"name": "", "container": {}})), f"{S}[0][0].inline.container.image", "is required",
         steps(step("a", "", inline={"container": {"image": "a"}}))),
]  # fmt: skip
TASKS = [
    Case(dag(), f"{D}.tasks", "at least one", dag(step())),
    Case(dag(step("a"), step("a")), f"{D}.tasks[1].name", "earlier", dag(step("a"), step("b"))),
    Case(dag(step("a", dependencies=["b"]), step("b", dependencies=["a"])), f"{D}.tasks", "in a circle",
         dag(step("a", dependencies=["b"]), step("b"))),
    Case(dag(step("a", depends="a")), f"{D}.tasks", "in a circle", dag(step("a"), step("b", depends="!(a.Failed)"))),
    Case(dag(step("a", dependencies=["gone"])), f"{D}.tasks[0].dependencies", "'gone', which is not a task",
         dag(step("a", dependencies=["{{workflow.name}}"]))),
    Case(dag(step("a"), step("b", depends="a && gone.Failed")), f"{D}.tasks[1].depends", "'gone'",
         dag(step("a"), step("gone"), step("b", depends="a && (gone.Failed||gone.Skipped)"))),
    Case(dag(step("a"), step("b", depends="a"), step("c", dependencies=["a"])), f"{D}.tasks[2].dependencies", "depends",
         dag(step("a"), step("b", depends="a"), step("c", depends="a"))),
    Case(dag(step("a", continueOn={"failed": True}), step("b", depends="a")), f"{D}.tasks[0].continueOn", "TASK.Failed",
         dag(step("a", continueOn={"failed": True}), step("b", dependencies=["a"]))),
    Case(dag(step("9"), step("b", depends="9")), f"{D}.tasks[0].name", "with a digit", dag(step("9"), step("b"))),
    Case(dag(step("a"), step("b", depends="a.Done")), f"{D}.tasks[1].depends", "'Done'",
         dag(step("a"), step("b", depends="a.Daemoned"))),
    Case(dag(step("a"), step("b", depends="a.AnySucceeded")), f"{D}.tasks[1].depends", "has no items",
         dag(step("a", withParam="[1]"), step("b", depends="a.AnySucceeded"))),
    Case(dag(step("a"), target="b"), f"{D}.target", "'b', which is not a task",
         dag(step("a"), step("b"), target="a b")),
    Case(dag(step("a"), step("b", arguments=gives(p=P_OF_A)), worker=GIVES_P),
         f"{D}.tasks[1].arguments.parameters[0].value", "add it to its dependencies",
         dag(step("a"), step("c", depends="a"), step("b", depends="c", arguments=gives(p=P_OF_A)), worker=GIVES_P)),
    Case(dag(step("a"), step("b", arguments=F_OF_A), worker=GIVES_F),
         f"{D}.tasks[1].arguments.artifacts[0].from", "add it to its dependencies",
         dag(step("a"), step("b", arguments=F_OF_A, dependencies=["a"]), worker=GIVES_F)),
]  # fmt: skip
TEXT = "spec.templates[0].container.args[0]"
VARIABLES = [
    Case(whole("{{inputs.parameters.p}}"), TEXT, "not an input of this template",
         one(says("{{ inputs.parameters.p }}", inputs=takes("p")), arguments=gives(p=1))),
    Case(whole("{{inputs.artifacts.f.path}}"), TEXT, "not an input",
         one(says("{{inputs.artifacts.f.path}}", inputs=FILE))),
    Case(whole("{{workflow.parameters.q}}", arguments=gives(p=1)), TEXT, "this workflow does not have",
         whole("{{workflow.parameters.p}} {{workflow.parameters.json}}", arguments=gives(p=1))),
    Case(whole("{{workflow.parameters}}"), TEXT, "spec.arguments",
         whole("{{workflow.parameters}}", arguments=gives(p=1))),
    Case(whole("{{workflow.labels.a}}"), TEXT, "does not have",
         whole("{{workflow.labels.a}}", workflowMetadata={"labelsFrom": {"a": {"expression": "b"}}})),
    Case(whole("{{workflow.annotations.a}}"), TEXT, "does not have",
         whole("{{workflow.annotations.a}}") | {"metadata": {"annotations": {"a": "b"}}}),
    Case(whole("{{workflow.priority}}"), TEXT, "does not have", whole("{{workflow.priority}}", priority=1)),
    Case(whole("{{workflow.nmae}}"), TEXT, "uses {{workflow.nmae}}",
         whole("{{workflow.name}} {{workflow.status}} {{workflow.creationTimestamp.s}} {{workflow.duration}}")),
    Case(whole("{{workflow.failures}}"), TEXT, "does not have",
         one(runs(), templates=[runs(), says("{{workflow.failures}}") | {"name": "end"}], onExit="end")),
    Case(whole("{{steps.a.id}}"), TEXT, "no earlier step",
         whole("{{retries}} {{item}} {{node.name}} {{anything.else}}")),
    Case(whole("{{item.a}}"), TEXT, "no item", whole("{{=item.a + inputs.gone}}")),
    Case(whole("{{inputs.parameters.p"), TEXT, "without its '}}'", whole("{{ not ours")),
    Case(one({"name": "work", "http": {"url": "{{pod.name}}"}}), "spec.templates[0].http.url", "run a pod",
         whole("{{pod.name}}")),
    Case(steps(asks("{{steps.a.id}}"), step("a")), f"{S}[0][0].when", "no earlier step",
         steps(step("a"), asks("{{steps.a.id}}"))),
    Case(steps(step("a"), asks("{{steps.a.outputs.parameters.q}}"), worker=GIVES_P), f"{S}[1][0].when", "no earlier",
         steps(step("a"), asks("{{steps.a.outputs.parameters.p}}"), worker=GIVES_P)),
    Case(steps(step("a"), asks("{{steps.a.ip}}")), f"{S}[1][0].when", "no earlier",
         steps(step("a"), asks("{{steps.a.ip}}"), worker=runs(daemon=True))),
    Case(steps(step("a", "main"), asks("{{steps.a.outputs.result}}")), f"{S}[1][0].when", "no earlier",
         steps(step("a"), asks("{{steps.a.outputs.result}} {{steps.a.exitCode}}"))),
    Case(steps(step("a"), asks("{{steps.a.outputs.parameters}}"), worker=GIVES_P), f"{S}[1][0].when", "no earlier",
         steps(step("a", withItems=[1]), asks("{{steps.a.outputs.parameters}}"), worker=GIVES_P)),
    Case(steps(step("a", when="{{steps.a.outputs.result}}")), f"{S}[0][0].when", "no earlier",
         steps(step("a", hooks={"exit": {"template": "work", "arguments": gives(p="{{steps.a.outputs.result}}")}}))),
    Case(steps(step(withItems=[{"a": 1}], when="{{item.b}}")), f"{S}[0][0].when", "no item",
         steps(step(withItems=[{"a": 1}, {"b": 2}], when="{{item.b}}"))),
    Case(steps(step(withSequence={"count": 1}, when="{{item.a}}")), f"{S}[0][0].when", "no withParam",
         steps(step(withParam="[]", when="{{item.a}} {{item}}"))),
    Case(steps(step(withItems=[[1]], when="{{item.[1]}}")), f"{S}[0][0].when", "no item",
         steps(step(withItems=[[1, 2]], when="{{item.[1]}}"))),
    Case(dag(step("a"), asks("{{tasks.a.status}}")), f"{D}.tasks[1].when", "comes before",
         dag(step("a"), after("{{tasks.a.status}}"))),
    Case(dag(step("a"), after("{{tasks.a.outputs.parameters.p}}")), f"{D}.tasks[1].when", "no task of this template",
         dag(step("a"), after("{{tasks.a.outputs.parameters.p}}"), worker=GIVES_P)),
    Case(dag(step("a"), after("{{steps.a.id}}")), f"{D}.tasks[1].when", "no earlier step",
         dag(step("a"), after("{{tasks.a.id}}"))),
    Case(steps(step(), outputs={"parameters": [{"name": "p", "valueFrom": {"parameter": "{{steps.b.id}}"}}]}),
         "spec.templates[0].outputs.parameters[0].valueFrom.parameter", "no earlier step",
         steps(step(), outputs={"parameters": [{"name": "p", "valueFrom": {"parameter": "{{steps.a.id}}"}}]})),
    Case(steps(step("a", "", inline=says("{{inputs.parameters.p}}"))), f"{S}[0][0].inline.container.args[0]",
         "not an input",
         steps(step("a", "", inline=says("{{inputs.parameters.p}}", inputs=takes("p")), arguments=gives(p=1)))),
    Case(whole("{{workflow.outputs.parameters.g}}"), TEXT, "does not have",
         steps(step("a"), asks("{{workflow.outputs.parameters.g}}"),
               worker=runs(outputs={"parameters": [{"name": "p", "value": "1", "globalName": "g"}]}))),
]  # fmt: skip
CASES = CALLS + TASKS + VARIABLES


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.path} {case.reason}")
def test_what_breaks_a_rule_is_told_by_its_place_and_its_reason(case: Case) -> None:
    ((path, reason),) = workflow_check(case.bad)
    assert path == case.path
    assert case.reason in reason


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.path} {case.reason}")
def test_what_keeps_the_same_rule_passes(case: Case) -> None:
    assert list(workflow_check(case.good)) == []


@pytest.mark.parametrize(
    "workflow",
    [
        steps(step("a", "", templateRef=REF), asks("{{steps.a.outputs.parameters.any}} {{steps.a.outputs.result}}")),
        dag(step("a", "", templateRef=REF), after(P_OF_A)),
        steps(step("a", "{{workflow.name}}"), asks("{{steps.a.outputs.artifacts.any}}")),
        steps(step("a", "", templateRef=REF), asks("{{workflow.outputs.parameters.any}}")),
        dag(step("a"), step("b", depends="{{workflow.name}}", arguments=gives(p=P_OF_A)), worker=GIVES_P),
        steps(step("a", "", templateRef=REF | {"template": "{{workflow.name}}"})),
    ],
)
def test_what_a_referenced_template_or_a_variable_decides_is_not_judged(workflow: dict[str, Any]) -> None:
    assert list(workflow_check(workflow)) == []


def test_a_variable_that_is_not_closed_swallows_the_rest_so_nothing_is_told_of_it() -> None:
    template = {"name": "work", "container": {"image": "a", "args": ["echo {{", "{{inputs.parameters.gone}}"]}}
    assert list(workflow_check(one(template))) == []


def test_in_a_dag_too_large_to_tell_who_comes_before_whom_nothing_is_said_of_it() -> None:
    idle = [step(f"t{number}") for number in range(MAX_RELATED)]
    assert list(workflow_check(dag(step("a"), asks("{{tasks.a.status}}"), *idle))) == []


def test_who_comes_before_whom_is_told_over_a_long_chain() -> None:
    chain = [step("t0"), *(step(f"t{number}", dependencies=[f"t{number - 1}"]) for number in range(1, 1000))]
    first, last = step("x", when="{{tasks.t999.status}}"), step("y", when="{{tasks.t0.status}}", dependencies=["t999"])
    assert [path for path, _ in workflow_check(dag(*chain, first, last))] == [f"{D}.tasks[1000].when"]
