"""deploy/argo-events-pubsub.yaml: the Sensor of deploy/argo-events.yaml behind an EventSource of Pub/Sub."""

from __future__ import annotations

import base64
import copy
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
import tomli
from hera.events.models import EventSource

from edgeagent.config.checks import agent_problems
from edgeagent.config.reader import ConfigReader
from edgeagent.config.tables import AgentConfig
from edgeagent.lang.gjson import path as paths
from edgeagent.ports.link import Publication
from edgeagent.pubsub.messages import outgoing
from edgeagent.rules.ruleset import Rule
from edgeagent.rules.spec import RuleSpec
from edgeagent.rules.trigger import correlation_id, render
from edgeagent.wire import topics
from tests.fakes.manifests import ARGO_EVENTS, ARGO_EVENTS_PUBSUB, DEPLOY, Document, as_messages, documents, the
from tests.fakes.readings import reading


def source() -> Document:
    """The EventSource's one event."""
    (event,) = the("EventSource", "edgeagent-pubsub", ARGO_EVENTS_PUBSUB)["spec"]["pubSub"].values()
    assert isinstance(event, dict)
    return event


def dispatched() -> Document:
    """A trigger as Argo Events' source hands it on, with `jsonBody`: start.go of its package gcppubsub."""
    rule = Rule(msgspec.convert({"name": "overheat", "namespace": "plant", "template": "inspect"}, RuleSpec))
    event = reading()
    correlation = correlation_id(event.agent, event.source, event.id, rule.name)
    payload = render(rule, event, correlation, 1, topics.response_topic(event.agent))
    sent: dict[str, Any] = msgspec.json.decode(
        outgoing(Publication(1, topics.TRIGGER, payload), datetime(2026, 11, 29, tzinfo=UTC)).message
    )
    body = msgspec.json.decode(base64.b64decode(sent["data"]))
    return {"id": "1", "body": body, "attributes": sent["attributes"], "publishTime": "2026-11-29 00:00:00 +0000 UTC"}


@pytest.mark.parametrize("optional", [False, True])
def test_argo_events_knows_every_member(*, optional: bool) -> None:
    document = the("EventSource", "edgeagent-pubsub", ARGO_EVENTS_PUBSUB, optional=optional)
    members = {key: value for key, value in document.items() if key not in {"apiVersion", "kind"}}
    EventSource.model_validate(as_messages(members), extra="forbid")


@pytest.mark.parametrize("optional", [False, True])
def test_the_sensor_and_its_rights_are_those_for_mqtt(*, optional: bool) -> None:
    """What the tests of argo-events.yaml hold, holds here."""
    expected = copy.deepcopy(documents(ARGO_EVENTS, optional=optional))
    (sensor,) = [document for document in expected if document["kind"] == "Sensor"]
    sensor["spec"]["dependencies"][0]["eventSourceName"] = "edgeagent-pubsub"
    others = [document for document in expected if document["kind"] not in {"Secret", "EventSource"}]
    found = documents(ARGO_EVENTS_PUBSUB, optional=optional)
    assert [document for document in found if document["kind"] not in {"Secret", "EventSource"}] == others


def test_every_path_of_the_sensor_finds_in_an_event_of_pubsub_what_it_finds_in_one_of_mqtt() -> None:
    event = dispatched()
    spec = the("Sensor", "edgeagent-trigger", ARGO_EVENTS_PUBSUB)["spec"]
    read = [parameter["src"]["dataKey"] for parameter in spec["triggers"][0]["template"]["k8s"]["parameters"]]
    read += [condition["path"] for condition in spec["dependencies"][0]["filters"]["data"]]
    assert read
    for key in read:
        assert key.startswith("body.")
        assert paths.lookup(paths.compile_path(key), event) is not paths.MISSING


def test_the_event_source_decodes_the_triggers_and_creates_nothing() -> None:
    assert source()["jsonBody"] is True
    assert source()["subscriptionID"]
    assert "topic" not in source()
    assert not source().get("deleteSubscriptionOnFinish")
    assert source()["filter"]["expression"] == "body.workflow != nil && body.workflow.spec != nil"


def test_its_secret_is_there_and_it_waits_for_its_own_event_source_on_one_bus() -> None:
    (secret,) = [document for document in documents(ARGO_EVENTS_PUBSUB) if document["kind"] == "Secret"]
    reference = source()["credentialSecret"]
    assert (reference["name"], reference["key"] in secret["stringData"]) == (secret["metadata"]["name"], True)
    event_source = the("EventSource", "edgeagent-pubsub", ARGO_EVENTS_PUBSUB)
    spec = the("Sensor", "edgeagent-trigger", ARGO_EVENTS_PUBSUB)["spec"]
    assert spec["dependencies"][0]["eventName"] in event_source["spec"]["pubSub"]
    assert spec["eventBusName"] == event_source["spec"]["eventBusName"]


def test_nothing_runs_as_root_or_can_become_it() -> None:
    template = the("EventSource", "edgeagent-pubsub", ARGO_EVENTS_PUBSUB)["spec"]["template"]
    assert template["securityContext"]["runAsNonRoot"] is True
    assert template["container"]["securityContext"]["allowPrivilegeEscalation"] is False


def test_the_configuration_in_its_first_comment_is_one_for_the_same_project() -> None:
    text = (DEPLOY / ARGO_EVENTS_PUBSUB).read_text("utf-8")
    lines = [line.removeprefix("#   ") for line in text.splitlines() if line.startswith("#   ")]
    begin = lines.index("[uplink]")
    table = tomli.loads("\n".join(lines[begin : begin + 4]))
    reader = ConfigReader(DEPLOY)
    keys = {key: value for key, value in table["uplink"].items() if key != "credentials_file"}
    config = reader.table(AgentConfig, {"uplink": keys}, "")
    assert config is not None
    assert list(agent_problems(config)) == []
    assert config.uplink.url.split("/")[2] == source()["projectID"]
