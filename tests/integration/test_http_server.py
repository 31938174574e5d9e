from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from edgeagent.httpapi.timeouts import Timeouts
from edgeagent.wire.messages import State
from tests.fakes.device_port import CORRELATION_ID, report
from tests.fakes.http_agent import HOST, Agent, Wire, get, post, serving
from tests.fakes.turned_clock import TurnedLoop
from tests.waiting import turns, until


async def test_an_event_is_answered_202_in_the_words_of_the_contract(agent: Agent) -> None:
    reply = await agent.request("POST", "/v1/events/plant%2Fboiler-1/x", b'{"temp": 97.1}', {"Idempotency-Key": "k"})
    assert reply.status == 202
    assert reply.json == {
        "accepted": [
            {
                "id": "k",
                "source": "plant/boiler-1/x",
                "duplicate": False,
                "triggers": [{"rule": "overheat", "correlation_id": CORRELATION_ID}],
            }
        ]
    }
    assert reply.headers["content-type"] == "application/json"
    assert "server" not in reply.headers
    assert [event.data for event in agent.device.events] == [b'{"temp": 97.1}']


async def test_a_request_that_comes_byte_by_byte_is_the_same_request(agent: Agent) -> None:
    wire = await agent.connect()
    for byte in post():
        await wire.send(bytes([byte]))
    assert (await wire.reply()).status == 202
    assert agent.device.events[0].data == b'{"temp":97.1}'


async def test_a_chunked_body_is_put_together(agent: Agent) -> None:
    wire = await agent.connect()
    head = b"POST /v1/events/s HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    await wire.send(head + b"3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n")
    assert (await wire.reply()).status == 202
    assert agent.device.events[0].data == b"[1,2]"


async def test_pipelined_requests_are_answered_in_order_even_when_the_first_takes_long(agent: Agent) -> None:
    agent.device.gate.clear()
    wire = await agent.connect()
    await wire.send(post("first") + get("/healthz") + post("second") + get("/nowhere") + get("/readyz"))
    await agent.device.until_waiting(1)
    agent.device.gate.set()
    replies = [await wire.reply() for _ in range(5)]
    assert [reply.status for reply in replies] == [202, 200, 202, 404, 200]
    assert [event.source for event in agent.device.events] == ["first", "second"]


async def test_a_client_that_sends_far_ahead_loses_nothing(agent: Agent) -> None:
    agent.device.gate.clear()
    wire = await agent.connect()
    count = 1000
    sending = asyncio.create_task(wire.send(post(body=b'"' + b"x" * 900 + b'"') * count))
    await agent.device.until_waiting(1)
    agent.device.gate.set()
    statuses = [(await wire.reply()).status for _ in range(count)]
    await sending
    assert statuses == [202] * count


async def test_a_body_that_is_announced_too_large_is_refused_before_it_comes(agent: Agent) -> None:
    wire = await agent.connect()
    await wire.send(b"POST /v1/events/s HTTP/1.1\r\n" + HOST + b"Content-Length: 1001\r\n\r\n")
    reply = await wire.reply()
    assert (reply.status, reply.headers["connection"]) == (413, "close")
    assert "at most 1000 are taken (outbox.max_event_bytes)" in reply.json["detail"]


async def test_a_client_that_sends_a_large_body_all_the_same_can_read_why_it_is_refused(agent: Agent) -> None:
    reply = await agent.request("POST", "/v1/events/s", b"x" * (8 << 20))
    assert reply.status == 413


async def test_a_chunked_body_is_refused_as_soon_as_it_is_too_large(agent: Agent) -> None:
    wire = await agent.connect()
    head = b"POST /v1/events/s HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    await wire.send(head + b"3ff\r\n" + b"x" * 1001)
    assert (await wire.reply()).status == 413


async def test_a_batch_may_be_sixteen_times_as_large_as_an_event(agent: Agent) -> None:
    lines = b'{"source":"s","data":"%b"}\n' % (b"x" * 900) * 16
    assert len(lines) <= 16000
    headers = {"Content-Type": "application/x-ndjson"}
    assert (await agent.request("POST", "/v1/events", lines, headers)).status == 202
    assert (await agent.request("POST", "/v1/events", lines * 2, headers)).status == 413
    assert len(agent.device.events) == 16


