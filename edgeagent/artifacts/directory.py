"""A store that is a directory: a mounted volume, NFS, a PVC.

An object is written beside its place under a temporary name, synced, renamed, and its directory is synced: a reader
finds all of it or nothing. A try that was broken off leaves the temporary file, which the next try of the same object
replaces.

The directory must be there: it is never made. A file in it, `.edgeagent-store`, is made before the first upload and
must be there from then on: where the volume is not mounted, it is missing, and nothing is written beside the volume.
No symbolic link below the directory is followed, whoever made it.

What is made has the rights of the directory itself, whatever the umask says: it is made for readers of another user.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import blake2b
from typing import Final
from urllib.parse import unquote, urlsplit

from edgeagent.artifacts.ending import end_on
from edgeagent.artifacts.places import joined
from edgeagent.artifacts.sending import Sending
from edgeagent.config.tables import ArtifactsTable
from edgeagent.errors import StoreFailed, StoreRefused
from edgeagent.ports.threads import JobThread

MARKER: Final = ".edgeagent-store"
_MARKED: Final = b"marked"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_NO_LINK = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # nor a FIFO, which whoever writes here may leave
_TEMPORARY_HASH_BYTES = 16
_NOT_EXECUTABLE: Final = 0o666
# What can never be in this store, while other objects can.
_NEVER: Final = frozenset({errno.EFBIG, errno.ENAMETOOLONG})
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
# What somebody has to mend.
_SOMEBODY: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


class DirectoryStore:
    """A directory of this machine. See `ArtifactStore`."""

    def __init__(self, table: ArtifactsTable, thread: JobThread) -> None:
        """`table`: without problems. `thread`: a disk that does not answer holds up its other users."""
        self._directory = unquote(urlsplit(table.store).path)
        self._public = table.public_url or table.store
        self._thread = thread
        self.shown = f"file://{self._directory}"

    def url(self, name: str) -> str:
        """See `ArtifactStore`."""
        return joined(self._public, name)

    async def begin(self, memory: bytes) -> bytes:
        """See `ArtifactStore`: the marker must be there, if it was there before."""
        await self._thread.call(partial(self._look, is_known=memory == _MARKED))
        return _MARKED

    async def put(self, sending: Sending) -> None:
        """See `ArtifactStore`."""
        parent, _, last = sending.name.rpartition("/")
        file, is_cancelled = _NewObject(last), False
        try:
            await self._on_thread(lambda: file.open(self._descriptor(parent)))
            await sending.copy(partial(self._write, file))
            await self._on_thread(partial(file.finish, sending.artifact.size))
        except asyncio.CancelledError:
            is_cancelled = True
            raise
        finally:
            await end_on(self._thread, file.close, is_cancelled=is_cancelled)

    async def abandon(self, name: str, resume: bytes) -> None:
        """A try that was broken off removes its own file, unless the process was killed in it."""

    async def read(self, name: str, at_most: int) -> bytes:
        """See `ArtifactStore`."""
        return await self._thread.call(partial(self._read, name, at_most))

    async def remove(self, name: str) -> None:
        """See `ArtifactStore`."""
        await self._thread.call(partial(self._remove, name))

    async def room(self) -> int | None:
        """The space that is free for this user."""
        return await self._thread.call(self._room)

    async def aclose(self) -> None:
        """Nothing is open between two uploads."""

    def _look(self, *, is_known: bool) -> None:
        with self._translated(), self._opened("") as base:
            if is_known:
                try:
                    os.stat(MARKER, dir_fd=base, follow_symlinks=False)
                except FileNotFoundError as exc:
                    reason = (
                        f"the file {MARKER} is missing in it: is the volume mounted? If it was emptied on purpose, "
                        "make that file again"
                    )
                    raise StoreFailed(self.shown, reason, needs_somebody=True) from exc
                return
            os.close(os.open(MARKER, os.O_WRONLY | os.O_CREAT | _NO_LINK, 0o644, dir_fd=base))
            os.fsync(base)

    def _write(self, file: _NewObject, block: bytes) -> None:
        with self._translated():
            file.write(block)

    async def _on_thread(self, job: Callable[[], None]) -> None:
        def translated() -> None:
            with self._translated():
                job()

        await self._thread.call(translated)

    def _descriptor(self, path: str) -> int:
        with self._opened(path, make=True) as directory:
            return os.dup(directory)

    def _read(self, name: str, at_most: int) -> bytes:
        parent, _, last = name.rpartition("/")
        with self._translated(), self._opened(parent) as directory:
            descriptor = os.open(last, os.O_RDONLY | _NO_LINK, dir_fd=directory)
            with os.fdopen(descriptor, "rb") as file:
                content = file.read(at_most + 1)
        if len(content) > at_most:
            raise StoreFailed(self.shown, f"the object has more than {at_most} bytes")
        return content

    def _remove(self, name: str) -> None:
        parent, _, last = name.rpartition("/")
        with self._translated(), self._opened(parent) as directory, contextlib.suppress(FileNotFoundError):
            os.unlink(last, dir_fd=directory)

    def _room(self) -> int:
        with self._translated():
            found = os.statvfs(self._directory)
        return found.f_bavail * found.f_frsize

    @contextmanager
    def _opened(self, path: str, *, make: bool = False) -> Iterator[int]:
        """A directory below the store's, by a descriptor; missing ones are made, each synced in its parent."""
        current = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # this one may be a link
        try:
            for part in path.split("/") if path else ():
                try:
                    inner = os.open(part, _DIRECTORY, dir_fd=current)
                except FileNotFoundError:
                    if not make:
                        raise
                    inner = self._made(part, current)
                os.close(current)
                current = inner
            yield current
        finally:
            os.close(current)

    def _made(self, name: str, parent: int) -> int:
        """A new directory with the rights of its parent, synced there."""
        with contextlib.suppress(FileExistsError):  # another upload was quicker
            os.mkdir(name, dir_fd=parent)
        made = os.open(name, _DIRECTORY, dir_fd=parent)
        _give_rights(made, stat.S_IMODE(os.fstat(parent).st_mode))
        os.fsync(parent)
        return made

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise self._failure(exc) from exc

    def _failure(self, exc: OSError) -> StoreFailed | StoreRefused:
        where = f" ({exc.filename})" if isinstance(exc.filename, str) else ""
        if exc.errno in _NEVER:
            return StoreRefused(self.shown, f"it takes no such object: {exc.strerror}{where}")
        if exc.errno in _FULL:
            return StoreFailed(self.shown, f"it is full: {exc.strerror}")
        if exc.errno == errno.ELOOP:
            return StoreFailed(
                self.shown, f"a symbolic link is in the way{where}: it is not followed", needs_somebody=True
            )
        return StoreFailed(self.shown, f"{exc.strerror}{where}", needs_somebody=exc.errno in _SOMEBODY)


