"""A real RabbitMQ with its MQTT plugin, in a directory and on ports of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.fakes.certificates import Certificates
from tests.fakes.mosquitto import free_port
from tests.waiting import until_accepting, until_answer

# It starts in about ten seconds on a free machine.
DEADLINE_S = 240.0
_POLL_S = 0.1
_PROGRAM = "/usr/lib/rabbitmq/bin/rabbitmq-server"
_CONTROL = "/usr/lib/rabbitmq/bin/rabbitmqctl"
# It writes its registry of quorum queues half a second after a change, or later. If it is killed before, their files
# are not found, and they have no leader, for ever (docs/brokers.md). A copy tells whether the registry is up to date.
_IS_KEPT = """
Copy = dets:info(ra_directory_reverse, filename) ++ ".copy",
{ok, _} = file:copy(dets:info(ra_directory_reverse, filename), Copy),
case dets:open_file(copy, [{file, Copy}, {repair, false}, {access, read}]) of
    {ok, copy} -> dets:close(copy), true;
    {error, _} -> false
end.
"""


class RabbitMq:
    """A broker of AMQP 0-9-1 and MQTT 3.1.1 for user guest, password guest.

    Args:
        directory: where everything of it goes.
        certificates: for TLS.

    Attributes:
        mqtt_port, amqp_port, tls_port: on loopback; AMQP with TLS only if there are certificates.
    """

    def __init__(self, directory: Path, certificates: Certificates | None = None) -> None:
        self.mqtt_port, self.amqp_port, self.tls_port = free_port(), free_port(), free_port()
        self._certificates = certificates
        self._directory = directory
        self._epmd_port = free_port()
        self.log_file = directory / "out"
        self._process: subprocess.Popen[bytes] | None = None
        self._dist_port = free_port()

    @property
    def url(self) -> str:
        """Its address by AMQP."""
        return f"amqp://127.0.0.1:{self.amqp_port}"

    @property
    def port(self) -> int:
        """Its port by AMQP."""
        return self.amqp_port

    @property
    def mqtt_url(self) -> str:
        """Its address by MQTT."""
        return f"mqtt://127.0.0.1:{self.mqtt_port}"

    @property
    def process_group(self) -> int:
        """Of all its processes but the name server."""
        assert self._process is not None
        return self._process.pid

    async def control(self, *arguments: str) -> str:
        """What `rabbitmqctl` says; it must succeed."""
        command = [_CONTROL, "-q", "-n", self._node, *arguments]
        done = await asyncio.to_thread(
            subprocess.run, command, env=self._environment(), capture_output=True, check=False
        )
        assert done.returncode == 0, (done.stdout + done.stderr).decode()
        return done.stdout.decode()

    async def restart(self) -> None:
        """Kill it once it keeps its queues, and start it on what it kept."""
        await until_answer(self._kept, lambda kept: kept == "true", "which files its queues have to be on disk")
        await self._end()
        await self.__aenter__()

    async def restart_without_leaders(self) -> None:
        """Kill it before it keeps which files its quorum queues have, as it may in the seconds after they are made."""
        await self._end()
        (registry,) = self._directory.glob("mnesia/*/quorum/*/names.dets")
        registry.unlink()
        await self.__aenter__()

    async def __aenter__(self) -> Self:
        """Start it and wait until it takes MQTT."""
        self._process = self._spawn()
        try:
            await until_accepting(self._process, [self.amqp_port, self.mqtt_port], self._said, deadline_s=DEADLINE_S)
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def _kept(self) -> str:
        return (await self.control("eval", _IS_KEPT)).strip()

    def _spawn(self) -> subprocess.Popen[bytes]:
        if not Path(_PROGRAM).exists():
            raise RuntimeError("RabbitMQ is missing, and this test needs it: apt-get install rabbitmq-server")
        directory = self._directory
        (directory / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.amqp_port}\nmqtt.listeners.tcp.1 = 127.0.0.1:{self.mqtt_port}\n"
            + self._tls(),
            "utf-8",
        )
        (directory / "enabled_plugins").write_text("[rabbitmq_mqtt].\n", "utf-8")
        log = self.log_file.open("ab")
        with log:
            return subprocess.Popen(
                [_PROGRAM],
                cwd=directory,  # where Erlang leaves its dump of a crashed database
                env=self._environment(),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def _tls(self) -> str:
        if self._certificates is None:
            return ""
        files = {"cacertfile": "ca.pem", "certfile": "server.pem", "keyfile": "server.key"}
        keys = [f"ssl_options.{key} = {self._certificates.file(name)}" for key, name in files.items()]
        return "\n".join(
            [f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}", *keys, "ssl_options.verify = verify_peer", ""]
        )

    @property
    def _node(self) -> str:
        return f"edge-{self.mqtt_port}@localhost"

    def _environment(self) -> dict[str, str]:
        directory = self._directory
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_PID_FILE": str(directory / "pid"),
        }

    def _said(self) -> str:
        return self.log_file.read_text("utf-8")[-2000:]

    async def _end(self) -> None:
        """End its processes: the server's group, and the name server that it left behind."""
        process, self._process = self._process, None
        if process is None:
            return
        os.killpg(process.pid, signal.SIGKILL)
        await asyncio.to_thread(process.wait)
        epmd = shutil.which("epmd")
        if epmd is not None:
            environment = {**os.environ, "ERL_EPMD_ADDRESS": "127.0.0.1"}
            command = [epmd, "-port", str(self._epmd_port), "-kill"]
            for _ in range(50):
                done = await asyncio.to_thread(
                    subprocess.run, command, env=environment, capture_output=True, check=False
                )
                if done.returncode == 0:
                    break
                await asyncio.sleep(_POLL_S)
