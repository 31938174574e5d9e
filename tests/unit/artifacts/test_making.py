"""The uploader that a configuration asks for, over a real directory, from start to start."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edgeagent.artifacts.directory import MARKER
from edgeagent.artifacts.making import make_uploader
from edgeagent.artifacts.uploader import Uploader
from edgeagent.config.tables import ArtifactsTable
from edgeagent.events.artifact import Artifact
from edgeagent.outbox.disk import DiskThread
from edgeagent.ports.artifacts import UploadState
from tests.ending import end
from tests.waiting import until_told

pytestmark = pytest.mark.virtual_time
_DAY_S = 86400.0


class Ended:
    """Which uploads have ended."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._changed = asyncio.Event()

    def add(self, name: str) -> None:
        """One has ended."""
        self.names.append(name)
        self._changed.set()

    async def until(self, name: str) -> None:
        """Wait, for a day at most."""
        await until_told(lambda: name in self.names, self._changed, name, seen=lambda: self.names, deadline_s=_DAY_S)


@asynccontextmanager
async def uploader(directory: Path, ended: Ended) -> AsyncIterator[Uploader]:
    database, thread = DiskThread("uploads"), DiskThread("store")
    table = ArtifactsTable(store=(directory / "volume").as_uri())
    made = make_uploader(table, directory, database, thread, ended.add)
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        await end(task)
        await made.close()
        database.close()
        thread.close()


def spooled(directory: Path, content: bytes) -> tuple[Artifact, str]:
    digest = hashlib.sha256(content).hexdigest()
    (directory / digest).write_bytes(content)
    return Artifact(digest, len(content)), str(directory / digest)


async def test_a_volume_that_is_not_mounted_after_a_restart_is_not_filled_and_its_artifacts_wait(
    tmp_path: Path,
) -> None:
    volume = tmp_path / "volume"
    (tmp_path / "volume").mkdir()
    ended = Ended()
    async with uploader(tmp_path, ended) as one:
        one.want("gw/1", *spooled(tmp_path, b"first"))
        await ended.until("gw/1")
        assert one.url("gw/1") == f"{volume.as_uri()}/gw/1"
    (volume / MARKER).unlink()
    async with uploader(tmp_path, ended) as two:
        two.want("gw/2", *spooled(tmp_path, b"second"))
        await asyncio.sleep(3600)
        progress = two.progress("gw/2")
        assert progress is not None
        assert progress.state is UploadState.FAILED
        assert "is the volume mounted" in progress.reason
        assert not (volume / "gw" / "2").exists()
        (volume / MARKER).touch()
        await ended.until("gw/2")
    assert (volume / "gw" / "2").read_bytes() == b"second"
    assert ended.names == ["gw/1", "gw/2"]
