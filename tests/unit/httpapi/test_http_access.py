from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeagent.errors import ConfigError
from edgeagent.httpapi.access import Admission, TokenFile
from edgeagent.httpapi.problem import Refused
from edgeagent.httpapi.request import request_head

MALFORMED_HOSTS = [
    "[::1]evil.example",
    "[::1]:80evil.example",
    "[::1",
    "::1",
    "[localhost]",
    "localhost:evil",
    "localhost:123456",
    "localhost@evil.example",
    "localhost/",
    "localhost, evil.example",
    "127.1",
    "0x7f.0.0.1",
    "localhost\u00e4",
]


def status(access: Admission, method: str = "POST", path: str = "/v1/events/s", **headers: str) -> int:
    """What a request with these headers would be refused with, 200 when it may pass."""
    sent = [(name.encode(), value.encode()) for name, value in headers.items()]
    try:
        access.check(request_head(method.encode(), path.encode(), sent))
    except Refused as exc:
        return exc.status
    return 200


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8745", "127.0.0.1:8745", "[::1]:8745", "192.168.1.9", "a.localhost", "gateway.lan:8745"],
)
def test_hosts_that_no_rebinding_can_have_pass(host: str) -> None:
    assert status(Admission("gateway.lan", None), Host=host) == 200


def test_names_of_this_machine_can_be_configured() -> None:
    access = Admission("127.0.0.1", None, ["gateway.local", "GW-7"])
    assert status(access, Host="Gateway.LOCAL:8745") == 200
    assert status(access, Host="gw-7") == 200
    assert status(access, Host="gateway.local.evil.example") == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "Cross-Site", "", "new-value", "none, cross-site"])
def test_a_page_of_another_site_can_neither_ask_nor_send(site: str) -> None:
    access = Admission("127.0.0.1", None)
    headers = {"Host": "127.0.0.1:8745", "Sec-Fetch-Site": site}
    assert status(access, **headers) == 403
    assert status(access, method="GET", path="/v1/stats", **headers) == 403
    assert status(access, method="OPTIONS", **headers) == 403


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_a_page_of_this_server_and_a_person_who_types_the_address_can_ask(site: str) -> None:
    assert (
        status(Admission("127.0.0.1", None), "GET", "/v1/stats", **{"Host": "127.0.0.1", "Sec-Fetch-Site": site}) == 200
    )


@pytest.mark.parametrize(
    ("target", "expected"), [("http://evil.example/v1/stats", 403), ("HTTP://localhost:1/v1/stats", 200)]
)
def test_the_authority_of_an_absolute_target_counts_and_not_the_host_beside_it(target: str, expected: int) -> None:
    assert status(Admission("127.0.0.1", None), "GET", target, Host="localhost") == expected


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8745", "localhost.evil.example", "127.0.0.1.nip.io", "", *MALFORMED_HOSTS]
)
def test_a_page_whose_name_was_rebound_to_loopback_is_refused_even_to_read(host: str) -> None:
    access = Admission("127.0.0.1", None)
    assert status(access, Host=host) == 403
    assert status(access, method="GET", path="/v1/stats", Host=host) == 403


def test_with_a_token_the_host_may_be_a_name_since_the_page_does_not_know_the_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    access = Admission("0.0.0.0", TokenFile(str(tmp_path / "token")))  # noqa: S104  not listened on
    assert status(access, Host="gateway.example", Authorization="Bearer t") == 200
    assert status(access, Host="gateway.example", Authorization="Basic t") == 401
    assert status(access, Host="gateway.example") == 401


def test_the_metrics_name_rules_and_need_the_token_that_other_calls_need(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    access = Admission("0.0.0.0", TokenFile(str(tmp_path / "token")))  # noqa: S104  not listened on
    assert status(access, "GET", "/metrics", Host="gateway.example") == 401
    assert status(access, "GET", "/metrics", Host="gateway.example", Authorization="Bearer t") == 200
    assert status(access, "GET", "/healthz", Host="gateway.example") == 200
    assert status(Admission("127.0.0.1", None), "GET", "/metrics", Host="127.0.0.1:8745") == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:3000", "http://localhost:8745"])
def test_a_page_of_another_server_cannot_send_events(origin: str) -> None:
    access = Admission("127.0.0.1", None)
    assert status(access, Host="127.0.0.1:8745", Origin=origin) == 403
    assert status(access, method="GET", path="/v1/stats", Host="127.0.0.1:8745", Origin=origin) == 200


def test_a_page_of_this_server_can_send_events() -> None:
    assert status(Admission("127.0.0.1", None), Host="127.0.0.1:8745", Origin="http://127.0.0.1:8745") == 200


def write(path: Path, text: str, second: int) -> None:
    """Write a file with a modification time of its own, however coarse the clock is."""
    path.write_text(text)
    os.utime(path, (second, second))


def test_a_token_that_changes_is_taken_up_without_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "token"
    write(path, "first\n", 1)
    token = TokenFile(str(path))
    assert token.matches(b"first")
    assert not token.matches(b"first\n")
    write(path, "other\n", 2)
    assert token.matches(b"other")
    assert not token.matches(b"first")


def test_a_token_file_that_goes_away_or_empty_keeps_the_token_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "token"
    write(path, "first", 1)
    token = TokenFile(str(path))
    path.unlink()
    assert token.matches(b"first")
    write(path, " \n", 2)
    assert token.matches(b"first")
    assert not token.matches(b"")
    assert [getattr(record, "event", "") for record in caplog.records] == ["http_token_unreadable"]
    write(path, "second", 3)
    assert token.matches(b"second")


@pytest.mark.parametrize("text", [None, "", " \n", "x" * 5000])
def test_a_token_file_that_holds_no_token_is_an_error_of_the_configuration(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "token"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=r"cannot be used as http\.token_file"):
        TokenFile(str(path))
