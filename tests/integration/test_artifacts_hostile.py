"""Stores by HTTP that fail in every way: no object counts as there that may not be, and nothing waits for ever."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from pathlib import Path

import pytest

from edgeagent.artifacts.http import HttpTimes, StoreClient
from edgeagent.artifacts.webdav import HttpStore
from edgeagent.config.tables import ArtifactsTable, Connection, FilePath
from edgeagent.errors import StoreFailed, StoreRefused
from tests.fakes.artifact_store import put_object, sending
from tests.fakes.hasty_store import Asked, hasty_store

# More than the buffers of both sockets hold.
LARGE = bytes(16 << 20)
SHORT = HttpTimes(connect_s=30.0, write_s=0.3, answer_s=0.3, total_s=1.0)
CRUMBS = SHORT._replace(total_s=0.4)
LONG = HttpTimes(connect_s=30.0, write_s=30.0, answer_s=30.0, total_s=30.0)


async def put(
    url: str, directory: Path, content: bytes = b"content", times: HttpTimes = LONG, token_file: FilePath | None = None
) -> int:
    """Put it as `gw/e1`; returns how many bytes went."""
    table = ArtifactsTable(store=url, token_file=token_file or FilePath())
    return await put_object(HttpStore(table, StoreClient("test", Connection(), times)), directory, content)


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


async def test_an_address_that_nobody_can_ask_is_told_as_one_to_mend(tmp_path: Path) -> None:
    assert (await failed("https://[v1.a]/", tmp_path)).needs_somebody


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


@pytest.mark.parametrize("crumb", [b"HTTP/1.1 102 Processing\r\n\r\n", b"X: y\r\n", b"x"])
async def test_an_answer_that_comes_in_crumbs_for_ever_is_given_up(tmp_path: Path, crumb: bytes) -> None:
    async def behave(asked: Asked) -> None:
        await asked.body()
        if asked.method != "PUT":
            asked.answer(405)
            return
        if not crumb.startswith(b"HTTP"):
            end = b"Content-Length: 1000000\r\n\r\n" if crumb == b"x" else b""
            asked.writer.write(b"HTTP/1.1 201 So\r\n" + end)
        while True:
            asked.writer.write(crumb)
            await asked.writer.drain()
            await asyncio.sleep(0.05)  # each is soon enough for whoever waits for the next one

    async with hasty_store(behave) as (url, _):
        assert "did not answer, in time" in (await failed(url, tmp_path, times=CRUMBS)).reason


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
        store = HttpStore(ArtifactsTable(store=url), StoreClient("test", Connection()))
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
