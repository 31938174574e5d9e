"""The spool: the files that hold the data of events with artifacts, beside the logs (docs/format.md).

A file is named by the SHA-256 of its content. It is written as `*.part` (`outbox.incoming`), synced, and renamed, and
only then may a record that refers to it be stored; it is removed only after a checkpoint says that no such record is
unreleased. A crash in between leaves a file that no record refers to, which is removed after the next start, when every
log has been read (`spool_scan`). So an acknowledged event always has its file.

The thread that takes in data and the one that works on the logs both use it: what it knows is changed under a lock.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from threading import Lock

from edgeagent.errors import MessageError, NotFound, SpoolFull, StorageFailed
from edgeagent.events.artifact import Artifact, is_sha256
from edgeagent.outbox.files import Filesystem
from edgeagent.outbox.incoming import IncomingFile, Partial, full_or_failed
from edgeagent.outbox.spool_book import MAX_FILES, IsReleased, SpoolBook, SpoolFigures, counted_bytes

_PART = ".part"

_log = logging.getLogger(__name__)


class Spool:
    """Owns the directory and the book of what is in it. It holds no data that a record may not refer to for long.

    Promises: a file that `keep` returned for stays until `let_go`, and while an unreleased record refers to it.

    Attributes:
        references: how often a record was noted that refers to a file.
    """

    def __init__(self, filesystem: Filesystem, directory: Path) -> None:
        """Open the directory of an outbox that the caller owns.

        Data that was still coming in is removed, unless the rest of it may come yet: see `adopt`.

        Raises:
            StorageFailed: the disk refuses.
        """
        self._filesystem = filesystem
        self._directory = directory
        self._lock = Lock()
        self._incoming: set[IncomingFile] = set()
        self._number = 0
        self.references = 0
        self._imports: dict[str, IncomingFile] = {}
        self._import_holds: set[str] = set()
        self._left: dict[str, Partial] = {}
        filesystem.make_directory(directory)
        files: dict[str, int] = {}
        for name in filesystem.list(directory):
            partial = Partial.named(name)
            if is_sha256(name):
                files[name] = self._size(directory / name)
            elif partial is not None and partial.key not in self._left:
                self._left[partial.key] = partial
            elif name.endswith(_PART):
                self._number = max(self._number, int(name.removesuffix(_PART)) if name[0].isdecimal() else 0)
                filesystem.discard(directory / name)
        self._book = SpoolBook(files)

    @property
    def used_bytes(self) -> int:
        """What its files and what is coming in count for in the limit."""
        return self._book.used_bytes + self.incoming_bytes

    @property
    def incoming_bytes(self) -> int:
        """What counts for data that is coming in."""
        left = sum(counted_bytes(partial.total) for partial in tuple(self._left.values()))
        return left + sum(counted_bytes(one.reserved_bytes) for one in tuple(self._incoming))

    def figures(self) -> SpoolFigures:
        """What it holds."""
        return self._book.figures()

    def free_bytes(self) -> int:
        """How much the disk still takes.

        Raises:
            StorageFailed: the disk refuses.
        """
        return self._filesystem.free_bytes(self._directory)

    def path(self, sha256: str) -> Path:
        """The file with this data."""
        return self._directory / sha256

    # Data comes in.

    def begin(self, key: str = "", total: int = 0) -> IncomingFile:
        """Begin a file. `key`: what names data of `total` bytes that may come in parts, also after a restart.

        Raises:
            SpoolFull: there are too many files, or the disk has no space left.
            StorageFailed: the disk refuses.
        """
        if len(self._book) + len(self._incoming) >= MAX_FILES:
            raise SpoolFull(f"no room for the data: {MAX_FILES} files wait already, which is the limit")
        with self._lock:
            self._number += 1
            partial = Partial(key, total, 0) if key else None
            path = self._directory / (partial.name if partial is not None else f"{self._number}{_PART}")
        try:
            incoming = IncomingFile(self._filesystem, path, self._filesystem.create(path, 0), partial)
        except StorageFailed as exc:
            raise full_or_failed(exc) from exc
        with self._lock:
            self._incoming.add(incoming)
        return incoming

    def adopt(self) -> list[IncomingFile]:
        """Data that an earlier process did not get completely, each as far as it is sure to be on the disk. Once."""
        left, self._left = self._left.values(), {}
        adopted = [incoming for partial in left if (incoming := self._adopted(partial)) is not None]
        with self._lock:
            self._incoming.update(adopted)
        return adopted

    def _adopted(self, partial: Partial) -> IncomingFile | None:
        path = self._directory / partial.name
        for is_last in (False, True):  # a disk may refuse once
            incoming = None
            try:
                incoming = IncomingFile(self._filesystem, path, self._filesystem.open(path), partial)
                incoming.reserved_bytes = partial.total
                incoming.back()
            except StorageFailed as exc:
                if incoming is not None:
                    incoming.close()
                if is_last:
                    _log.warning("an upload begins anew: %s", exc, extra={"event": "spool_part_lost", "path": exc.path})
            else:
                return incoming
        with suppress(StorageFailed):  # the next start finds it again
            self._filesystem.discard(path)
        return None

    def put_back(self, artifact: Artifact, key: str) -> None:
        """End a hold of `keep` for an event that was not stored; the data stays for `adopt`, if nobody else has it.

        Never raises.
        """
        target = self._directory / Partial(key, artifact.size, artifact.size).name
        with self._lock:
            if self._book.is_held_only(artifact.sha256):
                with suppress(StorageFailed):  # then the next start removes it
                    self._filesystem.move_file(self.path(artifact.sha256), target)
                    self._book.remove(artifact.sha256)
                    return
        self.let_go(artifact.sha256)

    def keep(self, incoming: IncomingFile, content_type: str) -> Artifact:
        """Make a file part of the spool: it is synced when this returns, and held until `let_go`.

        If there is a file of this name already, this one takes its place: it was just hashed and is synced, and that
        one may be damaged, or be there by a rename of which a crash left nothing on the disk.

        Raises:
            SpoolFull, StorageFailed: the disk refuses; nothing is kept.
        """
        artifact = incoming.artifact(content_type)
        try:
            incoming.sync()
            incoming.close()
            with self._lock:
                self._filesystem.move_file(incoming.path, self.path(artifact.sha256))
                self._book.hold(artifact.sha256, artifact.size)
                self._incoming.discard(incoming)
        except StorageFailed as exc:
            self._remove_unknown(artifact.sha256)
            self.drop(incoming)
            raise full_or_failed(exc) from exc
        return artifact

    def drop(self, incoming: IncomingFile) -> None:
        """Remove data that came in and is not kept; does nothing if it is gone. Never raises."""
        incoming.close()
        for path in incoming.paths:
            with suppress(StorageFailed):  # the next start removes it
                self._filesystem.discard(path)
        with self._lock:
            self._incoming.discard(incoming)

    def leave(self, incoming: IncomingFile) -> None:
        """Let go of data whose rest may come after a restart. Never raises."""
        with suppress(StorageFailed):  # then less of it is known to be there
            incoming.secure()
        incoming.close()
        with self._lock:
            self._incoming.discard(incoming)

    def let_go(self, sha256: str) -> None:
        """End a hold of `keep`; a file that no record refers to is removed. Never raises."""
        with self._lock:
            self._book.let_go(sha256)
            if self._book.is_complete and self._book.is_unreferred(sha256):
                self._remove(sha256)

    # Data goes to other outboxes, and comes from them.

    def piece(self, sha256: str, offset: int, most_bytes: int) -> tuple[bytes, int]:
        """A piece of a file, and the size of all of it.

        Raises:
            NotFound: there is no such file.
            StorageFailed: the disk refuses.
        """
        with self._lock:
            if (size := self._book.size(sha256)) is None:
                raise NotFound(sha256, "the spool has no data of this name")
            file = self._filesystem.open(self.path(sha256))
        try:
            return file.read_at(offset, most_bytes), size
        finally:
            file.close()

    def take_piece(self, artifact: Artifact, offset: int, data: bytes) -> int:
        """Take a piece of data from an export file; returns how much is here. All of it is held until `imported`.

        Raises:
            MessageError: it does not follow the last piece, or the whole is not what its name says.
            SpoolFull, StorageFailed: the disk refuses.
        """
        sha256 = artifact.sha256
        if not offset:
            if (earlier := self._imports.pop(sha256, None)) is not None:
                self.drop(earlier)
            if self.has(artifact):
                self._hold_import(artifact)
                return artifact.size
            self._imports[sha256] = self.begin()
        incoming = self._imports.get(sha256)
        if incoming is None and sha256 in self._import_holds:
            return artifact.size  # it was here before its first piece
        if incoming is None or incoming.size != offset or offset + len(data) > artifact.size:
            raise MessageError("data", "offset", "must follow what came before")
        incoming.write(data)
        if incoming.size == artifact.size:
            del self._imports[sha256]
            if incoming.artifact("").sha256 != sha256:
                self.drop(incoming)
                raise MessageError("data", "sha256", "the data is not what its name says")
            self.keep(incoming, "")
            self._hold_import(artifact, is_held=True)
        return incoming.size

    def imported(self, artifact: Artifact) -> None:
        """A record refers to data that was imported: it needs no hold any more."""
        if artifact.sha256 in self._import_holds:
            self._import_holds.discard(artifact.sha256)
            self.let_go(artifact.sha256)

    def _hold_import(self, artifact: Artifact, *, is_held: bool = False) -> None:
        with self._lock:
            if not is_held:
                self._book.hold(artifact.sha256, artifact.size)
            if artifact.sha256 in self._import_holds:
                self._book.let_go(artifact.sha256)
            self._import_holds.add(artifact.sha256)

    # Records come and go.

    def has(self, artifact: Artifact) -> bool:
        """Whether the data of a record is there, in full length.

        Raises:
            StorageFailed: the disk cannot be read.
        """
        with self._lock:
            return self._is_there(artifact)

    def refer(self, artifact: Artifact, log: str, seq: int, count: int) -> None:
        """Note that the records of these seqs of a log, stored or found, refer to an artifact."""
        with self._lock:
            self._book.refer(artifact.sha256, log, seq, count)
            self.references += 1

    def next_reference(self, log: str, seq: int) -> int | None:
        """From where on, beginning with `seq`, noted records of a log may refer to files; None if none does."""
        with self._lock:
            return self._book.next_reference(log, seq)

    def sweep(self, is_released: IsReleased) -> None:
        """Remove the files that no record refers to any more; called when the releases are synced. Never raises."""
        if not len(self._book):
            return
        with self._lock:
            for sha256 in self._book.free(is_released):
                self._remove(sha256)

    @property
    def is_complete(self) -> bool:
        """Whether it is known of every file which records refer to it."""
        return self._book.is_complete

    def complete(self) -> SpoolFigures:
        """Declare that every record was seen, and remove the orphans; returns what they were. Never raises."""
        with self._lock:
            before = self._book.figures()
            self._book.is_complete = True
            for sha256 in self._book.unreferred():
                self._remove(sha256)
            after = self._book.figures()
        return SpoolFigures(before.files - after.files, before.used_bytes - after.used_bytes)

    def orphans(self) -> int:
        """How many files no record refers to, as far as records were seen."""
        with self._lock:
            return len(self._book.unreferred())

    def _remove(self, sha256: str) -> None:
        """Remove a file; one that the disk does not let go of is tried again with the next sweep."""
        try:
            self._filesystem.discard(self.path(sha256))
        except StorageFailed as exc:
            _log.warning("%s", exc, extra={"event": "spool_not_removed", "path": exc.path})
            return
        self._book.remove(sha256)

    def _remove_unknown(self, sha256: str) -> None:
        """Remove what a rename that failed may have left under this name, if nobody knows of it."""
        with self._lock:
            if self._book.size(sha256) is None:
                with suppress(StorageFailed):  # the next start removes it
                    self._filesystem.discard(self.path(sha256))

    def _is_there(self, artifact: Artifact) -> bool:
        path = self.path(artifact.sha256)
        return self._filesystem.exists(path) and self._size(path) == artifact.size

    def _size(self, path: Path) -> int:
        file = self._filesystem.open(path)
        try:
            return file.size()
        finally:
            file.close()