class _NewObject:
    """An object while it is written. All methods block."""

    def __init__(self, name: str) -> None:
        self._directory = -1
        self._name = name
        self._temporary = f".{blake2b(name.encode(), digest_size=_TEMPORARY_HASH_BYTES).hexdigest()}.part"
        self._file = -1

    def open(self, directory: int) -> None:
        """Make the temporary file in place of what is there. `directory`: a descriptor, which is closed with this.

        What an earlier try left is never opened: others may write here too, and a FIFO would be waited for, or a hard
        link written through.
        """
        self._directory = directory
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._temporary, dir_fd=directory)
        self._file = os.open(self._temporary, _NEW_FILE, 0o600, dir_fd=directory)
        _give_rights(self._file, os.fstat(directory).st_mode & _NOT_EXECUTABLE)

    def write(self, data: bytes) -> None:
        """Write all of it."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._file, rest) :]

    def finish(self, size: int) -> None:
        """Give the object its name: after this it is there, whatever happens."""
        os.fsync(self._file)
        if (written := os.fstat(self._file).st_size) != size:
            raise OSError(errno.EIO, f"the volume holds {written} bytes of {size}")
        os.rename(self._temporary, self._name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        self._temporary = ""
        os.fsync(self._directory)

    def close(self) -> None:
        """Close it, and remove what has no name yet."""
        if self._directory < 0:
            return
        if self._temporary and self._file >= 0:
            with contextlib.suppress(OSError):
                os.unlink(self._temporary, dir_fd=self._directory)
        for descriptor in (self._file, self._directory):
            if descriptor >= 0:
                with contextlib.suppress(OSError):  # what mattered was synced
                    os.close(descriptor)
        self._file = self._directory = -1


def _give_rights(descriptor: int, mode: int) -> None:
    with contextlib.suppress(OSError):  # a volume that knows no rights of its own
        os.fchmod(descriptor, mode)
