"""A reader who follows a page: writes its files, types its commands, and compares what comes with what is shown.

In a page, a block whose first line is `# NAME` with the ending .toml or .conf, or `// NAME` with .json or .jsonl, is a
file. A block ```console is typed:

    $ command             until it ends; its exit code must be 0, and it must print what follows, no more and no less.
    what it prints        `…` stands for any text in a line, and alone in a line for any lines.
    $ command &           goes on in the background; what it prints is its log. What follows waits until it is ready.
    $ kill -9 %2          ends the second of those.

A command that only asks is typed again until it prints what is shown, as a reader would. Ports, and the state below
/var/lib, are the test's own. All other blocks are only read.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tests.fakes.mosquitto import free_port
from tests.waiting import DEADLINE_S, until, until_answer

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# A file beside the others: one with a path is somebody's, and only shown.
_NAME = re.compile(r"(?:# ([\w.-]+\.(?:toml|conf))|// ([\w.-]+\.jsonl?))\n")
_COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)\n?((?:(?!\$ ).*\n?)*)", re.MULTILINE)
_PORT = re.compile(r"\b(?:1883|1884|8745)\b")
_KILL = re.compile(r"kill(?: -(9))? %(\d+)")
# What only asks, so that it can be asked again.
_QUESTIONS = ("edgeagent where ", "edgeagent outbox ls", "edgeagent status", "curl -s http")
# What a program says when it is ready, and an agent when it hears the local broker that its configuration has.
_READY = {
    "mosquitto": " running",
    "edgeagent run": "event=agent_started",
    "edgeagent dispatch": "event=broker_connected",
}
_HEARS_DEVICES = 'link="local broker"'


class Block(NamedTuple):
    """A part of a page: `name` of a file, "" of none; `kind` as the fence says."""

    kind: str
    name: str
    text: str


class Command(NamedTuple):
    """A line that is typed, and what it prints."""

    line: str
    shown: str


def blocks_of(text: str) -> list[Block]:
    """The blocks of a page, in order."""
    found = []
    for kind, content in _BLOCK.findall(text):
        name = _NAME.match(content)
        found.append(Block(kind, (name[1] or name[2]) if name else "", content[name.end() :] if name else content))
    return found


def commands_of(block: Block) -> list[Command]:
    """The commands of a console block."""
    assert block.text.startswith("$ "), block.text
    return [Command(line, shown) for line, shown in _COMMAND.findall(block.text)]


class Reader:
    """Follows a page in a directory; `async with` ends what it has started."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._ports: dict[str, str] = {}
        self._jobs: list[tuple[subprocess.Popen[bytes], Path]] = []
        programs = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}:/usr/sbin"
        self._environment = {"PATH": programs, "HOME": str(directory), "STATE_DIRECTORY": str(directory / "state")}

    def own(self, text: str) -> str:
        """A text with the test's ports and directories for those of the page."""

        def port(match: re.Match[str]) -> str:
            return self._ports.setdefault(match[0], str(free_port()))

        return _PORT.sub(port, text).replace("/var/lib/", f"{self.directory}/")

    def write(self, name: str, text: str) -> Path:
        """Write a file of the page."""
        path = self.directory / name
        path.write_text(self.own(text), "utf-8")
        return path

    async def follow(self, text: str) -> None:
        """Do all that a page says, from its first line to its last."""
        for block in blocks_of(text):
            if block.name:
                self.write(block.name, block.text)
            elif block.kind == "console":
                for command in commands_of(block):
                    await self._type(command)

    async def _type(self, command: Command) -> None:
        line = self.own(re.sub(r"\s+# .*", "", command.line))
        if killed := _KILL.fullmatch(line):
            await self._end(int(killed[2]), signal.SIGKILL if killed[1] else signal.SIGTERM)
        elif line.endswith("&"):
            await self._start(line.removesuffix("&").strip())
        elif line.startswith(_QUESTIONS):
            await until_answer(lambda: self._run(line), lambda said: self._fits(said, command), line, more=self._logs)
        else:
            said = await self._run(line)
            assert self._fits(said, command), f"$ {line}\n{said}\n--- shown:\n{command.shown}\n{self._logs()}"

    async def _run(self, line: str) -> str:
        """What a command prints; with its exit code at the end unless that is 0."""
        process = await asyncio.create_subprocess_exec(
            *("bash", "-o", "pipefail", "-c", line),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.directory,
            env=self._environment,
        )
        said, _ = await asyncio.wait_for(process.communicate(), DEADLINE_S)
        return said.decode() + (f"exit code {process.returncode}\n" if process.returncode else "")

    def _fits(self, said: str, command: Command) -> bool:
        pattern = re.escape(self.own(command.shown)).replace("…\\\n", "(?:.*\n)*").replace("…", ".*")
        return re.fullmatch(pattern, said if not said or said.endswith("\n") else f"{said}\n") is not None

    async def _start(self, line: str) -> None:
        process, log = self._spawn(line)
        wanted = [text for program, text in _READY.items() if line.startswith(program)]
        assert wanted, f"how does {line} say that it is ready?"
        configuration = self.directory / line.rsplit(maxsplit=1)[-1]
        if re.search(r"^\[local\]", configuration.read_text("utf-8"), re.MULTILINE):
            wanted.append(_HEARS_DEVICES)

        def ready() -> bool:
            said = log.read_text("utf-8")
            return process.poll() is not None or all(text in said for text in wanted)

        await until(ready, line, seen=self._logs)
        assert process.poll() is None, f"$ {line} &\n{self._logs()}"

    def _spawn(self, line: str) -> tuple[subprocess.Popen[bytes], Path]:
        log = self.directory / f"{len(self._jobs) + 1}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {line}"],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=self.directory,
                env=self._environment,
            )
        self._jobs.append((process, log))
        return process, log

    async def _end(self, number: int, how: signal.Signals) -> None:
        process, _ = self._jobs[number - 1]
        process.send_signal(how)
        await until(lambda: process.poll() is not None, f"the end of {process.args!r}", seen=self._logs)

    def _logs(self) -> str:
        return "\n".join(f"--- {process.args!r}\n{log.read_text('utf-8')}" for process, log in self._jobs)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, (process, _) in reversed([*enumerate(self._jobs, 1)]):
            if process.poll() is None:
                await self._end(number, signal.SIGTERM)
