"""A store of artifacts in memory that does as the test says, and an uploader over it; for virtual time."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from edgeagent.artifacts.bandwidth import BandwidthSchedule
from edgeagent.artifacts.kept import KeptUploads
from edgeagent.artifacts.sending import Pacer, Sending
from edgeagent.artifacts.store import ArtifactStore
from edgeagent.artifacts.upload_queue import Upload
from edgeagent.artifacts.uploader import Uploader
from edgeagent.config.tables import ArtifactsTable
from edgeagent.errors import StoreError
from edgeagent.events.artifact import Artifact
from edgeagent.outbox.disk import DiskThread
from tests.ending import end
from tests.waiting import until_told

# A Monday, 2026-03-16, at 12:00 UTC.
NOON_S = 1_773_662_400
_MONTH_S = 30 * 86400.0


class FakeStore:
    """Objects in memory.

    Attributes:
        objects: what it has.
        puts: the names of all tries, in order, with the loop's time of each.
        failures: what the next tries raise, one each; None: that one succeeds.
        always: what every try of a name raises.
        takes_s: how long a put takes, beside its bytes.
        abandoned: what was given up.
        kept: what a try keeps for later.
    """

    shown = "fake://store"

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.puts: list[tuple[str, float]] = []
        self.failures: list[StoreError | None] = []
        self.always: dict[str, StoreError] = {}
        self.takes_s = 0.0
        self.running = self.most_running = 0
        self.abandoned: list[tuple[str, bytes]] = []
        self.kept = b""
        self.resumes: list[bytes] = []
        self.is_gone = False

    @property
    def tries(self) -> list[str]:
        """The names of all tries."""
        return [name for name, _ in self.puts]

    def url(self, name: str) -> str:
        """See `ArtifactStore`."""
        return f"fake://store/{name}"

    async def begin(self, memory: bytes) -> bytes:
        """See `ArtifactStore`."""
        return memory

    async def put(self, sending: Sending) -> None:
        """See `ArtifactStore`."""
        self.puts.append((sending.name, asyncio.get_running_loop().time()))
        self.resumes.append(sending.resume)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            if self.kept:
                await sending.keep(self.kept)
            content = b""
            while block := await sending.block():
                content += block
            await asyncio.sleep(self.takes_s)
            if error := self.always.get(sending.name):
                raise error
            if self.failures and (next_error := self.failures.pop(0)) is not None:
                raise next_error
            self.objects[sending.name] = content
        finally:
            self.running -= 1

    async def abandon(self, name: str, resume: bytes) -> None:
        """See `ArtifactStore`."""
        self.abandoned.append((name, resume))

    async def read(self, name: str, at_most: int) -> bytes:
        """See `ArtifactStore`."""
        return self.objects[name][:at_most]

    async def remove(self, name: str) -> None:
        """See `ArtifactStore`."""
        del self.objects[name]

    async def room(self) -> int | None:
        """See `ArtifactStore`."""
        return None

    async def aclose(self) -> None:
        """See `ArtifactStore`."""


class Uploading:
    """A running uploader over a directory of the test's.

    Attributes:
        ended: the names of uploads that ended, in order.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ended: list[str] = []
        self._changed = asyncio.Event()
        self.uploader: Uploader

    def file(self, content: bytes) -> tuple[Artifact, str]:
        """A spooled file with this content."""
        digest = hashlib.sha256(content).hexdigest()
        path = self.directory / digest
        path.write_bytes(content)
        return Artifact(digest, len(content), "image/jpeg"), str(path)

    def want(self, name: str, content: bytes = b"content") -> bool:
        """Want an upload of this content."""
        return self.uploader.want(name, *self.file(content))

    async def until_ended(self, *names: str) -> None:
        """Wait until these have ended, for a month at most."""
        wanted = set(names)
        await until_told(
            lambda: wanted.issubset(self.ended),
            self._changed,
            f"the end of {len(wanted)} uploads",
            seen=lambda: wanted.difference(self.ended),
            deadline_s=_MONTH_S,
        )

    def end(self, name: str) -> None:
        """An upload ended."""
        self.ended.append(name)
        self._changed.set()


@asynccontextmanager
async def uploading(
    directory: Path,
    store: FakeStore,
    table: ArtifactsTable | None = None,
    wall_s: Callable[[], float] | None = None,
    chance: float = 1.0,
) -> AsyncIterator[Uploading]:
    """An uploader that runs; its files are found again by the next one over the same directory."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    scene = Uploading(directory)
    table = table or ArtifactsTable(store="file:///unused")
    database, thread = DiskThread("uploads"), DiskThread("store")
    scene.uploader = Uploader(
        store,
        KeptUploads(directory / "uploads.db", database, table.store),
        BandwidthSchedule(table),
        thread,
        done=scene.end,
        chance=lambda: chance,
        wall_s=wall_s or (lambda: NOON_S + loop.time() - began_s),
    )
    task = asyncio.create_task(scene.uploader.run())
    try:
        yield scene
    finally:
        await end(task)
        await scene.uploader.close()
        database.close()
        thread.close()


@asynccontextmanager
async def sending(directory: Path, name: str, content: bytes, resume: bytes = b"") -> AsyncIterator[KeptSending]:
    """An upload of this content as stores see it, without limits."""
    spool = directory / "spool"
    spool.mkdir(exist_ok=True)
    scene = Uploading(spool)
    artifact, path = scene.file(content)
    thread = DiskThread("spool")
    schedule = BandwidthSchedule(ArtifactsTable(store="file:///unused"))
    pacer = Pacer(schedule, now_s=asyncio.get_running_loop().time, now=lambda: datetime.fromtimestamp(NOON_S, UTC))
    try:
        async with KeptSending(Upload(name, artifact, path), "test", thread, pacer, resume) as one:
            yield one
    finally:
        thread.close()


async def put_object(store: ArtifactStore, directory: Path, content: bytes, name: str = "gw/e1") -> int:
    """Put this content into a store, and close it; returns how many bytes went."""
    try:
        async with sending(directory, name, content) as one:
            await store.put(one)
            return one.upload.sent_bytes
    finally:
        await store.aclose()


class KeptSending(Sending):
    """Keeps in memory what a store wants to be kept.

    Attributes:
        upload: what it is about.
        keeps: all that was kept, in order.
    """

    def __init__(self, upload: Upload, store: str, thread: DiskThread, pacer: Pacer, resume: bytes) -> None:
        super().__init__(upload, store, thread, pacer, resume, self._note)
        self.upload = upload
        self.keeps: list[bytes] = []

    async def _note(self, resume: bytes) -> None:
        self.keeps.append(resume)
