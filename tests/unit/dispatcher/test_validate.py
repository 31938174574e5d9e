from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.dispatcher.engine import Order
from edgeagent.dispatcher.outcome import Invalid, Unbound
from edgeagent.dispatcher.validate import Checked, check
from edgeagent.ports.link import Message
from edgeagent.wire.messages import MAX_TRIGGER_BYTES

CORRELATION = "9f2c" * 8
NAME = f"overheat-{CORRELATION}"
TRIGGER = "argo/workflows/trigger"

CONTAINER = {"name": "main", "container": {"image": "busybox"}}


def workflow(**changes: Any) -> dict[str, Any]:
    """A workflow as an agent sends it; `metadata` and `spec` are added to, None takes a member away."""
    whole: dict[str, Any] = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {
            "name": NAME,
            "namespace": "plant",
            "labels": {"edgeagent.io/agent": "gw-1", "edgeagent.io/correlation-id": CORRELATION},
        },
        "spec": {
            "workflowTemplateRef": {"name": "inspect"},
            "arguments": {"parameters": [{"name": "temp", "value": "97.1"}]},
        },
    }
    return merged(whole, changes)


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


def trigger(**changes: Any) -> dict[str, Any]:
    whole = {
        "namespace": "plant",
        "correlation_id": CORRELATION,
        "agent": "gw-1",
        "attempt": 1,
        "reply_to": "argo/workflows/response/gw-1",
        "workflow": workflow(),
    }
    return {key: value for key, value in {**whole, **changes}.items() if value is not None}


def inline(**spec: Any) -> dict[str, Any]:
    """A trigger that brings its own templates."""
    whole = {"entrypoint": "main", "templates": [CONTAINER]}
    return trigger(workflow=workflow(spec=None) | {"spec": merged(whole, spec)})


def checked(
    content: object,
    topic: str = TRIGGER,
    *,
    bind_agent: bool = False,
    response_topic: str | None = None,
    correlation_data: bytes | None = None,
) -> Checked:
    payload = content if isinstance(content, bytes) else msgspec.json.encode(content)
    message = Message(topic, payload, 1, 1, response_topic=response_topic, correlation_data=correlation_data)
    return check(message, bind_agent=bind_agent)


def problem(content: object) -> str:
    result = checked(content).result
    assert isinstance(result, Invalid)
    return result.detail


def test_an_agents_trigger_becomes_an_order_that_carries_its_identity() -> None:
    result = checked(trigger(attempt=3))
    assert result.reply_topic == "argo/workflows/response/gw-1"
    assert result.correlation_id == CORRELATION
    order = result.result
    assert isinstance(order, Order)
    assert (order.namespace, order.name, order.agent, order.attempt) == ("plant", NAME, "gw-1", 3)
    assert (order.template, order.cluster_scope) == ("inspect", False)
    assert order.workflow == workflow()


def test_a_template_of_the_whole_cluster_is_known_as_one() -> None:
    order = checked(trigger(workflow=workflow(spec={"workflowTemplateRef": {"clusterScope": True}}))).result
    assert isinstance(order, Order)
    assert (order.template, order.cluster_scope) == ("inspect", True)


def test_a_message_that_was_delivered_before_is_no_first_attempt() -> None:
    message = Message(TRIGGER, msgspec.json.encode(trigger(attempt=1)), 1, 1, duplicate=True)
    order = check(message, bind_agent=False).result
    assert isinstance(order, Order)
    assert order.attempt == 0


def test_a_bare_trigger_of_a_foreign_producer_is_known_by_its_name_and_labelled_so() -> None:
    result = checked({"namespace": "plant", "workflow": {"metadata": {"name": "nightly"}, "spec": workflow()["spec"]}})
    order = result.result
    assert isinstance(order, Order)
    assert result.reply_topic == "argo/workflows/response"
    assert (result.correlation_id, order.agent, order.attempt) == ("nightly", "", 0)
    assert order.workflow["apiVersion"] == "argoproj.io/v1alpha1"
    assert order.workflow["kind"] == "Workflow"
    assert order.workflow["metadata"] == {
        "name": "nightly",
        "namespace": "plant",
        "labels": {"edgeagent.io/correlation-id": "nightly"},
    }


def test_a_generated_name_has_no_identity_of_its_own() -> None:
    result = checked(
        trigger(correlation_id=None, workflow=workflow(metadata=None) | {"metadata": {"generateName": "a-"}})
    )
    assert isinstance(result.result, Order)
    assert (result.correlation_id, result.result.name, result.result.generate_name) == ("", "", "a-")


