"""The demo as a newcomer starts it: real programs, real brokers, from the first line to the account."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import re
import signal
import socket
import sys
import tempfile
import termios
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edgeagent.cli.client import AgentClient
from tests.waiting import until_line

# Half a minute on an idle machine.
DEADLINE_S = 240


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A short one: below pytest's own, the path of the demo's socket may be too long, and then it is elsewhere."""
    with tempfile.TemporaryDirectory(prefix="demo-") as directory:
        yield Path(directory)


class Demo:
    """`edgeagent demo`, with everything that it leaves behind in a directory of the test."""

    def __init__(self, process: asyncio.subprocess.Process, directory: Path) -> None:
        self.process = process
        self.directory = directory
        self.text = ""

    async def until(self, pattern: str) -> re.Match[str]:
        """Read on until a line of the output matches."""
        assert self.process.stdout is not None
        try:
            found = await until_line(self.process.stdout, pattern, deadline_s=DEADLINE_S)
        except AssertionError as exc:
            if self.process.stdout.at_eof():
                exc.add_note(f"stderr: {(await self.end())[1]}")
            raise
        self.text += found.string
        return found

    async def end(self) -> tuple[int, str]:
        """Wait for its end; the exit code and what stood on stderr."""
        out, err = await self.process.communicate()
        self.text += out.decode()
        assert self.process.returncode is not None
        return self.process.returncode, err.decode()

    def left(self) -> list[Path]:
        """What it has left in its temporary directory."""
        return list(self.directory.iterdir())


@asynccontextmanager
async def demo(directory: Path, *options: str) -> AsyncIterator[Demo]:
    """A running demo."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "edgeagent", "demo", *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(directory)},
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            yield Demo(process, directory)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.communicate()


def listens(port: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(port))) == 0


def program(directory: Path, command: str) -> int:
    """The process id of one of the demo's programs."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode().split("\0")
        except OSError:
            continue  # it has ended meanwhile
        if command in words and any(word.startswith(str(directory)) for word in words):
            return int(path.parent.name)
    raise AssertionError(f"no program {command} of {directory} runs")


ACCOUNT = r"""events in             1,268 .*
filtered              1,228 .*
workflows triggered      40 .*
workflows succeeded      40 .*
sent again           +[1-9]\d* .*
lost                      0 .*
doubled                   0 .*
account              1,268 events = 1,228 filtered \+ 40 stored;
                     40 triggers = 40 settled \+ 0 pending: balanced
Nothing was lost, and nothing was done twice.
"""


@pytest.mark.parametrize(("broker", "name"), [("mosquitto", "Mosquitto"), ("iotcore", "rumqttd")])
async def test_the_demo_ends_with_nothing_lost_and_nothing_doubled(broker: str, name: str, tmp_path: Path) -> None:
    async with demo(tmp_path, "--broker", broker) as shown:
        code, errors = await shown.end()
        assert errors == ""
        assert code == 0, shown.text
        story = [
            "Started: " + name,
            "MQTT straight to the agent",
            "LOSS",
            "LOSS",
            "UPLINK CUT",
            "AGENT KILLED",
            "started again",
            "restored",
            "LOSS",
        ]
        told = [line for line in shown.text.splitlines() if any(part in line for part in story)]
        assert [part in line for part, line in zip(story, told, strict=True)] == [True] * len(story)
        assert "Drained" in shown.text
        assert re.search(ACCOUNT, shown.text), shown.text
        assert shown.left() == []


async def test_a_demo_that_is_kept_takes_further_events_until_ctrl_c(tmp_path: Path) -> None:
    async with demo(tmp_path, "--keep") as shown:
        page_port = (await shown.until(r"the status page +http://127\.0\.0\.1:(\d+)/\n"))[1]
        port = (await shown.until(r"curl http://127\.0\.0\.1:(\d+)/v1/stats"))[1]
        assert page_port == port
        with AgentClient.tcp("127.0.0.1", int(port)) as client:
            assert (await asyncio.to_thread(client.request, "GET", "/v1/series"))[0] == 200
        config = (await shown.until(r"edgeagent emit -c (\S+)"))[1]
        broker_port = (await shown.until(r"mqtt://127\.0\.0\.1:(\d+)"))[1]
        emit = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "edgeagent", "emit", "-c", config, "--wait", "--json"),
            *("water-main/branch-1", '{"flow_l_s": 30}'),
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await emit.communicate()
        assert emit.returncode == 0
        assert json.loads(out.splitlines()[-1])["state"] == "succeeded"
        shown.process.send_signal(signal.SIGINT)
        code, errors = await shown.end()
        assert (code, errors) == (0, "")
        assert not listens(port)
        assert not listens(broker_port)
        assert shown.left() == []


async def test_ctrl_c_ends_every_program_and_leaves_nothing(tmp_path: Path) -> None:
    async with demo(tmp_path) as shown:
        ports = (await shown.until(r"Started: .* on port (\d+), dispatcher, agent on (\d+)")).groups()
        await shown.until("LOSS")
        assert all(map(listens, ports))
        shown.process.send_signal(signal.SIGINT)
        code, errors = await shown.end()
        assert (code, errors) == (130, "")
        assert "Broken off" in shown.text
        assert not any(map(listens, ports))
        assert shown.left() == []


async def test_a_program_that_dies_fails_the_demo_and_its_log_is_shown_and_kept(tmp_path: Path) -> None:
    async with demo(tmp_path) as shown:
        await shown.until("LOSS")
        os.kill(program(tmp_path, "dispatch"), signal.SIGKILL)
        code, errors = await shown.end()
        assert code == 1
        assert "event=broker_connected" in errors
        assert "edgeagent: the dispatcher has ended by itself (exit code -9)" in errors
        (kept,) = shown.left()
        assert f"Logs and state are kept in {kept}" in errors
        assert (kept / "dispatcher.log").exists()


async def test_on_a_terminal_the_picture_is_drawn_and_the_screen_given_back(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, 80))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "edgeagent", "demo"),
        stdout=slave,
        env={**os.environ, "TMPDIR": str(tmp_path), "TERM": "xterm-256color"},
    )
    os.close(slave)
    drawn = b""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while b"LOSS (below 80)" not in drawn:
                drawn += await asyncio.to_thread(os.read, master, 65536)
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(OSError):  # what Linux says when the other side is closed
                while more := await asyncio.to_thread(os.read, master, 65536):
                    drawn += more
            assert await process.wait() == 130
    finally:
        if process.returncode is None:
            process.terminate()
        os.close(master)
    assert drawn.count(b"\x1b[?1049h") == drawn.count(b"\x1b[?1049l") == 1
    picture, _, after = drawn.partition(b"\x1b[?1049l")
    assert "agent's disk" in picture.decode()
    assert b"Broken off" in after
    assert os.listdir(tmp_path) == []  # noqa: PTH208  pathlib's way is taken for blocking here
