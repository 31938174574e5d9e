"""A rule that names a template and gives it arguments needs no check of its workflow: it would find nothing."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from edgeagent.common.units import Duration
from edgeagent.config.workflows import is_all_made_here, workflow_of_rule_problems
from edgeagent.rules.problems import rule_problems
from edgeagent.rules.spec import RuleSpec
from edgeagent.rules.workflow import rule_workflow_problems
from tests.profiles import examples

NAMES = st.sampled_from(["a", "inspect", "a.b", "a-b", "x" * 63, "x" * 200]) | st.from_regex(
    r"[a-z0-9.-]{1,70}", fullmatch=True
)
PARAMETERS = st.from_regex(r"[-_a-zA-Z0-9]{1,12}", fullmatch=True) | st.sampled_from(["workflow", "p" * 300])
CONSTANTS = st.text(max_size=8) | st.sampled_from(
    ["{{", "}}", "{{workflow.name}}", "{{=1}}", "{{inputs.parameters.a}}", "{{x", "y" * 1000]
)
VALUES = st.sampled_from(["body.temp", "source", "id", "body", "body.a.#.b"]) | st.fixed_dictionaries(
    {"value": CONSTANTS | st.integers(-10, 10) | st.booleans() | st.floats(-1, 1)}
)


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    """A rule for a template, as a configuration has it."""
    rule: dict[str, Any] = {
        "name": draw(st.sampled_from(["leak", "x" * 63, "a-1"])),
        "namespace": "plant",
        "template": draw(NAMES),
        "cluster_scope": draw(st.booleans()),
        "arguments": draw(st.dictionaries(PARAMETERS, VALUES, max_size=4)),
        "outputs": tuple(draw(st.sets(PARAMETERS, max_size=2))),
    }
    if draw(st.booleans()):
        rule["name_prefix"] = draw(NAMES)
    if draw(st.booleans()):
        rule["window"] = {"time": Duration(60), "count": 3}
    return rule


@settings(max_examples=examples(300))
@given(rules())
@example({"name": "x" * 63, "namespace": "plant", "template": "t", "name_prefix": "x" * 63, "arguments": {}})
@example({"name": "a", "namespace": "plant", "template": "t", "arguments": {"a": {"value": "{{=1}}"}}})
def test_nothing_is_wrong_in_a_workflow_that_is_all_made_here(rule: dict[str, Any]) -> None:
    spec = msgspec.convert(rule, RuleSpec)
    assume(not list(rule_problems(spec)))
    assert is_all_made_here(spec)
    assert list(rule_workflow_problems(spec)) == []


def test_one_with_more_of_its_own_is_checked() -> None:
    rule: dict[str, Any] = {"name": "leak", "namespace": "plant", "template": "inspect"}
    dest = {"src": {"dependencyName": "event", "dataKey": "body.a"}, "dest": "metadata.labels.a"}
    for more in (
        {"labels": {"a": "b"}},
        {"parameters": [dest]},
        {"arguments": {"a": {"value": "x" * (1 << 16)}}},
        {"template": "", "workflow": {"spec": {"entrypoint": "a"}}},
    ):
        assert not is_all_made_here(msgspec.convert(rule | more, RuleSpec))
    large = msgspec.convert(rule | {"arguments": {"a": {"value": "x" * (1 << 20)}}}, RuleSpec)
    assert [key for key, _ in workflow_of_rule_problems(large)] == ["workflow"]
