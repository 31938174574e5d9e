"""Agent and dispatcher as processes that cannot import `mqtt5`, as on a machine that it is not compiled for."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.engine import Engine
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.programs import Agent, Dispatcher
from tests.fakes.without import without

HOT = {"temp": 97.1}
FALLBACK = "aiomqtt: mqtt5 cannot be imported on this machine (No module named 'mqtt5')"


@pytest.fixture(autouse=True)
def _programs_cannot_import_mqtt5(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of everything that a test starts; the test's own process is as it was."""
    without(("mqtt5",), tmp_path / "without-mqtt5", monkeypatch)


async def run(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "edgeagent", *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_the_test_takes_mqtt5_away() -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "import mqtt5", stderr=subprocess.PIPE)
    _, err = await process.communicate()
    assert process.returncode == 1
    assert b"No module named 'mqtt5'" in err


async def test_an_event_becomes_a_trigger_with_its_properties_and_the_response_settles_it(
    broker: Mosquitto, tmp_path: Path
) -> None:
    agent = Agent(tmp_path / "agent", broker.url, local=broker.url)
    async with Engine(broker.url) as engine, agent:
        correlation = await agent.triggered("boiler-1", HOT)
        await agent.state(correlation, "triggered")
        await agent.account(accepted=1, settled=1, pending=0)
        (message,) = engine.messages
        assert message.correlation_data == correlation.encode()
        assert message.response_topic == "argo/workflows/response/gw-1"
        told = [line for line in agent.log.splitlines() if "event=mqtt_engine" in line]
        assert len(told) == 2, "for the uplink and the local broker"
        assert all(FALLBACK in line and broker.url in line for line in told)


async def test_nobody_who_listens_is_told_and_kept_as_by_the_other_engine(broker: Mosquitto, tmp_path: Path) -> None:
    async with Agent(tmp_path / "agent", broker.url) as agent:
        correlation = await agent.triggered("boiler-1", HOT)
        await agent.logged("uplink_unheard")
        await agent.account(accepted=1, settled=0, pending=1)
        async with Engine(broker.url):
            await agent.state(correlation, "triggered")


async def test_a_dispatcher_without_it_answers_and_acknowledged_events_outlive_a_kill(
    tmp_path: Path, free_port: int
) -> None:
    agent = Agent(tmp_path / "agent", f"mqtt://127.0.0.1:{free_port}", tables={"uplink": "accept_dry_run = true"})
    await agent.start()
    correlations = [await agent.triggered("boiler-1", {**HOT, "n": number}) for number in range(20)]
    await agent.kill()
    async with (
        Mosquitto(tmp_path, port=free_port) as broker,
        Dispatcher(tmp_path / "d1", broker.url) as dispatcher,
        agent,
    ):
        await agent.account(settled=20, pending=0)
        for correlation in correlations:
            await agent.state(correlation, "succeeded")
        assert FALLBACK in dispatcher.log


async def test_qos_2_keeps_an_agent_from_starting_here_and_the_file_is_right_all_the_same(
    broker: Mosquitto, tmp_path: Path
) -> None:
    agent = Agent(tmp_path / "agent", broker.url, tables={"uplink": "qos = 2"})
    config = str(agent.config_file)
    code, _, err = await run("run", "-c", config)
    assert code == 78
    reason = "mqtt5 cannot be imported on this machine (No module named 'mqtt5')"
    text = f"edgeagent: {config}: uplink.qos: 2 needs the MQTT engine mqtt5: {reason}; set it to 1"
    assert err.splitlines() == [text]
    assert not (tmp_path / "agent" / "state").exists()
    code, out, _ = await run("check", "-c", config)
    assert code == 0, "on another machine it can be used"
    assert "WARN: uplink.qos: 2 needs the MQTT engine mqtt5" in out
    code, out, _ = await run("doctor", "-c", config)
    assert code == 1
    (line,) = [line for line in out.splitlines() if "uplink MQTT engine" in line]
    assert line.startswith("fail")
    assert "qos = 2" in line


async def test_check_doctor_and_version_name_the_engine_and_why_in_one_line_each(
    broker: Mosquitto, tmp_path: Path
) -> None:
    agent = Agent(tmp_path / "agent", broker.url)
    code, out, err = await run("check", "-c", str(agent.config_file))
    assert (code, err) == (0, "")
    assert f"  uplink    by the MQTT engine {FALLBACK}" in out.splitlines()
    code, out, err = await run("doctor", "-c", str(agent.config_file))
    assert (code, err) == (0, "")
    (line,) = [line for line in out.splitlines() if "MQTT engine" in line]
    assert line.startswith(f"warn  uplink MQTT engine: {FALLBACK}; ")
    code, out, err = await run("version")
    assert (code, err, out.count("\n")) == (0, "", 1)
    assert "mqtt5 cannot be imported (No module named 'mqtt5'), so aiomqtt is the MQTT engine" in out
    code, out, _ = await run("version", "--json")
    assert code == 0
    assert json.loads(out)["aiomqtt"]
