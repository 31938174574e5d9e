"""`ports.event_topics`: from a message to an event."""

from __future__ import annotations

import json

import pytest

from edgeagent.errors import MessageError
from edgeagent.ports.event_topics import EventRoute, EventSubscription, EventTopics

TOPICS = EventTopics(
    [
        EventSubscription(topic="sensors/+/data", source="{1}"),
        EventSubscription(topic="meters/#", id="body.seq", type="reading"),
        EventSubscription(topic="edgeagent/#"),
        EventSubscription(topic="short/#", source="{3}"),
    ],
    ["sensors/own/data"],
)


def route(topic: str) -> EventRoute:
    found = TOPICS.route(topic)
    assert found is not None
    return found


def test_source_type_and_id_come_from_the_subscription_and_the_data_stays_as_it_is() -> None:
    draft = route("sensors/boiler-1/data").draft("sensors/boiler-1/data", b'{"temp": 1.50}')
    assert (draft.source, draft.type, draft.id, draft.data) == ("boiler-1", "event", "", b'{"temp": 1.50}')
    draft = route("meters/a/b").draft("meters/a/b", b'{"seq": 17}')
    assert (draft.source, draft.type, draft.id, draft.topic) == ("meters/a/b", "reading", "17", "meters/a/b")


def test_a_cloudevent_keeps_its_id_and_type_and_gets_its_source_and_topic_from_the_message() -> None:
    event = {"specversion": "1.0", "id": "e1", "source": "somebody-else", "type": "t", "data": 5}
    draft = route("sensors/a/data").draft("sensors/a/data", json.dumps(event).encode())
    assert (draft.source, draft.type, draft.id, draft.topic) == ("a", "t", "e1", "sensors/a/data")


@pytest.mark.parametrize("topic", ["edgeagent/status/a", "edgeagent", "nobody/asked", "sensors/data"])
def test_a_topic_that_is_reserved_or_not_subscribed_to_brings_no_events(topic: str) -> None:
    assert TOPICS.route(topic) is None


def test_a_topic_of_our_own_is_told_apart_and_has_no_source() -> None:
    found = route("sensors/own/data")
    assert found.is_own
    assert found.source == ""


def test_a_topic_without_the_level_that_the_source_needs_is_an_error_that_says_so() -> None:
    with pytest.raises(MessageError, match=r"the topic has no such level for '\{3\}'"):
        TOPICS.route("short/of/levels")


def test_data_without_the_id_that_the_subscription_names_is_an_error_that_says_so() -> None:
    for payload in (b"{}", b"\xff", b'{"seq": null}'):
        with pytest.raises(MessageError, match=r"no text or number at body\.seq"):
            route("meters/a").draft("meters/a", payload)


def test_ever_new_topics_cost_no_memory() -> None:
    topics = EventTopics([EventSubscription(topic="#")])
    for number in range(5000):
        assert topics.route(f"t/{number}") is not None
    assert len(topics._routes) <= 4096
