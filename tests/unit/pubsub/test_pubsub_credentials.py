"""Bearers: signed by ourselves, from a file, from the metadata server; renewed in time, and never shown."""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from edgeagent.errors import Denied, Unavailable
from edgeagent.pubsub import credentials, jwt
from edgeagent.pubsub.credentials import KeyFile, MetadataServer, NoCredentials, RenewedTokenFile, ServiceClock, choose

ADDRESS = "pubsub://plant-42/triggers"
GOLDEN = Path(__file__).parents[2] / "golden" / "pubsub-jwt.txt"


@pytest.fixture(scope="module")
def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def pem_of(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def key_file(directory: Path, pem: str, **more: str) -> Path:
    members = {
        "type": "service_account",
        "project_id": "plant-42",
        "private_key_id": "k1",
        "private_key": pem,
        "client_email": "gw-042@plant-42.iam.gserviceaccount.com",
    }
    path = directory / "key.json"
    path.write_text(json.dumps(members | more), "utf-8")
    return path


def decoded(part: bytes) -> Any:
    return json.loads(base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)))


async def test_a_service_accounts_token_is_what_googles_apis_expect_and_verifies_with_its_public_key(
    tmp_path: Path, private_key: rsa.RSAPrivateKey
) -> None:
    found = await KeyFile(ADDRESS, str(key_file(tmp_path, pem_of(private_key))), ServiceClock()).authorization()
    scheme, _, token = found.partition(b" ")
    header, claims, signature = token.split(b".")
    assert scheme == b"Bearer"
    assert decoded(header) == {"alg": "RS256", "typ": "JWT", "kid": "k1"}
    said = decoded(claims)
    assert said["iss"] == said["sub"] == "gw-042@plant-42.iam.gserviceaccount.com"
    assert said["aud"] == "https://pubsub.googleapis.com/"
    assert said["exp"] - said["iat"] == 3600
    assert abs(said["iat"] - time.time()) < 60
    private_key.public_key().verify(
        base64.urlsafe_b64decode(signature + b"=="), header + b"." + claims, padding.PKCS1v15(), hashes.SHA256()
    )


def test_a_token_is_written_to_the_byte_as_ever() -> None:
    key = jwt.ServiceAccountKey("service_account", "gw@p.iam.gserviceaccount.com", "-----BEGIN", "k1")
    token = jwt.signed(key, 1_796_000_000.9, lambda _, text: len(text).to_bytes(2, "big"))
    assert token == GOLDEN.read_bytes().strip()


