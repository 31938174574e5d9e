"""Requests with spans, to collectors that do not do what they should."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from edgeagent.common.finding import Level
from edgeagent.config.tables import FilePath, TracingTable
from edgeagent.errors import CollectorFailed
from edgeagent.tracing.checkup import collector_findings
from edgeagent.tracing.collector import Collector, CollectorTimes
from tests.fakes.certificates import Certificates
from tests.fakes.webhook_receiver import CLOSE, ENDLESS, GARBAGE, HANG, TRICKLE, WebhookEndpoint

LONG = CollectorTimes(60, 60, 180)
SHORT = CollectorTimes(60, 0.2, 180)
BODY = b'{"resourceSpans":[]}'


def table(endpoint: WebhookEndpoint, scheme: str = "http", **keys: Any) -> TracingTable:
    return TracingTable(endpoint=f"{scheme}://127.0.0.1:{endpoint.port}", **keys)


async def test_a_request_is_otlp_over_http_with_the_headers_of_a_file_that_may_change(tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text("Authorization: Bearer one\n\nX-Scope-OrgID: plant\n", "utf-8")
    async with WebhookEndpoint() as endpoint:
        collector = Collector(table(endpoint, headers_file=FilePath(file)), LONG)
        try:
            assert (await collector.post(BODY)).status == 200
            file.write_text("Authorization: Bearer two\n", "utf-8")
            endpoint.answers, endpoint.headers = [429], ["retry-after: 7"]
            answer = await collector.post(BODY)
        finally:
            await collector.aclose()
    assert (answer.status, answer.retry_after_s, answer.text) == (429, 7.0, "a receiver's words")
    first, second = endpoint.requests
    assert (first.target, first.body) == ("/v1/traces", BODY)
    assert first.headers["content-type"] == "application/json"
    assert (first.headers["authorization"], first.headers["x-scope-orgid"]) == ("Bearer one", "plant")
    assert second.headers["authorization"] == "Bearer two"


@pytest.mark.parametrize("fault", [CLOSE, GARBAGE, HANG])
async def test_a_collector_that_fails_is_told_of_in_words_and_the_next_request_is_made(fault: str) -> None:
    async with WebhookEndpoint() as endpoint:
        endpoint.answers = [fault, 200]
        collector = Collector(table(endpoint), SHORT if fault == HANG else LONG)
        try:
            with pytest.raises(CollectorFailed) as caught:
                await collector.post(BODY)
            assert caught.value.reason in {
                "it closed the connection without an answer, or does not speak HTTP",
                "no answer in time",
            }
            collector = Collector(table(endpoint), LONG)
            assert (await collector.post(BODY)).status == 200
        finally:
            await collector.aclose()


@pytest.mark.parametrize("fault", [ENDLESS, TRICKLE])
async def test_an_answer_without_an_end_takes_neither_memory_nor_for_ever(fault: str) -> None:
    async with WebhookEndpoint() as endpoint:
        endpoint.answers = [fault]
        collector = Collector(table(endpoint), CollectorTimes(60, 60, 1.0))
        try:
            answer = await collector.post(BODY)
        except CollectorFailed:
            return
        finally:
            await collector.aclose()
        assert len(answer.body) <= 64 << 10


async def test_nobody_there_a_secret_that_cannot_be_read_and_authorities_that_do_not_fit(
    free_port: int, tmp_path: Path
) -> None:
    away = Collector(TracingTable(endpoint=f"http://127.0.0.1:{free_port}"), LONG)
    with pytest.raises(CollectorFailed, match="Connection refused"):
        await away.post(BODY)
    missing = Collector(TracingTable(endpoint="http://127.0.0.1:1", headers_file=FilePath(tmp_path / "gone")), LONG)
    with pytest.raises(CollectorFailed, match=r"headers_file .*: No such file"):
        await missing.post(BODY)
    files = Certificates(tmp_path)
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(files.file("server.pem"), files.file("server.key"))
    async with WebhookEndpoint(served) as endpoint:
        untrusting = Collector(table(endpoint, "https"), LONG)
        with pytest.raises(CollectorFailed, match="its certificate is not trusted"):
            await untrusting.post(BODY)
        trusting = Collector(table(endpoint, "https", ca_file=files.file("ca.pem")), LONG)
        assert (await trusting.post(BODY)).status == 200
        await trusting.aclose()


async def test_the_doctor_says_whether_a_collector_takes_spans(free_port: int) -> None:
    async with WebhookEndpoint() as endpoint:
        endpoint.answers = [200, 404]
        (taken,) = [finding async for finding in collector_findings(table(endpoint), LONG)]
        (refused,) = [finding async for finding in collector_findings(table(endpoint), LONG)]
    (away,) = [each async for each in collector_findings(TracingTable(endpoint=f"http://127.0.0.1:{free_port}"), LONG)]
    assert [finding.level for finding in (taken, refused, away)] == [Level.OK, Level.FAIL, Level.WARN]
    assert "answers 404: a receiver's words" in refused.found
    assert b'"spans":[]' in endpoint.requests[0].body
