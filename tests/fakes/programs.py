"""The real commands as real processes: an agent and a dispatcher, each in a directory of the test's."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from edgeagent.cli.client import AgentClient
from edgeagent.errors import AgentUnreachable, CommandFailed
from tests.waiting import DEADLINE_S, until, until_answer

RULE = """
[[rule]]
name = "overheat"
source = "boiler-*"
namespace = "plant"
template = "inspect"
arguments = { temp = "body.temp", device = "source" }
filters.data = [{ path = "body.temp", type = "number", comparator = ">=", value = ["90"] }]
"""


_started: list[subprocess.Popen[bytes]] = []


def children() -> set[int]:
    """The processes that this one has started, and that have not ended."""
    found: set[int] = set()
    for thread in os.listdir("/proc/self/task"):  # noqa: PTH208  names are wanted
        with contextlib.suppress(OSError):  # it has ended meanwhile
            found.update(map(int, Path(f"/proc/self/task/{thread}/children").read_text("ascii").split()))
    return found


def end_programs(before: set[int]) -> None:
    """End what a failed test left running: agents and dispatchers, and other children that were not there before.

    A program with a session of its own is left alone: it may be a broker that several tests share.
    """
    while _started:
        process = _started.pop()
        if process.poll() is None:
            process.kill()
            process.wait()
    for pid in children() - before:
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(pid) != pid:
                os.kill(pid, signal.SIGTERM)  # and it ends its own


class Program:
    """`edgeagent COMMAND -c FILE`, its log in a file beside the configuration. Starting it again appends.

    `module`: what is started instead of the command line's entry. `environment`: what it has beside the test's.
    `descriptors`: which of the test's it inherits.
    """

    module = "edgeagent"

    def __init__(self, command: str, directory: Path, config: str) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.config_file = directory / f"{command}.toml"
        self.config_file.write_text(config, "utf-8")
        self.environment: dict[str, str] = {}
        self.descriptors: list[int] = []
        self._command = command
        self._log_file = directory / f"{command}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """Everything it has logged."""
        return self._log_file.read_text("utf-8") if self._log_file.exists() else ""

    def tail(self) -> str:
        """The end of its log, under its directory's name."""
        return f"--- {self.directory.name}\n{self.log[-4000:]}"

    @property
    def pid(self) -> int:
        """The process that runs."""
        assert self._process is not None
        return self._process.pid

    def spawn(self) -> None:
        """Start it, without waiting for anything."""
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self.module, self._command, "-c", str(self.config_file)],
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONWARNINGS": "error", **self.environment},
                pass_fds=self.descriptors,
            )
        _started.append(self._process)

    async def exit_code(self) -> int:
        """Wait for its end."""
        process = self._process
        assert process is not None
        await until(lambda: process.poll() is not None, f"the end of {self._command}", seen=self.tail)
        return int(process.returncode)

    def send_signal(self, number: int) -> None:
        """Signal it, without waiting for anything."""
        assert self._process is not None
        self._process.send_signal(number)

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal it and wait for its end; returns the exit code."""
        self.send_signal(number)
        code = await self.exit_code()
        self._process = None
        return code

    async def kill(self) -> None:
        """End it as a power cut does."""
        await self.stop(signal.SIGKILL)

    async def logged(self, event: str, count: int = 1) -> None:
        """Wait until it has logged an event (its stable key) so many times."""
        await until(lambda: self.log.count(f"event={event}") >= count, f"{event} x{count} in the log", seen=self.tail)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it if it still runs."""
        if self._process is not None and self._process.poll() is None:
            await self.stop()


