from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from edgeagent.argo import client as client_module
from edgeagent.argo.client import ArgoClient, ArgoSettings
from edgeagent.errors import EngineUnavailable
from tests.fakes.argo_examples import LABEL, answering, workflow
from tests.waiting import DEADLINE_S


def client_of(parts: list[bytes]) -> AbstractAsyncContextManager[ArgoClient]:
    """A client of a server that answers so."""

    @asynccontextmanager
    async def connected() -> AsyncIterator[ArgoClient]:
        async with answering(*parts) as url, ArgoClient(ArgoSettings(url, timeout_s=DEADLINE_S)) as client:
            yield client

    return connected()


def ok(body: bytes, content_type: bytes = b"application/json") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s" % (content_type, len(body), body)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        (
            [ok(b"<!doctype html><title>Argo</title>", b"text/html")],
            "answer is not an Argo Server's .* begins: <!doctype",
        ),
        ([ok(b"{}")], "it contains no workflow"),
        ([ok(b'{"metadata": {"name": 5}}')], "answer is not an Argo Server's"),
        ([ok(b'{"spec":' + b"[" * 100_000)], "answer is not an Argo Server's"),
        ([b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n"], "302, redirected to /login"),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], "answer is not an Argo Server's"),
        ([b"SSH-2.0-OpenSSH_9.2\r\n"], "/api/v1/workflows/plant: "),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"], "/api/v1/workflows/plant: "),
        ([b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000], "/api/v1/workflows/plant: "),
        ([], "disconnected"),
    ],
)
async def test_what_is_no_answer_to_a_create_is_told_and_never_taken_for_one(parts: list[bytes], reason: str) -> None:
    async with client_of(parts) as client:
        with pytest.raises(EngineUnavailable, match=reason):
            await client.create("plant", workflow())


async def test_an_answer_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MAX_ANSWER_BYTES", 1_000_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"
    async with client_of([head, *[b"x" * 100_000] * 100]) as client:
        with pytest.raises(EngineUnavailable, match="more than"):
            await client.create("plant", workflow())


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<!doctype html>\n<title>Argo</title>\n", "not a line of a watch"),
        (b"<!doctype html><title>Argo</title>", "ends in the middle of an item"),
        (b"data: {} \n\n\ndata: {\n\n", "answer is not an Argo Server's"),
        (b"data: " + b"x" * 5_000_000, "more than 4194304 bytes"),
    ],
)
async def test_what_is_no_watch_is_told(body: bytes, reason: str) -> None:
    async with client_of([ok(body, b"text/event-stream")]) as client:
        with pytest.raises(EngineUnavailable, match=reason):
            await anext(client.watch("plant", labels=LABEL))


async def test_a_page_that_says_where_to_go_on_in_too_many_letters_is_told() -> None:
    async with client_of([ok(b'{"metadata": {"continue": "%s"}, "items": null}' % (b"7" * 70_000))]) as client:
        with pytest.raises(EngineUnavailable, match="URL too long"):
            await client.list("plant", labels=LABEL)
