"""Publications as Pub/Sub's messages, and its messages as ours."""

from __future__ import annotations

import base64
import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.ports.link import Publication
from edgeagent.pubsub import messages
from edgeagent.rules.ruleset import Rule
from edgeagent.rules.spec import RuleSpec
from edgeagent.rules.trigger import correlation_id, render, traceparent
from edgeagent.wire import topics
from tests.fakes.readings import reading

scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=20)
member = st.sampled_from(["receivedMessages", "ackId", "message", "data", "attributes", "messageIds", "topic"])
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(member, inner, max_size=4), max_leaves=12
)

NOW = datetime(2026, 11, 29, 10, 0, tzinfo=UTC)
GOLDEN = Path(__file__).parents[2] / "golden" / "pubsub-publish.json"


def trigger(payload: bytes = b"{}", **more: object) -> Publication:
    members: dict[str, object] = {
        "token": 7,
        "topic": topics.TRIGGER,
        "payload": payload,
        "content_type": "application/json",
        "correlation_data": b"9f2c",
        "response_topic": "argo/workflows/response/gw-042",
        "expiry_s": 90,
        "user_properties": (("agent", "gw-042"), ("rule", "overheat"), ("source", "boiler-1")),
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    return Publication(**(members | more))  # type: ignore[arg-type]


def attributes(publication: Publication) -> dict[str, str]:
    found: dict[str, str] = json.loads(messages.outgoing(publication, NOW).message)["attributes"]
    return found


def test_a_trigger_has_the_attributes_that_subscriptions_are_filtered_by() -> None:
    found = attributes(trigger(b'{"namespace": "plant", "attempt": 2, "workflow": {}}'))
    assert found == {
        "topic": "argo/workflows/trigger",
        "agent": "gw-042",
        "rule": "overheat",
        "source": "boiler-1",
        "content_type": "application/json",
        "correlation_id": "9f2c",
        "reply_to": "argo/workflows/response/gw-042",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "expires_at": "2026-11-29T10:01:30Z",
        "namespace": "plant",
        "attempt": "2",
    }


def test_a_real_trigger_is_written_to_the_byte_as_ever() -> None:
    rule = Rule(msgspec.convert({"name": "overheat", "namespace": "plant", "template": "inspect"}, RuleSpec))
    event = reading()
    correlation = correlation_id(event.agent, event.source, event.id, rule.name)
    payload = render(rule, event, correlation, 1, topics.response_topic(event.agent))
    publication = trigger(
        payload, correlation_data=correlation.encode(), traceparent=traceparent(event, correlation), ordering_key="b-1"
    )
    body = messages.publish_body([messages.outgoing(publication, NOW).message])
    assert body == GOLDEN.read_bytes().strip()


def test_the_data_is_the_payload_untouched() -> None:
    entry = messages.outgoing(trigger('{"a": "ü"}'.encode()), NOW)
    assert base64.b64decode(json.loads(entry.message)["data"]) == '{"a": "ü"}'.encode()


def test_only_a_strict_order_has_an_ordering_key() -> None:
    assert "orderingKey" not in json.loads(messages.outgoing(trigger(), NOW).message)
    entry = messages.outgoing(trigger(ordering_key="boiler-1"), NOW)
    assert json.loads(entry.message)["orderingKey"] == entry.ordering_key == "boiler-1"


@pytest.mark.parametrize(
    ("topic", "agent"),
    [
        ("argo/workflows/response/gw-042", "gw-042"),
        ("argo/workflows/status/gw-042", "gw-042"),
        ("argo/workflows/status/query", ""),
        ("argo/workflows/status", ""),
        ("argo/workflows/response/a/b", ""),
    ],
)
def test_answers_name_the_gateway_that_they_are_for(topic: str, agent: str) -> None:
    assert attributes(Publication(1, topic, b"{}")).get("agent", "") == agent


def test_what_pubsub_would_refuse_is_left_out_instead_of_costing_the_trigger() -> None:
    long = "argo/workflows/response/" + "x" * 1024
    found = attributes(trigger(response_topic=long, user_properties=(("agent", "gw-042"), ("rule", ""))))
    assert "reply_to" not in found
    assert "rule" not in found
    assert found["agent"] == "gw-042"


def test_an_expiry_beyond_the_calendar_is_none() -> None:
    assert "expires_at" not in attributes(trigger(expiry_s=2**40))


def pull_answer(**message: object) -> bytes:
    return json.dumps({"receivedMessages": [{"ackId": "ack-1", "message": message}]}).encode()


def test_a_pulled_message_is_what_was_published() -> None:
    published = json.loads(messages.outgoing(trigger(b'{"namespace":"plant"}'), NOW).message)
    (found,) = messages.pulled(pull_answer(**published), "elsewhere")
    assert found.ack_id == "ack-1"
    assert found.message.topic == topics.TRIGGER
    assert found.message.payload == b'{"namespace":"plant"}'
    assert found.message.response_topic == "argo/workflows/response/gw-042"
    assert found.message.correlation_data == b"9f2c"
    assert found.message.traceparent == published["attributes"]["traceparent"] != ""
    assert found.expires_at == datetime(2026, 11, 29, 10, 1, 30, tzinfo=UTC)


def test_a_message_of_a_foreign_producer_came_on_the_default_topic_and_never_expires() -> None:
    (found,) = messages.pulled(pull_answer(data="e30=", attributes={"expires_at": "soon"}), topics.TRIGGER)
    assert found.message.topic == topics.TRIGGER
    assert found.message.correlation_data is None
    assert found.expires_at is None


def test_data_that_is_no_base64_is_handed_on_for_its_reader_to_refuse() -> None:
    (found,) = messages.pulled(pull_answer(data="{}"), topics.TRIGGER)
    assert found.message.payload == b"{}"


def test_an_empty_pull_has_no_messages() -> None:
    assert messages.pulled(b"{}", topics.TRIGGER) == []


@pytest.mark.parametrize(
    "answer",
    [
        *(b"", b"[]", b'{"receivedMessages": 1}', b'{"receivedMessages": [{}]}', b"<html>", pull_answer() * 2),
        json.dumps({"receivedMessages": [{"ackId": "a" * 5000, "message": {}}]}).encode(),
    ],
)
def test_an_answer_that_is_none_is_an_error_and_never_messages(answer: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        messages.pulled(answer, topics.TRIGGER)


@given(st.binary(max_size=300) | json_values.map(lambda value: json.dumps(value).encode()))
def test_whatever_answers_a_pull_is_messages_or_a_value_error(answer: bytes) -> None:
    with contextlib.suppress(ValueError):
        for found in messages.pulled(answer, topics.TRIGGER):
            assert isinstance(found.message.payload, bytes)
    with contextlib.suppress(ValueError):
        assert messages.published_ids(answer) >= 0
