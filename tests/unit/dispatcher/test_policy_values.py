"""What a policy finds in the values that a trigger brings, and in what an inline workflow says of itself."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.config.tables import Allow
from edgeagent.dispatcher.outcome import Invalid
from edgeagent.dispatcher.policy import EVERYTHING, Policy
from edgeagent.workflows.placeholders import is_placeholder
from tests.fakes.orders import END, INLINE_SPEC, LABELS, PLANT, TEMPLATE_SPEC, allowed, inline, order, refused, workflow

EXPRESSION = Policy([Allow(namespaces=("plant",), templates=("*",), inline=True, expressions=True)])


def with_value(value: object, **spec: Any) -> dict[str, Any]:
    whole = {**TEMPLATE_SPEC, **spec, "arguments": {"parameters": [{"name": "temp", "value": value}]}}
    return workflow({key: member for key, member in whole.items() if member is not None})


HOSTILE = [
    "{{workflow.name}}",
    "97 {{= env.TOKEN }}",
    "}{{{",
    '{"body": "\\u007b\\u007bworkflow.name}}"}',
    '["\\u007B{workflow.name}}"]',
    '["{\\\\u007bworkflow.name}}"]',
]


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("inline_allowed", [True, False])
def test_what_argo_would_replace_in_a_value_is_invalid_and_named(value: str, inline_allowed: bool) -> None:
    policy = Policy([Allow(namespaces=("plant",), templates=("*",), inline=inline_allowed)])
    decided = policy.decide(order(with_value(value)))
    assert isinstance(decided, Invalid)
    assert decided.detail.startswith("spec.arguments.parameters[0] 'temp' has '{{'")
    assert "expressions = true" in decided.detail


@pytest.mark.parametrize("value", ["{", "}}", '{"a": {"b": 1}}', "{ {x} }", "C:\\users\\u007b", 97.1, True])
def test_values_that_are_plain_data_pass(value: object) -> None:
    assert allowed(Policy([PLANT]), order(with_value(value)))


def test_expressions_pass_where_the_operator_lets_them() -> None:
    whole = with_value("{{workflow.name}}")
    assert allowed(EXPRESSION, order(whole)) == workflow({**whole["spec"], **END})


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"parameters": [{"name": "a", "value": {"b": ["{{x}}"]}}]}, "spec.arguments.parameters[0] 'a'"),
        ({"parameters": [{"name": "a", "value": {"{{x}}": 1}}]}, "spec.arguments.parameters[0] 'a'"),
        (
            {"parameters": [{"name": "a", "value": 1}, {"name": "b", "valueFrom": {"default": "{{x}}"}}]},
            "spec.arguments.parameters[1] 'b'",
        ),
        ({"artifacts": [{"name": "f", "raw": {"data": "{{x}}"}}]}, "spec.arguments.artifacts[0] 'f'"),
    ],
)
def test_in_an_inline_workflow_every_argument_is_looked_at_and_no_template(
    arguments: dict[str, Any], named: str
) -> None:
    policy = Policy([Allow(namespaces=("plant",), inline=True)])
    decided = policy.decide(inline(arguments=arguments))
    assert isinstance(decided, Invalid)
    assert decided.detail.startswith(named)
    container = {"name": "main", "container": {"image": "busybox", "args": ["{{workflow.name}}"]}}
    assert allowed(policy, inline(templates=[container]))


def test_what_a_device_calls_itself_or_its_event_is_looked_at_too() -> None:
    metadata = {**workflow()["metadata"], "annotations": {"edgeagent.io/event-id": "{{workflow.name}}"}}
    decided = Policy([PLANT]).decide(order(workflow(metadata=metadata)))
    assert isinstance(decided, Invalid)
    assert decided.detail.startswith("metadata.annotations['edgeagent.io/event-id'] has '{{'")


@given(st.text(alphabet="{\\u07bB", max_size=12))
def test_whatever_a_reader_of_json_would_find_is_found(text: str) -> None:
    looked = text
    for _ in range(3):  # a text in a text in a text
        assert "{{" not in looked or is_placeholder(text)
        looked = looked.replace("\\u007b", "{").replace("\\u007B", "{")


def test_a_long_run_of_backslashes_takes_no_time() -> None:
    assert not is_placeholder("{" + "\\" * 500_000 + "u007")


CLUSTER_SPEC = {"workflowTemplateRef": {"name": "inspect", "clusterScope": True}}


def test_a_template_of_the_whole_cluster_is_another_one_than_the_namespaces_of_that_name() -> None:
    wanted = msgspec.structs.replace(order(workflow(CLUSTER_SPEC)), cluster_scope=True)
    assert "cluster_templates" in refused(Policy([PLANT]), wanted)
    shared = Policy([Allow(namespaces=("plant",), cluster_templates=("insp*",))])
    assert allowed(shared, wanted) == workflow({**CLUSTER_SPEC, **END})
    assert refused(shared, order()) == "template 'inspect' is not allowed for agent 'gw-1' in namespace 'plant'"


def claiming(**metadata: Any) -> dict[str, Any]:
    return workflow(INLINE_SPEC, metadata={**workflow()["metadata"], **metadata})


CLAIMS: list[tuple[dict[str, Any], str]] = [
    (workflow(INLINE_SPEC, status={"phase": "Succeeded"}), "status"),
    (workflow(INLINE_SPEC, Status={"phase": "Succeeded"}), "Status"),
    (claiming(finalizers=["x/y"]), "metadata.finalizers"),
    (claiming(ownerReferences=[{"name": "x"}]), "metadata.ownerReferences"),
    (claiming(OwnerReferences=[{"name": "x"}]), "metadata.OwnerReferences"),
    (
        claiming(labels={**LABELS, "workflows.argoproj.io/completed": "true"}),
        "metadata.labels['workflows.argoproj.io/completed']",
    ),
    (
        workflow({**INLINE_SPEC, "workflowMetadata": {"labels": {"edgeagent.io/agent": "gw-2"}}}),
        "spec.workflowMetadata.labels['edgeagent.io/agent']",
    ),
    (
        workflow({**INLINE_SPEC, "WorkflowMetadata": {"LabelsFrom": {"workflows.argoproj.io/phase": {}}}}),
        "spec.WorkflowMetadata.LabelsFrom['workflows.argoproj.io/phase']",
    ),
]


@pytest.mark.parametrize(("whole", "named"), CLAIMS, ids=[named for _, named in CLAIMS])
def test_an_inline_workflow_cannot_say_what_only_argo_may_nor_whose_it_is(whole: dict[str, Any], named: str) -> None:
    assert refused(Policy([EVERYTHING]), order(whole, template="")).startswith(f"{named} is not allowed")


def test_an_inline_workflow_keeps_its_own_labels_and_what_kubectl_leaves_empty() -> None:
    whole = claiming(labels={**LABELS, "team": "x"}, finalizers=[], creationTimestamp=None) | {"status": {}}
    assert allowed(Policy([EVERYTHING]), order(whole, template="")) == {**whole, "spec": {**INLINE_SPEC, **END}}
