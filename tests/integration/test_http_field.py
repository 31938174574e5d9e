"""What HTTP clients of the field send, over real sockets."""

from __future__ import annotations

import gzip
import logging
import socket
import zlib
from pathlib import Path
from typing import Any

import pytest

from edgeagent.errors import ListenFailed
from edgeagent.httpapi import server
from edgeagent.httpapi.server import HttpServer
from tests.fakes.device_port import FakeDevice, FakeOperator, FakeWatch
from tests.fakes.http_agent import serving

EVENT = b'{"temp":97.1}'


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_compressed_body_is_the_event_that_it_stands_for(coding: str) -> None:
    async with serving() as agent:
        body = gzip.compress(EVENT) if coding == "gzip" else zlib.compress(EVENT)
        assert (await agent.request("POST", "/v1/events/s", body, {"Content-Encoding": coding})).status == 202
        headers = {"Content-Encoding": coding, "Content-Type": "application/octet-stream"}
        assert (await agent.request("POST", "/v1/events/s", body, headers)).status == 202
        assert [event.data for event in agent.device.events] == [EVENT, EVENT]
        assert agent.server._budget.used_bytes == 0


async def test_a_compressed_body_has_the_bounds_of_any_other(tmp_path: Path) -> None:
    async with serving(max_event_bytes=1000, socket_path=tmp_path / "s") as agent:
        for size, status in ((998, 202), (999, 413), (10_000_000, 413)):
            body = gzip.compress(b'"%b"' % (b"x" * size))
            if len(body) < 1000:
                assert (
                    await agent.request("POST", "/v1/events/s", body, {"Content-Encoding": "gzip"})
                ).status == status
        reply = await agent.request("POST", "/v1/events/s", b"x", {"Content-Encoding": "br"})
        assert (reply.status, reply.headers["accept-encoding"]) == (415, "gzip, deflate")
        reply = await agent.request("POST", "/v1/events/s", EVENT, {"Content-Encoding": "gzip"})
        assert (reply.status, reply.json["detail"]) == (400, "body: is not valid gzip data")


async def test_empty_lines_before_a_request_are_skipped() -> None:
    async with serving() as agent:
        wire = await agent.connect()
        for _ in range(3):
            await wire.send(b"\r\n\r\nPOST /v1/events/s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n1\r\n")
            assert (await wire.reply()).status == 202


async def test_a_sender_of_cloudevents_is_given_consent_only_where_it_may_deliver(tmp_path: Path) -> None:
    asked = {"WebHook-Request-Origin": "events.example.com", "WebHook-Request-Rate": "120"}
    (tmp_path / "token").write_text("s3cret")
    async with serving(token_file=str(tmp_path / "token")) as agent:
        reply = await agent.request("OPTIONS", "/v1/events", headers=asked)
        assert reply.status == 401
        assert "webhook-allowed-origin" not in reply.headers
        asked["Authorization"] = "Bearer s3cret"
        for path in ("/v1/events", "/v1/events/plant/boiler-1"):
            reply = await agent.request("OPTIONS", path, headers=asked)
            assert reply.status == 200
            assert reply.headers["webhook-allowed-origin"] == "events.example.com"
            assert reply.headers["webhook-allowed-rate"] == "*"
            assert "POST" in reply.headers["allow"]
        reply = await agent.request("OPTIONS", "/v1/stats", headers=asked)
        assert (reply.status, "webhook-allowed-origin" in reply.headers) == (204, False)
        asked["WebHook-Request-Origin"] = "a b"
        assert (await agent.request("OPTIONS", "/v1/events", headers=asked)).status == 400


async def test_the_preflight_of_a_page_in_a_browser_is_refused() -> None:
    async with serving() as agent:
        preflight = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
        reply = await agent.request("OPTIONS", "/v1/events/s", headers=preflight)
        assert reply.status == 403
        assert not [name for name in reply.headers if name.startswith("access-control")]


def a_server() -> HttpServer:
    """A server that listens nowhere yet."""
    return HttpServer(FakeDevice(), FakeOperator(), FakeWatch(), max_event_bytes=1000, max_connections=4)


async def test_localhost_is_listened_on_at_both_addresses_with_one_port() -> None:
    listening = a_server()
    await listening.start_tcp("localhost", 0)
    first, second = listening.addresses
    port = first.rpartition(":")[2]
    assert (first, second) == (f"127.0.0.1:{port}", f"[::1]:{port}")
    await listening.close(0)


@pytest.mark.parametrize("missing", ["127.0.0.1", "::1"])
async def test_without_one_of_the_families_the_other_one_is_enough_and_it_is_said(
    missing: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    unassigned = "203.0.113.7" if missing == "127.0.0.1" else "2001:db8::7"
    there = [unassigned if name == missing else name for name in server._BOTH_LOOPBACKS]
    monkeypatch.setattr(server, "_BOTH_LOOPBACKS", tuple(there))
    caplog.set_level(logging.INFO)
    listening = a_server()
    await listening.start_tcp("localhost", 0)
    assert len(listening.addresses) == 1
    assert [getattr(record, "event", "") for record in caplog.records] == ["http_loopback_missing"]
    await listening.close(0)


async def test_localhost_with_a_port_that_is_taken_at_one_address_is_an_error() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        listening = a_server()
        with pytest.raises(ListenFailed, match="address already in use"):
            await listening.start_tcp("localhost", taken.getsockname()[1])
        await listening.close(0)


async def test_no_answer_quotes_python() -> None:
    requests: list[tuple[str, bytes, dict[str, Any]]] = [
        ("/v1/events", b'{"source":1,"data":1}', {}),
        ("/v1/events", b"[1]", {}),
        ("/v1/events", b"{", {}),
        ("/v1/events", b'{"source":" a","data":1}', {}),
        ("/v1/events", b'{"source":"s\\u0007","data":1}', {}),
        ("/v1/events/s", b"1", {"Idempotency-Key": "\x80"}),
        ("/v1/events/%FF", b"1", {}),
        ("/v1/events/s", b"nan", {}),
    ]
    async with serving() as agent:
        for path, body, headers in requests:
            reply = await agent.request("POST", path, body, headers)
            assert reply.status == 400
            for sign in ("`", "b'", "\\x0", "Expected", "Error", "object at"):
                assert sign not in reply.json["detail"].replace("\\x07", ""), reply.json
