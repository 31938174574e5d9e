"""What is known of uploads on disk: it outlives a restart, is bounded, and its loss stops nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edgeagent.artifacts import kept
from edgeagent.artifacts.kept import KeptUpload, KeptUploads
from edgeagent.outbox.disk import DiskThread
from tests.fakes.artifact_store import NOON_S, FakeStore, uploading

pytestmark = pytest.mark.virtual_time
SHA = "0a" * 32


@pytest.fixture
async def thread() -> AsyncIterator[DiskThread]:
    made = DiskThread("uploads")
    yield made
    made.close()


async def test_it_outlives_a_restart_and_belongs_to_one_store_and_one_content(
    thread: DiskThread, tmp_path: Path
) -> None:
    first = KeptUploads(tmp_path / "uploads.db", thread, "file:///a")
    assert await first.open(NOON_S) == b""
    await first.keep("gw/1", SHA, KeptUpload(is_done=True), NOON_S)
    await first.keep("gw/2", SHA, KeptUpload(resume=b"half"), NOON_S)
    await first.keep_store(b"marked", NOON_S)
    await first.close()
    again = KeptUploads(tmp_path / "uploads.db", thread, "file:///a")
    assert await again.open(NOON_S + 1) == b"marked"
    assert await again.find("gw/1", SHA) == KeptUpload(is_done=True)
    assert await again.find("gw/2", SHA) == KeptUpload(resume=b"half")
    assert await again.find("gw/2", "0b" * 32) == KeptUpload()
    assert await again.forget(["gw/1", "gw/2", "gw/3"]) == [("gw/2", b"half")]
    assert await again.find("gw/1", SHA) == KeptUpload()
    await again.keep("gw/1", SHA, KeptUpload(is_done=True), NOON_S)
    await again.close()
    other = KeptUploads(tmp_path / "uploads.db", thread, "file:///b")
    assert await other.open(NOON_S) == b""
    assert await other.find("gw/1", SHA) == KeptUpload()
    await other.close()


async def test_what_nobody_asked_for_in_a_long_time_is_forgotten(
    thread: DiskThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = KeptUploads(tmp_path / "uploads.db", thread, "file:///a")
    await uploads.keep_store(b"marked", NOON_S)
    for number in range(10):
        await uploads.keep(f"gw/{number}", SHA, KeptUpload(is_done=True), NOON_S + number)
    monkeypatch.setattr(kept, "MAX_ROWS", 3)
    assert await uploads.open(NOON_S) == b"marked"
    known = [number for number in range(10) if (await uploads.find(f"gw/{number}", SHA)).is_done]
    assert known == [7, 8, 9]
    assert await uploads.open(NOON_S + 100 * 86400) == b"marked", "the store itself is never forgotten"
    assert not (await uploads.find("gw/9", SHA)).is_done
    monkeypatch.setattr(kept, "_PRUNE_EVERY", 5)
    for number in range(100):
        await uploads.keep(f"gw/new/{number}", SHA, KeptUpload(is_done=True), NOON_S + number)
    are_known = await uploads.done([(f"gw/new/{number}", SHA) for number in range(100)])
    assert sum(are_known) < 3 + 5, "also while the agent runs"
    assert are_known[-1]
    await uploads.close()


async def test_a_damaged_file_is_put_aside_and_uploads_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "uploads.db").write_bytes(b"not a database" * 1000)
    store = FakeStore()
    async with uploading(tmp_path, store) as scene:
        scene.want("gw/1", b"1")
        await scene.until_ended("gw/1")
    assert store.objects == {"gw/1": b"1"}
    assert [record.__dict__["event"] for record in caplog.records] == ["uploads_damaged"]


async def test_a_disk_that_refuses_stops_no_upload(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "uploads.db").mkdir()
    store = FakeStore()
    async with uploading(tmp_path, store) as scene:
        for number in range(3):
            scene.want(f"gw/{number}", b"%d" % number)
        await scene.until_ended("gw/0", "gw/1", "gw/2")
        scene.uploader.forget("gw/1")
        await asyncio.sleep(10)
    assert len(store.objects) == 3
    assert [record.__dict__["event"] for record in caplog.records] == ["uploads_unkept"], "told once"