def test_correlation_data_that_fits_a_label_is_the_identity() -> None:
    content = trigger(correlation_id=None, workflow=workflow(metadata={"labels": None}))
    result = checked(content, correlation_data=b"order-7")
    assert isinstance(result.result, Order)
    assert result.correlation_id == "order-7"
    assert result.result.workflow["metadata"]["labels"]["edgeagent.io/correlation-id"] == "order-7"


@pytest.mark.parametrize("data", [b"\xff\x00\x01", b"two words", b"x" * 200])
def test_other_correlation_data_are_known_by_their_hash(data: bytes) -> None:
    content = trigger(correlation_id=None, workflow=workflow(metadata={"labels": None}))
    result = checked(content, correlation_data=data)
    assert isinstance(result.result, Order)
    assert len(bytes.fromhex(result.correlation_id)) == 16
    assert result == checked(content, correlation_data=data), "the same data must give the same identity"


def test_different_correlation_data_give_different_identities() -> None:
    content = trigger(correlation_id=None, workflow=workflow(metadata={"labels": None}))
    seen = {checked(content, correlation_data=b"%d words" % number).correlation_id for number in range(100)}
    assert len(seen) == 100


@pytest.mark.parametrize(
    ("agent", "response_topic", "expected"),
    [
        ("gw-1", "argo/workflows/response/gw-2", "argo/workflows/response/gw-1"),
        ("", "argo/workflows/response/shop/7", "argo/workflows/response/shop/7"),
        ("", "argo/workflows/response", "argo/workflows/response"),
        ("", "plant/secret", "argo/workflows/response"),
        ("", "argo/workflows/responses/x", "argo/workflows/response"),
        ("", "argo/workflows/response/#", "argo/workflows/response"),
        ("", "argo/workflows/response/+", "argo/workflows/response"),
        ("", "argo/workflows/response/gw-1", "argo/workflows/response"),
        ("", "argo/workflows/response/shop", "argo/workflows/response"),
        ("", "argo/workflows/response/Shop", "argo/workflows/response/Shop"),
        ("", None, "argo/workflows/response"),
        ("no/agent", None, "argo/workflows/response"),
        ("+", None, "argo/workflows/response"),
    ],
)
def test_answers_stay_below_the_response_topic(agent: str, response_topic: str | None, expected: str) -> None:
    content = trigger(agent=agent, reply_to="plant/pumps/stop", workflow=workflow(metadata={"labels": None}))
    assert checked(content, response_topic=response_topic).reply_topic == expected


def test_the_topic_names_the_agent_when_the_message_does_not() -> None:
    result = checked(trigger(agent=None), f"{TRIGGER}/gw-1").result
    assert isinstance(result, Order)
    assert result.agent == "gw-1"


@pytest.mark.parametrize(
    ("topic", "agent", "detail", "reply_topic"),
    [
        (TRIGGER, "GW 1", 'set uplink.trigger_topic = "argo/workflows/trigger/{agent}"', "argo/workflows/response"),
        (f"{TRIGGER}/gw-1", "gw-2", "agent 'gw-2' is not allowed", "argo/workflows/response/gw-1"),
        (f"{TRIGGER}/", None, "is not an agent id", "argo/workflows/response"),
        (f"{TRIGGER}/GW 1", "gw-1", "is not an agent id", "argo/workflows/response"),
    ],
)
def test_with_bind_agent_nobody_speaks_for_another_and_nobody_has_him_answered(
    topic: str, agent: str | None, detail: str, reply_topic: str
) -> None:
    result = checked(trigger(agent=agent), topic, bind_agent=True, response_topic="argo/workflows/response/gw-9")
    assert isinstance(result.result, Unbound)
    assert detail in result.result.detail
    assert result.reply_topic == reply_topic


def test_with_bind_agent_another_producer_needs_no_topic_of_its_own() -> None:
    content = {"namespace": "plant", "workflow": {"metadata": {"name": "nightly"}, "spec": workflow()["spec"]}}
    result = checked(content, bind_agent=True, response_topic="argo/workflows/response/shop/7")
    assert isinstance(result.result, Order)
    assert (result.result.agent, result.reply_topic) == ("", "argo/workflows/response/shop/7")


def test_with_bind_agent_a_label_cannot_name_another_agent() -> None:
    content = trigger(agent=None, workflow=workflow(metadata={"labels": {"edgeagent.io/agent": "gw-2"}}))
    result = checked(content, f"{TRIGGER}/gw-1", bind_agent=True).result
    assert isinstance(result, Invalid)
    assert "edgeagent.io/agent" in result.detail


def test_with_bind_agent_an_unreadable_message_is_answered_to_who_sent_it() -> None:
    content = {"namespace": 5, "agent": "gw-2", "correlation_id": CORRELATION, "workflow": {}}
    assert checked(content, f"{TRIGGER}/gw-1", bind_agent=True).reply_topic == "argo/workflows/response/gw-1"


