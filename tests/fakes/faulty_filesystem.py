"""The real disk behind a switch: chosen operations fail with the errors that kernels give, until they are let again."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from edgeagent.errors import StorageFailed
from edgeagent.outbox.files import File, OsFilesystem

NEW_SPACE = ("create", "replace")  # what needs room on a disk where the segments are reserved
CHANGES = ("write", "sync", "truncate", "create", "replace", "rename", "remove", "discard", "create directory")


class _Fault:
    def __init__(self, error: int, operations: frozenset[str], where: str, times: int | None) -> None:
        self.error = error
        self.operations = operations
        self.where = where
        self.times = times


class FaultyFile:
    """An open file; see `outbox.files.File`."""

    def __init__(self, filesystem: FaultyFilesystem, path: Path, file: File) -> None:
        self._filesystem = filesystem
        self._path = path
        self._file = file

    def read_at(self, offset: int, size: int) -> bytes:
        """Read, if reading is let."""
        self._filesystem.operation("read", self._path)
        return self._file.read_at(offset, size)

    def write_at(self, offset: int, data: bytes) -> None:
        """Write; a write that fails has written half."""
        try:
            self._filesystem.operation("write", self._path)
        except StorageFailed:
            self._file.write_at(offset, data[: len(data) // 2])
            raise
        self._filesystem.unwritten.discard(self._path)
        self._file.write_at(offset, data)

    def sync(self) -> None:
        """Sync. One that fails says nothing about the bytes, so that only bytes written anew may be synced after it."""
        if self._path in self._filesystem.unwritten:
            self._filesystem.synced_again.append(self._path)
        self._filesystem.syncs[self._path] += 1
        try:
            self._filesystem.operation("sync", self._path)
        except StorageFailed:
            self._filesystem.failed_syncs[self._path] += 1
            self._filesystem.unwritten.add(self._path)
            raise
        self._file.sync()

    def size(self) -> int:
        """The length."""
        return self._file.size()

    def truncate(self, size: int) -> None:
        """Cut, if that is let."""
        self._filesystem.operation("truncate", self._path)
        self._file.truncate(size)

    def close(self) -> None:
        """Let go of it."""
        self._file.close()


class FaultyFilesystem(OsFilesystem):
    """Owns the faults of one disk, from `fail` until `heal`, and the count of its syncs.

    Promises that every other operation is done on the real disk.

    Attributes:
        syncs: how often each file was synced, the failed ones included.
        failed_syncs: how often each file's sync failed.
        unwritten: files whose last sync failed, with nothing written since.
        synced_again: files that were synced although they were among those: their bytes may be gone all the same.
    """

    def __init__(self) -> None:
        self.syncs: Counter[Path] = Counter()
        self.failed_syncs: Counter[Path] = Counter()
        self.unwritten: set[Path] = set()
        self.synced_again: list[Path] = []
        self._faults: tuple[_Fault, ...] = ()

    def fail(self, error: int, *operations: str, where: str = "", times: int | None = None) -> None:
        """From now on these operations fail with this error number.

        `where`: only on paths with this in them. `times`: so often; None: until `heal`.
        """
        self._faults = (*self._faults, _Fault(error, frozenset(operations), where, times))

    def heal(self) -> None:
        """Everything works again."""
        self._faults = ()

    def operation(self, name: str, path: Path) -> None:
        """Fail in it if that was asked for."""
        for fault in self._faults:
            if name in fault.operations and fault.where in str(path) and fault.times != 0:
                if fault.times is not None:
                    fault.times -= 1
                raise StorageFailed(name, str(path), os.strerror(fault.error))

    def make_directory(self, path: Path) -> None:
        """Create a directory, if that is let; one that is there is no change."""
        if not path.is_dir():
            self.operation("create directory", path)
        super().make_directory(path)

    def list(self, directory: Path) -> list[str]:
        """List, if reading is let."""
        self.operation("read", directory)
        return super().list(directory)

    def create(self, path: Path, size: int) -> File:
        """Create, if that is let."""
        self.operation("create", path)
        return FaultyFile(self, path, super().create(path, size))

    def open(self, path: Path) -> File:
        """Open: on a disk that only refuses to be read, this still works."""
        return FaultyFile(self, path, super().open(path))

    def read(self, path: Path) -> bytes:
        """Read, if that is let."""
        self.operation("read", path)
        return super().read(path)

    def replace(self, path: Path, data: bytes) -> None:
        """Replace, if that is let."""
        self.operation("replace", path)
        super().replace(path, data)

    def move_file(self, path: Path, target: Path) -> None:
        """Rename, if that is let."""
        self.operation("rename", path)
        super().move_file(path, target)

    def discard(self, path: Path) -> None:
        """Discard, if that is let."""
        self.operation("discard", path)
        super().discard(path)

    def remove(self, path: Path) -> None:
        """Remove, if that is let."""
        self.operation("remove", path)
        super().remove(path)
