"""drongo, a server of Pub/Sub's REST API by another hand, as a process: no deadlines, no filters, no permissions."""

from __future__ import annotations

import subprocess
import sys
from types import TracebackType
from typing import Self

import httpx

from tests.fakes.mosquitto import free_port
from tests.fakes.pubsub import PROJECT
from tests.waiting import DEADLINE_S, until_accepting


class Drongo:
    """`async with Drongo() as server`; `server.host` is for `PUBSUB_EMULATOR_HOST`."""

    def __init__(self) -> None:
        self._port = free_port()
        command = [sys.executable, "-m", "drongo.cli", "server", "--port", str(self._port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    @property
    def host(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        """Wait until it listens."""
        await until_accepting(self._process, [self._port], lambda: "")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None
    ) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    async def subscription(self, name: str, topic: str) -> None:
        """Create a subscription and its topic."""
        base = f"http://{self.host}/v1/projects/{PROJECT}"
        path = f"projects/{PROJECT}/topics/{topic}"
        async with httpx.AsyncClient(trust_env=False, timeout=DEADLINE_S) as client:
            (await client.put(f"{base}/topics/{topic}", json={})).raise_for_status()
            (await client.put(f"{base}/subscriptions/{name}", json={"topic": path})).raise_for_status()