class Agent(Program):
    """`edgeagent run` with a state directory and its Unix socket.

    Args:
        directory: where everything of it goes.
        uplink: the broker's URL.
        local: the local broker's URL; subscribes to `sensors/+/data` with level 1 as the source. None: no local broker.
        rules: the rules, as TOML.
        listen: where it listens on TCP; nowhere by default.
        tables: keys of tables, such as `{"uplink": 'settle = "broker"'}`.
    """

    def __init__(
        self,
        directory: Path,
        uplink: str,
        *,
        local: str | None = None,
        rules: str = RULE,
        listen: str = "",
        tables: dict[str, str] | None = None,
    ) -> None:
        keys = {
            "agent": f'id = "gw-1"\nstate_dir = "{directory}/state"',
            "uplink": f'url = "{uplink}"',
            "http": f'listen = "{listen}"',
            "log": 'format = "text"',
        }
        if local is not None:
            keys["local"] = f'url = "{local}"\n[[local.subscribe]]\ntopic = "sensors/+/data"\nsource = "{{1}}"'
        extra = dict(tables or {})
        parts = [f"[{name}]\n{extra.pop(name, '')}\n{text}\n" for name, text in keys.items()]
        parts += [f"[{name}]\n{text}\n" for name, text in extra.items()]
        super().__init__("run", directory, "\n".join(parts) + rules)
        self.socket = directory / "state" / "agent.sock"

    async def start(self) -> None:
        """Start it and wait until it accepts events."""
        self.spawn()
        await self.ready()

    async def ready(self) -> None:
        """Wait until it accepts events."""
        process = self._process
        assert process is not None

        async def refusal() -> object:
            try:
                await self.get("/readyz")
            except AgentUnreachable as exc:
                assert process.poll() is None, f"the agent has ended: {self.log}"
                return exc
            return None

        await until_answer(refusal, lambda refused: refused is None, "the agent to be ready")

    async def get(self, path: str) -> Any:
        """The decoded answer of a GET."""
        return (await self.request("GET", path))[1]

    async def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
        """A request on a connection of its own; errors as `AgentClient` raises them."""

        def work() -> tuple[int, Any]:
            with AgentClient.unix(self.socket) as client:
                return client.request(
                    method, path, body, {key.replace("_", "-"): text for key, text in headers.items()}
                )

        return await asyncio.to_thread(work)

    async def send(self, source: str, data: Any, **headers: str) -> dict[str, Any]:
        """Post one event; returns its member of `accepted`."""
        _, answer = await self.request("POST", f"/v1/events/{source}", json.dumps(data).encode(), **headers)
        accepted: dict[str, Any] = answer["accepted"][0]
        return accepted

    async def triggered(self, source: str, data: Any, **headers: str) -> str:
        """Post one event that one rule wants; returns the correlation id."""
        accepted = await self.send(source, data, **headers)
        correlation_id: str = accepted["triggers"][0]["correlation_id"]
        return correlation_id

    async def state(self, correlation_id: str, *wanted: str) -> dict[str, Any]:
        """Wait until a trigger is in one of these states; returns the report."""

        async def report() -> dict[str, Any]:
            with contextlib.suppress(CommandFailed):
                found: dict[str, Any] = await self.get(f"/v1/triggers/{correlation_id}")
                return found
            return {}

        def good(report: dict[str, Any]) -> bool:
            return report.get("state") in wanted

        return await until_answer(report, good, f"{correlation_id} to be in {wanted}", more=self.tail)

    async def account(self, **wanted: int) -> dict[str, Any]:
        """Wait until the account (triggers and events together) says this; returns the statistics."""

        def good(stats: dict[str, Any]) -> bool:
            counts = {**stats["account"]["events"], **stats["account"]["triggers"]}
            assert stats["account"]["balanced"], stats
            return all(counts[name] == number for name, number in wanted.items())

        return await self.stats(good, f"the account {wanted}")

    async def stats(
        self, good: Callable[[dict[str, Any]], object], what: str, *, deadline_s: float = DEADLINE_S
    ) -> dict[str, Any]:
        """Wait until the statistics say something; returns them."""
        return await until_answer(lambda: self.get("/v1/stats"), good, what, more=self.tail, deadline_s=deadline_s)

    async def command(self, *arguments: str) -> tuple[int, str, str]:
        """Run another command with this agent's configuration: exit code, stdout, stderr."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "edgeagent",
            *arguments,
            "-c",
            str(self.config_file),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    async def __aenter__(self) -> Self:
        """Start it."""
        await self.start()
        return self


class Dispatcher(Program):
    """`edgeagent dispatch` with the dry-run engine. Use as an async context manager: it is ready when it subscribed."""

    def __init__(self, directory: Path, broker: str, tables: str = "") -> None:
        config = f'[broker]\nurl = "{broker}"\ninstance = "{directory.name}"\n[engine]\nkind = "dry-run"\n{tables}\n'
        super().__init__("dispatch", directory, config + '[log]\nformat = "text"\n')

    async def __aenter__(self) -> Self:
        """Start it and wait until it takes triggers."""
        self.spawn()
        await self.logged("broker_connected", self.log.count("event=broker_connected") + 1)
        return self