@pytest.mark.parametrize("payload", [b"", b"no json", b"[1]", b"\xff", b"{" * 5000, b'{"namespace": "plant"}'])
def test_a_message_that_nobody_can_be_told_about_has_no_reply_topic(payload: bytes) -> None:
    result = checked(payload)
    assert result.reply_topic is None
    assert isinstance(result.result, Invalid)


def test_an_unreadable_message_is_answered_when_its_properties_say_to_whom() -> None:
    assert checked(b"no json", correlation_data=b"order-7").correlation_id == "order-7"
    assert checked(b"no json", correlation_data=b"order-7").reply_topic == "argo/workflows/response"
    topic = "argo/workflows/response/shop/7"
    assert checked(b"no json", response_topic=topic).reply_topic == topic


def test_a_message_with_a_wrong_member_is_answered_by_what_can_be_read() -> None:
    result = checked({"namespace": 5, "agent": "gw-1", "correlation_id": CORRELATION, "workflow": {}})
    assert (result.reply_topic, result.correlation_id) == ("argo/workflows/response/gw-1", CORRELATION)
    assert isinstance(result.result, Invalid)
    assert "namespace" in result.result.detail


def test_a_message_too_large_for_any_engine_is_refused_unread() -> None:
    result = checked(b" " * (MAX_TRIGGER_BYTES + 1), correlation_data=b"order-7")
    assert isinstance(result.result, Invalid)
    assert str(MAX_TRIGGER_BYTES) in result.result.detail


def with_metadata(**changes: Any) -> dict[str, Any]:
    return trigger(workflow=workflow(metadata=changes))


def with_spec(**changes: Any) -> dict[str, Any]:
    return trigger(workflow=workflow(spec=changes))


def with_parameters(*parameters: object) -> dict[str, Any]:
    return with_spec(arguments={"parameters": list(parameters)})


REF = {"name": "inspect"}

PROBLEMS: list[tuple[dict[str, Any], str]] = [
    (trigger(agent="GW"), "agent must be"),
    (trigger(correlation_id="two words"), "correlation_id must be"),
    (trigger(namespace="a.b"), "namespace must be a DNS label, is 'a.b'"),
    (trigger(namespace="prod"), "metadata.namespace is 'plant', but the message's namespace is 'prod'"),
    (trigger(workflow=workflow(kind="CronWorkflow")), "kind must be Workflow, is 'CronWorkflow'"),
    (trigger(workflow=workflow(apiVersion="v1")), "apiVersion must be argoproj.io/v1alpha1, is 'v1'"),
    (trigger(workflow={}), "metadata is required"),
    (trigger(workflow={"metadata": {"name": "a"}}), "spec is required"),
    (trigger(workflow={"metadata": {"name": "a"}, "spec": []}), "spec must be an object"),
    (trigger(workflow=workflow(Spec={})), "Spec must be written spec"),
    (with_metadata(name=None), "metadata.name is required"),
    (with_metadata(name="Bad_Name"), "metadata.name must be a DNS subdomain of at most 63 characters"),
    (with_metadata(name="a" * 64), "metadata.name must be a DNS subdomain of at most 63 characters"),
    (with_metadata(name=7), "metadata.name must be"),
    (with_metadata(generateName="Up-"), "metadata.generateName must be"),
    (with_metadata(generateName="a.-"), "metadata.generateName must be"),
    (with_metadata(labels=[1]), "metadata.labels must be an object of texts"),
    (with_metadata(labels={"n": 5}), "metadata.labels['n'] must be a text"),
    (with_metadata(labels={"a b": "c"}), "metadata.labels has 'a b', which is not a valid key"),
    (with_metadata(labels={"UP/a": "c"}), "metadata.labels has 'UP/a', which is not a valid key"),
    (with_metadata(labels={"a": "b c"}), "metadata.labels['a'] is 'b c', which no label can have"),
    (with_metadata(annotations={"a": None}), "metadata.annotations['a'] must be a text"),
    (with_metadata(annotations={"a": "x" * 300_000}), "metadata.annotations have 300001 bytes"),
    (with_metadata(labels={"edgeagent.io/agent": "gw-2"}), "metadata.labels['edgeagent.io/agent'] is 'gw-2'"),
    (with_metadata(labels={"edgeagent.io/correlation-id": "x"}), "metadata.labels['edgeagent.io/correlation-id'] is"),
    (inline(entrypoint=None), "spec.entrypoint is required"),
    (inline(entrypoint=""), "spec.entrypoint is required"),
    (inline(entrypoint=5), "spec.entrypoint must be a text"),
    (inline(entrypoint="other"), "spec.entrypoint 'other' is not among spec.templates"),
    (inline(templates=None), "spec.templates must be an array with at least one template"),
    (inline(templates=[5]), "spec.templates[0] must be an object"),
    (inline(templates=[{"container": {}}]), "spec.templates[0].name is required"),
    (inline(templates=[{"name": "-a", "dag": {}}]), "spec.templates[0].name must be letters, digits and '-'"),
    (inline(templates=[CONTAINER, CONTAINER]), "spec.templates[1].name 'main' is the name of an earlier template"),
    (inline(templates=[{"name": "main"}]), "spec.templates[0] has no type"),
    (inline(templates=[CONTAINER | {"dag": {}}]), "spec.templates[0] has more than one type: container, dag"),
    (inline(templates=[CONTAINER | {"DAG": {}}]), "spec.templates[0].DAG must be written spec.templates[0].dag"),
    (inline(serviceaccountname="root"), "spec.serviceaccountname must be written spec.serviceAccountName"),
    (inline(serviceAccountName=5), "spec.serviceAccountName must be a text"),
    (inline(workflowTemplateRef=REF), "spec.templates cannot stand together with spec.workflowTemplateRef"),
    (with_spec(workflowTemplateRef="inspect"), "spec.workflowTemplateRef must be an object"),
    (with_spec(workflowTemplateRef={"name": None}), "spec.workflowTemplateRef.name is required"),
    (with_spec(workflowTemplateRef={"name": "A B"}), "spec.workflowTemplateRef.name must be a DNS subdomain"),
    (with_spec(workflowTemplateRef={"clusterScope": 1}), "spec.workflowTemplateRef.clusterScope must be true or false"),
    (with_spec(workflowTemplateRef={"Name": "x"}), "spec.workflowTemplateRef.Name must be written"),
    (with_spec(arguments=[]), "spec.arguments must be an object"),
    (with_spec(arguments={"parameters": {}}), "spec.arguments.parameters must be an array"),
    (with_parameters(5), "spec.arguments.parameters[0] must be an object"),
    (with_parameters({"value": "1"}), "spec.arguments.parameters[0].name is required"),
    (with_parameters({"name": "a b", "value": "1"}), "spec.arguments.parameters[0].name must be letters"),
    (with_parameters({"name": "a"}), "spec.arguments.parameters[0] 'a' needs value or valueFrom"),
    (with_parameters({"name": "a", "value": None}), "spec.arguments.parameters[0] 'a' needs value or valueFrom"),
    (
        with_parameters({"name": "a", "value": 1}, {"name": "a", "value": 2}),
        "spec.arguments.parameters[1].name 'a' is the name of an earlier parameter",
    ),
]


