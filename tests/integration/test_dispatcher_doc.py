"""The access list in docs/dispatcher.md, put into a real Mosquitto: who may speak and hear there."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edgeagent.ports.link import Subscription
from edgeagent.wire import topics
from tests.fakes.link import code_of
from tests.fakes.mosquitto import Mosquitto, MqttClient

PAGE = Path(__file__).parents[2] / "docs" / "dispatcher.md"
NOT_AUTHORIZED = 0x87


def access_list() -> str:
    """The list as it stands on the page, without its indentation there."""
    found = re.search(
        r"^   ```\n((?:   (?:user|topic|pattern) .*\n|\n)+)   ```$", PAGE.read_text("utf-8"), re.MULTILINE
    )
    assert found is not None
    return re.sub("^   ", "", found[1], flags=re.MULTILINE)


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    acl = tmp_path / "acl"
    acl.write_text(access_list(), "utf-8")
    acl.chmod(0o600)
    async with Mosquitto(tmp_path, config=[f"acl_file {acl}"]) as broker:
        yield broker


def dispatcher(broker: Mosquitto) -> MqttClient:
    heard = [
        *(Subscription(topic_filter) for topic_filter in topics.trigger_filters("edgeagent")),
        Subscription(topics.STATUS_QUERY),
        Subscription(topics.presence_filter("edgeagent"), retained=True),
        Subscription(topics.cursor_filter("edgeagent"), retained=True),
    ]
    return MqttClient(broker.url, "dispatcher-0", *heard, username="dispatcher")


def gateway(broker: Mosquitto, agent: str) -> MqttClient:
    return MqttClient(broker.url, agent, f"{topics.RESPONSE}/#", f"{topics.STATUS}/#", username=agent)


async def test_a_dispatcher_may_do_all_that_it_does(guarded: Mosquitto) -> None:
    own = [topics.presence_topic("edgeagent", "dispatcher-0"), topics.cursor_topic("edgeagent", "plant")]
    async with gateway(guarded, "gw-1") as gw, dispatcher(guarded) as dispatch:
        assert code_of(await gw.publish(f"{topics.TRIGGER}/gw-1", b"{}")) == 0
        assert (await dispatch.message(f"{topics.TRIGGER}/gw-1")).payload == b"{}"
        assert code_of(await gw.publish(topics.STATUS_QUERY, b"{}")) == 0
        assert (await dispatch.message(topics.STATUS_QUERY)).payload == b"{}"
        for topic in own:
            assert code_of(await dispatch.publish(topic, b"{}", retain=True)) == 0
            assert (await dispatch.message(topic)).payload == b"{}"
        for topic in (topics.response_topic("gw-1"), topics.status_topics("gw-1")[1]):
            assert code_of(await dispatch.publish(topic, b"{}")) == 0
            assert (await gw.message(topic)).payload == b"{}"
        for topic in (topics.response_topic(None), f"{topics.RESPONSE}/planner/7", topics.STATUS):
            assert code_of(await dispatch.publish(topic, b"{}")) < 0x80


async def test_a_gateway_can_neither_speak_for_another_nor_answer_nor_hear_what_is_not_its_own(
    guarded: Mosquitto,
) -> None:
    forbidden = [
        topics.TRIGGER,
        f"{topics.TRIGGER}/gw-2",
        topics.response_topic("gw-1"),
        topics.response_topic("gw-2"),
        *topics.status_topics("gw-2"),
        topics.presence_topic("edgeagent", "a"),
    ]
    async with gateway(guarded, "gw-1") as gw, dispatcher(guarded) as dispatch:
        for topic in forbidden:
            assert code_of(await gw.publish(topic, b"forged")) == NOT_AUTHORIZED, topic
        for topic in (topics.response_topic("gw-2"), topics.response_topic(None), *topics.status_topics("gw-2")):
            await dispatch.publish(topic, b"not for gw-1")
        await dispatch.publish(topics.response_topic("gw-1"), b"for gw-1")
        assert (await gw.message()).payload == b"for gw-1"
        assert dispatch.messages == []
