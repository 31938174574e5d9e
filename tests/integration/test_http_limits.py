from __future__ import annotations

import socket
import struct
from pathlib import Path

import pytest

from edgeagent.httpapi.budget import MAX_REQUEST_BYTES
from tests.fakes.device_port import CORRELATION_ID
from tests.fakes.http_agent import HOST, Agent, get, post, serving
from tests.waiting import until

RESET = struct.pack("ii", 1, 0)


async def test_one_connection_too_many_is_told_to_come_again_while_all_are_busy(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving(max_connections=2) as agent:
        agent.device.gate.clear()
        first, second = await agent.connect(), await agent.connect()
        for wire in (first, second):
            await wire.send(post())
        await agent.device.until_waiting(2)
        third = await agent.connect()
        reply = await third.reply()
        assert (reply.status, reply.headers["retry-after"], reply.headers["connection"]) == (503, "1", "close")
        assert await third.rest() == b""
        agent.device.gate.set()
        for wire in (first, second):
            assert (await wire.reply()).status == 202
        assert (await (await second.send(get("/healthz"))).reply()).status == 200
    assert [getattr(record, "event", "") for record in caplog.records].count("http_connections_full") == 1


async def test_idle_connections_lock_nobody_out_the_oldest_gives_way(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(max_connections=2) as agent:
        oldest, other = await agent.connect(), await agent.connect()
        for wire in (oldest, other):
            assert (await (await wire.send(get("/healthz"))).reply()).status == 200
        [clients] = agent.server._clients
        for client in clients._connections:
            assert client.idle_since is not None
            client.idle_since -= 10  # as if they had been so for a while
        assert (await agent.request("POST", "/v1/events/s", b"1")).status == 202
        assert await oldest.rest() == b""
        assert (await (await other.send(get("/healthz"))).reply()).status == 200
    assert "http_connections_full" not in {getattr(record, "event", "") for record in caplog.records}


async def test_clients_that_wait_for_a_trigger_give_way_when_all_places_are_taken() -> None:
    async with serving(max_connections=2) as agent:
        wires = [await agent.connect() for _ in range(2)]
        for number, wire in enumerate(wires, 1):
            await wire.send(get(f"/v1/triggers/{CORRELATION_ID}?wait=300"))
            await agent.device.until_waiting(number)
        [clients] = agent.server._clients
        for client in clients._connections:
            assert client.receiving_since is not None
            client.receiving_since -= 10  # as if they had waited for a while
        assert (await agent.request("POST", "/v1/events/s", b"1")).status == 202
        await agent.device.until_waiting(1)
        reply = await wires[0].reply()
        assert (reply.status, reply.headers["retry-after"], reply.headers["connection"]) == (503, "1", "close")
        assert await wires[0].rest() == b""


async def test_what_does_not_fit_the_memory_for_requests_is_told_to_come_again() -> None:
    async with serving() as agent:
        agent.server._budget.occupy(MAX_REQUEST_BYTES - (MAX_REQUEST_BYTES >> 2))
        wire = await agent.connect()
        head = b"POST /v1/events HTTP/1.1\r\n" + HOST + b"Content-Type: application/x-ndjson\r\n"
        agent.server._budget.occupy(16 << 10)  # now only small requests fit
        assert (await (await wire.send(post())).reply()).status == 202
        lines = b'{"source":"s","data":1}\n' * 600
        reply = await (await wire.send(head + b"Content-Length: %d\r\n\r\n%b" % (len(lines), lines))).reply()
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        assert (await (await wire.send(post())).reply()).status == 202
        assert len(agent.device.events) == 2


async def test_a_request_holds_its_room_until_it_is_done_even_if_its_client_is_gone(agent: Agent) -> None:
    budget = agent.server._budget
    agent.device.gate.clear()
    wire = await agent.connect()
    await wire.send(post())
    await agent.device.until_waiting(1)
    wire.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    wire.writer.transport.abort()
    await until(lambda: not agent.server._clients[0]._connections)
    assert budget.used_bytes > 0
    agent.device.gate.set()
    await until(lambda: budget.used_bytes == 0)


async def test_nothing_stays_reserved_whatever_became_of_the_requests(agent: Agent) -> None:
    chunked = b"POST /v1/events/s HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\n[1]\r\n"
    broken = post(extra=b"Content-Encoding: gzip\r\n")
    for data in (post(), post()[:-1], chunked, chunked + b"0\r\n\r\n", broken, chunked + b"zz", post() * 3):
        wire = await agent.connect()
        await wire.send(data)
        wire.writer.write_eof()
        await wire.rest()
    assert agent.server._budget.used_bytes == 0


async def test_devices_cannot_lock_the_operator_out(tmp_path: Path) -> None:
    async with serving(max_connections=1, socket_path=tmp_path / "agent.sock") as agent:
        wire = await agent.connect()
        assert (await (await wire.send(get("/healthz"))).reply()).status == 200
        operator = await agent.connect_unix(tmp_path / "agent.sock")
        assert (await (await operator.send(get("/v1/dead"))).reply()).status == 200
