from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.config.tables import Allow
from edgeagent.dispatcher.engine import Order
from edgeagent.dispatcher.outcome import Invalid
from edgeagent.dispatcher.policy import EVERYTHING, Policy
from tests.fakes.orders import END, INLINE_SPEC, LABELS, PLANT, TEMPLATE_SPEC, allowed, inline, order, refused, workflow


def test_a_workflow_from_an_allowed_template_passes_whole_and_gets_an_end() -> None:
    assert allowed(Policy([PLANT]), order()) == workflow({**TEMPLATE_SPEC, **END})


def test_an_inline_workflow_gets_an_end_when_it_says_none() -> None:
    policy = Policy([EVERYTHING])
    assert allowed(policy, inline(podGC=None)) == workflow({**INLINE_SPEC, **END})
    own = {"ttlStrategy": {"secondsAfterSuccess": 60}, "podGC": {}}
    assert allowed(policy, inline(**own)) == workflow({**INLINE_SPEC, **own})
    assert allowed(policy, inline(podGC={}))["spec"] == {**INLINE_SPEC, **END, "podGC": {}}


def test_what_may_be_listed_is_passed_on() -> None:
    spec = {
        "workflowTemplateRef": {"name": "inspect", "clusterScope": True},
        "arguments": {
            "parameters": [{"name": "a", "value": 1.5}, {"name": "b", "value": True}, {"name": "c", "value": 0}]
        },
    }
    metadata = {
        "generateName": "a-",
        "namespace": "plant",
        "labels": {**LABELS, "edgeagent.io/rule": "overheat"},
        "annotations": {"edgeagent.io/source": "boiler-1"},
    }
    whole = workflow(spec, metadata=metadata)
    assert allowed(Policy([PLANT]), order(whole)) == {**whole, "spec": {**spec, **END}}


@pytest.mark.parametrize(
    ("wanted", "detail"),
    [
        (order(agent="shop"), "agent 'shop' is not allowed to start workflows"),
        (order(agent=""), "a message without an agent is not allowed to start workflows"),
        (order(namespace="prod"), "namespace 'prod' is not allowed for agent 'gw-1'"),
        (order(template="delete"), "template 'delete' is not allowed for agent 'gw-1' in namespace 'plant'"),
        (inline(), "spec.templates (an inline workflow) is not allowed for agent 'gw-1' in namespace 'plant'"),
    ],
)
def test_the_refusal_names_the_member_that_no_entry_allows(wanted: Order, detail: str) -> None:
    assert refused(Policy([PLANT]), wanted) == detail


def test_no_entries_allow_nothing() -> None:
    assert refused(Policy([]), order()) == "agent 'gw-1' is not allowed to start workflows"


def test_everything_allows_everything() -> None:
    policy = Policy([EVERYTHING])
    assert allowed(policy, order(agent="", namespace="prod", template="delete"))
    assert allowed(policy, inline(serviceAccountName="any")) == workflow(
        {**INLINE_SPEC, "serviceAccountName": "any", **END}
    )


def test_the_first_entry_that_fits_decides() -> None:
    narrow = Allow(agents=("gw-1",), namespaces=("plant",), templates=("*",), service_account="narrow")
    wide = Allow(agents=("*",), namespaces=("*",), templates=("*",), inline=True, service_account="wide")
    policy = Policy([narrow, wide])
    assert allowed(policy, order())["spec"]["serviceAccountName"] == "narrow"
    assert allowed(policy, order(agent="gw-2"))["spec"]["serviceAccountName"] == "wide"
    assert allowed(policy, inline())["spec"]["serviceAccountName"] == "wide"
    extra = workflow({**TEMPLATE_SPEC, "priority": 9})
    assert "spec.priority" in refused(policy, order(extra))
    assert allowed(policy, order(extra, agent="gw-2"))["spec"]["priority"] == 9


