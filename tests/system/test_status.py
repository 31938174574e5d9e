"""`edgeagent status` and `edgeagent top` beside a real agent, through its restart."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.fakes.mosquitto import Mosquitto, MqttClient
from tests.fakes.programs import Agent
from tests.waiting import until

TRIGGER = "argo/workflows/trigger"
HOT = {"temp": 97}


class Terminal:
    """A command on a terminal of 80 columns and 24 lines; `text` is all that it has drawn."""

    def __init__(self, agent: Agent, *arguments: str) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.text = ""
        self.process = subprocess.Popen(
            # A session of its own, whose terminal this is: else Ctrl-C would be no signal.
            ["setsid", "--ctty", sys.executable, "-m", "edgeagent", *arguments, "-c", str(agent.config_file)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm-256color", "PYTHONWARNINGS": "error"},
        )
        os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what a failed test left running."""
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def read(self) -> str:
        """Everything drawn until now."""
        while select.select([self._ours], [], [], 0)[0]:
            try:
                self.text += os.read(self._ours, 65536).decode("utf-8", "replace")
            except OSError:  # the other end was closed
                break
        return self.text

    async def shows(self, words: str, count: int = 1) -> None:
        """Wait until it has drawn these words so many times."""
        await until(lambda: self.read().count(words) >= count, f"{words} x{count}", seen=lambda: self.text[-2000:])

    async def end(self, key: bytes) -> int:
        """Press a key, and wait for the end; returns the exit code."""
        os.write(self._ours, key)
        await until(lambda: (self.read(), self.process.poll())[1] is not None, "the end", seen=lambda: self.text[-500:])
        return self.process.returncode


async def test_the_screen_tells_of_a_broker_that_is_away_and_of_what_waits(broker: Mosquitto, tmp_path: Path) -> None:
    async with Agent(tmp_path / "agent", broker.url) as agent:
        await agent.logged("link_up")
        await broker.stop()
        await agent.logged("link_down")
        for _ in range(3):
            await agent.triggered("boiler-1", HOT)
        code, out, _ = await agent.command("status")
        assert code == 0
        lines = out.splitlines()
        assert lines[0].startswith("edgeagent gw-1   ")
        assert lines[1].startswith("uplink   down for ")
        for words in ("3 pending", "balanced   3 triggers = 0 settled, 3 pending", "link_down", "overheat"):
            assert words in out
        code, out, _ = await agent.command("status", "--json")
        document = json.loads(out)
        assert document["oldest_ms"] > 0
        assert document["stats"]["log"]["last"][0]["event"] == "link_down"
        assert document["stats"]["http"]["addresses"] == [str(agent.socket)]
    code, out, _ = await agent.command("status")
    assert code == 69
    assert "no agent runs" in out
    assert "3 triggers wait in its outbox" in out
    code, out, _ = await agent.command("status", "--json")
    assert (code, json.loads(out)["stats"]) == (69, None)


@pytest.mark.parametrize("key", [b"q", b"\x03"])
async def test_top_survives_the_agents_restart_and_ends_with_a_key(
    broker: Mosquitto, tmp_path: Path, key: bytes
) -> None:
    async with MqttClient(broker.url, "engine", TRIGGER):
        agent = Agent(tmp_path / "agent", broker.url)
        await agent.start()
        with Terminal(agent, "top", "--interval", "0.2") as top:
            await top.shows("0 pending")
            await agent.triggered("boiler-1", HOT)
            await top.shows("1 pending")
            await agent.kill()
            await top.shows("no agent answers; trying again")
            await agent.start()
            await agent.triggered("boiler-1", HOT)
            await top.shows("2 pending")
            assert await top.end(key) == 0
        await agent.stop()


async def test_top_without_a_terminal_prints_a_line_each_time(broker: Mosquitto, tmp_path: Path) -> None:
    async with Agent(tmp_path / "agent", broker.url) as agent:
        await agent.logged("link_up")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "edgeagent", "top", "--interval", "0.2", "-c", str(agent.config_file)),
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        lines = [(await process.stdout.readline()).decode() for _ in range(2)]
        process.send_signal(2)
        assert await process.wait() == 0
        for line in lines:
            assert "uplink up, " in line
            assert line.endswith("pending 0\n")
