"""A store that is a directory: whole objects or none, no way out of it, and nothing beside a volume that is missing."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import threading
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from edgeagent.artifacts.directory import MARKER, DirectoryStore
from edgeagent.config.tables import ArtifactsTable
from edgeagent.errors import StoreFailed, StoreRefused
from edgeagent.outbox.disk import DiskThread
from tests.fakes.artifact_store import sending
from tests.waiting import DEADLINE_S, until

pytestmark = pytest.mark.virtual_time
NAME = "gw-1/cam/2026-03-20/e1"


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    made = tmp_path / "volume"
    made.mkdir()
    return made


@pytest.fixture
async def store(volume: Path) -> AsyncIterator[DirectoryStore]:
    thread = DiskThread("store")
    yield DirectoryStore(ArtifactsTable(store=volume.as_uri()), thread)
    thread.close()


def files(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


async def put(store: DirectoryStore, directory: Path, content: bytes, name: str = NAME) -> None:
    async with sending(directory, name, content) as one:
        await store.put(one)


async def test_an_object_is_the_whole_file_and_nothing_else_is_left(
    store: DirectoryStore, volume: Path, tmp_path: Path
) -> None:
    content = os.urandom(600_000)
    await put(store, tmp_path, content)
    assert files(volume) == {NAME: content}
    assert store.url(NAME) == f"{volume.as_uri()}/{NAME}"
    assert await store.read(NAME, 1 << 20) == content
    await store.remove(NAME)
    assert files(volume) == {}


async def test_another_try_replaces_what_an_earlier_one_left(
    store: DirectoryStore, volume: Path, tmp_path: Path
) -> None:
    await put(store, tmp_path, b"first")
    await put(store, tmp_path, b"second")
    assert files(volume) == {NAME: b"second"}


async def test_it_is_synced_before_it_has_its_name_and_its_directories_after(
    store: DirectoryStore, volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    sync, rename = os.fsync, os.rename

    def noted_sync(descriptor: int) -> None:
        is_directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: PTH115  not a path to be followed
        steps.append(f"sync {path.relative_to(volume)}/" if is_directory else "sync file")
        sync(descriptor)

    def noted_rename(*args: Any, **kwargs: Any) -> None:
        steps.append("rename")
        rename(*args, **kwargs)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "rename", noted_rename)
    await put(store, tmp_path, b"content", "gw/cam/e1")
    assert steps == ["sync ./", "sync gw/", "sync file", "rename", "sync gw/cam/"]


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.ENOSPC, StoreFailed, "it is full"),
        (errno.EDQUOT, StoreFailed, "it is full"),
        (errno.EIO, StoreFailed, "Input/output error"),
        (errno.ESTALE, StoreFailed, "Stale file handle"),
        (errno.EFBIG, StoreRefused, "File too large"),
    ],
)
async def test_a_volume_that_fails_in_the_middle_keeps_nothing(
    store: DirectoryStore,
    volume: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kind: type[Exception],
    words: str,
) -> None:
    await put(store, tmp_path, b"as it was")
    writes = 0
    write = os.write

    def failing(descriptor: int, data: Any) -> int:
        nonlocal writes
        writes += 1
        if writes > 2:
            raise OSError(number, os.strerror(number))
        return write(descriptor, data[:100_000])

    monkeypatch.setattr("edgeagent.artifacts.directory.os.write", failing)
    with pytest.raises(kind, match=words):
        await put(store, tmp_path, os.urandom(600_000))
    assert files(volume) == {NAME: b"as it was"}


async def test_an_upload_that_is_given_up_keeps_nothing(store: DirectoryStore, volume: Path, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  descriptors
    async with sending(tmp_path, NAME, os.urandom(5_000_000)) as one:
        task = asyncio.create_task(store.put(one))
        await until(lambda: any(name.endswith(".part") for name in files(volume)), "it has begun")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    # Whoever is cancelled does not wait for the thread.
    await until(lambda: files(volume) == {}, seen=lambda: files(volume))
    await until(lambda: len(os.listdir("/proc/self/fd")) == before)  # noqa: PTH208


async def test_a_volume_that_does_not_answer_keeps_nobody_from_stopping(
    store: DirectoryStore, volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, asked = threading.Event(), threading.Event()
    were_in_time: list[bool] = []
    sync = os.fsync

    def stuck(descriptor: int) -> None:
        asked.set()
        were_in_time.append(answers.wait(DEADLINE_S))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", stuck)
    async with sending(tmp_path, NAME, b"content") as one:
        putting = asyncio.create_task(store.put(one))
        await until(asked.is_set)
        putting.cancel()
        await asyncio.gather(putting, return_exceptions=True)
        assert putting.cancelled()
        answers.set()
    await until(lambda: bool(were_in_time) and files(volume) == {}, seen=lambda: files(volume))
    assert set(were_in_time) == {True}


async def test_a_temporary_file_of_a_process_that_was_killed_is_replaced(
    store: DirectoryStore, volume: Path, tmp_path: Path
) -> None:
    await put(store, tmp_path, b"x", "gw/e1")
    async with sending(tmp_path, "gw/e1", b"second") as one:
        left = ""

        async def copy(write: object) -> None:  # noqa: ARG001  nothing comes
            nonlocal left
            (left,) = (name for name in files(volume) if name.endswith(".part"))

        one.copy = copy  # type: ignore[method-assign]
        with pytest.raises(StoreFailed, match="holds 0 bytes of 6"):
            await store.put(one)
    precious = tmp_path / "precious"
    precious.write_bytes(b"of somebody else, and longer than what comes")
    for leave in (partial(Path.write_bytes, data=b"left by an earlier process"), os.mkfifo, partial(os.link, precious)):
        leave(volume / left)  # a FIFO and a hard link: of others who may write here
        await put(store, tmp_path, b"second", "gw/e1")
        assert files(volume) == {"gw/e1": b"second"}
    assert precious.read_bytes() == b"of somebody else, and longer than what comes"


async def test_a_directory_that_is_missing_is_not_made(tmp_path: Path) -> None:
    thread = DiskThread("store")
    store = DirectoryStore(ArtifactsTable(store=f"{tmp_path.as_uri()}/missing"), thread)
    with pytest.raises(StoreFailed, match="No such file") as caught:
        await store.begin(b"")
    assert caught.value.needs_somebody
    with pytest.raises(StoreFailed, match="No such file"):
        await put(store, tmp_path, b"x")
    assert "missing" not in os.listdir(tmp_path)  # noqa: PTH208  names
    thread.close()


async def test_nothing_is_written_beside_a_volume_that_is_not_mounted(store: DirectoryStore, volume: Path) -> None:
    memory = await store.begin(b"")
    assert (volume / MARKER).is_file()
    assert await store.begin(memory) == memory
    (volume / MARKER).unlink()  # as when an empty directory is where the volume was mounted
    with pytest.raises(StoreFailed, match="is the volume mounted"):
        await store.begin(memory)
    assert files(volume) == {}
    (volume / MARKER).touch()
    assert await store.begin(memory) == memory


@pytest.mark.parametrize(("rights", "of_files"), [(0o755, 0o644), (0o2770, 0o660), (0o700, 0o600)])
async def test_what_is_made_has_the_rights_of_the_directory_whatever_the_umask_says(
    store: DirectoryStore, volume: Path, tmp_path: Path, rights: int, of_files: int
) -> None:
    os.chmod(volume, rights)  # noqa: PTH101  in a coroutine
    umask = os.umask(0o077)
    try:
        await put(store, tmp_path, b"x")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((volume / NAME).stat().st_mode) == of_files
    assert stat.S_IMODE((volume / NAME).parent.stat().st_mode) == rights


@pytest.mark.parametrize("depth", [0, 1, 2])
async def test_no_symbolic_link_leads_out_of_it(
    store: DirectoryStore, volume: Path, tmp_path: Path, depth: int
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    parts = ["gw", "cam", "day"]
    place = volume.joinpath(*parts[:depth])
    place.mkdir(parents=True, exist_ok=True)
    (place / parts[depth]).symlink_to(outside)
    with pytest.raises(StoreFailed):
        await put(store, tmp_path, b"x", "gw/cam/day/e1")
    assert files(outside) == {}


async def test_an_object_that_is_a_symbolic_link_is_replaced_and_not_followed(
    store: DirectoryStore, volume: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"untouched")
    (volume / "gw").mkdir()
    (volume / "gw" / "e1").symlink_to(secret)
    with pytest.raises(StoreFailed, match="symbolic link"):
        await store.read("gw/e1", 100)
    await put(store, tmp_path, b"x", "gw/e1")
    assert secret.read_bytes() == b"untouched"
    assert not (volume / "gw" / "e1").is_symlink()


async def test_an_object_that_is_larger_than_is_asked_for_is_not_read(store: DirectoryStore, tmp_path: Path) -> None:
    await put(store, tmp_path, b"12345")
    with pytest.raises(StoreFailed, match="more than 4 bytes"):
        await store.read(NAME, 4)


async def test_its_room_is_told(store: DirectoryStore) -> None:
    room = await store.room()
    assert room is not None
    assert room > 0
