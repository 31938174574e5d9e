"""The whole agent over MQTT 3.1.1, on the uplink and on the local side."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes.mosquitto import Mosquitto, MqttClient
from tests.fakes.programs import Agent, Dispatcher

HOT = {"temp": 97.1}
OLD = 'version = "3.1.1"\n'


async def test_events_of_a_local_device_start_workflows_and_reports_come_back(
    broker: Mosquitto, tmp_path: Path
) -> None:
    tables = {"uplink": OLD + "accept_dry_run = true"}
    agent = Agent(tmp_path / "agent", broker.url, local=broker.url, tables=tables)
    text = agent.config_file.read_text("utf-8")
    agent.config_file.write_text(text.replace("[local]\n", "[local]\n" + OLD), "utf-8")
    async with (
        Dispatcher(tmp_path / "d1", broker.url),
        agent,
        MqttClient(broker.url, "device", "edgeagent/status/boiler-1", version="3.1.1") as device,
    ):
        await agent.logged("link_up", 2)
        await device.publish("sensors/boiler-1/data", json.dumps(HOT).encode())
        states: list[str] = []
        while "succeeded" not in states:
            states.append(json.loads((await device.message()).payload)["state"])
        await agent.account(received=1, stored=1, accepted=1, settled=1, pending=0)
        assert "running" in states


async def test_a_dispatcher_over_3_1_1_answers_an_agent_over_websocket(tmp_path: Path, free_port: int) -> None:
    listener = [f"listener {free_port} 127.0.0.1", "protocol websockets"]
    async with Mosquitto(tmp_path, config=listener) as broker:
        agent = Agent(tmp_path / "agent", f"ws://127.0.0.1:{free_port}", tables={"uplink": "accept_dry_run = true"})
        dispatcher = Dispatcher(tmp_path / "d1", broker.url)
        text = dispatcher.config_file.read_text("utf-8")
        dispatcher.config_file.write_text(text.replace("[broker]\n", "[broker]\n" + OLD), "utf-8")
        async with dispatcher, agent:
            correlation = await agent.triggered("boiler-1", HOT)
            assert (await agent.state(correlation, "succeeded"))["workflowId"] == f"overheat-{correlation}"


@pytest.mark.parametrize("settle", ["engine", "broker"])
async def test_acknowledged_events_outlive_a_kill_and_a_broker_that_was_away(
    tmp_path: Path, free_port: int, settle: str
) -> None:
    tables = {"uplink": f'{OLD}accept_dry_run = true\nsettle = "{settle}"'}
    agent = Agent(tmp_path / "agent", f"mqtt://127.0.0.1:{free_port}", tables=tables)
    await agent.start()
    correlations = {await agent.triggered("boiler-1", {"temp": 95, "n": number}) for number in range(20)}
    await agent.kill()
    async with (
        Mosquitto(tmp_path, port=free_port) as broker,
        MqttClient(broker.url, "observer", "argo/workflows/trigger/#") as observer,
        Dispatcher(tmp_path / "d1", broker.url),
        agent,
    ):
        await agent.account(settled=20, pending=0)
        await observer.until(lambda: len({message.payload for message in observer.messages}) >= 20, "all triggers")
    assert {json.loads(message.payload)["correlation_id"] for message in observer.messages} == correlations
