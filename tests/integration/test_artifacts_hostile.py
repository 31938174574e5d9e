"""Stores by HTTP that fail in every way: no object counts as there that may not be, and nothing waits for ever."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeagent.artifacts.http import HttpTimes, StoreClient
from edgeagent.artifacts.s3 import S3Store
from edgeagent.artifacts.webdav import HttpStore, PresignedStore
from edgeagent.config.tables import ArtifactsTable, Connection, FilePath
from edgeagent.errors import StoreError, StoreFailed, StoreRefused
from tests.fakes.artifact_store import sending
from tests.fakes.hasty_store import Asked, hasty_store

# More than the buffers of both sockets hold.
LARGE = bytes(16 << 20)
SHORT = HttpTimes(connect_s=30.0, write_s=0.3, answer_s=0.3, total_s=1.0)
LONG = HttpTimes(connect_s=30.0, write_s=30.0, answer_s=30.0, total_s=30.0)


def client(times: HttpTimes = LONG) -> StoreClient:
    return StoreClient("test", Connection(), times)


async def put(url: str, directory: Path, content: bytes = b"content", times: HttpTimes = LONG, **keys: Any) -> int:
    """Put it as `gw/e1`; returns how often it was asked for bytes."""
    kind = PresignedStore if "presign_url" in keys else HttpStore
    store = kind(ArtifactsTable(store=url, **keys), client(times))
    return await put_into(store, directory, content)


async def put_into(store: HttpStore | S3Store, directory: Path, content: bytes) -> int:
    try:
        async with sending(directory, "gw/e1", content) as one:
            await store.put(one)
            return one.upload.sent_bytes
    finally:
        await store.aclose()


async def failed(url: str, directory: Path, content: bytes = b"content", times: HttpTimes = LONG) -> StoreFailed:
    with pytest.raises(StoreFailed) as caught:
        await put(url, directory, content, times)
    return caught.value


async def test_a_store_that_accepts_half_and_dies_is_tried_again(tmp_path: Path) -> None:
    async def behave(asked: Asked) -> None:
        if asked.method == "PUT":
            await asked.reader.readexactly(asked.length // 2)
            asked.writer.transport.abort()
        else:
            asked.answer(405)

    async with hasty_store(behave) as (url, _):
        error = await failed(url, tmp_path, LARGE)
    assert not error.needs_somebody


async def test_an_answer_that_is_cut_is_none(tmp_path: Path) -> None:
    async def behave(asked: Asked) -> None:
        await asked.body()
        asked.writer.write(b"HTTP/1.1 2")
        asked.writer.close()

    async with hasty_store(behave) as (url, _):
        assert "closed the connection" in (await failed(url, tmp_path)).reason


@pytest.mark.parametrize(
    "garbage", [b"220 ftp.example ready\r\n", b"\x00\xff\x16\x03\x01" * 50, b"HTTP/1.1 999999 X\r\n\r\n"]
)
async def test_what_is_no_http_is_no_success(tmp_path: Path, garbage: bytes) -> None:
    async def behave(asked: Asked) -> None:
        await asked.body()
        asked.writer.write(garbage)
        asked.writer.close()

    async with hasty_store(behave) as (url, _):
        await failed(url, tmp_path)


@pytest.mark.parametrize(
    ("status", "needs_somebody"),
    [
        *((status, False) for status in (408, 429, 500, 502, 503, 507)),
        *((status, True) for status in (301, 307, 400, 401, 403, 404, 405)),
    ],
)
async def test_no_answer_of_the_store_is_for_good(tmp_path: Path, status: int, needs_somebody: bool) -> None:
    async def behave(asked: Asked) -> None:
        await asked.body()
        if asked.method == "PUT":
            asked.answer(status, b"no \x1b[31mroom", content_type="text/plain", location="https://elsewhere/")
        else:
            asked.answer(405)

    async with hasty_store(behave) as (url, asked):
        error = await failed(url, tmp_path)
        assert len([one for one in asked if one.method == "PUT"]) == 1, "no redirect is followed"
    assert error.needs_somebody is needs_somebody
    assert str(status) in error.reason
    assert "\x1b" not in error.reason


async def test_the_wait_that_it_asks_for_is_passed_on_within_a_bound(tmp_path: Path) -> None:
    waits = iter(["120", "99999999"])

    async def behave(asked: Asked) -> None:
        await asked.body()
        if asked.method == "PUT":
            asked.answer(429, retry_after=next(waits))
        else:
            asked.answer(405)

    async with hasty_store(behave) as (url, _):
        assert (await failed(url, tmp_path)).retry_after_s == 120
        assert (await failed(url, tmp_path)).retry_after_s == 3600


async def test_a_size_that_it_does_not_take_is_for_good(tmp_path: Path) -> None:
    async def behave(asked: Asked) -> None:
        await asked.body()
        asked.answer(413 if asked.method == "PUT" else 405)

    async with hasty_store(behave) as (url, _):
        with pytest.raises(StoreRefused, match="413"):
            await put(url, tmp_path)


async def test_a_store_that_lies_about_the_length_is_found_out(tmp_path: Path) -> None:
    async def behave(asked: Asked) -> None:
        if asked.method == "HEAD":
            asked.answer(200, content_length="3")
        else:
            await asked.body()
            asked.answer(201)

    async with hasty_store(behave) as (url, _):
        assert "holds 3 bytes of 7" in (await failed(url, tmp_path)).reason


@pytest.mark.parametrize("status", [404, 405, 403, 501])
async def test_a_store_that_tells_nothing_of_its_objects_is_believed(tmp_path: Path, status: int) -> None:
    async def behave(asked: Asked) -> None:
        await asked.body()
        asked.answer(201 if asked.method == "PUT" else status)

    async with hasty_store(behave) as (url, _):
        assert await put(url, tmp_path) == len(b"content")


async def test_a_store_that_stops_reading_is_given_up(tmp_path: Path) -> None:
    async def behave(asked: Asked) -> None:
        if asked.method == "PUT":
            asked.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await asked.reader.readexactly(1 << 30)
        asked.answer(405)

    async with hasty_store(behave) as (url, _):
        error = await failed(url, tmp_path, LARGE, SHORT)
    assert "stopped taking data" in error.reason
    assert not error.needs_somebody


async def test_a_store_that_never_answers_is_given_up(tmp_path: Path) -> None:
    async def behave(asked: Asked) -> None:
        if asked.method == "PUT":
            await asked.body()
            await asked.reader.read()
        asked.answer(405)

    async with hasty_store(behave) as (url, _):
        assert "did not answer, in time" in (await failed(url, tmp_path, times=SHORT)).reason


async def test_an_answer_without_end_costs_no_memory(tmp_path: Path) -> None:
    async def behave(asked: Asked) -> None:
        await asked.body()
        if asked.method != "PUT":
            asked.answer(405)
            return
        asked.writer.write(b"HTTP/1.1 403 So\r\nContent-Length: 99999999999\r\nContent-Type: text/plain\r\n\r\n")
        while True:
            asked.writer.write(b"x" * 65536)
            await asked.writer.drain()

    async with hasty_store(behave) as (url, _):
        assert len((await failed(url, tmp_path)).reason) < 500


async def test_the_digest_of_the_content_goes_with_it(tmp_path: Path) -> None:
    async def behave(asked: Asked) -> None:
        await asked.body()
        asked.answer(201)

    async with hasty_store(behave) as (url, asked):
        await put(url, tmp_path)
        (sent,) = (one for one in asked if one.method == "PUT")
    digest = base64.b64encode(hashlib.sha256(b"content").digest()).decode()
    assert sent.headers["content-digest"] == f"sha-256=:{digest}:"
    assert sent.headers["content-type"] == "image/jpeg"
    assert sent.headers["content-length"] == "7"


async def test_a_file_that_is_damaged_never_becomes_a_whole_object(tmp_path: Path) -> None:
    bodies: list[int] = []

    async def behave(asked: Asked) -> None:
        if asked.method == "PUT":
            bodies.append(len(await asked.reader.read(-1)))
        else:
            asked.answer(405)

    content = os.urandom(1 << 20)
    async with hasty_store(behave) as (url, _):
        store = HttpStore(ArtifactsTable(store=url), client())
        async with sending(tmp_path, "gw/e1", content) as one:
            with open(one.upload.path, "r+b") as file:  # noqa: ASYNC230, PTH123  a bit turns
                file.seek(1000)
                file.write(bytes([content[1000] ^ 1]))
            with pytest.raises(StoreRefused, match="damaged"):
                await store.put(one)
        await store.aclose()
    assert all(size < len(content) for size in bodies)


async def test_a_token_goes_to_the_store_and_into_no_message(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("t0ken-that-nobody-sees\n", "utf-8")

    async def behave(asked: Asked) -> None:
        await asked.body()
        asked.answer(403, b"go away", content_type="text/plain")

    async with hasty_store(behave) as (url, asked):
        with pytest.raises(StoreFailed) as caught:
            await put(url, tmp_path, token_file=FilePath(token))
        assert {one.headers["authorization"] for one in asked} == {"Bearer t0ken-that-nobody-sees"}
    assert "t0ken" not in str(caught.value)
    assert "go away" in str(caught.value)


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
        {"url": "file:///etc/passwd"},
        {"url": "https://"},
        {"url": "https://user:s3cret@host/"},
        {"url": "https://169.254.169.254/latest/?s3cret"},
        {"url": "http://[::1]/?s3cret"},
        {"url": "http://localhost:1/?s3cret"},
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


@pytest.mark.parametrize(("status", "kind"), [(403, StoreFailed), (503, StoreFailed), (413, StoreRefused)])
async def test_an_endpoint_that_refuses_is_as_a_store_that_does(
    tmp_path: Path, status: int, kind: type[StoreError]
) -> None:
    endpoint = Presigning({"error": "no"}, status)
    async with hasty_store(endpoint.behave) as (url, _):
        with pytest.raises(kind, match=str(status)):
            await put("https://files.example/", tmp_path, presign_url=f"{url}/sign")


class FakeBucket:
    """A service that speaks S3 as the test says: a status and a body for each kind of request."""

    def __init__(self, **answers: tuple[int, bytes]) -> None:
        self.answers = answers
        self.head_length = ""

    async def behave(self, asked: Asked) -> None:
        """See `Behaviour`."""
        await asked.body()
        kind = {"POST": "complete" if "uploadId" in asked.target else "create", "PUT": "put"}.get(asked.method, "")
        status, body = self.answers.get(kind, (200, b""))
        more = {"content_length": self.head_length} if asked.method == "HEAD" and self.head_length else {}
        asked.answer(status, body, etag='"e"', date="Fri, 20 Mar 2026 12:00:00 GMT", **more)


CREATE = b"<R><UploadId>u1</UploadId></R>"


@pytest.mark.parametrize(
    ("answers", "words", "is_large"),
    [
        (
            {"put": (403, b"<Error><Code>SignatureDoesNotMatch</Code><Message>no</Message></Error>")},
            "SignatureDoes",
            False,
        ),
        ({"put": (503, b"<Error><Code>SlowDown</Code></Error>")}, "SlowDown", False),
        ({"put": (403, b"<Error><Code>RequestTimeTooSkewed</Code></Error>")}, "clock is wrong", False),
        ({"put": (400, b"<Error><Code>XAmzContentSHA256Mismatch</Code></Error>")}, "SHA256Mismatch", False),
        ({"create": (200, b"<R></R>")}, "gave no id", True),
        ({"create": (200, b"<R><UploadId>" + b"u" * 5000 + b"</UploadId></R>")}, "gave no id", True),
        (
            {"create": (200, CREATE), "complete": (200, b"<Error><Code>InternalError</Code></Error>")},
            "InternalError",
            True,
        ),
        ({"create": (200, CREATE), "put": (500, b"")}, "500", True),
    ],
)
async def test_a_bucket_that_fails_is_tried_again(
    tmp_path: Path, answers: dict[str, tuple[int, bytes]], words: str, is_large: bool
) -> None:
    bucket = FakeBucket(**answers)
    async with hasty_store(bucket.behave) as (url, _):
        with pytest.raises(StoreFailed, match=words):
            await put_into(s3(url, tmp_path), tmp_path, LARGE if is_large else b"x")


async def test_a_bucket_that_lies_about_the_length_is_found_out(tmp_path: Path) -> None:
    bucket = FakeBucket(create=(200, CREATE))
    bucket.head_length = "5"
    async with hasty_store(bucket.behave) as (url, _):
        with pytest.raises(StoreFailed, match="holds 5 bytes"):
            await put_into(s3(url, tmp_path), tmp_path, LARGE)


async def test_an_object_too_large_for_a_bucket_is_refused_for_good(tmp_path: Path) -> None:
    bucket = FakeBucket(put=(400, b"<Error><Code>EntityTooLarge</Code></Error>"))
    async with hasty_store(bucket.behave) as (url, _):
        with pytest.raises(StoreRefused, match="EntityTooLarge"):
            await put_into(s3(url, tmp_path), tmp_path, b"x")


async def test_a_clock_that_is_wrong_is_corrected_by_the_services(tmp_path: Path) -> None:
    times: list[str] = []

    async def behave(asked: Asked) -> None:
        await asked.body()
        if asked.method == "HEAD":
            asked.answer(403)
            return
        times.append(asked.headers["x-amz-date"])
        body = b"" if len(times) > 1 else b"<Error><Code>RequestTimeTooSkewed</Code></Error>"
        asked.answer(200 if len(times) > 1 else 403, body, date="Fri, 20 Mar 2099 12:00:00 GMT")

    async with hasty_store(behave) as (url, _):
        store = s3(url, tmp_path)
        with pytest.raises(StoreFailed, match="clock is wrong") as caught:
            await put_into(store, tmp_path, b"x")
        assert not caught.value.needs_somebody
        await put_into(store, tmp_path, b"x")
    assert times[1].startswith("20990320T12")


def s3(url: str, directory: Path) -> S3Store:
    (directory / "key").write_text("id\nsecret\n", "utf-8")
    table = ArtifactsTable(store="s3://bucket", endpoint=url, access_key_file=FilePath(directory / "key"))
    return S3Store(table, client())
