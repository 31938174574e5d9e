"""One artifact while it is being put into a store: its bytes, in order, at the pace that the configuration allows.

Every byte is hashed on its way, and the last block is handed out only when the whole content is what its event says:
whatever happened to the file, a store never holds a whole object of other content.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Final, Self

from edgeagent.artifacts.bandwidth import BandwidthSchedule, BandwidthShare
from edgeagent.artifacts.ending import end_on
from edgeagent.artifacts.upload_queue import Upload
from edgeagent.errors import ArtifactGone, StoreError, StoreFailed, StoreRefused, UploadPaused
from edgeagent.ports.threads import JobThread

# What is read from the disk at a time, and what is handed to a connection at a time; and what is copied in one go where
# there is no limit, so that the loop is asked rarely (`benchmarks artifacts`).
BLOCK_BYTES: Final = 1 << 20
CHUNK_BYTES: Final = 256 << 10
_STRETCH_BYTES = 8 << 20
_LEAST_CHUNK_BYTES = 1 << 10
# A chunk is so short that it passes in this time: a server takes a silence for the end of its client.
_CHUNK_S = 2.0


class Pacer:
    """Lets bytes pass at the bandwidth of the time of day; shared by all uploads."""

    def __init__(self, schedule: BandwidthSchedule, *, now_s: Callable[[], float], now: Callable[[], datetime]) -> None:
        """`now_s`: monotonic seconds, as the loop's; `now`: the wall clock."""
        self._schedule = schedule
        self._share = BandwidthShare()
        self._now_s = now_s
        self._now = now

    @property
    def bytes_per_s(self) -> float | None:
        """The bandwidth now: None for no limit, 0 for no uploads."""
        return self._schedule.bytes_per_s(self._now())

    def chunk_bytes(self) -> int:
        """How many bytes are handed out at a time."""
        rate = self.bytes_per_s
        return CHUNK_BYTES if not rate else min(max(int(rate * _CHUNK_S), _LEAST_CHUNK_BYTES), CHUNK_BYTES)

    async def pace(self, size: int, shown: str) -> None:
        """Wait until so many bytes may pass.

        Raises:
            UploadPaused: there is no bandwidth now.
        """
        rate = self.bytes_per_s
        if rate is None:
            return
        if rate == 0:
            raise UploadPaused(shown, "no bandwidth is given to uploads at this time of day (artifacts.bandwidth)")
        if wait_s := self._share.take(size, rate, self._now_s()):
            await asyncio.sleep(wait_s)