async def test_a_body_is_asked_for_only_when_it_will_be_taken(agent: Agent) -> None:
    head = b"POST /v1/events/s HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    wire = await agent.connect()
    await wire.send(head % 1)
    assert (await wire.reply()).status == 100
    await wire.send(b"7")
    assert (await wire.reply()).status == 202
    await wire.send(head % 1001)
    assert (await wire.reply()).status == 413


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
async def test_a_head_over_16_kib_is_refused_whether_it_is_complete_or_not(agent: Agent, end: bytes) -> None:
    wire = await agent.connect()
    await wire.send(b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: " + b"x" * (17 << 10) + end)
    assert (await wire.reply()).status == 431


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",  # TLS
        b"HELO there\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # no Host
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST /v1/events/s HTTP/1.1\r\nHost: localhost\r\nContent-Length: one\r\n\r\n",
        b"POST /v1/events/s HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        post().replace(b"Content", b"Transfer-Encoding: chunked\r\nContent"),
        b"POST /v1/events/s HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n1\r\n0\r\n\r\n",
        post().replace(b"\r\n", b"\n"),
        post(extra=b"X: a\r\n b\r\n"),
        post(extra=b"Content-Length: 13\r\n"),
        post(extra=b"X: \x1b]0;\x07\r\n"),
    ],
)
async def test_what_is_no_http_is_answered_400_and_closed(agent: Agent, garbage: bytes) -> None:
    wire = await agent.connect()
    reply = await (await wire.send(garbage)).reply()
    assert (reply.status, reply.headers["content-type"]) == (400, "application/problem+json")
    assert await wire.rest() == b""


async def test_http_1_0_is_answered_and_closed(agent: Agent) -> None:
    wire = await agent.connect()
    assert (await (await wire.send(b"GET /healthz HTTP/1.0\r\n\r\n")).reply()).status == 200
    assert await wire.rest() == b""


async def test_head_has_the_headers_of_get_and_no_body(agent: Agent) -> None:
    wire = await agent.connect()
    await wire.send(get("/healthz").replace(b"GET", b"HEAD") + get("/healthz"))
    head = await wire.reply(has_body=False)
    assert (head.status, head.headers["content-length"]) == (200, str(len((await wire.reply()).body)))


async def test_a_client_that_closed_its_side_still_gets_its_events_answer(agent: Agent) -> None:
    agent.device.gate.clear()
    wire = await agent.connect()
    await wire.send(post())
    wire.writer.write_eof()
    await agent.device.until_waiting(1)
    agent.device.gate.set()
    assert (await wire.reply()).status == 202
    assert await wire.rest() == b""


async def test_an_event_whose_client_goes_away_is_taken_all_the_same(agent: Agent) -> None:
    agent.device.gate.clear()
    wire = await agent.connect()
    await wire.send(post())
    await agent.device.until_waiting(1)
    wire.writer.transport.abort()
    assert (await (await (await agent.connect()).send(get("/healthz"))).reply()).status == 200
    agent.device.gate.set()
    await until(lambda: len(agent.device.events) == 1)


async def test_waiting_for_a_trigger_blocks_no_other_and_ends_when_the_client_goes(agent: Agent) -> None:
    wire = await agent.connect()
    await wire.send(get(f"/v1/triggers/{CORRELATION_ID}?wait=300"))
    await agent.device.until_waiting(1)
    assert (await agent.request("GET", "/healthz")).status == 200
    await wire.close()
    await agent.device.until_waiting(0)


async def test_a_trigger_is_reported_in_the_words_of_the_contract(agent: Agent) -> None:
    agent.device.reports[CORRELATION_ID] = report(state=State.RUNNING)
    reply = await agent.request("GET", f"/v1/triggers/{CORRELATION_ID}?wait=0.01")
    assert reply.status == 200
    assert reply.json["state"] == "running"
    assert {"correlation_id", "id", "source", "rule", "workflowId", "namespace", "at"} <= reply.json.keys()


async def test_a_request_that_never_completes_is_ended_after_its_time_even_if_bytes_trickle_in() -> None:
    async with serving(timeouts=Timeouts(request_s=0.2)) as agent:
        wire = await agent.connect()
        await wire.send(b"GET /healthz HTTP/1.1\r\nX: ")
        reply = asyncio.create_task(wire.reply())
        while not reply.done():
            await wire.send(b"x")
            await asyncio.wait([reply], timeout=0.02)
        assert reply.result().status == 408


async def test_a_slow_body_is_ended_after_its_time() -> None:
    async with serving(timeouts=Timeouts(request_s=0.05)) as agent:
        wire = await agent.connect()
        await wire.send(post()[:-1])
        assert (await wire.reply()).status == 408
        assert await wire.rest() == b""
        assert agent.device.events == []


