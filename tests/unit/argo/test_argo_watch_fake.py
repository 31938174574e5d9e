"""The watches of the fake Argo Server: their bytes, what keeps them alive, where they begin and how they end."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.fakes.argo_asking import EVENT_STREAM, Watching, asking, watching, workflow
from tests.fakes.argo_server import FakeArgo
from tests.fakes.argo_watch import BreakKind
from tests.waiting import until

pytestmark = pytest.mark.slow  # servers or processes of its own


EOF = b'data: {"error":{"grpc_code":8,"http_code":429,"message":"EOF","http_status":"Too Many Requests"}} \n\n\n'


@pytest.fixture
async def argo() -> AsyncIterator[FakeArgo]:
    """A strict server whose watches comment often."""
    async with FakeArgo(keepalive_s=0.05) as argo:
        yield argo


@pytest.fixture
async def client(argo: FakeArgo) -> AsyncIterator[httpx.AsyncClient]:
    """A client of it."""
    async with asking(argo.url) as client:
        yield client


async def test_a_watch_is_server_sent_events_with_argos_own_line_ends(
    argo: FakeArgo, client: httpx.AsyncClient
) -> None:
    argo.put(workflow("a"))
    fields = "result.type,result.object.metadata.name,result.object.status.phase"
    async with watching(argo, client, fields=fields) as watch:
        argo.advance("plant", "a", phase="Running", progress="0/2")
        await watch.has(b"Running")
        argo.delete("plant", "a")
        await watch.has(b"DELETED")
    assert watch.headers["content-type"] == "text/event-stream"
    spec = b'"spec":{"arguments":{}}'
    assert watch.data.replace(b":\n", b"").startswith(
        b'data: {"result":{"type":"ADDED","object":{"metadata":{"creationTimestamp":null,"name":"a"},'
        b'"status":{"startedAt":null,"finishedAt":null},' + spec + b"}}} \n\n\n"
        b'data: {"result":{"type":"MODIFIED","object":{"metadata":{"creationTimestamp":null,"name":"a"},'
        b'"status":{"startedAt":null,"finishedAt":null,"phase":"Running"},' + spec + b"}}} \n\n\n"
    )
    assert watch.events == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


async def test_the_headers_of_a_watch_wait_for_its_first_bytes() -> None:
    async with FakeArgo(keepalive_s=3600) as argo, asking(argo.url) as client, watching(argo, client) as watch:
        assert (await client.get("/api/v1/version")).status_code == 200, "the server is not waiting with it"
        assert watch.status == 0
        argo.put(workflow("a"))
        await watch.has(b"ADDED")
        assert watch.status == 200


async def test_a_watch_without_events_is_kept_alive_by_comments(argo: FakeArgo, client: httpx.AsyncClient) -> None:
    async with watching(argo, client) as watch:
        await watch.has(b":\n:\n")
    assert watch.status == 200


async def test_a_watch_that_asks_for_no_event_stream_has_a_line_for_each_event_and_no_comments(
    argo: FakeArgo, client: httpx.AsyncClient
) -> None:
    async with watching(argo, client, {"Accept": "text/event-stream, */*"}) as watch:
        argo.put(workflow("a"))
        await watch.has(b"\n")
        async with watching(argo, client) as commented:
            await commented.has(b":\n:\n")
            commented.cancel()
            await until(lambda: argo.watches == 1)
            watch.cancel()
    assert watch.headers["content-type"] == "application/json"
    assert watch.events == [("ADDED", "a")]
    assert b"\n:" not in watch.data


async def test_a_watch_from_a_version_goes_on_there(argo: FakeArgo, client: httpx.AsyncClient) -> None:
    argo.put(workflow("a"))
    version = argo.put(workflow("b"))["metadata"]["resourceVersion"]
    argo.put(workflow("c"))
    async with watching(argo, client, **{"listOptions.resourceVersion": version}) as watch:
        argo.put(workflow("d"))
        await watch.has(b'"d"')
    assert watch.events == [("ADDED", "c"), ("ADDED", "d")]


async def test_a_watch_from_a_forgotten_version_is_refused(argo: FakeArgo, client: httpx.AsyncClient) -> None:
    version = argo.put(workflow("a"))["metadata"]["resourceVersion"]
    argo.forget_versions()
    watch = Watching(client, EVENT_STREAM, **{"listOptions.resourceVersion": version})
    await watch.ended()
    assert watch.status == 400
    assert b'"grpc_code":3,"http_code":400,"message":"too old resource version' in watch.data


async def test_a_watch_that_kubernetes_closes_ends_in_eof(argo: FakeArgo, client: httpx.AsyncClient) -> None:
    argo.put(workflow("a"))
    async with watching(argo, client) as watch:
        argo.advance("plant", "a", phase="Running")
        argo.break_watches("eof")
        await watch.ended()
    assert (watch.status, watch.error) == (200, None)
    assert watch.events == [("ADDED", "a"), ("MODIFIED", "a")], "what came before the end is told"
    assert watch.data.endswith(EOF)


async def test_an_eof_before_the_first_event_is_the_http_status_too() -> None:
    async with FakeArgo(keepalive_s=3600) as argo, asking(argo.url) as client, watching(argo, client) as watch:
        argo.break_watches("eof")
        await watch.ended()
        assert (watch.status, watch.data) == (429, EOF)


@pytest.mark.parametrize(
    ("how", "ending", "broken"),
    [
        ("too_old", b'"http_status":"Bad Request"}} \n\n\n', False),
        ("close", b" \n\n\n", False),
        ("drop", b'"metadata":{"na', True),
    ],
)
async def test_a_watch_ends_in_other_ways(
    argo: FakeArgo, client: httpx.AsyncClient, how: BreakKind, ending: bytes, broken: bool
) -> None:
    argo.put(workflow("a"))
    async with watching(argo, client) as watch:
        await watch.has(b"ADDED")
        argo.break_watches(how)
        await watch.ended()
    assert watch.data.removesuffix(b":\n").endswith(ending)
    assert isinstance(watch.error, httpx.RemoteProtocolError) == broken
