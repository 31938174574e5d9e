"""What is known of uploads, on disk: which objects are in the store, and how an upload that was broken off goes on.

It may be lost: then what is in the store already is uploaded again, under the same name.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple

from edgeagent.ports.threads import JobThread
from edgeagent.storage.database import DatabaseFile, Layout

LAYOUT: Final = Layout(
    version=1,
    schema="""
        CREATE TABLE upload (
            store BLOB NOT NULL, name TEXT NOT NULL, sha256 TEXT NOT NULL,
            done INTEGER NOT NULL, resume BLOB NOT NULL, touched INTEGER NOT NULL,
            PRIMARY KEY (store, name)
        ) WITHOUT ROWID;
    """,
    upgrades={},
    page_bytes=4096,
    name="the list of uploads",
    event="uploads",
    lost="artifacts that are in the store already are uploaded again",
    in_memory="artifacts that are in the store already are uploaded again after a restart",
)
# It is pruned each time that so many were kept.
_PRUNE_EVERY: Final = 1000
# What nobody asked for or forgot in so long belongs to no trigger any more.
_KEPT_S: Final = 90 * 86400
MAX_ROWS: Final = 100_000
_STORE_HASH_BYTES = 16
# The row of the store itself; no object has this name.
_STORE_ROW = ""

_SELECT = "SELECT sha256, done, resume FROM upload WHERE store = ? AND name = ?"
_PUT = "INSERT OR REPLACE INTO upload VALUES (?, ?, ?, ?, ?, ?)"
_PRUNE_OLD = "DELETE FROM upload WHERE touched < ? AND name != ''"
_PRUNE_MANY = (
    "DELETE FROM upload WHERE name != '' AND touched < "
    "(SELECT touched FROM upload WHERE name != '' ORDER BY touched DESC LIMIT 1 OFFSET ?)"
)


class KeptUpload(NamedTuple):
    """What is known of an object. `resume`: what the store kept of a try that can be continued, b"" for nothing."""

    is_done: bool = False
    resume: bytes = b""


class KeptUploads:
    """Owns the database file, on a thread of its own. All of it may raise `StorageFailed`."""

    def __init__(self, path: Path, thread: JobThread, store: str) -> None:
        """`store`: whatever tells one store from another; what is known of one says nothing of another."""
        self._thread = thread
        self._store = blake2b(store.encode(), digest_size=_STORE_HASH_BYTES).digest()
        self._file = DatabaseFile(path, LAYOUT)
        self._put_count = 0

    async def open(self, now_s: float) -> bytes:
        """Forget what is too old; returns what the store itself keeps. `now_s`: the wall clock's Unix time."""
        return await self._thread.call(lambda: self._file.use(lambda: self._open(now_s)))

    async def keep_store(self, memory: bytes, now_s: float) -> None:
        """Keep something for the store itself."""
        await self._put(_STORE_ROW, "", KeptUpload(resume=memory), now_s)

    async def find(self, name: str, sha256: str) -> KeptUpload:
        """What is known of an object with this content."""
        return await self._thread.call(lambda: self._file.use(lambda: self._find(name, sha256)))

    async def done(self, wanted: Sequence[tuple[str, str]]) -> list[bool]:
        """Which of these objects, each with the SHA-256 of its content, are in the store."""

        def find() -> list[bool]:
            return [self._find(name, sha256).is_done for name, sha256 in wanted]

        return await self._thread.call(lambda: self._file.use(find))

    async def keep(self, name: str, sha256: str, upload: KeptUpload, now_s: float) -> None:
        """Keep this of an object, in place of what was known."""
        await self._put(name, sha256, upload, now_s)

    async def forget(self, names: Sequence[str]) -> list[tuple[str, bytes]]:
        """Forget objects; returns those of which a try could be continued, with what the store kept of it."""
        return await self._thread.call(lambda: self._file.use(lambda: self._forget(names)))

    async def close(self) -> None:
        """Close the file."""
        await self._thread.call(self._file.close)

    async def _put(self, name: str, sha256: str, upload: KeptUpload, now_s: float) -> None:
        row = (self._store, name, sha256, int(upload.is_done), upload.resume, int(now_s))

        def put() -> None:
            self._put_count += 1
            with self._file.connection as database:
                database.execute(_PUT, row)
            if self._put_count % _PRUNE_EVERY == 0:
                self._prune(now_s)

        await self._thread.call(lambda: self._file.use(put))

    def _open(self, now_s: float) -> bytes:
        self._prune(now_s)
        row = self._file.connection.execute(_SELECT, (self._store, _STORE_ROW)).fetchone()
        return bytes(row[2]) if row is not None else b""

    def _prune(self, now_s: float) -> None:
        with self._file.connection as database:
            database.execute(_PRUNE_OLD, (int(now_s) - _KEPT_S,))
            database.execute(_PRUNE_MANY, (MAX_ROWS - 1,))

    def _find(self, name: str, sha256: str) -> KeptUpload:
        row = self._file.connection.execute(_SELECT, (self._store, name)).fetchone()
        if row is None or row[0] != sha256:
            return KeptUpload()
        return KeptUpload(bool(row[1]), bytes(row[2]))

    def _forget(self, names: Sequence[str]) -> list[tuple[str, bytes]]:
        unfinished: list[tuple[str, bytes]] = []
        with self._file.connection as database:
            for name in names:
                row = database.execute(_SELECT, (self._store, name)).fetchone()
                if row is not None and row[2] and not row[1]:
                    unfinished.append((name, bytes(row[2])))
                if row is not None:
                    database.execute("DELETE FROM upload WHERE store = ? AND name = ?", (self._store, name))
        return unfinished
