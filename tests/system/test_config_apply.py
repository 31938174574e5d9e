"""Another configuration for a gateway where nobody is: it stays only if the uplink comes up with it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shlex
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.architecture.source import ROOT
from tests.fakes.documents import blocks_of, commands_of
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.programs import RULE, Agent
from tests.waiting import until

# As `systemctl restart` with Restart=always: the service's end is followed by its start.
RESTART = "import os, signal, sys; os.kill(int(open(sys.argv[1]).read()), signal.SIGTERM)"


class Gateway:
    """An agent that is started again whenever it ends, and how to ask for that."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.starts = 0
        self._pid_file = agent.directory / "pid"
        self.restart = f"{sys.executable} -c '{RESTART}' {self._pid_file}"

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.agent.spawn()
            self.starts += 1
            self._pid_file.write_text(str(self.agent.pid))
            await self.agent.exit_code()

    def file(self, name: str, *changes: tuple[str, str]) -> Path:
        """Another configuration, somewhere else."""
        text = self.agent.config_file.read_text("utf-8")
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = self.agent.directory.parent / name
        path.write_text(text, "utf-8")
        return path

    async def apply(self, file: Path, *options: str) -> tuple[int, str, str]:
        """The command's exit code, and what it printed on both streams."""
        return await self.agent.command("config", "apply", str(file), *options)

    async def state(self) -> dict[str, Any]:
        """What the agent says of itself."""
        stats: dict[str, Any] = (await self.agent.request("GET", "/v1/stats"))[1]
        return stats


@pytest.fixture
async def gateway(broker: Mosquitto, tmp_path: Path) -> AsyncIterator[Gateway]:
    """One that is connected."""
    agent = Agent(tmp_path / "agent", broker.url, rules=RULE)
    gateway = Gateway(agent)
    running = asyncio.create_task(gateway.run())
    await agent.logged("link_up")
    yield gateway
    running.cancel()
    await asyncio.wait([running])
    with contextlib.suppress(ProcessLookupError):
        os.kill(agent.pid, signal.SIGKILL)


async def test_new_rules_are_shown_rehearsed_and_taken_over_without_a_restart(gateway: Gateway) -> None:
    agent = gateway.agent
    await agent.request("POST", "/v1/events/boiler-1", b'{"temp": 50}', Content_Type="application/json")
    file = gateway.file("rules.toml", ('value = ["90"]', 'value = ["40"]'))
    before = (await gateway.state())["config"]
    code, out, _ = await gateway.apply(file, "--dry-run")
    assert code == 0
    assert 'rule[overheat].filters.data[0].value: ["90"] -> ["40"]' in out
    assert (await gateway.state())["config"] == before
    code, out, error = await gateway.apply(file)
    assert (code, error) == (0, "")
    assert "applied: rules from now on: 1" in out
    shown = json.loads((await agent.command("config", "show", "--json"))[1])
    assert (await gateway.state())["config"] == shown["config"] != before
    assert gateway.starts == 1


async def test_it_prints_what_the_document_shows(gateway: Gateway, tmp_path: Path) -> None:
    agent = gateway.agent
    await agent.request("POST", "/v1/events/boiler-1", b'{"temp": 95}', Content_Type="application/json")
    (command,) = commands_of(blocks_of((ROOT / "docs/remote.md").read_text("utf-8"))[0])
    arguments = shlex.split(command.line)
    assert arguments[:3] == ["edgeagent", "config", "apply"]
    before = agent.config_file.read_text("utf-8").partition('url = "')[2].partition('"')[0]
    (tmp_path / "other").mkdir()
    async with Mosquitto(tmp_path / "other") as other:
        file = gateway.file(arguments[3], (before, other.url), ("[[rule]]\n", '[[rule]]\nttl = "1d"\n'))
        code, out, error = await gateway.apply(file, *arguments[4:], "--restart", gateway.restart)
    assert (code, error) == (0, ""), agent.tail()
    own = {"/etc/edgeagent/config.toml": str(agent.config_file), "mqtts://broker-1:8883": before}
    shown = command.shown.replace("mqtts://broker-2:8883", other.url)
    for documented, here in own.items():
        shown = shown.replace(documented, here)
    instant = r"\d{4}-\d\d-\d\dT\S+Z"
    assert re.sub(instant, "INSTANT", out) == re.sub(instant, "INSTANT", shown)


