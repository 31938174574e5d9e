"""Brings artifacts into their store: the driver of `upload_queue`.

What is under way when the process ends is sent again by the next one, or continued where the store can do that.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from edgeagent.artifacts.bandwidth import BandwidthSchedule
from edgeagent.artifacts.kept import KeptUpload, KeptUploads
from edgeagent.artifacts.sending import Pacer, Sending
from edgeagent.artifacts.store import ArtifactStore
from edgeagent.artifacts.upload_queue import Upload, UploadQueue
from edgeagent.common.times import rfc3339
from edgeagent.errors import ArtifactGone, StorageFailed, StoreError, StoreFailed, StoreRefused, UploadPaused
from edgeagent.events.artifact import Artifact
from edgeagent.ports.artifacts import Turn, UploadProgress, UploadState
from edgeagent.ports.threads import JobThread

# How often it is looked whether there is bandwidth again.
_CLOSED_S: Final = 60.0
# Settled triggers come in groups, and each commit wears the disk.
_FORGET_DELAY_S: Final = 2.0
_CLOSED: Final = "no bandwidth is given to uploads at this time of day (artifacts.bandwidth, bandwidth_at)"

_log = logging.getLogger(__name__)


class Uploader:
    """Owns the uploads of all artifacts; `run` must be running. Implements `ports.artifacts.Uploads`.

    Attributes:
        uploaded, uploaded_bytes, tries_failed, refused: since the start.
    """

    def __init__(
        self,
        store: ArtifactStore,
        kept: KeptUploads,
        schedule: BandwidthSchedule,
        thread: JobThread,
        *,
        done: Callable[[str], None],
        chance: Callable[[], float] = random.random,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        """Must be made in the running loop.

        Args:
            store: where the artifacts go; it is closed by `close`.
            kept: what is known on disk.
            schedule: the bandwidth.
            thread: reads the artifacts' files.
            done: called when an upload ended, with its name.
            chance: a random number from 0 to 1.
            wall_s: the wall clock's Unix time.
        """
        self.uploaded = self.uploaded_bytes = self.tries_failed = self.refused = 0
        self._store = store
        self._kept = kept
        self._thread = thread
        self._done = done
        self._chance = chance
        self._wall_s = wall_s
        self._now_s = asyncio.get_running_loop().time
        self._pacer = Pacer(schedule, now_s=self._now_s, now=lambda: datetime.fromtimestamp(wall_s(), UTC))
        self._queue = UploadQueue()
        self._work = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._unknown: list[tuple[str, Artifact]] = []  # wanted, and not looked up on disk yet
        self._forgotten: list[str] = []
        self._some_forgotten = asyncio.Event()
        self._memory = b""
        self._failing_since_s: float | None = None
        self._last_error = ""
        self._keeps = True

    def want(self, name: str, artifact: Artifact, path: str, turn: Turn = Turn.NORMAL) -> bool:
        """See `Uploads`."""
        if self._queue.is_sending_other(name, artifact):
            self.forget(name)
        is_new = self._queue.progress(name, 0.0) is None
        is_done = self._queue.want(name, artifact, path, turn)
        if is_new:
            self._unknown.append((name, artifact))
        if not is_done:
            self._work.set()
        return is_done

    def progress(self, name: str) -> UploadProgress | None:
        """See `Uploads`."""
        found = self._queue.progress(name, self._now_s())
        if found is not None and found.state in {UploadState.WAITING, UploadState.FAILED}:
            if self._pacer.bytes_per_s == 0:
                return msgspec.structs.replace(found, reason=_CLOSED)
            if self._queue.failures and not found.reason:
                return msgspec.structs.replace(found, reason=self._last_error)  # why its turn does not come
        return found

    def url(self, name: str) -> str:
        """See `Uploads`."""
        return self._store.url(name)

    def leave(self, name: str) -> None:
        """See `Uploads`."""
        self._queue.leave(name)

    def forget(self, name: str) -> None:
        """See `Uploads`."""
        self._queue.forget(name)
        if (task := self._tasks.pop(name, None)) is not None:
            task.cancel()
        self._forgotten.append(name)
        self._some_forgotten.set()
        self._work.set()

    def hurry(self) -> None:
        """Try again now what failed: somebody says that the store, or what it needs, was mended."""
        self._queue.hurry()
        self._work.set()

    def stats(self) -> dict[str, Any]:
        """The state of the uploads, ready for JSON. The bandwidth is null for no limit.

        `next_try_s`: when a store that failed is tried again; null while it is, or if it did not fail.
        """
        counts = self._queue.count()
        since_s, rate = self._failing_since_s, self._pacer.bytes_per_s
        return {
            "store": self._store.shown,
            **{state.value: counts[state] for state in UploadState if state is not UploadState.DONE},
            "waiting_bytes": self._queue.open_bytes(),
            "uploaded": self.uploaded,
            "uploaded_bytes": self.uploaded_bytes,
            "tries_failed": self.tries_failed,
            "failing_since": None if since_s is None else rfc3339(int(since_s * 1000)),
            "last_error": self._last_error,
            "next_try_s": self._queue.wait_s(self._now_s()) if self._queue.failures else None,
            "bandwidth": None if rate is None else float(rate),
        }

    async def run(self) -> None:
        """Upload until cancelled."""
        with self._unkept():
            self._memory = await self._kept.open(self._wall_s())
        async with asyncio.TaskGroup() as group:
            group.create_task(self._forget())
            while True:
                self._work.clear()
                await self._look_up()
                wait_s = self._begin(group)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._work.wait()

    async def close(self) -> None:
        """Close the store's connections and the file."""
        await self._store.aclose()
        with self._unkept():
            await self._kept.close()

    async def _look_up(self) -> None:
        """End those that are in the store already: they need neither a place nor a store that answers."""
        wanted, self._unknown = self._unknown, []
        if not wanted:
            return
        are_done: list[bool] = []
        with self._unkept():
            are_done = await self._kept.done([(name, artifact.sha256) for name, artifact in wanted])
        for (name, artifact), is_done in zip(wanted, are_done, strict=False):
            if is_done and self._queue.found(name, artifact):
                self._done(name)

    def _begin(self, group: asyncio.TaskGroup) -> float | None:
        """Begin what may begin; returns in how many seconds to look again."""
        if self._pacer.bytes_per_s == 0:
            return _CLOSED_S
        while (upload := self._queue.next(self._now_s())) is not None:
            self._tasks[upload.name] = group.create_task(self._upload(upload))
        return self._queue.wait_s(self._now_s())

    async def _upload(self, upload: Upload) -> None:
        try:
            await self._put(upload)
        except UploadPaused:
            if self._queue.is_wanted(upload):
                self._queue.paused(upload)
        except StoreRefused as exc:
            if self._queue.is_wanted(upload):
                self._end_refused(upload, exc)
        except StoreFailed as exc:
            if self._queue.is_wanted(upload):
                self._end_failed(upload, exc)
        else:
            if self._queue.is_wanted(upload):
                self._end_done(upload)
        finally:
            if self._tasks.get(upload.name) is asyncio.current_task():
                del self._tasks[upload.name]
            self._work.set()

    async def _put(self, upload: Upload) -> None:
        name, sha256 = upload.name, upload.artifact.sha256
        known = KeptUpload()
        with self._unkept():
            known = await self._kept.find(name, sha256)
        if known.is_done:
            return
        memory = await self._store.begin(self._memory)
        if memory != self._memory:
            self._memory = memory
            with self._unkept():
                await self._kept.keep_store(memory, self._wall_s())

        async def keep(resume: bytes) -> None:
            with self._unkept():
                await self._kept.keep(name, sha256, KeptUpload(resume=resume), self._wall_s())

        async with Sending(upload, self._store.shown, self._thread, self._pacer, known.resume, keep) as sending:
            await self._store.put(sending)
        self.uploaded += 1
        self.uploaded_bytes += upload.artifact.size
        with self._unkept():
            await self._kept.keep(name, sha256, KeptUpload(is_done=True), self._wall_s())

    def _end_done(self, upload: Upload) -> None:
        if self._queue.failures:
            extra = {"event": "artifact_store_recovered", "store": self._store.shown}
            _log.info("%s takes artifacts again", self._store.shown, extra=extra)
        self._failing_since_s, self._last_error = None, ""
        self._queue.done(upload)
        self._done(upload.name)

    def _end_failed(self, upload: Upload, error: StoreFailed) -> None:
        self.tries_failed += 1
        self._last_error = error.reason
        if not self._queue.failures:
            self._failing_since_s = self._wall_s()
            _log.warning(
                "%s did not take the artifact %s, and is tried again; its triggers wait, all others go on: %s",
                self._store.shown,
                upload.name,
                error.reason,
                extra={"event": "artifact_store_failing", "store": self._store.shown, "name_of_object": upload.name},
            )
        self._queue.failed(upload, error, self._now_s(), self._chance())

    def _end_refused(self, upload: Upload, error: StoreRefused) -> None:
        self._queue.refused(upload, error.reason)
        if isinstance(error, ArtifactGone) and upload.turn >= Turn.AHEAD_HIGH:
            # Its event was exported or dropped meanwhile; one that is lost is told when its trigger's turn comes.
            self._done(upload.name)
            return
        self.refused += 1
        self._last_error = error.reason
        _log.error(
            "%s can never take the artifact %s (%d bytes): %s",
            self._store.shown,
            upload.name,
            upload.artifact.size,
            error.reason,
            extra={"event": "artifact_refused", "store": self._store.shown, "name_of_object": upload.name},
        )
        self._done(upload.name)

    async def _forget(self) -> None:
        """Forget on disk, and in the store, what is no longer wanted."""
        while True:
            await self._some_forgotten.wait()
            await asyncio.sleep(_FORGET_DELAY_S)
            self._some_forgotten.clear()
            names, self._forgotten = self._forgotten, []
            unfinished: list[tuple[str, bytes]] = []
            with self._unkept():
                unfinished = await self._kept.forget([name for name in names if not self._wants(name)])
            for name, resume in unfinished:
                try:
                    await self._store.abandon(name, resume)
                except StoreError as exc:
                    _log.info(
                        "what was uploaded of %s stays in the store: %s",
                        name,
                        exc,
                        extra={"event": "artifact_left", "name_of_object": name},
                    )

    def _wants(self, name: str) -> bool:
        return self._queue.progress(name, 0.0) is not None

    @contextlib.contextmanager
    def _unkept(self) -> Any:
        """Go on while the disk refuses: what is then not known is uploaded again."""
        try:
            yield
        except StorageFailed as exc:
            if self._keeps:
                self._keeps = False
                _log.warning(
                    "what is uploaded cannot be kept on disk, and is uploaded again after a restart: %s",
                    exc,
                    extra={"event": "uploads_unkept"},
                )
        else:
            self._keeps = True