@pytest.mark.parametrize(("content", "detail"), PROBLEMS, ids=[detail[:60] for _, detail in PROBLEMS])
def test_the_first_problem_is_the_detail(content: dict[str, Any], detail: str) -> None:
    assert problem(content).startswith(detail)


@pytest.mark.parametrize(
    "content",
    [
        inline(),
        inline(templates=[{"name": "main", "steps": []}]),
        inline(templates=[{"name": "main", "suspend": {}, "container": None}]),
        inline(templates=[{"name": "main"}], templateDefaults={"container": {"image": "busybox"}}),
        with_spec(entrypoint="other"),
        with_spec(arguments=None),
        with_parameters({"name": "a", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}}),
        with_metadata(labels={"example.com/team": "", "x": "A_b.c"}, annotations={"a": "any text, even ü"}),
        with_metadata(generateName="a-"),
        trigger(attempt=None),
    ],
)
def test_what_argo_takes_is_taken(content: dict[str, Any]) -> None:
    assert isinstance(checked(content).result, Order)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
member_names = st.sampled_from(
    ["metadata", "spec", "kind", "name", "labels", "annotations", "arguments", "parameters", "value", "templates"]
)
workflows = st.recursive(
    json_values, lambda inner: st.dictionaries(member_names, inner, max_size=5) | st.lists(inner, max_size=2)
)


@given(workflows, st.booleans())
def test_no_workflow_makes_the_check_raise(content: object, bind_agent: bool) -> None:
    result = checked({"namespace": "plant", "agent": "gw-1", "workflow": content}, bind_agent=bind_agent)
    if isinstance(result.result, Order):
        assert result.result.workflow["metadata"]["namespace"] == "plant"


@given(st.binary(max_size=60), st.none() | st.binary(max_size=40), st.none() | st.text(max_size=40))
def test_no_bytes_make_the_check_raise(payload: bytes, data: bytes | None, response_topic: str | None) -> None:
    topic = checked(payload, response_topic=response_topic, correlation_data=data).reply_topic
    assert topic is None or topic.startswith("argo/workflows/response")
