"""A disk in memory that forgets what was not synced: `outbox.files.Filesystem` with power cuts and failing operations.

A file has bytes that everybody sees and bytes that are on the disk; what was written in between waits for a sync. A
power cut (`crash`) keeps, loses or tears each of those writes, in any combination. Directory entries are on the disk
when `create`, `replace` and `remove` return; when one of them fails or the power is cut in it, that is left to chance.
A sync that fails decides the fate of what waited: syncing again does not bring it to the disk, writing it anew does.

A card that lies about its syncs loses its last seconds all the same: `forgetful` gives files back as they were before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from random import Random

from edgeagent.errors import StorageFailed


class PowerCut(BaseException):
    """The power went out in an operation; nothing but `crash` is left to do."""


class Fate(Enum):
    """What becomes of writes that were not synced."""

    LOST = "lost"
    KEPT = "kept"
    TORN = "torn"


class _Node:
    """A file's content."""

    def __init__(self, data: bytes) -> None:
        self.seen = bytearray(data)
        self.synced = bytearray(data)
        self.waiting: list[tuple[int, bytes | None]] = []  # None: the file was cut at this offset

    def write(self, offset: int, data: bytes) -> None:
        _apply(self.seen, offset, data)
        self.waiting.append((offset, data))

    def cut(self, size: int) -> None:
        _apply(self.seen, size, None)
        self.waiting.append((size, None))

    def copy(self) -> _Node:
        """The same, on its own."""
        twin = _Node(bytes(self.synced))
        twin.seen = bytearray(self.seen)
        twin.waiting = list(self.waiting)
        return twin

    def settle(self, fate: Fate, random: Random) -> None:
        """Decide what of the waiting writes reaches the disk."""
        for offset, data in self.waiting:
            if fate is Fate.KEPT or (fate is Fate.TORN and random.random() < 0.5):
                _apply(self.synced, offset, data)
            elif fate is Fate.TORN and data:
                start, end = sorted((random.randint(0, len(data)), random.randint(0, len(data))))
                _apply(self.synced, offset + start, data[start:end])
        self.waiting.clear()


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    content.extend(bytes(max(offset - len(content), 0)))
    if data is None:
        del content[offset:]
    else:
        content[offset : offset + len(data)] = data


class CrashFile:
    """An open file; see `outbox.files.File`."""

    def __init__(self, filesystem: CrashFilesystem, path: Path, node: _Node) -> None:
        self._filesystem = filesystem
        self._path = path
        self._node = node

    def read_at(self, offset: int, size: int) -> bytes:
        """Read what is seen."""
        self._filesystem.operation("read", self._path)
        return bytes(self._node.seen[offset : offset + size])

    def write_at(self, offset: int, data: bytes) -> None:
        """Write; when it fails, some of it was written."""
        part = self._filesystem.random.randint(0, len(data)) if data else 0
        self._filesystem.operation("write", self._path, lambda: self._node.write(offset, data[:part]))
        self._node.write(offset, data)

    def sync(self) -> None:
        """Bring what waits to the disk; when it fails, the disk has what it has."""
        self._filesystem.syncs += 1
        self._filesystem.operation("sync", self._path, lambda: self._node.settle(Fate.TORN, self._filesystem.random))
        self._node.settle(Fate.KEPT, self._filesystem.random)
        self._filesystem.keep_version(self._path, bytes(self._node.synced))

    def size(self) -> int:
        """The length that is seen."""
        self._filesystem.operation("stat", self._path)
        return len(self._node.seen)

    def truncate(self, size: int) -> None:
        """Cut, not synced."""
        self._filesystem.operation("truncate", self._path)
        self._node.cut(size)

    def close(self) -> None:
        """Nothing to let go."""


