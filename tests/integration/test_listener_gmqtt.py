"""The listener inside an agent, against gmqtt: a client of MQTT 5 and 3.1.1 that shares no code with paho."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import gmqtt
import pytest
from gmqtt.mqtt.constants import MQTTv50, MQTTv311

from tests.integration.test_listener import ListeningAgent, subscriptions
from tests.waiting import DEADLINE_S, until

VERSIONS = {"3.1.1": MQTTv311, "5": MQTTv50}


class Client:
    """What came to one client: topic, payload, QoS and properties."""

    def __init__(self, client_id: str) -> None:
        self.came: list[tuple[str, bytes, int, dict[str, Any]]] = []
        self.mqtt = gmqtt.Client(client_id, clean_session=True)
        self.mqtt.on_message = self._message

    def _message(self, _: Any, topic: str, payload: bytes, qos: int, properties: dict[str, Any]) -> int:
        self.came.append((topic, payload, qos, properties))
        return 0


@asynccontextmanager
async def connected(agent: ListeningAgent, client_id: str, version: str) -> AsyncIterator[Client]:
    """A client while it is connected."""
    client = Client(client_id)
    async with asyncio.timeout(DEADLINE_S):
        await client.mqtt.connect("127.0.0.1", agent.port, version=VERSIONS[version], keepalive=30)
    try:
        yield client
    finally:
        await client.mqtt.disconnect()


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_gmqtt_publishes_is_an_event_and_reaches_who_subscribes(tmp_path: Path, version: str) -> None:
    async with ListeningAgent(tmp_path / "agent") as agent, connected(agent, "reader", version) as reader:
        reader.mqtt.subscribe("events/#", qos=2)
        await subscriptions(agent, 1)
        async with connected(agent, "writer", version) as writer:
            for qos in (0, 1, 2):
                writer.mqtt.publish(f"events/boiler-{qos}", {"temp": 97}, qos=qos)
            await agent.account(stored=3)
        await until(lambda: len(reader.came) == 3, "messages")
        assert [(topic, payload, qos) for topic, payload, qos, _ in reader.came] == [
            (f"events/boiler-{qos}", b'{"temp": 97}', qos) for qos in (0, 1, 2)
        ]


async def test_properties_of_mqtt_5_and_what_is_retained_reach_gmqtt(tmp_path: Path) -> None:
    async with ListeningAgent(tmp_path / "agent") as agent:
        async with connected(agent, "writer", "5") as writer:
            writer.mqtt.publish(
                "state/plug",
                b"on",
                qos=1,
                retain=True,
                content_type="text/plain",
                response_topic="answers/plug",
                user_property=("site", "north"),
            )
            await agent.stats(lambda stats: stats["mqtt"]["retained"] == 1, "the retained message")
        async with connected(agent, "reader", "5") as reader:
            reader.mqtt.subscribe("state/+", qos=1, subscription_identifier=7)
            await until(lambda: reader.came, "the retained message")
            topic, payload, _, properties = reader.came[0]
            assert (topic, payload) == ("state/plug", b"on")
            assert properties["retain"]
            assert properties["content_type"] == ["text/plain"]
            assert properties["response_topic"] == ["answers/plug"]
            assert properties["user_property"] == [("site", "north")]
            assert properties["subscription_identifier"] == [7]
