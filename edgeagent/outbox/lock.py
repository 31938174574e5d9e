"""A lock on the state directory, so that it has one owner; the kernel frees it when the owner dies."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgeagent.errors import OutboxLocked, StorageFailed
from edgeagent.outbox.files import OsFilesystem, may_not_open
from edgeagent.outbox.owner import remedy

_LOCKS = Path("/proc/locks")


@contextmanager
def state_lock(directory: Path) -> Iterator[None]:
    """Own a state directory, created if absent; it may be on a disk that can only be read.

    Raises:
            OutboxLocked: another process owns it; names that process.
        StorageFailed: the directory cannot be created or locked.
    """
    path = directory / "lock"
    OsFilesystem().make_directory(directory)
    if may_not_open(directory):
        raise StorageFailed("use", str(directory), remedy(directory))
    if may_not_open(path):
        _replace_foreign(path)
    try:
        descriptor = _opened(path)
    except OSError as exc:
        raise StorageFailed("lock", str(path), exc.strerror or str(exc)) from exc
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise OutboxLocked(str(directory), _holder(descriptor)) from exc
        except OSError as exc:
            raise StorageFailed("lock", str(path), exc.strerror or str(exc)) from exc
        with suppress(OSError):  # the name is only a courtesy: on a full disk the lock itself still works
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def reading_lock(directory: Path) -> Iterator[None]:
    """Keep every agent from owning a state directory while it is read; writes nothing.

    Raises:
        OutboxLocked: a process owns it.
        StorageFailed: it cannot be read.
    """
    path = directory / "lock"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        yield  # no agent ever ran here, and one that starts now creates the file
        return
    except OSError as exc:
        raise StorageFailed("lock", str(path), exc.strerror or str(exc)) from exc
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise OutboxLocked(str(directory), _holder(descriptor)) from exc
        yield
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    """Open the lock file, created if absent. On a disk that can only be read, the directory stands in for it."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
    except OSError as exc:
        # Where a file of root is in the way, the kernel may name that as the reason.
        if exc.errno != errno.EROFS and not os.statvfs(path.parent).f_flag & os.ST_RDONLY:
            raise
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (FileNotFoundError, PermissionError):  # absent, or made by root while the disk could still be written
        return os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _replace_foreign(path: Path) -> None:
    """Remove a lock file that another user (usually root) left behind and nobody holds, to make way for our own."""
    try:
        found = path.lstat()
        held = _LOCKS.read_text("ascii", "replace")
        if f":{found.st_ino} " in held:  # `MAJOR:MINOR:INODE`; the same number on another disk is refused too
            raise OutboxLocked(str(path.parent), "a process of another user")
        path.unlink()
    except OSError as exc:
        raise StorageFailed("lock", str(path), exc.strerror or str(exc)) from exc


def _holder(descriptor: int) -> str:
    if os.fstatvfs(descriptor).f_flag & os.ST_RDONLY:
        return "another process"  # the name in the file is that of an earlier owner
    text = b""
    with suppress(IsADirectoryError):
        text = os.pread(descriptor, 64, 0)
    return text.decode("ascii", "replace").strip() or "another process"
