"""Uploads to URLs that an endpoint makes, and an endpoint that is hostile."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeagent.artifacts.http import HttpTimes, StoreClient
from edgeagent.artifacts.webdav import PresignedStore
from edgeagent.config.tables import ArtifactsTable, Connection, FilePath
from edgeagent.errors import StoreError, StoreFailed, StoreRefused
from tests.fakes.artifact_store import put_object
from tests.fakes.hasty_store import Asked, hasty_store

SHORT = HttpTimes(connect_s=0.3)


async def put(url: str, directory: Path, times: HttpTimes = HttpTimes(), **keys: Any) -> None:  # noqa: B008
    store = PresignedStore(ArtifactsTable(store=url, **keys), StoreClient("test", Connection(), times))
    await put_object(store, directory, b"content")


class Presigning:
    """An endpoint and the place that it sends uploads to, in one server."""

    def __init__(self, answer: dict[str, Any] | bytes | None = None, status: int = 200) -> None:
        self.answer = answer
        self.status = status
        self.asked: list[Any] = []
        self.bodies: list[bytes] = []
        self.url = ""

    async def behave(self, asked: Asked) -> None:
        """See `Behaviour`."""
        body = await asked.body()
        if asked.method == "PUT":
            self.bodies.append(body)
            asked.answer(200)
            return
        self.asked.append(msgspec.json.decode(body))
        answer = (
            self.answer if self.answer is not None else {"url": f"{self.url}/up?sig=s3cret", "headers": {"x-a": "1"}}
        )
        document = answer if isinstance(answer, bytes) else msgspec.json.encode(answer)
        asked.answer(self.status, document, content_type="application/json")


async def test_each_upload_goes_where_the_endpoint_says_without_our_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("for-the-endpoint", "utf-8")
    endpoint = Presigning()
    async with hasty_store(endpoint.behave) as (url, asked):
        endpoint.url = url
        await put(f"{url}/files", tmp_path, presign_url=f"{url}/sign", token_file=FilePath(tmp_path / "token"))
    (ask, upload) = asked
    assert (ask.method, ask.target, ask.headers["authorization"]) == ("POST", "/sign", "Bearer for-the-endpoint")
    digest = hashlib.sha256(b"content").hexdigest()
    assert endpoint.asked == [{"name": "gw/e1", "size": 7, "sha256": digest, "contentType": "image/jpeg"}]
    assert (upload.method, upload.target) == ("PUT", "/up?sig=s3cret")
    assert upload.headers["x-a"] == "1"
    assert "authorization" not in upload.headers
    assert endpoint.bodies == [b"content"]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>",
        b"[" * 100_000,
        b'{"more": ' + b"[" * 100_000,
        {"url": "file:///etc/passwd"},
        {"url": "https://"},
        {"url": "https://user:s3cret@host/"},
        {"url": "https://169.254.169.254/latest/?s3cret"},
        {"url": "http://[::1]/?s3cret"},
        {"url": "http://localhost:1/?s3cret"},
        {"url": "http://127.1:1/?s3cret"},
        {"url": "http://0x7f000001:1/?s3cret"},
        {"url": "https://host/\r\nX: y"},
        {"url": "https://host/?s3cret", "headers": {"Host": "other"}},
        {"url": "https://host/?s3cret", "headers": {"Transfer-Encoding": "chunked"}},
        {"url": "https://host/?s3cret", "headers": {"x": "a\r\nb"}},
        {"url": "https://host/?s3cret", "headers": {"x y": "a"}},
        {"url": "https://host/?s3cret", "headers": {f"x{number}": "a" for number in range(100)}},
    ],
)
async def test_an_endpoint_that_is_hostile_leads_nowhere(tmp_path: Path, answer: dict[str, Any] | bytes) -> None:
    endpoint = Presigning(answer)
    async with hasty_store(endpoint.behave) as (url, asked):
        with pytest.raises(StoreFailed) as caught:
            await put("https://files.example/", tmp_path, presign_url=f"{url}/sign")
        assert [one.method for one in asked] == ["POST"]
    assert caught.value.needs_somebody
    assert "s3cret" not in str(caught.value)


async def test_an_upload_goes_to_the_address_that_was_looked_at_and_says_the_hosts_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        assert host == "bucket.example"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("192.0.2.7", "127.0.0.1")]

    monkeypatch.setattr("edgeagent.links.lookup.socket.getaddrinfo", resolve)
    endpoint = Presigning()
    async with hasty_store(endpoint.behave) as (url, asked):
        endpoint.url = url.replace("127.0.0.1", "bucket.example")
        with pytest.raises(StoreFailed):  # what is left of its addresses takes no connection
            await put("https://files.example/", tmp_path, times=SHORT, presign_url=f"{url}/sign")
        assert [one.method for one in asked] == ["POST"]
        monkeypatch.setattr("edgeagent.artifacts.webdav.special", lambda _: "")
        await put("https://files.example/", tmp_path, times=SHORT, presign_url=f"{url}/sign")
    assert (asked[-1].method, asked[-1].headers["host"]) == ("PUT", endpoint.url.removeprefix("http://"))
    assert endpoint.bodies == [b"content"]


@pytest.mark.parametrize(("status", "kind"), [(403, StoreFailed), (503, StoreFailed), (413, StoreRefused)])
async def test_an_endpoint_that_refuses_is_as_a_store_that_does(
    tmp_path: Path, status: int, kind: type[StoreError]
) -> None:
    endpoint = Presigning({"error": "no"}, status)
    async with hasty_store(endpoint.behave) as (url, _):
        with pytest.raises(kind, match=str(status)):
            await put("https://files.example/", tmp_path, presign_url=f"{url}/sign")
