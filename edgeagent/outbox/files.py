"""The outbox's view of a disk: the only module that syncs, renames, or preallocates.

`Filesystem` and `File` are the operations that the outbox needs of a disk; tests put a model of a disk behind them that
loses or tears unsynced bytes. `OsFilesystem` is the real one. Every `OSError` becomes `StorageFailed` here.

The guarantee: once `File.sync` has returned, the bytes written before survive a power cut. Once `create`, `replace` or
`remove` has returned, so does the directory entry. After a failed sync the bytes may be gone from the cache, so that
syncing again would succeed without them; only bytes that are written again can then be synced.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol

from edgeagent.errors import StorageFailed

_FILE_MODE = 0o640
_DIRECTORY_MODE = 0o750


class File(Protocol):
    """An open file. Any method may raise `StorageFailed`."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Read up to `size` bytes; fewer at the end of the file."""

    def write_at(self, offset: int, data: bytes) -> None:
        """Write all of `data`."""

    def sync(self) -> None:
        """Make the bytes written survive a power cut. If it raises, bytes that are not written again never do.

        It also raises when the file is no longer at its path: after a restart nobody would find the bytes either.
        """

    def size(self) -> int:
        """The file's length in bytes."""

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes; not synced."""

    def close(self) -> None:
        """Close the file; never raises."""


class Filesystem(Protocol):
    """Files by path. Any method may raise `StorageFailed`."""

    def make_directory(self, path: Path) -> None:
        """Create a directory and its parents, their entries synced; does nothing if it exists."""

    def list(self, directory: Path) -> list[str]:
        """The names in a directory, sorted."""

    def exists(self, path: Path) -> bool:
        """Whether this file exists."""

    def create(self, path: Path, size: int) -> File:
        """A new file of `size` zeros with its space reserved; the entry is synced. Fails if the file exists."""

    def open(self, path: Path) -> File:
        """Open an existing file for reading and writing."""

    def read(self, path: Path) -> bytes:
        """The content of a small file."""

    def replace(self, path: Path, data: bytes) -> None:
        """Write a small file, atomically and synced: after a crash it has the old content or the new one."""

    def move_file(self, path: Path, target: Path) -> None:
        """Rename a synced file within its directory, replacing the target; atomic, and the entries are synced."""

    def remove(self, path: Path) -> None:
        """Remove a file, synced; does nothing if it does not exist."""

    def discard(self, path: Path) -> None:
        """Remove a file that a power cut may bring back; does nothing if it does not exist."""

    def free_bytes(self, directory: Path) -> int:
        """How many bytes may still be written on the disk of a directory."""


@contextmanager
def _translated(operation: str, path: object) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise _failed(operation, path, exc) from exc


def _failed(operation: str, path: object, error: OSError) -> StorageFailed:
    return StorageFailed(operation, str(path), error.strerror or str(error))


class OsFile:
    """A file on a real disk."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._link = f"/proc/self/fd/{descriptor}"
        with _translated("find", self._link):
            self._opened_at = os.readlink(self._link)  # noqa: PTH115  it is compared with another text

    def read_at(self, offset: int, size: int) -> bytes:
        """Read; see `File`."""
        with _translated("read", self._path):
            return os.pread(self._descriptor, size, offset)

    # The next two are on the path of every commit, where a context manager's cost shows.

    def write_at(self, offset: int, data: bytes) -> None:
        """Write; see `File`."""
        try:
            written = os.pwrite(self._descriptor, data, offset)
            while written < len(data):  # a signal or a nearly full disk may cut a write short
                written += os.pwrite(self._descriptor, data[written:], offset + written)
        except OSError as exc:
            raise _failed("write", self._path, exc) from exc

    def sync(self) -> None:
        """Sync; see `File`."""
        try:
            os.fdatasync(self._descriptor)
            # A file that was removed or moved away, perhaps with its directory, takes writes and syncs as before. Its
            # name in /proc shows it; a stat would too, but makes the next sync write the inode for its finer ctime.
            now_at = os.readlink(self._link)  # noqa: PTH115  a path object for each commit is not needed
        except OSError as exc:
            raise _failed("sync", self._path, exc) from exc
        if now_at != self._opened_at:
            raise StorageFailed("sync", str(self._path), f"the file is no longer there, but {now_at}")

    def size(self) -> int:
        """Length; see `File`."""
        with _translated("stat", self._path):
            return os.fstat(self._descriptor).st_size

    def truncate(self, size: int) -> None:
        """Cut; see `File`."""
        with _translated("truncate", self._path):
            os.ftruncate(self._descriptor, size)

    def close(self) -> None:
        """Close; see `File`."""
        with suppress(OSError):  # what matters was synced, and a failed close frees the descriptor all the same
            os.close(self._descriptor)


