"""One file of the spool while its data comes in, perhaps in parts and over restarts of the agent.

The name of such a file says how much of it is sure to be on the disk: it is renamed after each sync. So neither a kill
nor a power cut can make the agent believe that it has more than it has.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from pathlib import Path
from typing import Final, NamedTuple, Self

from edgeagent.errors import OutboxError, SpoolFull, StorageFailed
from edgeagent.events.artifact import Artifact
from edgeagent.outbox.files import File, Filesystem

# What the kernel says when a disk, or what this user may have of it, is used up.
_FULL_REASONS: Final = frozenset(map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)))
# Unsynced data of a large file would delay every other sync on its disk: it is synced in steps of this many bytes.
SYNC_BYTES: Final = 16 << 20
_PARTIAL = re.compile(r"upload-([0-9a-f]{40})-([0-9]{1,18})-([0-9]{1,18})\.part", re.ASCII)


class Partial(NamedTuple):
    """What the name of a file says whose data comes in parts.

    `key`: which data it is, 40 hexadecimal digits. `total`: all of it. `kept_bytes`: how much is sure to be there.
    """

    key: str
    total: int
    kept_bytes: int

    @property
    def name(self) -> str:
        """The file's name."""
        return f"upload-{self.key}-{self.total}-{self.kept_bytes}.part"

    @classmethod
    def named(cls, name: str) -> Self | None:
        """What a name says; None for the name of another file."""
        match = _PARTIAL.fullmatch(name)
        return cls(match[1], int(match[2]), int(match[3])) if match else None


class IncomingFile:
    """Data on its way into the spool. Its methods are called one at a time, in one thread or another.

    Attributes:
        size: how many bytes are written.
        reserved_bytes: what it counts for in the limit: what was announced, or what is there if that is more.
        partial: what its name says, if the data may come in parts over restarts.
        paths: where it may be: two, if the disk refused a renaming.
    """

    def __init__(self, filesystem: Filesystem, path: Path, file: File, partial: Partial | None = None) -> None:
        """`file`: open at `path`; empty, or a `partial` after which `back` must be called."""
        self.paths = {path}
        self.path = path
        self.partial = partial
        self.size = 0
        self.reserved_bytes = 0
        self._filesystem = filesystem
        self._file = file
        self._hash = hashlib.sha256()
        self._hashed_bytes = 0
        self._unsynced = 0
        self._is_closed = False

    def write(self, data: bytes) -> None:
        """Add data.

        Raises:
            SpoolFull: the disk has no space left.
            StorageFailed: the disk refuses; the file is of no use any more, but for `back`.
        """
        try:
            self._file.write_at(self.size, data)
            self._unsynced += len(data)
            if self._hashed_bytes == self.size:
                self._hash.update(data)
                self._hashed_bytes += len(data)
            self.size += len(data)
            if self._unsynced >= SYNC_BYTES:
                self.secure()
        except StorageFailed as exc:
            raise full_or_failed(exc) from exc

    def sync(self) -> None:
        """Bring what is written to the disk.

        Raises:
            StorageFailed: the file is of no use any more, but for `back`.
        """
        self._file.sync()
        self._unsynced = 0

    def secure(self) -> None:
        """Bring what is written to the disk, and note in the name how much that is, if the data may come in parts.

        Raises:
            StorageFailed: the file is of no use any more, but for `back`.
        """
        if self._unsynced:
            self.sync()
        if self.partial is None or self.partial.kept_bytes == self.size:
            return
        partial = self.partial._replace(kept_bytes=self.size)
        path = self.path.with_name(partial.name)
        self.paths.add(path)
        self._filesystem.move_file(self.path, path)
        self.path, self.partial, self.paths = path, partial, {path}
        self._file.close()
        self._file = self._filesystem.open(path)

    def back(self) -> None:
        """Go back to what is sure to be on the disk, after a start or when the disk refused something.

        Raises:
            StorageFailed: not even that is there.
        """
        self._file.close()
        found = next((path for path in self.paths if self._filesystem.exists(path)), self.path)
        self.path, self.partial = found, Partial.named(found.name)  # each name that it may have is true
        kept_bytes = self.partial.kept_bytes if self.partial is not None else 0
        self._file = self._filesystem.open(self.path)
        if self._file.size() < kept_bytes:
            raise StorageFailed("read", str(self.path), f"it has less than the {kept_bytes} bytes that were synced")
        self._file.truncate(kept_bytes)
        self.size, self._unsynced = kept_bytes, 0
        self._hash, self._hashed_bytes = hashlib.sha256(), 0

    def catch_up(self, most_bytes: int) -> bool:
        """Read, at most so much, of what was written by an earlier process, for the hash; returns whether that is all.

        Raises:
            StorageFailed: the disk refuses.
        """
        missing = min(self.size - self._hashed_bytes, most_bytes)
        if missing:
            data = self._file.read_at(self._hashed_bytes, missing)
            if not data:
                raise StorageFailed("read", str(self.path), "it ends too early")
            self._hash.update(data)
            self._hashed_bytes += len(data)
        return self._hashed_bytes == self.size

    def close(self) -> None:
        """Let go of the file, once; never raises."""
        if not self._is_closed:  # by then the descriptor's number may be another file's
            self._is_closed = True
            self._file.close()

    def artifact(self, content_type: str) -> Artifact:
        """What is known of the data that is written; `catch_up` must have returned True."""
        assert self._hashed_bytes == self.size  # noqa: S101  otherwise the hash is another data's
        return Artifact(self._hash.hexdigest(), self.size, content_type)


def full_or_failed(error: StorageFailed) -> OutboxError:
    """The error of a disk: `SpoolFull` if it has no space left, so that who sends knows that later may be better."""
    if error.reason not in _FULL_REASONS:
        return error
    return SpoolFull(f"no room for the data: {error.operation} {error.path}: {error.reason}")
