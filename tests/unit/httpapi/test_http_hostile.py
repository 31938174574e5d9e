from __future__ import annotations

import asyncio
import itertools
import socket
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.httpapi.access import Admission
from edgeagent.httpapi.budget import Budget
from edgeagent.httpapi.clients import Clients
from edgeagent.httpapi.connection import HttpConnection
from edgeagent.httpapi.routes import Routes
from edgeagent.httpapi.stream import WatchRoutes
from edgeagent.httpapi.timeouts import Timeouts
from tests.fakes.device_port import FakeDevice, FakeOperator, FakeWatch
from tests.profiles import examples
from tests.waiting import DEADLINE_S

EVENT = b'{"source":"s","data":{"a":[1,2]}}'
CLOUDEVENT = b'{"specversion":"1.0","source":"s","data":1}'
ZIPPED = zlib.compress(EVENT, wbits=31)
BATCH_HEAD = b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\n"
VECTORS = [  # a request, and the status of its answer
    (b"POST /v1/events/s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n[1]", 202),
    (b"POST /v1/events/s HTTP/1.1\r\nHost: localhost\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\n1", 202),
    (b"POST /v1/events/s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 1\r\n\r\n1", 202),
    (b"POST /v1/events/s HTTP/1.1\r\nhost:localhost\r\nIdempotency-Key: a b \r\nContent-Length: 1\r\n\r\n1", 202),
    (b"POST /v1/events/s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx", 400),
    (BATCH_HEAD + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(EVENT), EVENT), 202),
    (
        BATCH_HEAD
        + b"Content-Type: application/cloudevents+json\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"8\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (CLOUDEVENT[:8], len(CLOUDEVENT) - 8, CLOUDEVENT[8:]),
        202,
    ),
    (BATCH_HEAD + b"ce-specversion: 1.0\r\nce-source: s%20\r\nContent-Length: 1\r\n\r\n1", 400),
    (b"POST /v1/events/a HTTP/1.1\r\nHost: [::1]\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n1", 202),
    (b"GET /v1/triggers?limit=3&state=failed HTTP/1.1\r\nHost: localhost\r\nUpgrade: h2c\r\n\r\n", 200),
    (b"HEAD /healthz HTTP/1.0\r\n\r\n", 200),
    (b"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    (b"\r\n\r\nPOST /v1/events/s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n1", 202),
    (BATCH_HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
    (b"POST /v1/events/s HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (b"POST /v1/events/s HTTP/1.1\nHost: localhost\nContent-Length: 1\n\n1", 400),
    (b"POST /v1/events/s HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\nContent-Length: 1\r\n\r\n1", 400),
    (BATCH_HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(ZIPPED), ZIPPED), 202),
    (BATCH_HEAD + b"Content-Encoding: gzip\r\nContent-Length: 8\r\n\r\n%b" % ZIPPED[:8], 400),
    (b"OPTIONS /v1/events HTTP/1.1\r\nHost: localhost\r\nWebHook-Request-Origin: a.example\r\n\r\n", 200),
    (b"POST /v1/events/a%00b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n1", 400),
]
REQUESTS = [request for request, _ in VECTORS]
CONTINUE = b"HTTP/1.1 100 \r\n\r\n"


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Requests one after the other, with pieces cut out, doubled and overwritten."""
    data = b"".join(draw(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=3)))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 20)))
        data = data[:start] + draw(st.one_of(st.binary(max_size=8), st.just(data[start:end] * 2))) + data[end:]
    return data


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """One loop for all examples."""
    with asyncio.Runner() as running:
        yield running


async def answers_to(chunks: list[bytes]) -> tuple[bytes, list[dict[str, Any]]]:
    """What a connection answers until it closes, and what the loop's exception handler heard."""
    unhandled: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: unhandled.append(context))
    clients = Clients(4, Budget())
    watch = WatchRoutes(FakeWatch())
    routes = Routes(FakeDevice(), FakeOperator(), Admission("localhost", None), watch, max_event_bytes=100)
    ours, theirs = socket.socketpair()
    await loop.connect_accepted_socket(lambda: HttpConnection(routes.plan, clients, Timeouts()), theirs)
    ours.setblocking(False)
    async with asyncio.timeout(DEADLINE_S):
        try:
            for chunk in chunks:
                await loop.sock_sendall(ours, chunk)
                await asyncio.sleep(0)  # lets the connection see the bytes in these pieces
            ours.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused and closed before everything was sent
        received = b""
        try:
            while data := await loop.sock_recv(ours, 65536):
                received += data
        except ConnectionResetError:
            pass
        ours.close()
        await clients.close(DEADLINE_S)
    return received, unhandled


def check(runner: asyncio.Runner, chunks: list[bytes]) -> bytes:
    """Send, and hold the answers to the promise: well-formed ones or none, then a close, never an exception."""
    received, unhandled = runner.run(answers_to(chunks))
    assert not unhandled
    assert not received or received.startswith(b"HTTP/1.1 ")
    assert b"HTTP/1.1 500" not in received
    return received


@settings(max_examples=examples(150))
@given(chunks=st.lists(st.binary(max_size=200), max_size=4))
def test_any_bytes_end_in_an_answer_or_a_close(runner: asyncio.Runner, chunks: list[bytes]) -> None:
    received = check(runner, chunks)
    assert not received or received.startswith(b"HTTP/1.1 4")


@pytest.mark.slow
@settings(max_examples=examples(300))
@given(data=mutated(), cuts=st.lists(st.integers(0, 400), max_size=4))
def test_damaged_requests_end_in_answers_and_a_close(runner: asyncio.Runner, data: bytes, cuts: list[int]) -> None:
    borders = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    check(runner, [data[start:end] for start, end in itertools.pairwise(borders)])


@pytest.mark.parametrize(("request_bytes", "status"), VECTORS)
def test_each_vector_is_answered_the_same_whole_and_byte_by_byte(
    runner: asyncio.Runner, request_bytes: bytes, status: int
) -> None:
    whole = check(runner, [request_bytes]).removeprefix(CONTINUE)
    assert whole.startswith(b"HTTP/1.1 %d " % status)
    assert check(runner, [bytes([byte]) for byte in request_bytes]).removeprefix(CONTINUE) == whole
