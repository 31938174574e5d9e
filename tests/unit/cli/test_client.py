from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from edgeagent.cli.client import AgentClient, AgentRefused, batches
from edgeagent.errors import AgentUnreachable, CommandFailed, Draining, OutboxFull
from edgeagent.httpapi.timeouts import Timeouts
from edgeagent.ports.call import Call
from edgeagent.ports.operator import NoArguments
from tests.fakes.device_port import CORRELATION_ID, report
from tests.fakes.http_agent import free_listener, serving
from tests.fakes.mosquitto import free_port
from tests.fakes.turned_clock import TurnedLoop
from tests.waiting import DEADLINE_S, until

T = TypeVar("T")


async def call(client: AgentClient, work: Callable[[AgentClient], T]) -> T:
    """Use a blocking client beside the loop that serves it, and close it."""

    def run() -> T:
        with client:
            return work(client)

    return await asyncio.to_thread(run)


@pytest.mark.slow
async def test_a_command_talks_to_the_agent_over_its_socket(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    async with serving(socket_path=path) as agent:
        agent.device.reports[CORRELATION_ID] = report()
        assert await call(AgentClient.unix(path), lambda c: c.request("GET", "/v1/dead")) == (200, {"dead": []})
        found = await call(AgentClient.unix(path), lambda c: c.trigger(CORRELATION_ID, 0.5))
        assert found is not None
        assert found["rule"] == "overheat"
        assert await call(AgentClient.unix(path), lambda c: c.trigger("0" * 32)) is None


async def test_an_answer_of_another_version_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    async with serving(socket_path=path):
        other = msgspec.defstruct("Other", [("letters", list[str])])
        asked = Call("dead_letters", "GET", "/v1/dead", NoArguments, other)
        with pytest.raises(CommandFailed, match=r"dead_letters: .* another version; restart it after an update"):
            await call(AgentClient.unix(path), lambda c: c.perform(asked, NoArguments()))


async def test_events_are_sent_as_one_batch_and_their_ids_come_back() -> None:
    async with serving() as agent:
        client = AgentClient.tcp("127.0.0.1", agent.port)
        accepted = await call(client, lambda c: c.send_events("hall/2", [b'{"a":\r\n 1}', b"2"]))
        assert [event.data for event in agent.device.events] == [b'{"a":   1}', b"2"]
        assert [member["id"] for member in accepted] == [event.id for event in agent.device.events]
        assert accepted[0]["id"].removesuffix("-0") == accepted[1]["id"].removesuffix("-1")


async def test_a_line_cannot_smuggle_members_into_an_event() -> None:
    async with serving() as agent:
        client = AgentClient.tcp("127.0.0.1", agent.port)
        with pytest.raises(CommandFailed, match="event 2 of 2 is not JSON"):
            await call(client, lambda c: c.send_events("s", [b"1", b'1,"id":"x"']))
        assert agent.device.events == []


async def test_a_problem_becomes_an_error_with_its_detail_and_the_time_to_come_again() -> None:
    async with serving() as agent:
        agent.device.failure = OutboxFull(10, 10)
        with pytest.raises(AgentRefused, match=r"the outbox is full.*\(503\)") as caught:
            await call(AgentClient.tcp("127.0.0.1", agent.port), lambda c: c.send_events("s", [b"1"]))
        assert (caught.value.status, caught.value.retry_after_s) == (503, 5)
        agent.device.failure = Draining()
        with pytest.raises(AgentRefused) as caught:
            await call(AgentClient.tcp("127.0.0.1", agent.port), lambda c: c.request("POST", "/v1/events/s", b"1"))
        assert caught.value.retry_after_s == 10


async def test_the_token_is_sent(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    async with serving(token_file=str(tmp_path / "token")) as agent:
        client = AgentClient.tcp("127.0.0.1", agent.port, "t")
        assert (await call(client, lambda c: c.request("GET", "/v1/stats")))[0] == 200
        with pytest.raises(AgentRefused, match="Bearer"):
            await call(AgentClient.tcp("127.0.0.1", agent.port), lambda c: c.request("GET", "/v1/stats"))


async def test_a_kept_connection_that_the_agent_closed_meanwhile_is_opened_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    time = TurnedLoop(monkeypatch)
    asked, closed = threading.Event(), threading.Event()

    def twice(client: AgentClient) -> list[int]:
        first, _ = client.request("GET", "/healthz")
        asked.set()
        assert closed.wait(DEADLINE_S)
        return [first, client.request("GET", "/healthz")[0], len(client.send_events("s", [b"1"]))]

    async with serving() as agent:
        [clients] = agent.server._clients
        working = asyncio.create_task(call(AgentClient.tcp("127.0.0.1", agent.port), twice))
        await until(asked.is_set)
        assert clients._connections, "it is kept"
        time.turn(Timeouts().idle_s + 1)
        await until(lambda: not clients._connections, "the connection to be closed")
        closed.set()
        assert await working == [200, 200, 1]


def test_nobody_there_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(AgentUnreachable, match=r"no agent answers on .*agent\.sock: no such file.*edgeagent run"):
        AgentClient.unix(tmp_path / "agent.sock").request("GET", "/healthz")
    port = free_port()
    with pytest.raises(AgentUnreachable, match=f"127.0.0.1:{port}: connection refused"):
        AgentClient.tcp("127.0.0.1", port).request("GET", "/healthz")


@contextmanager
def one_answer(answer: bytes) -> Iterator[int]:
    """A server that gives one answer to whatever it is sent, and closes; its port."""

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(answer)

    with free_listener() as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield listener.getsockname()[1]
        thread.join(DEADLINE_S)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
        b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n{}",
    ],
)
def test_something_else_on_the_address_is_no_agent(answer: bytes) -> None:
    with one_answer(answer) as port, AgentClient.tcp("127.0.0.1", port) as client, pytest.raises(AgentUnreachable):
        client.request("GET", "/healthz")


def test_lines_are_sent_as_soon_as_they_are_there() -> None:
    read_end, write_end = os.pipe()
    reading = batches(read_end, 100)
    try:
        os.write(write_end, b"1\n2\n3")
        assert next(reading) == [b"1", b"2"]
        os.write(write_end, b"4\n\n")
        assert next(reading) == [b"34"]
        os.write(write_end, b"\n5")
    finally:
        os.close(write_end)
    assert list(reading) == [[b"5"]]
    os.close(read_end)


def batches_of(text: bytes, tmp_path: Path, max_bytes: int) -> list[list[bytes]]:
    """The batches that a file is cut into."""
    (tmp_path / "events").write_bytes(text)
    fd = os.open(tmp_path / "events", os.O_RDONLY)
    try:
        return list(batches(fd, max_bytes))
    finally:
        os.close(fd)


def test_batches_have_at_most_100_lines_and_the_bytes_allowed(tmp_path: Path) -> None:
    assert [len(batch) for batch in batches_of(b"1\n" * 250, tmp_path, 1000)] == [100, 100, 50]
    assert batches_of(b"aaa\nbbb\nccc\n", tmp_path, 6) == [[b"aaa", b"bbb"], [b"ccc"]]


@pytest.mark.parametrize("text", [b"1\n" + b"x" * 1001 + b"\n", b"1\n" + b"x" * 200_000])
def test_a_line_that_is_too_long_is_named(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(CommandFailed, match="line 2 has more than 1000 bytes"):
        batches_of(text, tmp_path, 1000)
