"""What `edgeagent doctor` says of receivers of webhooks."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from edgeagent.common.finding import Finding
from edgeagent.config.tables import FilePath, RelayWebhook
from edgeagent.host.checkup import webhook_file_findings
from edgeagent.webhooks import checkup
from edgeagent.webhooks.checkup import webhook_findings
from tests.fakes.certificates import Certificates
from tests.fakes.listener import Listener
from tests.fakes.mosquitto import free_port
from tests.fakes.webhook_receiver import WebhookEndpoint
from tests.waiting import DEADLINE_S


async def found(url: str, timeout_s: float = DEADLINE_S, **keys: Any) -> Finding:
    (finding,) = [each async for each in webhook_findings("relay.webhook", [RelayWebhook(url=url, **keys)], timeout_s)]
    assert finding.subject.startswith("relay.webhook[0] http")
    assert "geheim" not in str(finding)
    assert finding.remedy or finding.level == "ok"
    return finding


async def test_a_receiver_that_is_there_is_connected_to_and_posted_nothing() -> None:
    async with WebhookEndpoint() as endpoint:
        finding = await found(endpoint.url)
        assert (finding.level, finding.found) == ("ok", "127.0.0.1 takes connections")
        assert endpoint.requests == []


async def test_a_signed_request_without_tls_is_a_warning_unless_it_stays_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = FilePath(tmp_path / "secret")
    async with WebhookEndpoint() as endpoint:
        assert (await found(endpoint.url, secret_file=secret)).level == "ok"

    async def connected(_: object) -> str:
        return "192.0.2.1 takes connections"

    monkeypatch.setattr(checkup, "_connected", connected)
    assert (await found("http://mes.example/", secret_file=secret)).level == "warn"
    assert (await found("http://mes.example/")).level == "ok"


async def test_the_certificate_is_checked(tmp_path: Path) -> None:
    files = Certificates(tmp_path)
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(files.file("server.pem"), files.file("server.key"))
    async with WebhookEndpoint(served) as endpoint:
        assert "its certificate is trusted" in (await found(endpoint.url, ca_file=files.file("ca.pem"))).found
        assert "is not trusted" in (await found(endpoint.url)).found
    (tmp_path / "ca.pem").write_text("nonsense", "utf-8")
    assert "ca_file" in (await found("https://127.0.0.1:1/", ca_file=files.file("ca.pem"))).found


async def test_what_is_not_there_and_what_is_not_allowed_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await found(f"http://127.0.0.1:{free_port()}/geheim")).found == "Connection refused"
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("169.254.169.254", 0))])
    assert "allow_hosts" in (await found("http://metadata.example/")).found


async def test_one_that_shakes_no_hands_is_waited_for_only_so_long() -> None:
    async def silent(reader: Any, _: Any) -> None:
        await reader.read()
        await reader.read()

    async with Listener(silent) as listener:
        assert "does not answer within" in (await found(f"https://127.0.0.1:{listener.port}/", 0.5)).found


def test_a_secret_that_everybody_can_read_is_told(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.touch(0o644)
    table = RelayWebhook(url="http://a.example/", secret_file=FilePath(secret))
    (finding,) = webhook_file_findings("relay.webhook[0]", table)
    assert (finding.level, finding.subject) == ("warn", "relay.webhook[0].secret_file")
