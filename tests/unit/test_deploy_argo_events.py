"""deploy/argo-events.yaml: what Argo Events reads, and what its Sensor makes of the triggers that edgeagent sends."""

from __future__ import annotations

import copy
import re
from typing import Any

import msgspec
import pytest
from hera.events.models import EventSource, Sensor
from hera.workflows.models import Workflow

from edgeagent.lang.gjson import path as paths
from edgeagent.lang.sjson import assign, compile_dest
from edgeagent.rules.filters import compile_filters, filter_problems
from edgeagent.rules.ruleset import Rule
from edgeagent.rules.spec import Filters, RuleSpec
from edgeagent.rules.trigger import correlation_id, render
from edgeagent.wire import topics
from tests.fakes.manifests import ARGO_EVENTS, Document, as_messages, documents, the
from tests.fakes.readings import reading

MODELS: dict[str, type[EventSource | Sensor]] = {"EventSource": EventSource, "Sensor": Sensor}

EVENT = reading()
TEMPLATE: Document = {"template": "inspect", "arguments": {"temp": "body.temp", "device": "source"}}
BARE_TEMPLATE: Document = {"template": "inspect"}
INLINE: Document = {
    "workflow": {
        "metadata": {"labels": {"team": "heat"}},
        "spec": {
            "entrypoint": "main",
            "templates": [{"name": "main", "container": {"image": "alpine", "command": ["true"]}}],
        },
    }
}


def source() -> Document:
    """The EventSource's one event."""
    (event,) = the("EventSource", "edgeagent-mqtt", ARGO_EVENTS)["spec"]["mqtt"].values()
    assert isinstance(event, dict)
    return event


def sensor(*, optional: bool = False) -> Document:
    spec: Document = the("Sensor", "edgeagent-trigger", ARGO_EVENTS, optional=optional)["spec"]
    return spec


def trigger(namespace: str = "plant", **target: Any) -> Document:
    """A trigger message as an agent sends it, as the EventSource hands it on."""
    rule = Rule(msgspec.convert({"name": "overheat", "namespace": namespace} | target, RuleSpec))
    correlation = correlation_id(EVENT.agent, EVENT.source, EVENT.id, rule.name)
    body = msgspec.json.decode(render(rule, EVENT, correlation, 1, topics.response_topic(EVENT.agent)))
    return {"topic": topics.with_agent(topics.AGENTS_TRIGGER, EVENT.agent), "messageId": 0, "body": body}


def passes(data: Document, *, optional: bool = False) -> bool:
    """Whether the Sensor's filters let an event through; they mean the same as those of a rule."""
    (dependency,) = sensor(optional=optional)["dependencies"]
    assert dependency["filters"].keys() == {"data"}
    filters = msgspec.convert(dependency["filters"], Filters)
    assert list(filter_problems(filters)) == []
    return compile_filters(filters)(data)


def started(data: Document) -> Document:
    """The workflow that the Sensor creates: each parameter is put into the resource, one after the other."""
    (kept,) = sensor()["triggers"]
    k8s = kept["template"]["k8s"]
    assert k8s["operation"] == "create"
    workflow: Document = copy.deepcopy(k8s["source"]["resource"])
    for parameter in k8s["parameters"]:
        value = paths.lookup(paths.compile_path(parameter["src"]["dataKey"]), data)
        assert value is not paths.MISSING, f"{parameter['src']['dataKey']}: then the whole trigger would fail"
        if not parameter["src"].get("useRawData"):
            value = paths.text_of(value)
        assign(workflow, compile_dest(parameter["dest"]), copy.deepcopy(value))
    return workflow


@pytest.mark.parametrize("optional", [False, True])
@pytest.mark.parametrize("kind", MODELS)
def test_argo_events_knows_every_member(kind: str, *, optional: bool) -> None:
    (document,) = [document for document in documents(ARGO_EVENTS, optional=optional) if document["kind"] == kind]
    assert document["apiVersion"] == "argoproj.io/v1alpha1"
    members = {key: value for key, value in document.items() if key not in {"apiVersion", "kind"}}
    MODELS[kind].model_validate(as_messages(members), extra="forbid")


