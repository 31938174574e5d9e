"""The processes of a measurement: programs that are started and ended, what they use, and load processes."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

import msgspec

from edgeagent.cli.client import AgentClient
from edgeagent.errors import AgentUnreachable, CommandFailed
from tests.fakes.mosquitto import free_port

DEADLINE_S = 90.0
_ANSWER_S = 900.0  # a long load takes its time
_POLL_S = 0.01


class Usage(NamedTuple):
    """What a process has used since it was started: processor time, and bytes sent to the disk."""

    cpu_s: float
    written_bytes: int


class Program:
    """A process whose output goes to a file. As a context manager it is started, and ended at last."""

    def __init__(self, command: Sequence[str | Path], log: Path, is_ready: Callable[[], bool]) -> None:
        self._command = command
        self._log = log
        self._is_ready = is_ready
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id."""
        if self._process is None:
            raise RuntimeError(f"{self._command} does not run")
        return self._process.pid

    @property
    def output(self) -> str:
        """What it has said since it was started."""
        return self._log.read_text("utf-8", "replace")

    def start(self) -> None:
        """Start it and wait until it is ready."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        deadline_s = time.monotonic() + DEADLINE_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                sys.exit(f"{' '.join(map(str, self._command))} did not become ready:\n{self.output[-4000:]}")
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """End it as an operator does."""
        self._end(subprocess.Popen.terminate)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._end(subprocess.Popen.kill)

    def usage(self) -> Usage:
        """What it has used so far."""
        place = Path(f"/proc/{self.pid}")
        user, system = (place / "stat").read_text("ascii").rpartition(")")[2].split()[11:13]
        written = next(line for line in (place / "io").read_text("ascii").splitlines() if line.startswith("write_b"))
        return Usage((int(user) + int(system)) / os.sysconf("SC_CLK_TCK"), int(written.split()[1]))

    def peak_mib(self) -> float:
        """The most resident memory that it has had."""
        lines = Path(f"/proc/{self.pid}/status").read_text("ascii").splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024

    def _end(self, how: Callable[[subprocess.Popen[bytes]], None]) -> None:
        process, self._process = self._process, None
        if process is not None:
            how(process)
            process.wait(DEADLINE_S)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def mosquitto() -> str:
    """The program; the measurement ends without it."""
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        sys.exit("the benchmarks need Mosquitto: apt-get install mosquitto")
    return program


class Broker(Program):
    """A Mosquitto on a port of its own; `lines` are added to its configuration."""

    def __init__(self, directory: Path, *lines: str) -> None:
        directory.mkdir()
        self.port = free_port()
        file = directory / "mosquitto.conf"
        config = [
            # As root it would become another user, who cannot write here.
            *(["user root"] if os.geteuid() == 0 else []),
            "log_dest stderr",
            "log_type error",
            "log_type warning",
            "set_tcp_nodelay true",
            "persistence true",
            f"persistence_location {directory}/",
            "max_queued_messages 0",
            *lines,
            f"listener {self.port} 127.0.0.1",
            "allow_anonymous true",
        ]
        file.write_text("\n".join([*config, ""]), "utf-8")
        super().__init__([mosquitto(), "-c", file], directory / "log", self._accepts)

    def _accepts(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), DEADLINE_S):
            return True
        return False


class Agent(Program):
    """`edgeagent run`; ready when it takes events and all its `links` to brokers are up."""

    def __init__(self, directory: Path, config: str, *, links: int) -> None:
        self.state = directory / "state"
        file = directory / "agent.toml"
        file.write_text(
            f'[agent]\nid = "gw-042"\nstate_dir = "{self.state}"\n{config}\n[log]\nformat = "text"\n', "utf-8"
        )
        self._links = links
        command = [sys.executable, "-m", "edgeagent", "run", "-c", str(file)]
        super().__init__(command, directory / "agent.log", self._takes_events)

    def _takes_events(self) -> bool:
        if self.output.count("event=link_up") < self._links:
            return False
        with contextlib.suppress(AgentUnreachable, CommandFailed):
            with AgentClient.unix(self.state / "agent.sock") as client:
                client.request("GET", "/readyz")
            return True
        return False


class Load:
    """A load process (see `benchmarks.load`). As a context manager it is ready, and ended at last."""

    def __init__(self, module: str, *arguments: str | int) -> None:
        self._command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
        self._name = module
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, **request: Any) -> dict[str, Any]:
        """Ask, and wait for the answer."""
        self.tell(**request)
        return self.hear()

    def tell(self, **request: Any) -> None:
        """Ask; the answer is to be heard later."""
        stdin, _ = self._pipes()
        stdin.write(msgspec.json.encode(request) + b"\n")
        stdin.flush()

    def hear(self) -> dict[str, Any]:
        """The next answer."""
        _, stdout = self._pipes()
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            if not selector.select(_ANSWER_S):
                sys.exit(f"{self._name} did not answer within {_ANSWER_S:g} s")
        line = stdout.readline()
        if not line:
            sys.exit(f"{self._name} ended")
        result: dict[str, Any] = msgspec.json.decode(line)
        return result

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        if self._process is None or self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError(f"{self._name} does not run")
        return self._process.stdin, self._process.stdout

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            self.hear()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()