class CrashFilesystem:
    """Owns the files of one disk, each as it is seen and as it is on the disk.

    `fails` says by its number and name whether an operation fails; `cuts` whether the power does. Promises that what
    was synced is there after `crash`. Must never be used once the power is cut: each operation then fails the test.
    """

    def __init__(self, random: Random) -> None:
        """An empty disk. `random` chooses: a seeded one, or one that hypothesis drives."""
        self.random = random
        self.operations = 0
        self.syncs = 0
        self.refused: set[Path] = set()  # the files of operations that failed
        self.fails: Callable[[int, str], bool] = lambda _number, _name: False
        self.cuts: Callable[[int, str], bool] = lambda _number, _name: False
        self._calm = False
        self._off = False
        self._directories: set[Path] = set()
        self._seen: dict[Path, _Node] = {}
        self._synced: dict[Path, _Node] = {}
        self._versions: dict[Path, list[bytes]] = {}  # what each file was whenever it was synced, oldest first

    @contextmanager
    def calm(self) -> Iterator[None]:
        """Nothing fails in here, and nothing is counted."""
        operations, syncs, self._calm = self.operations, self.syncs, True
        try:
            yield
        finally:
            self.operations, self.syncs, self._calm = operations, syncs, False

    def operation(self, name: str, path: Path, when_failing: Callable[[], None] = lambda: None) -> None:
        """Count an operation, and fail in it if that was asked for, having done something of it or not."""
        assert not self._off, f"{name} {path} after the power was cut"
        self.operations += 1
        if self._calm:
            return
        cut = self.cuts(self.operations, name)
        if not cut and not self.fails(self.operations, name):
            return
        if self.random.random() < 0.5:
            when_failing()
        if cut:
            self._off = True
            raise PowerCut
        self.refused.add(path)
        raise StorageFailed(name, str(path), "it was told to fail")

    def crash(self, fate: Fate = Fate.TORN) -> CrashFilesystem:
        """The disk as it is found after a power cut now; this one is of no use any more."""
        self._off = True
        return self.survivor(fate)

    def survivor(self, fate: Fate = Fate.TORN) -> CrashFilesystem:
        """What a power cut now would leave; this one goes on."""
        after = CrashFilesystem(self.random)
        after._directories = set(self._directories)
        for path, synced in self._synced.items():
            node = synced.copy()
            node.settle(fate, self.random)
            after._seen[path] = after._synced[path] = _Node(bytes(node.synced))
        return after

    def keep_version(self, path: Path, content: bytes) -> None:
        """A file was synced."""
        self._versions.setdefault(path, []).append(content)

    def forgetful(self, lost: Callable[[Path], int]) -> CrashFilesystem:
        """The disk after a power cut that took so many of the last syncs of each file; the file too, if it took all."""
        after = self.crash(Fate.LOST)
        for path in list(after._seen):
            count, versions = lost(path), self._versions.get(path, [])
            if count >= len(versions) > 0:
                del after._seen[path], after._synced[path]
            elif count:
                after._seen[path] = after._synced[path] = _Node(versions[-1 - count])
        return after

    def files(self) -> dict[Path, bytes]:
        """Every file that is seen, with its content."""
        return {path: bytes(node.seen) for path, node in self._seen.items()}

    def damage(self, path: Path, offset: int, data: bytes) -> None:
        """Change bytes on the disk behind everybody's back."""
        _apply(self._seen[path].seen, offset, data)
        _apply(self._seen[path].synced, offset, data)

    def make_directory(self, path: Path) -> None:
        """Create a directory."""
        self.operation("create directory", path)
        self._directories |= {path, *path.parents}

    def list(self, directory: Path) -> list[str]:
        """The names in a directory."""
        self.operation("list", directory)
        if directory not in self._directories:
            raise StorageFailed("list", str(directory), "no such directory")
        return sorted(path.name for path in self._seen if path.parent == directory)

    def exists(self, path: Path) -> bool:
        """Whether the file is seen."""
        self.operation("stat", path)
        return path in self._seen

    def create(self, path: Path, size: int) -> CrashFile:
        """A new file of zeros; when it fails there may be one all the same, of any size."""

        def half() -> None:
            if self.random.random() < 0.5:
                self._seen[path] = _Node(bytes(self.random.randint(0, size)))
                self._by_chance(path, self._seen[path])

        if path in self._seen:
            raise StorageFailed("create", str(path), "it exists")
        self.operation("create", path, half)
        self._seen[path] = self._synced[path] = node = _Node(bytes(size))
        return CrashFile(self, path, node)

    def open(self, path: Path) -> CrashFile:
        """An existing file."""
        self.operation("open", path)
        if path not in self._seen:
            raise StorageFailed("open", str(path), "no such file")
        return CrashFile(self, path, self._seen[path])

    def read(self, path: Path) -> bytes:
        """A whole file."""
        self.operation("read", path)
        if path not in self._seen:
            raise StorageFailed("read", str(path), "no such file")
        return bytes(self._seen[path].seen)

    def replace(self, path: Path, data: bytes) -> None:
        """Replace a file; when it fails it is the old or the new one, seen and on the disk each by chance."""
        node = _Node(data)

        def half() -> None:
            self._by_chance(path, node)
            if self.random.random() < 0.5:
                self._seen[path] = node

        self.operation("replace", path, half)
        self._seen[path] = self._synced[path] = node

    def move_file(self, path: Path, target: Path) -> None:
        """Rename a file; when it fails it has the old name or the new one, seen and on the disk each by chance."""

        def move(files: dict[Path, _Node]) -> None:
            if path in files:
                files[target] = files.pop(path)

        def half() -> None:
            for files in (self._seen, self._synced):
                if self.random.random() < 0.5:
                    move(files)

        self.operation("rename", path, half)
        move(self._seen)
        move(self._synced)

    def discard(self, path: Path) -> None:
        """Remove a file; a power cut may bring it back."""
        self.operation("discard", path)
        self._seen.pop(path, None)
        if self.random.random() < 0.5:
            self._synced.pop(path, None)

    def free_bytes(self, directory: Path) -> int:
        """As much as anybody wants: tests fill a disk by failing writes."""
        self.operation("stat", directory)
        return 1 << 40

    def remove(self, path: Path) -> None:
        """Remove a file; when it fails it may be gone, or come back."""

        def half() -> None:
            self._seen.pop(path, None)
            if self.random.random() < 0.5:
                self._synced.pop(path, None)

        self.operation("remove", path, half)
        self._seen.pop(path, None)
        self._synced.pop(path, None)

    def _by_chance(self, path: Path, node: _Node) -> None:
        if self.random.random() < 0.5:
            self._synced[path] = node
