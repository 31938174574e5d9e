"""`edgeagent fleet` at a real broker, with a real agent and messages of strangers."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from tests.fakes.mosquitto import Mosquitto, MqttClient
from tests.fakes.programs import Agent
from tests.waiting import DEADLINE_S, until_answer, until_line


def config_of(broker_url: str, directory: Path) -> Path:
    path = directory / "dispatch.toml"
    path.write_text(f'[broker]\nurl = "{broker_url}"\n[engine]\nkind = "dry-run"\n', "utf-8")
    return path


async def fleet(config: Path, *arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "edgeagent", "fleet", "-c", str(config), *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def fleet_of(count: int, config: Path) -> tuple[int, str, str]:
    """Ask until so many gateways are told of: a broker on a busy machine tells of them later than is waited for."""
    return await until_answer(
        lambda: fleet(config), lambda told: told[1].count("\n") == count + 2, f"a line of each of {count}"
    )


async def test_the_gateways_of_a_broker_are_shown_with_those_in_trouble_first(
    broker: Mosquitto, tmp_path: Path
) -> None:
    config = config_of(broker.url, tmp_path)
    async with (
        MqttClient(broker.url, "strangers") as stranger,
        MqttClient(broker.url, "observer", "edgeagent/state/+") as observer,
        Agent(tmp_path / "agent", broker.url) as agent,
    ):
        assert (await observer.message()).topic == "edgeagent/state/gw-1"
        code, out, err = await fleet_of(1, config)
        assert (code, err) == (0, "")
        heading, row, total = out.splitlines()
        assert heading.split() == ["GATEWAY", "STATE", "SINCE", "PENDING", "OLDEST", "HEADROOM", "VERSION", "TROUBLE"]
        assert row.split()[:2] == ["gw-1", "online"]
        assert total == "1 gateway, 0 in trouble"

        await stranger.publish("edgeagent/state/gw-0", b"offline", retain=True)
        await stranger.publish("edgeagent/state/evil", b'{"state":"\x1b[2J"}', retain=True)
        await stranger.publish("edgeagent/state/No Name", b"online", retain=True)
        code, out, err = await fleet_of(3, config)
        assert code == 1
        assert [line.split()[0] for line in out.splitlines()[1:-1]] == ["gw-0", "evil", "gw-1"]
        assert all(line.isprintable() for line in out.splitlines())
        assert "1 message left out" in err

        assert await agent.stop() == 0
        code, out, _ = await fleet(config, "--json")
        (ours,) = (line for line in map(json.loads, out.splitlines()) if line["agent"] == "gw-1")
        assert (code, ours["state"], ours["reason"], ours["pending"], ours["trouble"]) == (
            *(1, "offline", "the agent was stopped", 0, "offline"),
        )


async def test_an_empty_fleet_and_a_broker_that_is_not_there_are_no_success(
    broker: Mosquitto, tmp_path: Path, free_port: int
) -> None:
    code, out, err = await fleet(config_of(broker.url, tmp_path))
    assert (code, out) == (1, "")
    assert "no gateway is known at this broker" in err
    code, out, err = await fleet(config_of(f"mqtt://127.0.0.1:{free_port}", tmp_path))
    assert (code, out) == (69, "")
    assert err.startswith(f"edgeagent: mqtt://127.0.0.1:{free_port}: ")


async def test_a_fleet_in_which_somebody_always_says_something_is_shown_all_the_same(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with MqttClient(broker.url, "gateway") as gateway:

        async def talk() -> None:
            while True:
                await gateway.publish("edgeagent/state/gw-1", b"online", retain=True)

        talking = asyncio.create_task(talk())
        try:
            async with asyncio.timeout(DEADLINE_S):
                code, out, _ = await fleet_of(1, config_of(broker.url, tmp_path))
        finally:
            talking.cancel()
    assert (code, out.splitlines()[-1]) == (0, "1 gateway, 0 in trouble")


async def test_each_change_is_shown_while_watching(broker: Mosquitto, tmp_path: Path) -> None:
    config = config_of(broker.url, tmp_path)
    async with MqttClient(broker.url, "gateway") as gateway:
        await gateway.publish("edgeagent/state/gw-1", b"online", retain=True)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "edgeagent", "fleet", "-c", str(config), "--watch", "--json"),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert process.stdout is not None
            first = await until_line(process.stdout, r"online")
            assert json.loads(first.string)["agent"] == "gw-1"
            await gateway.publish("edgeagent/state/gw-1", b"offline", retain=True)
            second = await until_line(process.stdout, r"offline")
            assert json.loads(second.string.splitlines()[-1])["trouble"] == "offline"
        finally:
            process.kill()
            await process.wait()
