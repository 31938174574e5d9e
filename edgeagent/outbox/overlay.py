"""A file system that is only read: writes stay in memory. So an outbox can be opened without being changed on disk.

Opening cuts a torn tail and writes a checkpoint. A reader that opens the outbox over this overlay sees exactly what an
agent would see. Memory holds what opening writes: at most the newest segment of each log, and the cursor file.
"""

from __future__ import annotations

import os
from pathlib import Path

from edgeagent.errors import StorageFailed
from edgeagent.outbox.files import File, OsFile, OsFilesystem


class Overlay:
    """A `Filesystem` over the real one. It owns the files written or removed so far, and never changes the disk."""

    def __init__(self) -> None:
        self._disk = OsFilesystem()
        self._written: dict[Path, bytearray | None] = {}  # None: removed

    @property
    def written_bytes(self) -> int:
        """The size of the files in memory."""
        return sum(len(content) for content in self._written.values() if content is not None)

    def make_directory(self, path: Path) -> None:
        """Do nothing: an absent directory is listed as empty."""

    def list(self, directory: Path) -> list[str]:
        """The names in a directory, sorted."""
        on_disk = not self._is_hidden(directory) and self._disk.exists(directory)
        names = set(self._disk.list(directory)) if on_disk else set()
        for path, content in self._written.items():
            if path.parent == directory:
                (names.discard if content is None else names.add)(path.name)
        return sorted(names)

    def exists(self, path: Path) -> bool:
        """Whether this file exists."""
        if path in self._written:
            return self._written[path] is not None
        if any(content is not None and other.parent == path for other, content in self._written.items()):
            return True
        return not self._is_hidden(path) and self._disk.exists(path)

    def create(self, path: Path, size: int) -> File:
        """Create a file of zeros, in memory."""
        if self.exists(path):
            raise StorageFailed("create", str(path), "exists")
        self._written[path] = bytearray(size)
        return _File(self, path, None)

    def open(self, path: Path) -> File:
        """Open an existing file."""
        if path in self._written:
            return _File(self, path, None)
        return _File(self, path, open_read_only(path))

    def read(self, path: Path) -> bytes:
        """The content of a small file."""
        content = self.written(path)
        return bytes(content) if content is not None else self._disk.read(path)

    def replace(self, path: Path, data: bytes) -> None:
        """Write a small file, in memory."""
        self._written[path] = bytearray(data)

    def move_file(self, path: Path, target: Path) -> None:
        """Rename a file, in memory."""
        self._written[target] = bytearray(self.read(path))
        self._written[path] = None

    def free_bytes(self, directory: Path) -> int:  # noqa: ARG002  as `Filesystem.free_bytes`
        """None: what is written here is never kept."""
        return 0

    def remove(self, path: Path) -> None:
        """Remove a file, in memory."""
        self._written[path] = None

    def discard(self, path: Path) -> None:
        """Remove a file, in memory."""
        self.remove(path)

    def hide(self, path: Path, target: Path) -> None:
        """Make a file or directory appear absent, and an empty file appear as `target`."""
        self._written[path], self._written[target] = None, bytearray()

    def _is_hidden(self, path: Path) -> bool:
        return any(each in self._written and self._written[each] is None for each in (path, *path.parents))

    def written(self, path: Path) -> bytearray | None:
        """A file's content in memory; None if it is as on the disk."""
        if path in self._written and self._written[path] is None:
            raise StorageFailed("open", str(path), "no such file")
        return self._written.get(path)

    def copied(self, path: Path, real: File) -> bytearray:
        """A file's content, in memory from now on."""
        content = self.written(path)
        if content is None:
            content = self._written[path] = bytearray(real.read_at(0, real.size()))
        return content


class _File:
    """An open file: the real one until the first write."""

    def __init__(self, overlay: Overlay, path: Path, real: File | None) -> None:
        self._overlay = overlay
        self._path = path
        self._real = real

    def read_at(self, offset: int, size: int) -> bytes:
        """Read; see `File`."""
        content = self._overlay.written(self._path)
        if content is None and self._real is not None:
            return self._real.read_at(offset, size)
        return bytes(memoryview(content or b"")[offset : offset + size])

    def write_at(self, offset: int, data: bytes) -> None:
        """Write; see `File`."""
        content = self._content()
        content.extend(bytes(max(offset - len(content), 0)))
        content[offset : offset + len(data)] = data

    def sync(self) -> None:
        """Nothing to sync."""

    def size(self) -> int:
        """Length; see `File`."""
        content = self._overlay.written(self._path)
        if content is None and self._real is not None:
            return self._real.size()
        return len(content or b"")

    def truncate(self, size: int) -> None:
        """Cut; see `File`."""
        del self._content()[size:]

    def close(self) -> None:
        """Close; see `File`."""
        if self._real is not None:
            self._real.close()

    def _content(self) -> bytearray:
        if self._real is not None:
            return self._overlay.copied(self._path, self._real)
        content = self._overlay.written(self._path)
        if content is None:
            raise StorageFailed("write", str(self._path), "no such file")
        return content


def open_read_only(path: Path) -> File:
    """Open a real file for reading only.

    Raises:
        StorageFailed: it cannot be opened.
    """
    try:
        return OsFile(path, os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC))
    except OSError as exc:
        raise StorageFailed("open", str(path), exc.strerror or str(exc)) from exc
