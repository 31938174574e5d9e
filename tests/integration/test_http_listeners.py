from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from edgeagent.errors import ListenFailed
from edgeagent.httpapi.server import HttpServer
from tests.fakes.device_port import FakeDevice, FakeOperator, FakeWatch
from tests.fakes.http_agent import free_listener, get, serving


def a_server() -> HttpServer:
    """A server that listens nowhere yet."""
    return HttpServer(FakeDevice(), FakeOperator(), FakeWatch(), max_event_bytes=1000, max_connections=4)


async def test_the_unix_socket_has_mode_0660_and_offers_the_operators_calls(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    async with serving(socket_path=path) as agent:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert agent.server.addresses == [f"127.0.0.1:{agent.port}", str(path)]
        wire = await agent.connect_unix(path)
        assert (await (await wire.send(get("/v1/dead"))).reply()).json == {"dead": []}
        assert (await agent.request("GET", "/v1/outbox/overview")).status == 404
    assert not path.exists()


async def test_the_socket_file_of_an_agent_that_is_gone_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stale:
        stale.bind(str(path))
    async with serving(socket_path=path) as agent:
        wire = await agent.connect_unix(path)
        assert (await (await wire.send(get("/healthz"))).reply()).status == 200


async def test_the_socket_of_a_living_agent_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    async with serving(socket_path=path) as agent:
        second = a_server()
        with pytest.raises(ListenFailed, match=r"agent\.sock: address already in use: another agent runs, or set http"):
            await second.start_unix(path)
        await second.close(0)
        wire = await agent.connect_unix(path)
        assert (await (await wire.send(get("/healthz"))).reply()).status == 200


async def test_a_file_that_is_no_socket_is_never_removed(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    path.write_text("precious")
    with pytest.raises(ListenFailed, match=r"exists and is not a socket: remove it, or set http\.socket"):
        await a_server().start_unix(path)
    assert path.read_text() == "precious"


async def test_closing_never_removes_the_socket_of_a_successor(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    server = a_server()
    await server.start_unix(path)
    path.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as successor:
        successor.bind(str(path))
        await server.close(0)
        assert path.exists()


@pytest.mark.parametrize("name", ["nowhere/agent.sock", "x" * 200])
async def test_a_socket_that_cannot_be_made_is_an_error_that_names_the_key(tmp_path: Path, name: str) -> None:
    with pytest.raises(ListenFailed, match=r"set http\.socket"):
        await a_server().start_unix(tmp_path / name)


async def test_a_port_in_use_is_an_error_that_says_what_to_do() -> None:
    with free_listener() as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenFailed) as caught:
            await a_server().start_tcp("127.0.0.1", port)
    expected = f"127.0.0.1:{port}: address already in use: another agent runs, or set http.listen"
    assert str(caught.value) == expected
