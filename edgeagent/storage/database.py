"""A database file: opened when it is needed, begun anew when it is damaged, in memory when it must be."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from edgeagent.errors import StorageFailed

_CACHE_KIB = 1024
_FILE_MODE = 0o640
# When the write-ahead log has this size, its pages go into the file, each once however often it changed; then the log
# starts again in its place. SQLite's own measure is 1000 pages (`python -m benchmarks wear tracking`).
_JOURNAL_BYTES = 4 << 20

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Layout(msgspec.Struct, frozen=True):
    """What is in a database, and what is told when it is lost.

    Attributes:
        version: kept in the file; one of another version that has no upgrade counts as damaged.
        schema: SQL that makes the tables.
        upgrades: SQL for each earlier version.
        page_bytes: of a file that is begun anew.
        name: of what the file is, as the subject of a sentence.
        event: what the keys of its events in the log begin with.
        lost: what is gone with a damaged file, as a sentence without its end.
        in_memory: what being in memory only means, the same.
    """

    version: int
    schema: str
    upgrades: Mapping[int, str]
    page_bytes: int
    name: str
    event: str
    lost: str
    in_memory: str


class _OtherVersion(sqlite3.DatabaseError):
    """The file is in order, but nothing for this program: what is written is read by another version."""


class DatabaseFile:
    """Owns the connection to the database file, on one thread. A damaged file is put aside, never deleted or used."""

    def __init__(self, path: Path, layout: Layout, *, begins_anew: bool = True) -> None:
        """A file that is opened, or made, with its first use. Without `begins_anew` a damaged one is an error."""
        self.path = path
        self._layout = layout
        self._connection: sqlite3.Connection | None = None
        self._in_memory = False
        self._begins_anew = begins_anew

    @property
    def connection(self) -> sqlite3.Connection:
        """The open database; opened here if it is closed."""
        if self._connection is None:
            try:
                self._connection = self._connect()
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError as exc:
                self._connection = self._begun_anew(exc)
        return self._connection

    def use(self, work: Callable[[], T]) -> T:
        """Do some work on the database, in memory if the disk can only be read.

        Raises:
            StorageFailed: it cannot be used now; if it was damaged, the next use finds a new one.
        """
        try:
            try:
                return self._used(work)
            except (sqlite3.Error, OSError) as exc:
                if self._in_memory or not _is_read_only(self.path.parent):
                    raise
                self._go_on_in_memory(exc)
                return work()
        except (sqlite3.Error, OSError) as exc:
            raise StorageFailed("use", str(self.path), str(exc)) from exc

    def close(self) -> None:
        """Close the database.

        Raises:
            StorageFailed: the disk refuses.
        """
        self.use(self._close)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _used(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as exc:  # "malformed", "not a database": trying again cannot help
            self._close()
            self._connection = self._begun_anew(exc)
            raise

    def _go_on_in_memory(self, error: Exception) -> None:
        _log.warning(
            "%s is on a disk that can only be read: %s: %s",
            self.path,
            self._layout.in_memory,
            error,
            extra={"event": f"{self._layout.event}_in_memory"},
        )
        with contextlib.suppress(sqlite3.Error):
            self._close()
        self._connection, self._in_memory = None, True

    def _begun_anew(self, why: sqlite3.DatabaseError) -> sqlite3.Connection:
        if not self._begins_anew:
            raise why
        aside = self.path.with_name(self.path.name + ".damaged")
        _log.error(
            "%s is %s: put aside as %s and begun anew; %s",
            self._layout.name,
            why if isinstance(why, _OtherVersion) else "damaged",
            aside,
            self._layout.lost,
            extra={"event": f"{self._layout.event}_damaged"},
        )
        if os.path.lexists(self.path):
            self.path.replace(aside)
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        return self._connect()

    def _make_own(self) -> None:
        """Ensure that the file is a regular file of our own, without access for others whatever the umask says.

        A link is not followed, but put aside as a damaged file is. SQLite gives the files beside it the same mode, and
        follows no link to them.
        """
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _FILE_MODE)
        except OSError as exc:
            kind = sqlite3.DatabaseError if exc.errno == errno.ELOOP else sqlite3.OperationalError
            raise kind(exc.strerror) from exc
        try:
            os.fchmod(descriptor, _FILE_MODE)
        except OSError as exc:
            raise sqlite3.OperationalError(exc.strerror) from exc
        finally:
            os.close(descriptor)

    def _connect(self) -> sqlite3.Connection:
        layout = self._layout
        if not self._in_memory:
            self._make_own()
        database = sqlite3.connect(":memory:" if self._in_memory else self.path)
        try:
            database.execute(f"PRAGMA page_size = {layout.page_bytes}")  # of one that is begun anew
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            database.execute(f"PRAGMA journal_size_limit = {_JOURNAL_BYTES}")
            database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            (page_bytes,) = database.execute("PRAGMA page_size").fetchone()  # an earlier version's may be larger
            database.execute(f"PRAGMA wal_autocheckpoint = {_JOURNAL_BYTES // page_bytes}")
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version == 0:
                database.executescript(f"BEGIN; {layout.schema} PRAGMA user_version = {layout.version}; COMMIT;")
            elif version in layout.upgrades:
                database.executescript(
                    f"BEGIN; {layout.upgrades[version]} PRAGMA user_version = {layout.version}; COMMIT;"
                )
            elif version != layout.version:
                raise _OtherVersion(
                    f"of version {version}, of another edgeagent, where this one reads {layout.version}"
                )
        except sqlite3.Error:
            database.close()
            raise
        return database


def _is_read_only(directory: Path) -> bool:
    """Whether a file system is read-only: by its flags, or because it refuses an unnamed file, as a failed one does."""
    if os.statvfs(directory).f_flag & os.ST_RDONLY:
        return True
    try:
        os.close(os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as exc:
        return exc.errno == errno.EROFS
    return False