async def test_one_token_serves_for_many_requests_and_a_new_one_is_made_when_it_is_refused_or_the_key_replaced(
    tmp_path: Path, private_key: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    signatures = 0

    def sign(_: str, data: bytes) -> bytes:
        nonlocal signatures
        signatures += 1
        return b"%d" % signatures + data[:0]

    monkeypatch.setattr(credentials, "sign", sign)
    path = key_file(tmp_path, pem_of(private_key))
    source = KeyFile(ADDRESS, str(path), ServiceClock())
    first = await source.authorization()
    assert await source.authorization() == first
    source.refused()
    second = await source.authorization()
    assert second != first
    key_file(tmp_path, pem_of(private_key), private_key_id="another, longer id")
    assert decoded((await source.authorization()).split(b" ")[1].split(b".")[0])["kid"] == "another, longer id"
    assert signatures == 3


async def test_a_token_is_made_anew_before_its_end(
    tmp_path: Path, private_key: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "sign", lambda _, data: data[:1])
    clock = ServiceClock()
    source = KeyFile(ADDRESS, str(key_file(tmp_path, pem_of(private_key))), clock)
    first = await source.authorization()
    clock.note(formatdate(time.time() + jwt.LIFETIME_S - jwt.RENEW_BEFORE_S - 60, usegmt=True))
    assert await source.authorization() == first
    clock.note(formatdate(time.time() + jwt.LIFETIME_S - jwt.RENEW_BEFORE_S + 60, usegmt=True))
    assert await source.authorization() != first


def test_a_clock_that_is_wrong_is_corrected_by_the_services_date_and_a_small_difference_is_none() -> None:
    clock = ServiceClock()
    clock.note(formatdate(time.time() + 86_400, usegmt=True))
    assert clock.now_s() == pytest.approx(time.time() + 86_400, abs=60)
    clock.note("no date at all")
    assert clock.offset_s > 80_000
    clock.note(formatdate(time.time() + 3, usegmt=True))
    assert clock.offset_s == 0.0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{}", "is not the JSON key of a service account"),
        ("", "is not the JSON key of a service account"),
        ('{"type": "authorized_user", "client_email": "a", "private_key": "SECRET"}', "token_file"),
        ('{"type": "service_account", "client_email": "a", "private_key": "SECRET"}', "no private_key in PEM"),
        (
            '{"type": "service_account", "client_email": "a", "private_key": "-----BEGIN PRIVATE KEY-----SECRET"}',
            "a private key that openssl cannot use",
        ),
    ],
)
async def test_a_key_that_cannot_be_used_is_told_without_a_word_of_it(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "key.json"
    path.write_text(text, "utf-8")
    with pytest.raises(Denied, match="credentials_file") as told:
        await KeyFile(ADDRESS, str(path), ServiceClock()).authorization()
    assert reason in str(told.value)
    assert "SECRET" not in str(told.value)


async def test_without_openssl_it_says_what_to_install(
    tmp_path: Path, private_key: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "_OPENSSL", "openssl-that-is-not-there")
    source = KeyFile(ADDRESS, str(key_file(tmp_path, pem_of(private_key))), ServiceClock())
    with pytest.raises(Denied, match="apt install openssl"):
        await source.authorization()


def test_no_form_of_a_key_shows_it(private_key: rsa.RSAPrivateKey) -> None:
    key = jwt.ServiceAccountKey("service_account", "gw@p", pem_of(private_key))
    assert "PRIVATE" not in f"{key!r} {key}"


async def test_a_token_file_is_read_for_each_request_because_others_renew_it(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("ya29.first\n", "utf-8")
    source = RenewedTokenFile(ADDRESS, str(path))
    assert await source.authorization() == b"Bearer ya29.first"
    path.write_text("Bearer ya29.second", "utf-8")
    assert await source.authorization() == b"Bearer ya29.second"


@pytest.mark.parametrize("text", ["", "two words", "a\nb", "x" * 20_000, "ü"])
async def test_what_is_no_token_is_never_sent_or_shown(tmp_path: Path, text: str) -> None:
    path = tmp_path / "token"
    path.write_text(text, "utf-8")
    with pytest.raises(Denied, match="does not hold a token") as told:
        await RenewedTokenFile(ADDRESS, str(path)).authorization()
    assert not text or text not in str(told.value)


class _Metadata(BaseHTTPRequestHandler):
    answers: list[tuple[int, bytes]]
    flavors: list[str]

    def do_GET(self) -> None:
        self.flavors.append(self.headers["Metadata-Flavor"])
        status, body = self.answers.pop(0)
        self.send_response_only(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def metadata() -> Iterator[tuple[str, type[_Metadata]]]:
    class Handler(_Metadata):
        answers: list[tuple[int, bytes]] = []  # noqa: RUF012  one class for each test
        flavors: list[str] = []  # noqa: RUF012  as above

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/token", Handler
        server.shutdown()
        thread.join()


async def test_the_metadata_servers_token_is_kept_until_shortly_before_its_end(
    metadata: tuple[str, type[_Metadata]],
) -> None:
    url, handler = metadata
    handler.answers += [(200, b'{"access_token": "ya29.m1", "expires_in": 3599, "token_type": "Bearer"}')]
    handler.answers += [(200, b'{"access_token": "ya29.m2", "expires_in": 10}')]
    source = MetadataServer(ADDRESS, url)
    assert await source.authorization() == await source.authorization() == b"Bearer ya29.m1"
    source.refused()
    assert await source.authorization() == b"Bearer ya29.m2"
    assert handler.flavors == ["Google", "Google"]


@pytest.mark.parametrize(
    "answer", [(404, b""), (200, b"<html>"), (200, b'{"access_token": "\\u00e4", "expires_in": 1}')]
)
async def test_a_machine_without_a_service_account_is_told_so(
    metadata: tuple[str, type[_Metadata]], answer: tuple[int, bytes]
) -> None:
    url, handler = metadata
    handler.answers.append(answer)
    with pytest.raises(Unavailable, match="the metadata server gives no token"):
        await MetadataServer(ADDRESS, url).authorization()


async def test_no_metadata_server_means_that_a_file_is_to_be_configured() -> None:
    with pytest.raises(Unavailable, match="set credentials_file or token_file"):
        await MetadataServer(ADDRESS, "http://127.0.0.1:1/token").authorization()


async def test_the_configuration_chooses_and_an_emulator_asks_for_nothing() -> None:
    clock = ServiceClock()

    def chosen(**settings: str) -> object:
        environ = {"PUBSUB_EMULATOR_HOST": settings.pop("emulator", "")}
        keys = {"credentials_file": "", "token_file": ""} | settings
        return choose(ADDRESS, clock=clock, environ=environ, **keys)

    assert isinstance(chosen(credentials_file="k"), KeyFile)
    assert isinstance(chosen(token_file=str(GOLDEN)), RenewedTokenFile)
    assert isinstance(chosen(), MetadataServer)
    emulated = chosen(emulator="localhost:8085", credentials_file="k")
    assert isinstance(emulated, NoCredentials)
    assert await emulated.authorization() == b""


async def test_no_log_line_has_a_token(
    tmp_path: Path, private_key: rsa.RSAPrivateKey, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        bearer = await KeyFile(ADDRESS, str(key_file(tmp_path, pem_of(private_key))), ServiceClock()).authorization()
    assert bearer.decode() not in caplog.text


@pytest.mark.parametrize(
    "date",
    ["Fri, 31 Dec 9999 23:59:59 -2359", "Fri, 31 Dec 9999 23:59:59 GMT", "soon"],
)
def test_a_date_at_the_calendars_end_is_no_time_to_count_from(date: str) -> None:
    clock = ServiceClock()
    clock.note(date)
    assert clock.offset_s == 0
    assert clock.now().year < 3000
