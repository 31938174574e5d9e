"""What `check` says about tables with `pubsub://`."""

from __future__ import annotations

from typing import Any

import pytest

from edgeagent.config.addresses import split_broker_url
from edgeagent.config.checks import agent_problems, dispatcher_problems
from edgeagent.config.tables import AgentConfig, Broker, DispatcherConfig, EngineTable, FilePath, Local, Uplink

URL = "pubsub://plant-42/triggers"


def of_uplink(**keys: Any) -> dict[str, str]:
    table = Uplink(**({"url": URL, "subscription": "edgeagent-{agent}"} | keys))
    return dict(agent_problems(AgentConfig(uplink=table)))


def of_broker(**keys: Any) -> dict[str, str]:
    table = Broker(**({"url": URL, "subscription": "dispatch", "answer_topic": "answers"} | keys))
    return dict(dispatcher_problems(DispatcherConfig(broker=table, engine=EngineTable(kind="dry-run"))))


def test_what_docs_pubsub_shows_is_right() -> None:
    assert of_uplink() == {}
    assert of_uplink(settle="broker", subscription="") == {}
    assert of_uplink(credentials_file=FilePath("/key.json")) == {}
    assert of_broker() == {}


@pytest.mark.parametrize(
    "url",
    [
        "pubsub://",
        "pubsub://plant-42",
        "pubsub://plant-42/",
        "pubsub://Plant/triggers",
        "pubsub://plant-42/t/x",
        "pubsub://plant-42/triggers?x=1",
        "pubsub://user@plant-42/triggers",
        "pubsub://plant-42:443/triggers",
        "pubsub://plant-42/a b",
    ],
)
def test_an_address_that_names_no_topic_is_told_what_to_write(url: str) -> None:
    with pytest.raises(ValueError, match="pubsub://PROJECT/TOPIC"):
        split_broker_url(url)
    assert "pubsub://PROJECT/TOPIC" in of_uplink(url=url)["uplink.url"]


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({"qos": 2}, "uplink.qos"),
        ({"qos": 0}, "uplink.qos"),
        ({"report": True}, "uplink.report"),
        ({"subscription": ""}, "uplink.subscription"),
        ({"subscription": "a b"}, "uplink.subscription"),
        ({"response_topic": "elsewhere/{agent}"}, "uplink.response_topic"),
        ({"username": "gw"}, "uplink.username"),
        ({"insecure": True}, "uplink.insecure"),
        ({"alpn": "mqtt"}, "uplink.alpn"),
        ({"proxy": "http://proxy:3128"}, "uplink.proxy"),
        ({"urls": (URL, "mqtt://broker")}, "uplink.urls"),
        ({"credentials_file": FilePath("/k"), "token_file": FilePath("/t")}, "uplink.token_file"),
    ],
)
def test_what_pubsub_cannot_do_is_refused_at_its_key(keys: dict[str, Any], path: str) -> None:
    assert path in of_uplink(**keys)


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({"subscription": ""}, "broker.subscription"),
        ({"answer_topic": ""}, "broker.answer_topic"),
        ({"answer_topic": "triggers"}, "broker.answer_topic"),
        ({"answer_topic": "a/b"}, "broker.answer_topic"),
        ({"password_file": FilePath("/p"), "username": "x"}, "broker.password_file"),
    ],
)
def test_a_dispatcher_needs_a_subscription_and_a_topic_for_its_answers(keys: dict[str, Any], path: str) -> None:
    assert path in of_broker(**keys)


def test_its_keys_are_refused_where_they_would_do_nothing() -> None:
    assert of_uplink(url="mqtt://broker") == {"uplink.subscription": "is only for pubsub:// addresses"}
    assert set(of_broker(url="mqtt://broker")) == {"broker.subscription", "broker.answer_topic"}


def test_devices_do_not_publish_by_pubsub() -> None:
    assert "local.url" in dict(agent_problems(AgentConfig(local=Local(url=URL))))