UNLISTED: list[tuple[dict[str, Any], str]] = [
    (workflow(status={}), "status is not allowed"),
    (workflow({**TEMPLATE_SPEC, "podSpecPatch": "x"}), "spec.podSpecPatch is not allowed"),
    (workflow({**TEMPLATE_SPEC, "entrypoint": "other"}), "spec.entrypoint is not allowed"),
    (workflow({**TEMPLATE_SPEC, "templates": []}), "spec.templates is not allowed"),
    (workflow({**TEMPLATE_SPEC, "ttlStrategy": None}), "spec.ttlStrategy is not allowed"),
    (workflow({**TEMPLATE_SPEC, "POSSPECPATCH": None}), "spec.POSSPECPATCH is not allowed"),
    (workflow({**TEMPLATE_SPEC, "serviceAccountName": "root"}), "spec.serviceAccountName is not allowed"),
    (workflow({"workflowTemplateRef": {"name": "inspect", "x": 1}}), "spec.workflowTemplateRef.x is not allowed"),
    (
        workflow({**TEMPLATE_SPEC, "arguments": {"artifacts": []}}),
        "spec.arguments.artifacts is not allowed",
    ),
    (
        workflow({**TEMPLATE_SPEC, "arguments": {"parameters": [{"name": "a", "value": "", "valueFrom": {}}]}}),
        "spec.arguments.parameters[0].valueFrom is not allowed",
    ),
    (
        workflow(metadata={"name": "a", "namespace": "plant", "finalizers": ["x"]}),
        "metadata.finalizers is not allowed",
    ),
    (
        workflow(metadata={"name": "a", "namespace": "plant", "labels": {"team": "x"}}),
        "metadata.labels['team'] is not allowed",
    ),
    (
        workflow(metadata={"name": "a", "namespace": "plant", "annotations": {"workflows.argoproj.io/x": "x"}}),
        "metadata.annotations['workflows.argoproj.io/x'] is not allowed",
    ),
]


@pytest.mark.parametrize(("whole", "detail"), UNLISTED, ids=[detail for _, detail in UNLISTED])
def test_anything_beside_the_listed_members_is_refused_by_name(whole: dict[str, Any], detail: str) -> None:
    assert refused(Policy([PLANT]), order(whole)).startswith(detail)


def test_a_parameter_that_is_no_plain_value_is_invalid() -> None:
    whole = workflow({**TEMPLATE_SPEC, "arguments": {"parameters": [{"name": "a", "value": {"b": 1}}]}})
    decided = Policy([PLANT]).decide(order(whole))
    assert isinstance(decided, Invalid)
    assert decided.detail.startswith("spec.arguments.parameters[0].value: ")


SERVICE_ACCOUNT = Policy([Allow(namespaces=("plant",), templates=("*",), service_account="edge")])
INLINE_ACCOUNT = Policy([Allow(namespaces=("plant",), inline=True, service_account="edge")])


def test_workflows_run_as_the_configured_service_account() -> None:
    assert allowed(SERVICE_ACCOUNT, order())["spec"]["serviceAccountName"] == "edge"
    assert allowed(INLINE_ACCOUNT, inline())["spec"]["serviceAccountName"] == "edge"
    assert allowed(INLINE_ACCOUNT, inline(serviceAccountName="edge"))["spec"]["serviceAccountName"] == "edge"


def test_a_message_cannot_choose_another_service_account() -> None:
    named = order(workflow({**TEMPLATE_SPEC, "serviceAccountName": "root"}))
    assert refused(SERVICE_ACCOUNT, named).startswith("serviceAccountName 'root' is not allowed")
    assert refused(INLINE_ACCOUNT, inline(serviceAccountName="root")).startswith("serviceAccountName 'root'")


@pytest.mark.parametrize(
    "template",
    [
        {"name": "main", "serviceAccountName": "root", "container": {}},
        {"name": "main", "ServiceAccountName": "root", "container": {}},
        {"name": "main", "executor": {"serviceAccountName": "root"}, "container": {}},
        {"name": "main", "podSpecPatch": "serviceAccountName: root", "container": {}},
        {"name": "main", "steps": [[{"name": "s", "inline": {"serviceAccountName": "root"}}]]},
    ],
)
def test_a_template_inside_an_inline_workflow_cannot_choose_one_either(template: dict[str, Any]) -> None:
    assert refused(INLINE_ACCOUNT, inline(templates=[template]))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