@pytest.mark.parametrize("target", [TEMPLATE, BARE_TEMPLATE, INLINE])
def test_the_sensor_creates_the_very_workflow_that_the_trigger_carries(target: Document) -> None:
    data = trigger(**target)
    assert passes(data)
    workflow = started(data)
    assert workflow == data["body"]["workflow"]
    Workflow.model_validate(workflow, extra="forbid")


@pytest.mark.parametrize("namespace", ["plants", "my-plant", "kube-system"])
def test_a_trigger_for_another_namespace_starts_nothing(namespace: str) -> None:
    assert not passes(trigger(namespace, **TEMPLATE))


def test_a_workflow_cannot_slip_into_another_namespace_than_the_filter_has_seen() -> None:
    data = trigger(**TEMPLATE)
    data["body"]["workflow"]["metadata"]["namespace"] = "kube-system"
    assert passes(data)
    assert started(data)["metadata"]["namespace"] == "plant"


def test_the_optional_filter_lets_only_the_templates_through_that_it_names() -> None:
    assert passes(trigger(**TEMPLATE), optional=True)
    assert not passes(trigger(template="inspect-all"), optional=True)


def test_the_event_source_hears_the_triggers_and_decodes_them() -> None:
    for topic in (topics.TRIGGER, topics.with_agent(topics.AGENTS_TRIGGER, "gw-1")):
        assert topics.matches(source()["topic"], topic)
    assert source()["jsonBody"] is True
    assert source()["clientId"]
    (read,) = set(re.findall(r"body(?:\.\w+)+", source()["filter"]["expression"])) - {"body.workflow"}
    for target in (TEMPLATE, BARE_TEMPLATE, INLINE):
        assert paths.lookup(paths.compile_path(read), trigger(**target)) is not paths.MISSING


def test_the_sensor_waits_for_the_event_of_the_event_source_on_the_same_bus() -> None:
    event_source = the("EventSource", "edgeagent-mqtt", ARGO_EVENTS)
    (dependency,) = sensor()["dependencies"]
    assert dependency["eventSourceName"] == event_source["metadata"]["name"]
    assert [dependency["eventName"]] == list(event_source["spec"]["mqtt"])
    assert sensor()["eventBusName"] == event_source["spec"]["eventBusName"]
    (kept,) = sensor()["triggers"]
    assert kept["atLeastOnce"] is True
    for parameter in kept["template"]["k8s"]["parameters"]:
        assert parameter["src"]["dependencyName"] == dependency["name"]


def test_every_secret_that_is_referred_to_is_there() -> None:
    (secret,) = [document for document in documents(ARGO_EVENTS) if document["kind"] == "Secret"]
    auth, tls = source()["auth"], source()["tls"]
    references = [auth["username"], auth["password"], tls["caCertSecret"]]
    for reference in references:
        assert reference["name"] == secret["metadata"]["name"]
        assert reference["key"] in secret["stringData"]


def test_the_sensor_may_create_workflows_in_each_namespace_that_its_filter_lets_through() -> None:
    condition = sensor()["dependencies"][0]["filters"]["data"][0]
    assert condition["path"] == "body.namespace"
    roles = [document["metadata"] for document in documents(ARGO_EVENTS) if document["kind"] == "Role"]
    assert {f"^{role['namespace']}$" for role in roles} == set(condition["value"])
    account = the("ServiceAccount", "edgeagent-submit", ARGO_EVENTS)["metadata"]
    assert sensor()["template"]["serviceAccountName"] == account["name"]


@pytest.mark.parametrize("kind", MODELS)
def test_nothing_runs_as_root_or_can_become_it(kind: str) -> None:
    (document,) = [document for document in documents(ARGO_EVENTS) if document["kind"] == kind]
    template = document["spec"]["template"]
    assert template["securityContext"]["runAsNonRoot"] is True
    assert template["securityContext"]["runAsUser"] >= 1000
    assert template["container"]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
