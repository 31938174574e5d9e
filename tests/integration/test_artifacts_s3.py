"""Artifacts into a bucket of moto's S3 server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from edgeagent.artifacts.http import StoreAnswer, StoreClient
from edgeagent.artifacts.multipart import PART_BYTES
from edgeagent.artifacts.s3 import S3Store
from edgeagent.common.hosts import Address
from edgeagent.config.tables import ArtifactsTable, Connection, FilePath
from edgeagent.errors import StoreFailed
from tests.fakes.artifact_store import sending
from tests.fakes.moto import MotoBucket, MotoServer

NAME = "gw-1/cam/2026-03-20/e1"
LARGE = os.urandom(2 * PART_BYTES + 12_345)


class NotedClient(StoreClient):
    """Notes requests, and breaks off before one.

    Attributes:
        requests: method and target of each; a PUT of a part as `PUT part 2`.
        breaks_at: the request that finds no connection, as it is noted; "" for none.
    """

    def __init__(self) -> None:
        super().__init__("s3://test", Connection())
        self.requests: list[str] = []
        self.breaks_at = ""

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | AsyncGenerator[bytes, None] = b"",
        length: int | None = None,
        at: Sequence[Address] = (),
    ) -> StoreAnswer:
        """See `StoreClient`."""
        query = url.partition("?")[2]
        part = query.partition("partNumber=")[2].partition("&")[0]
        noted = f"{method} part {part}" if part else f"{method} {query.partition('=')[0]}".rstrip()
        if noted == self.breaks_at:
            raise StoreFailed("s3://test", "the line was cut")
        self.requests.append(noted)
        return await super().request(method, url, headers, body, length, at)


@pytest.fixture(scope="module")
def moto() -> Iterator[MotoServer]:
    server = MotoServer()
    asyncio.run(server.start())
    yield server
    server.stop()


@pytest.fixture
def server(moto: MotoServer) -> MotoBucket:
    return moto.bucket()


class Bucket:
    """The store of one process."""

    def __init__(self, server: MotoBucket, directory: Path, prefix: str = "", name: str = "") -> None:
        self.directory = directory
        (directory / "key").write_text("id\nsecret\n", "utf-8")
        store = f"s3://{name or server.name}{prefix}"
        table = ArtifactsTable(store=store, access_key_file=FilePath(directory / "key"), endpoint=server.url)
        self.client = NotedClient()
        self.store = S3Store(table, self.client)

    async def put(self, content: bytes, name: str = NAME, resume: bytes = b"") -> bytes:
        """Put it; returns what was kept last."""
        async with sending(self.directory, name, content, resume) as one:
            await self.store.put(one)
            return one.resume

    async def put_until(self, request: str, content: bytes = LARGE, resume: bytes = b"") -> bytes:
        """Put it, but the line is cut at this request; returns what was kept."""
        self.client.breaks_at = request
        async with sending(self.directory, NAME, content, resume) as one:
            with pytest.raises(StoreFailed, match="the line was cut"):
                await self.store.put(one)
            await self.store.aclose()
            return one.resume


async def objects(server: MotoBucket) -> dict[str, bytes]:
    return await asyncio.to_thread(server.objects)


async def open_uploads(server: MotoBucket) -> list[str]:
    return await asyncio.to_thread(server.open_uploads)


async def test_a_small_object_is_one_put(server: MotoBucket, tmp_path: Path) -> None:
    bucket = Bucket(server, tmp_path, "/field/north%20side/")
    await bucket.put(b"first")
    await bucket.put(b"second")
    assert await objects(server) == {f"field/north side/{NAME}": b"second"}
    assert bucket.client.requests == ["PUT", "HEAD"] * 2
    assert bucket.store.url(NAME) == f"s3://{server.name}/field/north%20side/{NAME}"
    assert await bucket.store.read(NAME, 10) == b"second"
    await bucket.store.remove(NAME)
    assert await objects(server) == {}
    await bucket.store.aclose()


async def test_a_large_object_is_put_in_parts(server: MotoBucket, tmp_path: Path) -> None:
    bucket = Bucket(server, tmp_path)
    await bucket.put(LARGE)
    assert await objects(server) == {NAME: LARGE}
    assert bucket.client.requests == [
        *("POST uploads", "PUT part 1", "PUT part 2", "PUT part 3", "POST uploadId", "HEAD"),
    ]
    assert await open_uploads(server) == []
    await bucket.store.aclose()


@pytest.mark.parametrize(
    ("cut", "sent_again"),
    [
        ("PUT part 1", ["PUT part 1", "PUT part 2", "PUT part 3"]),
        ("PUT part 3", ["PUT part 3"]),
        ("POST uploadId", []),
    ],
)
async def test_what_the_bucket_has_of_an_upload_is_not_sent_again_after_a_restart(
    server: MotoBucket, tmp_path: Path, cut: str, sent_again: list[str]
) -> None:
    resume = await Bucket(server, tmp_path).put_until(cut)
    later = Bucket(server, tmp_path)
    await later.put(LARGE, resume=resume)
    assert later.client.requests == ["GET uploadId", *sent_again, "POST uploadId", "HEAD"]
    assert await objects(server) == {NAME: LARGE}
    assert await open_uploads(server) == []
    await later.store.aclose()


async def test_an_upload_that_the_bucket_has_forgotten_begins_anew(server: MotoBucket, tmp_path: Path) -> None:
    resume = await Bucket(server, tmp_path).put_until("PUT part 2")
    other = Bucket(server, tmp_path)
    await other.store.abandon(NAME, resume)
    assert await open_uploads(server) == []
    await other.store.abandon(NAME, resume)
    await other.put(LARGE, resume=resume)
    assert await objects(server) == {NAME: LARGE}
    await other.store.aclose()


@pytest.mark.parametrize("resume", [b"\x00", b"\x91\xa0", b"half of it"])
async def test_what_cannot_be_read_back_counts_as_nothing(server: MotoBucket, tmp_path: Path, resume: bytes) -> None:
    bucket = Bucket(server, tmp_path)
    await bucket.put(LARGE, resume=resume)
    await bucket.store.abandon(NAME, resume)
    assert await objects(server) == {NAME: LARGE}
    await bucket.store.aclose()


async def test_a_bucket_that_is_not_there_is_tried_again_seldom(server: MotoBucket, tmp_path: Path) -> None:
    bucket = Bucket(server, tmp_path, name="missing")
    with pytest.raises(StoreFailed, match="NoSuchBucket") as caught:
        await bucket.put(b"x")
    assert caught.value.needs_somebody
    await bucket.store.aclose()


@pytest.mark.parametrize("content", ["", "only-one-line", "id\nsecret\nthird", "id with space\nsecret"])
async def test_a_file_that_holds_no_key_is_named_and_not_shown(
    server: MotoBucket, tmp_path: Path, content: str
) -> None:
    bucket = Bucket(server, tmp_path)
    (tmp_path / "key").write_text(content, "utf-8")
    with pytest.raises(StoreFailed, match=r"artifacts\.access_key_file .*must have two lines") as caught:
        await bucket.put(b"x")
    assert caught.value.needs_somebody
    assert "only-one-line" not in str(caught.value)