names = st.sampled_from(["a", "inspect"])
texts = st.dictionaries(st.sampled_from(["edgeagent.io/rule", "edgeagent.io/agent", "team"]), names, max_size=2)
plain_values = st.text(max_size=5) | st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)
valid_workflows = st.fixed_dictionaries(
    {
        "apiVersion": names,
        "kind": names,
        "metadata": st.fixed_dictionaries(
            {"namespace": names}, optional={"name": names, "generateName": names, "labels": texts, "annotations": texts}
        ),
        "spec": st.fixed_dictionaries(
            {"workflowTemplateRef": st.fixed_dictionaries({"name": names}, optional={"clusterScope": st.booleans()})},
            optional={
                "arguments": st.fixed_dictionaries(
                    {}, optional={"parameters": st.lists(st.fixed_dictionaries({"name": names, "value": plain_values}))}
                )
            },
        ),
    }
)
some_members = st.text(max_size=12) | st.sampled_from(
    ["name", "value", "valueFrom", "status", "Spec", "finalizers", "templates", "podSpecPatch", "hooks", "labels"]
)


@st.composite
def workflows(draw: st.DrawFn) -> dict[str, Any]:
    """A workflow that may pass, with up to two members added or replaced anywhere in it."""
    whole: dict[str, Any] = draw(valid_workflows)
    for _ in range(draw(st.integers(0, 2))):
        draw(st.sampled_from(objects(whole)))[draw(some_members)] = draw(json_values)
    return whole


def objects(value: object) -> list[dict[str, Any]]:
    """Every object in it, itself too."""
    if isinstance(value, list):
        return [found for item in value for found in objects(item)]
    if not isinstance(value, dict):
        return []
    return [value, *(found for item in value.values() for found in objects(item))]


def members(value: object, path: str = "") -> set[str]:
    """The paths of all members, array positions left out."""
    if isinstance(value, list):
        return {member for item in value for member in members(item, path)}
    if not isinstance(value, dict):
        return {path}
    return {path} | {member for key, inner in value.items() for member in members(inner, f"{path}.{key}")}


def truths(value: object, path: str = "") -> set[tuple[str, object]]:
    """The paths of all values that say something (neither empty nor false), with the value."""
    if isinstance(value, list):
        return {truth for item in value for truth in truths(item, path)}
    if isinstance(value, dict):
        return {truth for key, inner in value.items() for truth in truths(inner, f"{path}.{key}")}
    return {(path, value)} if value else set()


LISTED = {
    "",
    ".apiVersion",
    ".kind",
    ".metadata",
    ".metadata.name",
    ".metadata.generateName",
    ".metadata.namespace",
    ".metadata.labels",
    ".metadata.annotations",
    ".spec",
    ".spec.workflowTemplateRef",
    ".spec.workflowTemplateRef.name",
    ".spec.workflowTemplateRef.clusterScope",
    ".spec.arguments",
    ".spec.arguments.parameters",
    ".spec.arguments.parameters.name",
    ".spec.arguments.parameters.value",
    # Ours:
    ".spec.ttlStrategy",
    ".spec.ttlStrategy.secondsAfterCompletion",
    ".spec.podGC",
    ".spec.podGC.strategy",
}


@given(workflows() | st.dictionaries(st.text(max_size=8), json_values))
def test_only_listed_members_are_ever_passed_on_without_inline(whole: dict[str, Any]) -> None:
    decided = Policy([Allow(namespaces=("*",), templates=("*",))]).decide(order(whole))
    if not isinstance(decided, Order):
        return
    for member in members(decided.workflow):
        ours = member.startswith((".metadata.labels.edgeagent.io/", ".metadata.annotations.edgeagent.io/"))
        assert member in LISTED or ours, f"{member} was passed on"
    assert truths(whole) <= truths(decided.workflow), "a part was left out in silence instead of refused"
    assert msgspec.json.decode(msgspec.json.encode(decided.workflow)) == decided.workflow
