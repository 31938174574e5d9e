"""Artifacts into Azure Blob Storage by the library, at a server that knows blocks and block lists."""

from __future__ import annotations

import os
import re
from email.utils import formatdate
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from edgeagent.artifacts.azure import AzureStore
from edgeagent.config.tables import ArtifactsTable, FilePath
from edgeagent.errors import StoreFailed, StoreRefused, UploadPaused
from tests.fakes.artifact_store import sending
from tests.fakes.hasty_store import Asked, hasty_store

NAME = "gw-1/cam/2026-03-20/e1"


class Blobs:
    """A container in memory.

    Attributes:
        blobs: what it holds.
        refuses: the status of each PUT, if it refuses them.
    """

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.blocks: dict[str, dict[str, bytes]] = {}
        self.kinds: dict[str, str] = {}
        self.refuses = 0
        self.authorized: set[str] = set()

    async def behave(self, asked: Asked) -> None:
        """See `Behaviour`."""
        body = await asked.body()
        parts = urlsplit(asked.target)
        path, query = unquote(parts.path).removeprefix("/container/"), parse_qs(parts.query)
        self.authorized.add(asked.headers.get("authorization", "").partition(":")[0])
        if asked.method == "PUT" and self.refuses:
            asked.answer(self.refuses, b"<Error><Code>RequestBodyTooLarge</Code></Error>")
        elif asked.method == "PUT":
            self._put(path, query.get("comp", [""])[0], query.get("blockid", [""])[0], body)
            self.kinds[path] = asked.headers.get("x-ms-blob-content-type", "")
            asked.answer(201, etag='"1"', last_modified=formatdate(usegmt=True))
        elif asked.method == "POST":
            self._remove(asked, body.decode())
        elif path not in self.blobs:
            asked.answer(404)
        else:
            told = {"etag": '"1"', "last_modified": formatdate(usegmt=True)}
            content = self.blobs[path]
            asked.answer(200, b"" if asked.method == "HEAD" else content, content_length=str(len(content)), **told)

    def _remove(self, asked: Asked, batch: str) -> None:
        """The library removes by batches of requests in one."""
        for path in re.findall(r"DELETE /container/(\S+)", batch):
            del self.blobs[unquote(path)]
        part = "Content-Type: application/http\r\nContent-ID: 0\r\n\r\nHTTP/1.1 202 Accepted\r\nx-ms-version: 1\r\n\r\n"
        asked.answer(202, f"--b\r\n{part}\r\n--b--\r\n".encode(), content_type="multipart/mixed; boundary=b")

    def _put(self, path: str, kind: str, block: str, body: bytes) -> None:
        if kind == "block":
            self.blocks.setdefault(path, {})[block] = body
        elif kind == "blocklist":
            names = re.findall(r"<(?:Uncommitted|Latest)>([^<]+)<", body.decode())
            self.blobs[path] = b"".join(self.blocks[path][name] for name in names)
        else:
            self.blobs[path] = body


@pytest.fixture
def key(tmp_path: Path) -> FilePath:
    file = tmp_path / "key"
    file.write_text("account\nc2VjcmV0\n", "utf-8")
    return FilePath(file)


def opened(url: str, key: FilePath) -> AzureStore:
    return AzureStore(ArtifactsTable(store="az://container/field", endpoint=url, access_key_file=key))


async def test_an_object_arrives_whole_and_can_be_read_and_removed(tmp_path: Path, key: FilePath) -> None:
    container, content = Blobs(), os.urandom((9 << 20) + 7)
    async with hasty_store(container.behave) as (url, _):
        store = opened(url, key)
        for each in (content, b"again"):
            async with sending(tmp_path, NAME, each) as one:
                await store.put(one)
            assert container.blobs == {f"field/{NAME}": each}
        assert container.kinds[f"field/{NAME}"] == "image/jpeg"
        assert await store.read(NAME, 10) == b"again"
        with pytest.raises(StoreFailed, match="more than 2 bytes"):
            await store.read(NAME, 2)
        await store.remove(NAME)
        assert container.blobs == {}
    assert store.url(NAME) == f"az://container/field/{NAME}"
    assert container.authorized == {"SharedKey account"}


@pytest.mark.parametrize(
    ("status", "is_for_good", "needs_somebody"),
    [(413, True, False), (403, False, True), (404, False, True), (503, False, False)],
)
async def test_what_it_refuses_is_for_good_only_for_its_size(
    tmp_path: Path, key: FilePath, status: int, is_for_good: bool, needs_somebody: bool
) -> None:
    container = Blobs()
    container.refuses = status
    async with hasty_store(container.behave) as (url, _), sending(tmp_path, NAME, b"x") as one:
        with pytest.raises(StoreRefused if is_for_good else StoreFailed) as caught:
            await opened(url, key).put(one)
    assert getattr(caught.value, "needs_somebody", False) is needs_somebody
    assert "c2VjcmV0" not in str(caught.value)


async def test_an_object_that_is_not_there_is_told_as_one(key: FilePath) -> None:
    async with hasty_store(Blobs().behave) as (url, _):
        with pytest.raises(StoreFailed, match="not found"):
            await opened(url, key).read(NAME, 100)


async def test_a_pause_in_the_middle_is_no_failure_and_leaves_no_blob(tmp_path: Path, key: FilePath) -> None:
    container = Blobs()
    async with hasty_store(container.behave) as (url, _), sending(tmp_path, NAME, bytes(6 << 20)) as one:
        block, left = one.block, 5

        async def paused() -> bytes:
            nonlocal left
            left -= 1
            if not left:
                raise UploadPaused("test", "the evening")
            return await block()

        one.block = paused  # type: ignore[method-assign]
        with pytest.raises(UploadPaused):
            await opened(url, key).put(one)
    assert container.blobs == {}


async def test_a_server_that_is_away_is_tried_again(tmp_path: Path, key: FilePath, free_port: int) -> None:
    async with sending(tmp_path, NAME, b"x") as one:
        with pytest.raises(StoreFailed) as caught:
            await opened(f"http://127.0.0.1:{free_port}", key).put(one)
    assert not caught.value.needs_somebody
