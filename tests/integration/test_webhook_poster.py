"""A real socket between the poster and receivers that behave as they should not."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from edgeagent.common.elapsed import Instant
from edgeagent.config.tables import FilePath, RelayWebhook
from edgeagent.errors import WebhookFailed
from edgeagent.ports.deliveries import WebhookDelivery
from edgeagent.webhooks.form import AgentReports, WebhookForm
from edgeagent.webhooks.poster import MAX_ANSWER_BYTES, Poster, PostTimes
from tests.fakes.certificates import Certificates
from tests.fakes.mosquitto import free_port
from tests.fakes.webhook_receiver import CLOSE, ENDLESS, GARBAGE, HANG, SLOW_BODY, TRICKLE, WebhookEndpoint

REPORT = (
    b'{"correlation_id":"9f2c","id":"7","source":"boiler-1","rule":"overheat","state":"failed",'
    b'"at":"2026-03-20T12:00:00.000Z","workflowId":"overheat-9f2c","namespace":"plant","progress":"50%",'
    b'"message":"\\"quoted\\"","error":""}'
)
DELIVERY = WebhookDelivery(1, "9f2c", "failed", Instant(0, 0, b""), REPORT)
QUICK = PostTimes(connect_s=0.5, read_s=0.5, total_s=2.0)


def poster(url: str, *, body: str = "", times: PostTimes = PostTimes(), **keys: object) -> Poster:  # noqa: B008
    table = RelayWebhook(url=url, body=body, **keys)  # type: ignore[arg-type]
    return Poster(table, WebhookForm(AgentReports("gw-1"), body), times)


async def test_a_report_arrives_with_the_attributes_of_its_event() -> None:
    async with WebhookEndpoint() as endpoint:
        answer = await poster(endpoint.url).post(DELIVERY)
        assert (answer.status, answer.text) == (200, "a receiver's words")
        (request,) = endpoint.requests
    assert request.target == "/hook?token=geheim"
    assert request.body == REPORT
    expected = {
        "host": f"127.0.0.1:{endpoint.port}",
        "content-type": "application/json",
        "ce-specversion": "1.0",
        "ce-type": "io.edgeagent.trigger.failed",
        "ce-source": "/edgeagent/agents/gw-1",
        "ce-subject": "boiler-1",
        "ce-time": "2026-03-20T12:00:00.000Z",
    }
    assert expected.items() <= request.headers.items()
    assert request.headers["ce-id"] == request.headers["webhook-id"]
    assert "webhook-signature" not in request.headers


async def test_a_service_gets_the_body_that_it_wants() -> None:
    async with WebhookEndpoint() as endpoint:
        text = '{"text": "{rule} on {source}: {state} {workflowId} of {agent}: {message}"}'
        await poster(endpoint.url, body=text).post(DELIVERY)
        (request,) = endpoint.requests
    assert request.content == {"text": 'overheat on boiler-1: failed overheat-9f2c of gw-1: "quoted"'}


@pytest.mark.parametrize("fault", [HANG, CLOSE, GARBAGE, TRICKLE])
async def test_a_receiver_that_gives_no_answer_costs_no_more_than_its_time(fault: str) -> None:
    async with WebhookEndpoint() as endpoint:
        endpoint.answers = [fault]
        with pytest.raises(WebhookFailed) as caught:
            await poster(endpoint.url, times=QUICK).post(DELIVERY)
    assert "geheim" not in str(caught.value)
    assert str(caught.value).startswith(f"http://127.0.0.1:{endpoint.port}/…: ")


async def test_of_an_endless_body_only_the_beginning_is_read() -> None:
    async with WebhookEndpoint() as endpoint:
        endpoint.answers = [ENDLESS]
        answer = await poster(endpoint.url).post(DELIVERY)
        assert answer.status == 200
        assert len(answer.text) <= MAX_ANSWER_BYTES


async def test_an_answer_whose_body_trickles_is_an_answer() -> None:
    async with WebhookEndpoint() as endpoint:
        endpoint.answers = [SLOW_BODY]
        answer = await poster(endpoint.url, times=PostTimes(body_s=0.2)).post(DELIVERY)
    assert answer.status == 200
    assert answer.text.strip("x") == ""


async def test_a_redirect_is_not_followed() -> None:
    async with WebhookEndpoint() as there, WebhookEndpoint() as here:
        here.answers, here.headers = [307], [f"location: {there.url}"]
        assert (await poster(here.url).post(DELIVERY)).status == 307
        assert there.requests == []


async def test_what_a_receiver_asks_for_is_read_in_both_forms() -> None:
    async with WebhookEndpoint() as endpoint:
        endpoint.answers, endpoint.headers = [429], ["retry-after: 17"]
        assert (await poster(endpoint.url).post(DELIVERY)).retry_after_s == 17.0
        endpoint.headers = [
            "date: Fri, 20 Mar 2026 12:00:00 GMT",
            "retry-after: Fri, 20 Mar 2026 12:02:00 GMT",
        ]
        assert (await poster(endpoint.url).post(DELIVERY)).retry_after_s == 120.0


async def test_a_host_that_is_not_there_is_told_in_plain_words() -> None:
    with pytest.raises(WebhookFailed, match="Connection refused"):
        await poster(f"http://127.0.0.1:{free_port()}/").post(DELIVERY)
    with pytest.raises(WebhookFailed, match="cannot be resolved"):
        await poster("http://no-such-host.invalid/", times=QUICK).post(DELIVERY)


async def test_a_name_that_points_at_this_machine_is_used_only_if_that_is_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "socket.getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("127.0.0.1", 0)), (2, 1, 6, "", ("169.254.169.254", 0))]
    )
    async with WebhookEndpoint() as endpoint:
        url = f"http://hooks.example:{endpoint.port}/"
        with pytest.raises(WebhookFailed, match="this machine itself: name that address in allow_hosts"):
            await poster(url).post(DELIVERY)
        assert endpoint.requests == []
        assert (await poster(url, allow_hosts=("hooks.example", "127.0.0.1")).post(DELIVERY)).status == 200
        (request,) = endpoint.requests
        assert request.headers["host"] == f"hooks.example:{endpoint.port}"


async def test_tls_is_verified_against_the_name_in_the_url_not_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Certificates(tmp_path)
    files.issue("hooks", "hooks.example")
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(files.file("hooks.pem"), files.file("hooks.key"))
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("127.0.0.1", 0))])
    async with WebhookEndpoint(served) as endpoint:
        trusted: dict[str, Any] = {"ca_file": files.file("ca.pem"), "allow_hosts": ("*.example", "127.0.0.1")}
        assert (await poster(f"https://hooks.example:{endpoint.port}/", **trusted).post(DELIVERY)).status == 200
        with pytest.raises(WebhookFailed, match="certificate is not trusted"):
            await poster(f"https://other.example:{endpoint.port}/", **trusted).post(DELIVERY)
        with pytest.raises(WebhookFailed, match="certificate is not trusted"):
            await poster(f"https://hooks.example:{endpoint.port}/", allow_hosts=("*.example", "127.0.0.1")).post(
                DELIVERY
            )


async def test_nothing_is_sent_unsigned_and_a_new_secret_is_used_at_once(tmp_path: Path) -> None:
    file = tmp_path / "webhook.secret"
    async with WebhookEndpoint() as endpoint:
        signed = poster(endpoint.url, secret_file=FilePath(file))
        with pytest.raises(WebhookFailed, match="No such file"):
            await signed.post(DELIVERY)
        file.write_bytes(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
        await signed.post(DELIVERY)
        file.write_bytes(b"geheim")
        with pytest.raises(WebhookFailed, match="is not whsec_") as caught:
            await signed.post(DELIVERY)
        assert "geheim" not in str(caught.value)
        (request,) = endpoint.requests
        assert request.headers["webhook-signature"].startswith("v1,")


async def test_lookups_that_hang_hold_up_neither_each_other_nor_the_loops_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hanging(*_: object, **__: object) -> list[object]:
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result()
        return []

    monkeypatch.setattr("socket.getaddrinfo", hanging)
    lost = [poster(f"http://host-{number}.example/", times=PostTimes(total_s=0.2)) for number in range(16)]
    try:
        for _ in range(2):
            results = await asyncio.gather(*(each.post(DELIVERY) for each in lost * 4), return_exceptions=True)
            assert all(isinstance(result, WebhookFailed) for result in results)
        assert await asyncio.to_thread(lambda: "free") == "free"
        async with WebhookEndpoint() as endpoint:
            assert (await poster(endpoint.url).post(DELIVERY)).status == 200
    finally:
        release.set()