class OsFilesystem:
    """The real disk; every directory entry that it makes or removes is synced before it returns."""

    def make_directory(self, path: Path) -> None:
        """Create a directory; see `Filesystem`."""
        with _translated("create directory", path):
            missing = [made for made in (path, *path.parents) if not made.exists()]
            for made in reversed(missing):  # one by one, so that each gets the mode that keeps others out
                made.mkdir(_DIRECTORY_MODE, exist_ok=True)
                self.sync_directory(made.parent)

    def list(self, directory: Path) -> list[str]:
        """List; see `Filesystem`."""
        with _translated("list", directory):
            return sorted(os.listdir(directory))  # noqa: PTH208  names are wanted, not paths

    def exists(self, path: Path) -> bool:
        """Check; see `Filesystem`."""
        with _translated("stat", path):
            return path.exists()

    def create(self, path: Path, size: int) -> File:
        """Create; see `Filesystem`."""
        with _translated("create", path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
            try:
                if size:  # for nothing, the call is an error
                    os.posix_fallocate(descriptor, 0, size)
                os.fsync(descriptor)  # the length too, so that later syncs have only data to write
                self.sync_directory(path.parent)
            except OSError:
                os.close(descriptor)
                with suppress(OSError):
                    path.unlink()
                raise
        return OsFile(path, descriptor)

    def open(self, path: Path) -> File:
        """Open; see `Filesystem`."""
        with _translated("open", path):
            return OsFile(path, os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC))

    def read(self, path: Path) -> bytes:
        """Read; see `Filesystem`."""
        with (
            _translated("read", path),
            os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as stream,
        ):
            return stream.read()

    def replace(self, path: Path, data: bytes) -> None:
        """Replace; see `Filesystem`."""
        temporary = path.with_name(path.name + ".tmp")
        with _translated("write", path):
            descriptor = create_anew(temporary)
            try:
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(data)
                    stream.flush()
                    os.fsync(stream.fileno())
                temporary.replace(path)
                self.sync_directory(path.parent)
            except OSError:
                with suppress(OSError):
                    temporary.unlink()
                raise

    def move_file(self, path: Path, target: Path) -> None:
        """Rename; see `Filesystem`."""
        with _translated("rename", path):
            path.replace(target)
            self.sync_directory(target.parent)

    def discard(self, path: Path) -> None:
        """Discard; see `Filesystem`."""
        with _translated("remove", path):
            path.unlink(missing_ok=True)

    def free_bytes(self, directory: Path) -> int:
        """Free space; see `Filesystem`. What only root may use does not count."""
        with _translated("stat", directory):
            found = os.statvfs(directory)
            return found.f_bavail * found.f_frsize

    def remove(self, path: Path) -> None:
        """Remove; see `Filesystem`."""
        with _translated("remove", path):
            path.unlink(missing_ok=True)
            self.sync_directory(path.parent)

    @staticmethod
    def sync_directory(path: Path) -> None:
        """Make a directory's entries survive a power cut; raises `OSError`."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def keep_as(stream: BinaryIO, temporary: Path, path: Path) -> None:
    """Sync and close a temporary file beside `path`, then rename it to `path`, which is synced too.

    Raises:
        StorageFailed: the disk refuses.
    """
    with _translated("sync", temporary):
        stream.flush()
        os.fsync(stream.fileno())
        stream.close()
    with _translated("rename", path):
        temporary.rename(path)
        OsFilesystem.sync_directory(path.parent)


def create_anew(path: Path, mode: int = _FILE_MODE) -> int:
    """Create a file to write to, replacing any that exists; a planted link is not followed.

    Others have no access, whatever the umask says. Returns the descriptor. Raises `OSError`.
    """
    path.unlink(missing_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)


def may_not_open(path: Path) -> bool:
    """Whether this user lacks the right to read and write an existing file, or to list and change a directory.

    A symbolic link counts as such a file, wherever it leads.
    """
    try:
        if path.is_dir():
            os.listdir(path)  # noqa: PTH208  only to see whether it is permitted
            read_only = os.statvfs(path).f_flag & os.ST_RDONLY  # then no user may write to it
            return not read_only and not os.access(path, os.W_OK | os.X_OK, effective_ids=True)
        os.close(os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as exc:
        return exc.errno in {errno.EACCES, errno.EPERM, errno.ELOOP}  # others: absent, or reported where it is used
    return False


def may_not_read(path: Path) -> bool:
    """Like `may_not_open`, for a disk that can only be read."""
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        os.close(os.open(path, flags))
        if path.is_dir():
            os.close(os.open(path / ".", flags))  # its content can be reached
    except OSError as exc:
        return exc.errno in {errno.EACCES, errno.EPERM, errno.ELOOP}
    return False


def rename(path: Path, target: Path) -> None:
    """Rename a file or a directory, replacing the target; both entries are synced.

    Raises:
        StorageFailed: the disk refuses.
    """
    with _translated("rename", path):
        path.rename(target)
        OsFilesystem.sync_directory(target.parent)
        OsFilesystem.sync_directory(path.parent)


def put_aside(path: Path, target: Path) -> Path:
    """Like `rename`, creating the target's directory if needed and choosing a free name, which is returned.

    Raises:
        StorageFailed: the disk refuses.
    """
    OsFilesystem().make_directory(target.parent)
    free, count = target, 1
    while os.path.lexists(free):
        count += 1
        free = target.with_name(f"{target.name}.{count}")
    rename(path, free)
    return free