class Sending:
    """Owns the open file of an upload; use it as an asynchronous context.

    Attributes:
        name: the object's.
        artifact: what is sent.
        resume: what the store kept of an earlier try (`keep`), b"" for nothing.
        store: as it is shown in errors.
    """

    def __init__(
        self,
        upload: Upload,
        store: str,
        thread: JobThread,
        pacer: Pacer,
        resume: bytes = b"",
        keep: Callable[[bytes], Awaitable[None]] | None = None,
    ) -> None:
        self.name = upload.name
        self.artifact = upload.artifact
        self.resume = resume
        self.store = store
        self._upload = upload
        self._thread = thread
        self._pacer = pacer
        self._keep = keep
        self._file = -1
        self._position = 0
        self._hashed = 0
        self._hash = hashlib.sha256()

    async def __aenter__(self) -> Self:
        """Open the file.

        Raises:
            ArtifactGone: it is not there.
            StoreRefused: it has not the size that its event says.
            StoreFailed: it cannot be opened now.
        """
        try:
            await self._thread.call(self._open)
        except asyncio.CancelledError:  # the job runs all the same
            await end_on(self._thread, self._close, is_cancelled=True)
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close the file."""
        is_cancelled = kind is not None and issubclass(kind, asyncio.CancelledError)
        await end_on(self._thread, self._close, is_cancelled=is_cancelled)

    async def keep(self, resume: bytes) -> None:
        """Keep on disk what a later try needs to go on with; b"": it begins anew."""
        self.resume = resume
        if self._keep is not None:
            await self._keep(resume)

    async def digest(self, size: int) -> str:
        """The SHA-256 of the next `size` bytes, in hexadecimal digits; they are still to be sent."""
        part = hashlib.sha256()
        begin, end = self._position, self._position + size
        while begin < end:
            begin += len(await self._read(begin, end - begin, part))
        return part.hexdigest()

    async def skip(self, size: int) -> None:
        """Pass over `size` bytes, because the store has them."""
        await self.digest(size)
        self._sent(size)

    async def block(self) -> bytes:
        """The next bytes, at most `BLOCK_BYTES`, as soon as they may pass; b"" at the end. Raises as `chunks`."""
        data = await self._read(self._position, self.artifact.size - self._position)
        await self._pacer.pace(len(data), self.store)
        self._sent(len(data))
        return data

    async def copy(self, write: Callable[[bytes], None]) -> None:
        """Hand all bytes to a function that blocks, on the thread that reads; raises as `chunks`."""
        while left := self.artifact.size - self._position:
            stretch = _STRETCH_BYTES if self._pacer.bytes_per_s is None else BLOCK_BYTES
            size = min(left, stretch)
            await self._pacer.pace(size, self.store)
            await self._thread.call(partial(self._copy_now, self._position, size, write))
            self._sent(size)

    async def chunks(self, size: int) -> AsyncGenerator[bytes, None]:
        """The next `size` bytes for a connection; the disk is read while the connection is written.

        Raises:
            StoreRefused: the file is not what it was.
            StoreFailed: it cannot be read now.
            UploadPaused: the bandwidth ended meanwhile.
        """
        end = self._position + size
        reading = asyncio.ensure_future(self._read(self._position, size))
        try:
            while self._position < end:
                block = await reading
                begin = self._position + len(block)
                reading = asyncio.ensure_future(self._read(begin, end - begin))
                sent = 0
                while sent < len(block):
                    chunk = block[sent : sent + self._pacer.chunk_bytes()]
                    await self._pacer.pace(len(chunk), self.store)
                    yield chunk
                    sent += len(chunk)
                    self._sent(len(chunk))
        finally:
            reading.cancel()
            await asyncio.wait([reading])  # not `await reading`: it would take our own cancellation for the reading's
            if not reading.cancelled():
                with contextlib.suppress(StoreError):  # what mattered was raised above
                    reading.result()

    def _sent(self, size: int) -> None:
        self._position += size
        self._upload.sent_bytes = self._position

    def _open(self) -> None:
        path = self._upload.path
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            size = os.fstat(self._file).st_size
        except OSError as exc:
            gone = exc.errno in {errno.ENOENT, errno.ELOOP, errno.ENOTDIR}
            kind = ArtifactGone if gone else StoreFailed
            raise kind(self.store, f"its file cannot be opened ({path}: {exc.strerror})") from exc
        if size != self.artifact.size:
            self._close()
            raise StoreRefused(self.store, f"its file has {size} bytes, its event says {self.artifact.size} ({path})")

    def _close(self) -> None:
        if self._file >= 0:
            descriptor, self._file = self._file, -1
            with contextlib.suppress(OSError):  # nothing was written
                os.close(descriptor)

    async def _read(self, begin: int, at_most: int, part: hashlib._Hash | None = None) -> bytes:
        return await self._thread.call(partial(self._read_now, begin, min(at_most, BLOCK_BYTES), part))

    def _copy_now(self, begin: int, size: int, write: Callable[[bytes], None]) -> None:
        end = begin + size
        while begin < end:
            block = self._read_now(begin, min(end - begin, BLOCK_BYTES), None)
            write(block)
            begin += len(block)

    def _read_now(self, begin: int, size: int, part: hashlib._Hash | None) -> bytes:
        """Read and hash; the content must be whole and right when its last byte is read."""
        path = self._upload.path
        try:
            data = os.pread(self._file, size, begin)
        except OSError as exc:
            raise StoreFailed(self.store, f"its file cannot be read ({path}: {exc.strerror})") from exc
        if len(data) < size:
            raise StoreRefused(self.store, f"its file became shorter while it was sent ({path})")
        if part is not None:
            part.update(data)
        if begin == self._hashed:
            self._hash.update(data)
            self._hashed += len(data)
            if self._hashed == self.artifact.size and self._hash.hexdigest() != self.artifact.sha256:
                raise StoreRefused(self.store, f"its file is damaged: its SHA-256 is not what its event says ({path})")
        return data