async def test_an_idle_connection_is_closed_after_its_time(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    time = TurnedLoop(monkeypatch)
    wire = await agent.connect()
    await wire.send(get("/healthz"))
    assert (await wire.reply()).status == 200
    time.turn(Timeouts().idle_s + 1)
    assert await wire.rest() == b""


async def test_a_running_request_is_not_ended_by_the_idle_time(monkeypatch: pytest.MonkeyPatch) -> None:
    time = TurnedLoop(monkeypatch)
    async with serving(timeouts=Timeouts(idle_s=10, request_s=10)) as agent:
        wire = await agent.connect()
        agent.device.reports[CORRELATION_ID] = report()
        await wire.send(get(f"/v1/triggers/{CORRELATION_ID}?wait=30"))
        [clients] = agent.server._clients
        await until(lambda: clients._tasks, "the request to run")
        time.turn(11)
        await turns()
        assert clients._tasks
        time.turn(30)
        assert (await wire.reply()).status == 200


async def test_a_client_that_does_not_read_its_answer_is_closed_after_its_time() -> None:
    async with serving(timeouts=Timeouts(write_s=0.05)) as agent:
        agent.device.reports = {f"{number:032x}": report(f"{number:032x}") for number in range(50_000)}
        wire = await agent.connect()
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport has it
        await wire.send(get("/v1/triggers?limit=1000") * 40)  # more than the sockets between us hold
        [clients] = agent.server._clients
        await until(lambda: len(clients._connections) == 1)
        await until(lambda: not clients._connections)


async def test_an_unforeseen_error_is_500_and_logged_and_the_connection_lives(
    agent: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    agent.device.failure = RuntimeError("unforeseen")
    wire = await agent.connect()
    reply = await (await wire.send(post())).reply()
    assert reply.status == 500
    assert b"unforeseen" not in reply.body
    assert [getattr(record, "event", "") for record in caplog.records] == ["http_request_failed"]
    agent.device.failure = None
    assert (await (await wire.send(post())).reply()).status == 202


async def test_closing_finishes_running_requests_ends_waiting_ones_and_closes_idle_connections(
    tmp_path: Path,
) -> None:
    async with serving(socket_path=tmp_path / "agent.sock") as agent:
        agent.device.gate.clear()
        idle, running, waiting = [await agent.connect() for _ in range(3)]
        await idle.send(get("/healthz"))
        await idle.reply()
        await running.send(post())
        await waiting.send(get(f"/v1/triggers/{CORRELATION_ID}?wait=300"))
        await agent.device.until_waiting(2)
        closing = asyncio.create_task(agent.server.close(10))
        assert await idle.rest() == b""
        reply = await waiting.reply()
        assert (reply.status, reply.headers["retry-after"]) == (503, "10")
        assert not (tmp_path / "agent.sock").exists()
        with pytest.raises(ConnectionRefusedError):
            await agent.connect()
        agent.device.gate.set()
        reply = await running.reply()
        assert (reply.status, reply.headers["connection"]) == (202, "close")
        await closing


async def test_closing_cuts_off_what_does_not_end_in_time(agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    agent.device.gate.clear()
    wire = await agent.connect()
    await wire.send(post())
    await agent.device.until_waiting(1)
    await agent.server.close(0.01)
    assert agent.device.waiting == 0
    assert agent.device.events == []
    assert [getattr(record, "event", "") for record in caplog.records if record.levelno >= logging.WARNING] == [
        "http_cut_off"
    ]


async def test_the_token_is_wanted_on_tcp_but_for_the_probes_and_not_on_the_unix_socket(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    async with serving(token_file=str(token), socket_path=tmp_path / "agent.sock") as agent:
        reply = await agent.request("POST", "/v1/events/s", b"1")
        assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
        assert (await agent.request("GET", "/v1/stats", headers={"Authorization": "Bearer wrong"})).status == 401
        assert (await agent.request("GET", "/nowhere")).status == 401
        assert (await agent.request("GET", "/healthz")).status == 200
        assert (await agent.request("GET", "/readyz")).status == 200
        assert (await agent.request("POST", "/v1/events/s", b"1", {"Authorization": "bearer s3cret"})).status == 202
        wire = await agent.connect_unix(tmp_path / "agent.sock")
        assert (await (await wire.send(post())).reply()).status == 202


async def test_a_refused_request_with_its_whole_body_leaves_the_connection_usable(agent: Agent) -> None:
    wire: Wire = await agent.connect()
    await wire.send(post(extra=b"Origin: http://evil.example\r\n") + post().replace(b"/v1/events", b"/v2/events"))
    assert [(await wire.reply()).status for _ in range(2)] == [403, 404]
    assert (await (await wire.send(post())).reply()).status == 202
    assert len(agent.device.events) == 1
