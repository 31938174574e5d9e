"""An agent and a dispatcher from packages, in a chroot, started as their units would start them."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import Any, Self

from tests.fakes.chroot import Chroot
from tests.fakes.programs import RULE
from tests.waiting import until

HOT = '{"temp": 97.1}'
# Python under an emulator takes its time to start.
DEADLINE_S = 240.0


class Gateway:
    """The agent of a chroot, with a configuration of the test's and the directories that systemd would make.

    `broker`: the uplink's URL.
    """

    def __init__(self, machine: Chroot, broker: str) -> None:
        self.machine = machine
        self._environment = {"STATE_DIRECTORY": "/var/lib/edgeagent", "RUNTIME_DIRECTORY": "/run/edgeagent"}
        self._log = machine.root / "root/agent.log"
        self._process: subprocess.Popen[bytes] | None = None
        config = f'[agent]\nid = "gw-1"\n[uplink]\nurl = "{broker}"\naccept_dry_run = true\n'
        (machine.root / "etc/edgeagent/config.toml").write_text(
            f'{config}[http]\nlisten = ""\n[log]\nformat = "text"\n{RULE}', "utf-8"
        )
        for directory in ("/var/lib/edgeagent", "/run/edgeagent"):
            machine.done("install", "-d", "-o", "edgeagent", "-g", "edgeagent", "-m", "0750", directory)

    async def __aenter__(self) -> Self:
        """Start it, and wait until it accepts events."""
        starts = self._starts() + 1
        process = self.machine.spawn("edgeagent", "run", user="edgeagent", log=self._log, **self._environment)
        self._process = process

        def started() -> bool:
            assert process.poll() is None, self.log
            return self._starts() == starts

        await until(started, "the agent's start", seen=lambda: self.log, deadline_s=DEADLINE_S)
        self.command("status")  # once it answers, it also knows what SIGTERM means
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop it as systemd does."""
        process = self._process
        assert process is not None
        process.send_signal(signal.SIGTERM)
        await until(lambda: process.poll() is not None, "the agent's end", deadline_s=DEADLINE_S)
        assert process.returncode == 0, self.log

    @property
    def log(self) -> str:
        """What it has logged, over all its starts."""
        return self._log.read_text("utf-8") if self._log.exists() else ""

    def _starts(self) -> int:
        return self.log.count("event=agent_started")

    def command(self, *arguments: str) -> str:
        """Run another command of edgeagent as root; returns what it printed."""
        return self.machine.done("edgeagent", *arguments, **self._environment)

    def emit(self, source: str = "boiler-1") -> str:
        """Send an event; returns the correlation id of its trigger."""
        (accepted,) = map(json.loads, self.command("emit", "--json", source, HOT).splitlines())
        correlation_id: str = accepted["triggers"][0]["correlation_id"]
        return correlation_id

    def waiting(self) -> list[dict[str, Any]]:
        """What is still to be sent."""
        return [json.loads(line) for line in self.command("outbox", "ls", "--json").splitlines()]

    async def succeeded(self, correlation_id: str) -> None:
        """Wait until the rehearsal has come to its end."""

        def course() -> str:
            return self.command("where", correlation_id)

        await until(lambda: "succeeded" in course(), "the end of the rehearsal", seen=course, deadline_s=DEADLINE_S)

    async def drained(self) -> None:
        """Wait until everything was answered."""
        await until(lambda: not self.waiting(), "an empty outbox", seen=lambda: self.log, deadline_s=DEADLINE_S)


class Engine:
    """The dispatcher of a chroot, rehearsing."""

    def __init__(self, machine: Chroot, broker: str) -> None:
        self._machine = machine
        self._log = machine.root / "root/dispatch.log"
        self._process: subprocess.Popen[bytes] | None = None
        config = f'[broker]\nurl = "{broker}"\n[engine]\nkind = "dry-run"\n[log]\nformat = "text"\n'
        (machine.root / "etc/edgeagent/dispatch.toml").write_text(config, "utf-8")

    async def __aenter__(self) -> Self:
        """Start it, and wait until it takes triggers."""
        process = self._machine.spawn("edgeagent", "dispatch", user="nobody", log=self._log)
        self._process = process

        def log() -> str:
            return self._log.read_text("utf-8")

        def connected() -> bool:
            assert process.poll() is None, log()
            return "event=broker_connected" in log()

        await until(connected, "the dispatcher at the broker", seen=log, deadline_s=DEADLINE_S)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop it as systemd does."""
        process = self._process
        assert process is not None
        process.send_signal(signal.SIGTERM)
        await until(lambda: process.poll() is not None, "the dispatcher's end", deadline_s=DEADLINE_S)
        assert process.returncode == 0, self._log.read_text("utf-8")
