"""Whatever the JSON is, the check ends with problems or without; it never raises."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edgeagent.workflows.check import workflow_check
from edgeagent.workflows.types import _TEXTS, _struct
from edgeagent.workflows.types_pod import TEXTS as POD_TEXTS
from tests.fakes.workflow_examples import dag, gives, one, runs, says, step, steps, takes, writes

TEXTS = st.sampled_from(
    [
        "",
        "a",
        "b",
        "{{",
        "}}",
        "{{item.a}}",
        "{{steps.a.outputs.result}}",
        "{{tasks.a.status}}",
        "{{inputs.",
        "a.Failed",
    ]
) | st.text(max_size=6)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
MEMBERS = st.sampled_from(sorted({member for kind in _TEXTS | POD_TEXTS for member in _struct(kind)})) | TEXTS
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MEMBERS, inner, max_size=4), max_leaves=30
)
WHOLE = [
    one(says("{{inputs.parameters.p}}", inputs=takes("p"), outputs=writes("q")), arguments=gives(p=1)),
    steps(step("a", withItems=[{"a": 1}]), step("b", "", inline=runs("")), worker=runs(outputs=writes("p"))),
    dag(
        step("a"), step("b", depends="a.Failed"), step("c", "", templateRef={"name": "l", "template": "t"}), target="b"
    ),
    one({"name": "work", "containerSet": {"containers": [{"name": "main", "image": "a", "dependencies": []}]}}),
    one({"name": "work", "resource": {"action": "create", "manifest": "a: 1"}}, podGC={"labelSelector": {}}),
    {"spec": {"workflowTemplateRef": {"name": "inspect"}, "arguments": gives(p=1)}},
]


@st.composite
def almost_right(draw: st.DrawFn) -> Any:
    """A workflow that was right before some places in it were overwritten."""
    workflow: Any = copy.deepcopy(draw(st.sampled_from(WHOLE)))
    for _ in range(draw(st.integers(1, 4))):
        holder = workflow
        while True:
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            key: Any = draw(st.sampled_from(keys)) if keys else draw(MEMBERS)
            deeper = holder[key] if keys else None
            if not isinstance(deeper, (dict, list)) or not deeper or draw(st.integers(0, 3)) == 0:
                break
            holder = deeper
        if isinstance(holder, dict) and draw(st.booleans()):
            key = draw(MEMBERS)
        if isinstance(holder, dict) or keys:
            holder[key] = draw(JSON)
    return workflow


def test_the_workflows_that_are_to_be_broken_are_right() -> None:
    assert [list(workflow_check(workflow)) for workflow in WHOLE] == [[]] * len(WHOLE)


@given(JSON)
def test_no_json_makes_the_check_raise(workflow: Any) -> None:
    for _, reason in workflow_check(workflow):
        assert reason


@given(almost_right())
def test_no_workflow_that_is_almost_right_makes_the_check_raise(workflow: Any) -> None:
    before = copy.deepcopy(workflow)
    first = list(workflow_check(workflow))
    assert all(reason for _, reason in first)
    assert list(workflow_check(workflow)) == first, "the same workflow must be judged the same"
    assert repr(workflow) == repr(before), "the check must not change what it looks at"


@given(st.text(alphabet="{}. =aitemsnpu", max_size=40))
def test_no_text_makes_the_check_of_variables_raise(text: str) -> None:
    list(workflow_check(one(says(text))))
    list(workflow_check(steps(step(when=text))))
    list(workflow_check(dag(step(depends=text), step("b", arguments=gives(p=text)))))
