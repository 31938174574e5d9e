"""The broker that `iotcore` carries, rumqttd, for tests.

    async with Rumqttd(tmp_path) as broker, MqttClient(broker.url, "watcher", "a/#") as client:
        ...

It keeps everything in memory: after `restart` it knows no session and no retained message.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.fakes.mosquitto import free_port
from tests.waiting import until_accepting

MAX_PAYLOAD_BYTES = 1 << 20

_ROUTER = """\
id = 0

[router]
id = 0
max_connections = 64
max_outgoing_packet_count = 200
max_segment_size = 1048576
max_segment_count = 16
"""
_LISTENER = """
[{kind}.1]
name = "tests"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1

[{kind}.1.connections]
connection_timeout_ms = 5000
max_payload_size = {payload_bytes}
max_inflight_count = 100
{users}
"""


class Rumqttd:
    """A broker in its own process, on its own free port.

    Args:
        directory: where its configuration and its log go; it must exist.
        version: of MQTT: "5" or "3.1.1". Not both: its thread for 3.1.1 dies of the first message with properties.
        users: names and passwords; without any, everyone is let in.
    """

    def __init__(self, directory: Path, *, version: str = "5", users: dict[str, str] | None = None) -> None:
        self.port = free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self.version = version
        self.log_file = directory / "rumqttd.log"
        self._config_file = directory / "rumqttd.toml"
        pairs = [f'"{name}" = "{password}"' for name, password in (users or {}).items()]
        listener = _LISTENER.format(
            kind="v5" if version == "5" else "v4",
            port=self.port,
            payload_bytes=MAX_PAYLOAD_BYTES,
            users=f"auth = {{ {', '.join(pairs)} }}" if pairs else "",
        )
        self._config_file.write_text(_ROUTER + listener, "utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it and wait until it accepts connections."""
        self._process = self._spawn()
        try:
            await until_accepting(self._process, [self.port], self._said)
        except BaseException:
            await self.kill()
            raise

    async def kill(self) -> None:
        """End it; there is no other way, and it would save nothing. Nothing happens when it does not run."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            await asyncio.to_thread(process.wait)

    async def restart(self) -> None:
        """End it and start it on the same ports."""
        await self.kill()
        await self.start()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()

    def _spawn(self) -> subprocess.Popen[bytes]:
        # Below CRITICAL it logs every packet. -P: no folder of the directory we are in is the package.
        command = [sys.executable, "-P", "-m", "iotcore", "--config", str(self._config_file), "--log-level", "CRITICAL"]
        with self.log_file.open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log)

    def _said(self) -> str:
        return self.log_file.read_text("utf-8", "replace")
