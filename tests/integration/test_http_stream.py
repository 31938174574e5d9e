from __future__ import annotations

import json

import pytest

from edgeagent.httpapi.stream import MAX_STREAMS
from edgeagent.httpapi.timeouts import Timeouts
from edgeagent.ports.watch import StreamQuery, StreamUpdate
from tests.fakes.http_agent import Agent, Wire, get, serving
from tests.waiting import turns, until

HEAD_END = b"\r\n\r\n"


async def opened(agent: Agent, target: str = "/v1/stream", extra: bytes = b"") -> Wire:
    """A stream, its head read."""
    wire = await agent.connect()
    await wire.send(get(target, extra))
    head = await wire.reader.readuntil(HEAD_END)
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"content-type: text/event-stream" in head
    assert b"content-length" not in head
    assert await wire.reader.readuntil(b"\n\n") == b"retry: 3000\n\n"
    return wire


def news(number: int, size: int = 0) -> StreamUpdate:
    return StreamUpdate("trigger", number, json.dumps({"state": "published", "message": "x" * size}).encode())


async def test_news_comes_as_server_sent_events(agent: Agent) -> None:
    wire = await opened(agent, "/v1/stream?source=boiler%201", b"Last-Event-ID: 41\r\n")
    assert agent.watch.queries == [StreamQuery("boiler 1", 41)]
    agent.watch.tell(StreamUpdate("trigger", 42, b'{"a":1}'), StreamUpdate("stats", 42, b"{}"))
    assert await wire.reader.readuntil(b"\n\n") == b'id: 42\nevent: trigger\ndata: {"a":1}\n\n'
    assert await wire.reader.readuntil(b"\n\n") == b"id: 42\nevent: stats\ndata: {}\n\n"


async def test_a_silent_stream_says_that_it_is_alive() -> None:
    async with serving(timeouts=Timeouts(silence_s=0.01)) as agent:
        wire = await opened(agent)
        for _ in range(3):
            assert await wire.reader.readuntil(b"\n\n") == b":\n\n"


@pytest.mark.parametrize(
    ("target", "extra", "begin"),
    [
        ("/v1/stream?sauce=a", b"", "sauce: is not a parameter here"),
        ("/v1/stream", b"Last-Event-ID: x\r\n", "Last-Event-ID: must be the id of an event of this stream"),
        ("/v1/stream", b"Last-Event-ID: -1\r\n", "Last-Event-ID: must be"),
    ],
)
async def test_what_cannot_be_meant_is_400(agent: Agent, target: str, extra: bytes, begin: str) -> None:
    wire = await agent.connect()
    reply = await (await wire.send(get(target, extra))).reply()
    assert reply.status == 400
    assert reply.json["detail"].startswith(begin)


async def test_there_are_not_more_streams_than_the_limit_and_one_that_left_makes_room(agent: Agent) -> None:
    wires = [await opened(agent) for _ in range(MAX_STREAMS)]
    reply = await agent.request("GET", "/v1/stream")
    assert (reply.status, reply.headers["retry-after"]) == (503, "10")
    await wires[0].close()
    await agent.watch.until_open(MAX_STREAMS - 1)
    await opened(agent)


async def test_a_subscriber_who_does_not_read_is_dropped_and_nothing_is_kept_for_him() -> None:
    async with serving(timeouts=Timeouts(write_s=0.2)) as agent:
        wire = await opened(agent)
        [subscription] = agent.watch.subscriptions
        count, size = 2000, 64 << 10  # far more than all buffers on the way hold
        agent.watch.tell(*(news(number, size) for number in range(count)))
        await turns()
        held = [*agent.server._clients[0]._connections]
        assert all(one._transport.get_write_buffer_size() <= size + 100 for one in held)  # type: ignore[attr-defined]
        assert subscription.taken < count, "it is not asked for more than the client reads"
        await agent.watch.until_open(0)
        assert not wire.reader.at_eof()


async def test_a_slow_subscriber_gets_everything_when_he_reads_on(agent: Agent) -> None:
    wire = await opened(agent)
    count = 300
    agent.watch.tell(*(news(number, 32 << 10) for number in range(count)))
    await turns()
    for number in range(count):
        assert (await wire.reader.readline()) == b"id: %d\n" % number
        await wire.reader.readuntil(b"\n\n")


async def test_a_stream_ends_with_its_reason_when_the_agent_stops() -> None:
    async with serving() as agent:
        wire = await opened(agent)
        await agent.server.close(10)
        assert await wire.rest() == b'event: end\ndata: {"reason":"the agent is stopping"}\n\n'
        assert agent.watch.subscriptions == []


@pytest.mark.parametrize("how", ["close", "eof", "reset"])
async def test_a_subscriber_who_leaves_is_forgotten(agent: Agent, how: str) -> None:
    wire = await opened(agent)
    if how == "eof":
        wire.writer.write_eof()
    elif how == "reset":
        wire.writer.transport.abort()
    else:
        await wire.close()
    await agent.watch.until_open(0)


async def test_what_a_subscriber_sends_after_his_request_is_not_read_as_another(agent: Agent) -> None:
    wire = await opened(agent)
    await wire.send(get("/healthz") * 3)
    agent.watch.tell(StreamUpdate("stats", 1, b"{}"))
    assert await wire.reader.readuntil(b"\n\n") == b"id: 1\nevent: stats\ndata: {}\n\n"


async def test_head_tells_the_type_and_opens_no_stream(agent: Agent) -> None:
    wire = await agent.connect()
    await wire.send(b"HEAD /v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"text/event-stream" in await wire.rest()
    assert agent.watch.queries == []


async def test_devices_come_before_those_who_watch() -> None:
    async with serving(max_connections=2) as agent:
        watching = [await opened(agent) for _ in range(2)]
        for one in agent.server._clients[0]._connections:
            one.receiving_since = 0.0  # for long
        assert (await agent.request("POST", "/v1/events/s", b"1", {"Content-Type": "application/json"})).status == 202
        await agent.watch.until_open(1)
        ended = b'event: end\ndata: {"reason":"others want its place"}\n\n'
        await until(lambda: any(wire.reader.at_eof() or ended in bytes(wire.reader._buffer) for wire in watching))  # type: ignore[attr-defined]


async def test_series_and_devices_are_answered(agent: Agent) -> None:
    assert (await agent.request("GET", "/v1/series")).json == {"at": "2026-01-02T03:04:05Z"}
    devices = (await agent.request("GET", "/v1/devices")).json
    assert devices == {"devices": [{"source": "boiler-1", "last_event": "2026-01-02T03:04:05Z"}]}
