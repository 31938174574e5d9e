"""Artifacts into nginx by WebDAV."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.artifacts.making import make_store
from edgeagent.artifacts.store import ArtifactStore
from edgeagent.config.tables import ArtifactsTable, FilePath
from edgeagent.errors import StoreFailed, StoreRefused
from edgeagent.outbox.disk import DiskThread
from tests.fakes.artifact_store import put_object
from tests.fakes.certificates import Certificates
from tests.fakes.nginx import Nginx

NAME = "gw-1/cam/2026-03-20/e1"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Nginx]:
    async with Nginx(tmp_path / "nginx") as nginx:
        yield nginx


@pytest.fixture
async def thread() -> AsyncIterator[DiskThread]:
    made = DiskThread("store")
    yield made
    made.close()


def opened(thread: DiskThread, url: str, **keys: Any) -> ArtifactStore:
    return make_store(ArtifactsTable(store=url, **keys), thread)


def secret(directory: Path, text: str) -> FilePath:
    file = directory / "secret"
    file.write_text(text, "utf-8")
    return FilePath(file)


async def test_an_object_arrives_whole_and_its_collections_are_made(
    server: Nginx, thread: DiskThread, tmp_path: Path
) -> None:
    store = opened(thread, f"{server.url}/data")
    content = os.urandom(3_000_000)
    (server.root / "data").mkdir()
    await put_object(store, tmp_path, content, NAME)
    assert server.files() == {f"data/{NAME}": content}
    await put_object(store, tmp_path, b"again", NAME)
    assert server.files() == {f"data/{NAME}": b"again"}
    assert [line for line in server.requests if line.startswith("MKCOL")] == [
        "MKCOL /data/gw-1/ 201",
        "MKCOL /data/gw-1/cam/ 201",
        "MKCOL /data/gw-1/cam/2026-03-20/ 201",
    ], "each once"
    assert store.url(NAME) == f"{server.url}/data/{NAME}"
    assert await store.read(NAME, 100) == b"again"
    await store.remove(NAME)
    assert server.files() == {}
    await store.aclose()


async def test_a_directory_of_the_store_that_is_not_there_is_named(
    server: Nginx, thread: DiskThread, tmp_path: Path
) -> None:
    store = opened(thread, f"{server.url}/data")
    with pytest.raises(StoreFailed, match="it answered 500: the directory that store names is not there: make it"):
        await put_object(store, tmp_path, b"1", NAME)
    (server.root / "data").mkdir()
    await put_object(store, tmp_path, b"1", NAME)
    assert server.files() == {f"data/{NAME}": b"1"}
    await store.aclose()


async def test_collections_that_somebody_removed_are_made_again(
    server: Nginx, thread: DiskThread, tmp_path: Path
) -> None:
    store = opened(thread, server.url)
    await put_object(store, tmp_path, b"1", "gw/e1")
    (server.root / "gw" / "e1").unlink()
    (server.root / "gw").rmdir()
    with pytest.raises(StoreFailed):
        await put_object(store, tmp_path, b"2", "gw/e2")
    await put_object(store, tmp_path, b"2", "gw/e2")
    assert server.files() == {"gw/e2": b"2"}


async def test_a_public_url_stands_in_the_trigger_and_not_in_the_upload(
    server: Nginx, thread: DiskThread, tmp_path: Path
) -> None:
    store = opened(thread, server.url, public_url="s3://elsewhere/data/")
    await put_object(store, tmp_path, b"1", "gw/e 1")
    assert store.url("gw/e 1") == "s3://elsewhere/data/gw/e%201"
    assert server.files() == {"gw/e 1": b"1"}


async def test_a_size_that_it_does_not_take_is_refused_for_good(thread: DiskThread, tmp_path: Path) -> None:
    async with Nginx(tmp_path / "nginx", max_body="1m") as server:
        store = opened(thread, server.url)
        with pytest.raises(StoreRefused, match="no object of this size"):
            await put_object(store, tmp_path, bytes(8_000_000), NAME)
        await put_object(store, tmp_path, b"small", "gw/small")
        assert server.files() == {"gw/small": b"small"}


@pytest.mark.parametrize(("password", "is_let_in"), [("secret\n", True), ("wrong", False)])
async def test_a_password_decides_who_is_let_in(
    server: Nginx, thread: DiskThread, tmp_path: Path, password: str, is_let_in: bool
) -> None:
    store = opened(thread, f"{server.url}/private", username="gw", password_file=secret(tmp_path, password))
    if is_let_in:
        await put_object(store, tmp_path, b"1", "e1")
        assert server.files() == {"private/e1": b"1"}
        return
    with pytest.raises(StoreFailed, match="does not let us in") as caught:
        await put_object(store, tmp_path, b"1", "e1")
    assert caught.value.needs_somebody
    assert "wrong" not in str(caught.value)


async def test_a_place_that_is_forbidden_is_no_reason_to_give_up(
    server: Nginx, thread: DiskThread, tmp_path: Path
) -> None:
    with pytest.raises(StoreFailed, match="403") as caught:
        await put_object(opened(thread, f"{server.url}/closed"), tmp_path, b"1", "e1")
    assert caught.value.needs_somebody
    assert server.files() == {}


async def test_over_tls_the_right_authority_is_trusted_and_no_other(thread: DiskThread, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    async with Nginx(tmp_path / "nginx", certificates) as server:
        await put_object(opened(thread, server.url, ca_file=FilePath(tmp_path / "ca.pem")), tmp_path, b"1", "e1")
        assert server.files() == {"e1": b"1"}
        for other in ({}, {"ca_file": FilePath(tmp_path / "other-ca.pem")}):
            with pytest.raises(StoreFailed, match="certificate is not trusted") as caught:
                await put_object(opened(thread, server.url, **other), tmp_path, b"2", "e2")
            assert caught.value.needs_somebody
        assert server.files() == {"e1": b"1"}


async def test_a_server_that_is_away_is_tried_again(server: Nginx, thread: DiskThread, tmp_path: Path) -> None:
    server.stop()
    with pytest.raises(StoreFailed, match="Connection refused") as caught:
        await put_object(opened(thread, server.url), tmp_path, b"1", "e1")
    assert not caught.value.needs_somebody
