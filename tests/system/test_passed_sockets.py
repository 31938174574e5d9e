"""Sockets that systemd holds and passes on: nobody is refused while the agent is started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeagent.errors import ListenFailed
from tests.fakes.activated_program import ActivatedAgent
from tests.fakes.http_agent import post
from tests.fakes.mosquitto import free_port
from tests.fakes.mqtt_bytes import MQTT_311, connect
from tests.waiting import DEADLINE_S

NOBODY = "mqtt://127.0.0.1:9"
CONNACK = 0x20


@pytest.fixture
def held(tmp_path: Path) -> Iterator[dict[str, socket.socket]]:
    """What systemd listens on."""
    with contextlib.ExitStack() as stack:
        sockets = {}
        for name in ("http", "mqtt"):
            sockets[name] = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        unix = sockets["socket"] = stack.enter_context(socket.socket(socket.AF_UNIX))
        unix.bind(str(tmp_path / "held.sock"))
        unix.listen()
        yield sockets


def agent_with(tmp_path: Path, held: dict[str, socket.socket]) -> ActivatedAgent:
    http, mqtt = (f"127.0.0.1:{held[name].getsockname()[1]}" for name in ("http", "mqtt"))
    path = tmp_path / "held.sock"
    tables = {"http": f'socket = "{path}"', "mqtt": f'listen = "{mqtt}"'}
    agent = ActivatedAgent(tmp_path / "agent", NOBODY, held, listen=http, **tables)
    agent.socket = path
    return agent


class Client:
    """A connection to one of the held sockets, made at once or not at all."""

    def __init__(self, held: socket.socket) -> None:
        self._sock = socket.socket(held.family)
        self._sock.settimeout(DEADLINE_S)
        self._sock.connect(held.getsockname())

    async def ask(self, request: bytes) -> bytes:
        """Send, and wait for the beginning of an answer."""

        def work() -> bytes:
            with self._sock:
                self._sock.sendall(request)
                return self._sock.recv(4096)

        return await asyncio.to_thread(work)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
async def test_who_connects_while_the_agent_is_not_there_waits_and_is_served_by_the_next(
    ending: signal.Signals, tmp_path: Path, held: dict[str, socket.socket]
) -> None:
    agent = agent_with(tmp_path, held)
    await agent.start()
    assert (await Client(held["http"]).ask(post())).startswith(b"HTTP/1.1 202 ")
    await agent.stop(ending)
    over_tcp, over_unix, device = (Client(held[name]) for name in ("http", "socket", "mqtt"))
    answers = [over_tcp.ask(post("boiler-2")), over_unix.ask(post("boiler-3")), device.ask(connect(MQTT_311))]
    agent.spawn()
    by_tcp, by_unix, connack = await asyncio.gather(*answers)
    assert by_tcp.startswith(b"HTTP/1.1 202 ")
    assert by_unix.startswith(b"HTTP/1.1 202 ")
    assert connack[0] == CONNACK
    listed = (await agent.get("/v1/stats"))["http"]["addresses"]
    assert sorted(listed) == sorted([f"127.0.0.1:{held['http'].getsockname()[1]}", str(tmp_path / "held.sock")])
    assert await agent.stop() == 0


async def test_nobody_is_refused_while_the_agent_is_started_again_and_again(
    tmp_path: Path, held: dict[str, socket.socket]
) -> None:
    agent = agent_with(tmp_path, held)
    over = asyncio.Event()

    async def clients(name: str, request: bytes) -> int:
        served = 0
        while not over.is_set():
            client = Client(held[name])  # raises ConnectionRefusedError, or FileNotFoundError
            with contextlib.suppress(ConnectionError):  # what it was asked while it ended may go unanswered
                served += bool(await client.ask(request))
        return served

    work = {"http": post(), "socket": post(), "mqtt": connect(MQTT_311)}
    connecting = [asyncio.create_task(clients(name, request)) for name, request in work.items()]
    for _ in range(3):
        await agent.start()
        await agent.stop()
    await agent.start()
    over.set()
    assert all(await asyncio.gather(*connecting))
    await agent.stop()


async def test_a_socket_of_another_address_than_the_configured_one_is_refused(
    tmp_path: Path, held: dict[str, socket.socket]
) -> None:
    agent = agent_with(tmp_path, held)
    port = held["http"].getsockname()[1]
    text = agent.config_file.read_text("utf-8")
    agent.config_file.write_text(text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{free_port()}"), "utf-8")
    agent.spawn()
    assert await agent.exit_code() == ListenFailed.exit_code
    assert f"127.0.0.1:{port}: systemd passes this socket as http, but http.listen does not name it" in agent.log


async def test_a_name_that_no_listener_has_is_refused(tmp_path: Path, held: dict[str, socket.socket]) -> None:
    held["edgeagent-http.socket"] = held.pop("http")
    agent = ActivatedAgent(tmp_path / "agent", NOBODY, held, listen="")
    agent.spawn()
    assert await agent.exit_code() == ListenFailed.exit_code
    assert "set FileDescriptorName= of its .socket unit to one of http, mqtt, socket" in agent.log


async def test_what_was_passed_to_a_parent_is_not_ours(tmp_path: Path) -> None:
    agent = ActivatedAgent(tmp_path / "agent", NOBODY, {}, listen="")
    agent.module = "edgeagent"
    agent.environment = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "3"}
    await agent.start()
    assert await agent.stop() == 0
