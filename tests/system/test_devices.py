"""Devices as they are, on a real agent and Mosquitto: payloads, topics, ids; and brokers that lack something."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes.engine import Engine
from tests.fakes.link import code_of
from tests.fakes.mosquitto import Mosquitto, MqttClient
from tests.fakes.programs import RULE, Agent
from tests.waiting import until

SWITCHED = """
[[rule]]
name = "switched"
namespace = "plant"
template = "inspect"
arguments = { said = "body", device = "source" }
filters.data = [{ path = "body", type = "string", value = ["^(on|ON|0097)$"] }]
"""
SUBSCRIBED = """
[[local.subscribe]]
topic = "zigbee2mqtt/+"
data = "text"
[[local.subscribe]]
topic = "clouds/+"
"""


def values(trigger: dict[str, object]) -> dict[str, str]:
    workflow = trigger["workflow"]
    assert isinstance(workflow, dict)
    return {entry["name"]: entry["value"] for entry in workflow["spec"]["arguments"]["parameters"]}


async def test_texts_and_topics_with_spaces_start_workflows_and_no_device_speaks_for_another(
    broker: Mosquitto, tmp_path: Path
) -> None:
    agent = Agent(tmp_path / "agent", broker.url, local=broker.url, rules=SUBSCRIBED + SWITCHED)
    async with Engine(broker.url) as engine, agent, MqttClient(broker.url, "device", "edgeagent/status/#") as device:
        await agent.logged("link_up", 2)
        await device.publish("zigbee2mqtt/Living Room", b"ON\0")
        await device.publish("zigbee2mqtt/Living Room", b"0097")
        await agent.account(settled=2)
        assert [values(trigger) for trigger in engine.triggers] == [
            {"said": "ON", "device": "zigbee2mqtt/Living Room"},
            {"said": "0097", "device": "zigbee2mqtt/Living Room"},
        ]
        report = await device.message("edgeagent/status/zigbee2mqtt/Living Room")
        assert json.loads(report.payload)["source"] == "zigbee2mqtt/Living Room"
        _, answer = await agent.request("POST", "/v1/events/Living%20Room", b"on", Content_Type="text/plain")
        assert answer["accepted"][0]["source"] == "Living Room"
        for source in ("attacker", "victim"):
            event = {"specversion": "1.0", "id": "1", "source": "victim", "type": "t", "data": source}
            await device.publish(f"clouds/{source}", json.dumps(event).encode())
        stats = await agent.account(stored=3, received=5, conflict=0)
        assert stats["rules"]["switched"]["errors"] == 0
        assert await agent.stop() == 0


async def test_a_mixed_topic_floods_no_log_and_the_statistics_have_the_last_example(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with Agent(tmp_path / "agent", broker.url, rules=RULE) as agent:
        for number in range(30):
            await agent.send("boiler-1", "ON", Idempotency_Key=f"e-{number}")
        rule = (await agent.get("/v1/stats"))["rules"]["overheat"]
        assert rule["errors"] == 30
        assert rule["last_error"].startswith("event e-29 of boiler-1: ")
        assert agent.log.count("event=rule_error") == 1
        assert await agent.stop() == 0


@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize("lacking", ["retain_available false", "max_qos 0"])
async def test_triggers_pass_through_a_broker_that_lacks_something(tmp_path: Path, lacking: str, version: str) -> None:
    directory = tmp_path / "mosquitto"
    directory.mkdir()
    async with Mosquitto(directory, config=[lacking]) as broker:
        tables = {"uplink": f'version = "{version}"\nresponse_timeout = 1'}
        async with Agent(tmp_path / "agent", broker.url, local=broker.url, tables=tables) as agent:
            if version == "3.1.1" and lacking == "max_qos 0":
                await until(lambda: "it grants only QoS 0" in agent.log, "the reason", seen=agent.tail)
                assert await agent.stop() == 0
                return
            async with Engine(broker.url), MqttClient(broker.url, "device", "edgeagent/#") as device:
                await agent.logged("link_up", 2)
                await agent.logged("mqtt_broker_lacks")
                await device.publish("sensors/boiler-1/data", b'{"temp": 97}')
                await agent.account(settled=1, pending=0)
                await device.message("edgeagent/status/boiler-1")
                assert "link_down" not in agent.log
            assert await agent.stop() == 0


async def test_settle_by_the_broker_needs_one_that_acknowledges(tmp_path: Path) -> None:
    directory = tmp_path / "mosquitto"
    directory.mkdir()
    broker = Mosquitto(directory, config=["max_qos 0"])
    agent = Agent(tmp_path / "agent", broker.url, tables={"uplink": 'settle = "broker"'})
    async with broker, agent:
        await until(lambda: "so it acknowledges no trigger" in agent.log, "the reason", seen=agent.tail)
        assert await agent.stop() == 0


async def test_a_subscription_that_was_removed_is_given_up_at_the_broker(broker: Mosquitto, tmp_path: Path) -> None:
    directory = tmp_path / "agent"
    async with Agent(directory, broker.url, local=broker.url, rules=SUBSCRIBED + SWITCHED) as agent:
        await agent.logged("link_up", 2)
        assert await agent.stop() == 0
    async with (
        Agent(directory, broker.url, local=broker.url, rules=SWITCHED) as agent,
        MqttClient(broker.url, "device") as device,
    ):
        await agent.logged("mqtt_unsubscribed")
        assert code_of(await device.publish("zigbee2mqtt/lamp", b"ON")) == 0x10, "nobody subscribes"
        assert code_of(await device.publish("sensors/lamp/data", b"1")) == 0
        assert await agent.stop() == 0


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_a_topic_of_statuses_that_was_removed_is_given_up_at_the_engines_broker(
    broker: Mosquitto, tmp_path: Path, version: str
) -> None:
    def agent(topics: str) -> Agent:
        uplink = f'version = "{version}"\nstatus_topics = ["argo/workflows/status/{{agent}}"{topics}]'
        return Agent(tmp_path / "agent", broker.url, tables={"uplink": uplink})

    async with MqttClient(broker.url, "engine") as engine:
        async with agent(', "factory/status"') as before:
            await before.logged("link_up")
            assert code_of(await engine.publish("factory/status", b"{}")) == 0
            assert await before.stop() == 0
        async with agent("") as after:
            await after.logged("mqtt_unsubscribed")
            assert code_of(await engine.publish("factory/status", b"{}")) == 0x10, "nobody subscribes"
            assert code_of(await engine.publish("argo/workflows/status/gw-1", b"{}")) == 0
            assert await after.stop() == 0