async def test_what_needs_a_restart_is_kept_when_the_uplink_comes_up(gateway: Gateway) -> None:
    file = gateway.file("good.toml", ("[uplink]", '[uplink]\nkeepalive = "20s"'))
    code, out, error = await gateway.apply(file, "--restart", gateway.restart)
    assert (code, error) == (0, ""), gateway.agent.tail()
    assert "uplink.keepalive: 30.0 -> 20.0" in out
    assert "applied: the uplink is up with it" in out
    assert gateway.starts == 2
    assert gateway.agent.config_file.read_text("utf-8") == file.read_text("utf-8")
    assert not (gateway.agent.directory / "state/config-trial.json").exists()


async def test_a_configuration_with_which_the_uplink_stays_away_is_given_up(gateway: Gateway, free_port: int) -> None:
    agent, before = gateway.agent, gateway.agent.config_file.read_text("utf-8")
    address = before.partition('url = "')[2].partition('"')[0]
    file = gateway.file("bad.toml", (address, f"mqtt://127.0.0.1:{free_port}"))
    code, _, error = await gateway.apply(file, "--restart", gateway.restart, "--within", "2s")
    assert code == 1
    assert "given up: the uplink did not come up within 2 s: " in error
    assert "Traceback" not in error
    assert agent.config_file.read_text("utf-8") == before
    await until(lambda: agent.log.count("event=link_up") == 2, "the uplink is up as before", seen=agent.tail)


async def test_an_agent_goes_back_by_itself_when_whoever_applied_it_is_gone(gateway: Gateway, free_port: int) -> None:
    """The command is killed, and so is the agent while it judges, as by a power cut."""
    agent, before = gateway.agent, gateway.agent.config_file.read_text("utf-8")
    address = before.partition('url = "')[2].partition('"')[0]
    file = gateway.file("bad.toml", (address, f"mqtt://127.0.0.1:{free_port}"))
    command = [sys.executable, "-m", "edgeagent", "config", "apply", str(file), "-c", str(agent.config_file)]
    applying = await asyncio.create_subprocess_exec(*command, "--restart", gateway.restart, "--within", "3s")
    await until(lambda: gateway.starts == 2, seen=agent.tail)
    applying.kill()
    await applying.wait()
    await until(lambda: "event=link_down" in agent.log, seen=agent.tail)
    os.kill(agent.pid, signal.SIGKILL)
    await agent.logged("config_given_up")
    await until(lambda: agent.log.count("event=link_up") == 2, "the uplink is up as before", seen=agent.tail)
    assert agent.config_file.read_text("utf-8") == file.read_text("utf-8"), "the agent may not write it"


async def test_an_agent_that_cannot_even_start_with_it_goes_back_too(gateway: Gateway, free_port: int) -> None:
    """Its listener's address belongs to another program."""
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", free_port)
    before = gateway.agent.config_file.read_text("utf-8")
    assert "[mqtt]" not in before
    file = gateway.file("bad.toml", ("[uplink]", f'[mqtt]\nlisten = "127.0.0.1:{free_port}"\n[uplink]'))
    code, _, error = await gateway.apply(file, "--restart", gateway.restart, "--within", "60s")
    taken.close()
    assert code == 1
    assert "given up: the agent was started 3 times with it, and its uplink never came up" in error
    assert gateway.agent.config_file.read_text("utf-8") == before


async def test_a_file_with_mistakes_changes_nothing(gateway: Gateway) -> None:
    before = gateway.agent.config_file.read_text("utf-8")
    file = gateway.file("bad.toml", ("[uplink]", "[uplink]\nqoss = 1"))
    code, _, error = await gateway.apply(file)
    assert code == 78
    assert f"{file}: uplink.qoss: " in error
    missing = file.with_name("none.toml")
    code, _, error = await gateway.apply(missing)
    assert (code, error) == (78, f"edgeagent: {missing}: cannot be read: No such file or directory\n")
    assert gateway.agent.config_file.read_text("utf-8") == before
    assert {path.name for path in gateway.agent.directory.iterdir()} & {"run.toml.new", "run.toml.before"} == set()
