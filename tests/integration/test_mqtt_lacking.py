"""Brokers that lack something, for real: no retained messages, QoS 0 only, subscriptions from an earlier time."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.links.subscribed import SubscribedTopics
from edgeagent.ports.link import Publication, Will
from tests.fakes.link import code_of
from tests.fakes.mosquitto import Mosquitto, MqttClient
from tests.waiting import until

WILL = Will("state/gw", b"offline")


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_a_broker_without_retained_messages_lets_us_in_with_a_plainer_will(
    tmp_path: Path, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        Mosquitto(tmp_path, config=["retain_available false"]) as broker,
        MqttClient(broker.url, "watcher", "#") as watcher,
    ):
        gateway = MqttClient(broker.url, "gw", will=WILL, version=version)
        async with gateway:
            assert gateway.link is not None
            assert not gateway.link.abilities.retains
            assert gateway.downs == [], "nobody need hear of an attempt that was made good at once"
            await gateway.die()
        will = await watcher.message("state/gw")
        assert (will.payload, will.retain) == (b"offline", False)
    told = [record.getMessage() for record in caplog.records if record.__dict__.get("event") == "mqtt_broker_lacks"]
    assert len([text for text in told if "it keeps no retained messages" in text]) == 2, "once for each"


async def test_over_3_1_1_a_retained_publication_that_ends_the_connection_is_not_sent_retained_again(
    tmp_path: Path,
) -> None:
    async with (
        Mosquitto(tmp_path, config=["retain_available false"]) as broker,
        MqttClient(broker.url, "gw", version="3.1.1", session_expiry_s=60) as gateway,
    ):
        assert gateway.link is not None
        assert gateway.link.abilities.retains, "nobody can know yet"
        gateway.link.publish([Publication(99, "report", b"1", retain=True)])
        await gateway.wait_down()
        await gateway.wait_up(2)
        assert not gateway.link.abilities.retains
        assert code_of(await gateway.publish("report", b"1", retain=gateway.link.abilities.retains)) == 0


async def test_a_broker_that_takes_only_qos_0_is_used_at_qos_0(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        Mosquitto(tmp_path, config=["max_qos 0"]) as broker,
        MqttClient(broker.url, "watcher", "a/#", session_expiry_s=60) as watcher,
        MqttClient(broker.url, "gw", will=WILL) as gateway,
    ):
        for number in range(3):
            assert code_of(await gateway.publish("a/b", b"%d" % number)) == 0
        messages = [await watcher.message("a/b") for _ in range(3)]
        assert [(message.payload, message.receipt) for message in messages] == [
            (b"0", None),
            (b"1", None),
            (b"2", None),
        ]
        assert gateway.downs == watcher.downs == []
    assert "it takes only QoS 0" in caplog.text


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_a_topic_that_was_removed_is_unsubscribed_in_the_session_that_the_broker_kept(
    broker: Mosquitto, version: str
) -> None:
    texts = [b""]

    async def write(text: bytes) -> None:
        texts.append(text)

    def client(*topics: str) -> MqttClient:
        return MqttClient(
            broker.url,
            "gw",
            *topics,
            version=version,
            session_expiry_s=60,
            subscribed=SubscribedTopics(texts[-1], write),
        )

    async with MqttClient(broker.url, "device") as device:
        async with client("old/#", "stays"):
            pass
        await device.publish("old/1", b"before")
        async with client("stays") as gateway:
            assert (await gateway.message("old/1")).payload == b"before", "it came into the session while we were away"
            await until(lambda: b"old" not in texts[-1])
            await device.publish("old/2", b"after")
            await device.publish("stays", b"x")
            assert (await gateway.message()).topic == "stays"
        async with client():
            await until(lambda: b"stays" not in texts[-1])
            ack = await device.publish("stays", b"x")
            assert code_of(ack) == 0x10, "nobody subscribes"
