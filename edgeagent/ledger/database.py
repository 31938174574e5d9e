"""The ledger's rows in SQL: reading, writing and bounding them, on one thread only."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from edgeagent.ledger.schema import (
    AFTER,
    BY_WORKFLOW,
    COLUMNS,
    CORRELATION_CHARS,
    LAYOUT,
    NEWEST_EVENT,
    NEWEST_FIRST,
    PRUNED_FIRST,
    SET_RELAYED,
    UNFINISHED_PAGE,
    UNRELAYED,
    UPSERT,
    Relayed,
    from_row,
    to_rows,
)
from edgeagent.ledger.untold import PAGE_ROWS, Event, Place, UntoldPage
from edgeagent.ports import device
from edgeagent.storage.database import DatabaseFile
from edgeagent.wire.lifecycle import FINAL, Life

# Final triggers beyond this number are deleted, oldest first: about 40 MB of flash.
_MAX_ROWS = 100_000
_PRUNE_EVERY_COMMITS = 200
# The size limit of all rows, in bytes. Above it, this fraction is freed, final triggers first.
MAX_BYTES = 64 << 20
_FREED = 0.1
# In one query: fewer than the smallest limit of SQLite's builds.
_MOST_VALUES = 900

_log = logging.getLogger(__name__)


class LedgerStats(msgspec.Struct, frozen=True):
    """The ledger's size on disk, and how many unfinished triggers it deleted for lack of space since the start."""

    used_bytes: int
    max_bytes: int
    forgotten: int


class Database:
    """Owns the rows and their bounds; `Ledger` translates the exceptions of sqlite3, which are passed on.

    Attributes:
        used_bytes: the size of the rows, as of the last commit.
        forgotten: how many unfinished triggers were deleted for lack of space since the start.
    """

    def __init__(self, path: Path, *, begins_anew: bool = True) -> None:
        """A database that is opened on first use. `begins_anew`: see `DatabaseFile`."""
        self.used_bytes = 0
        self.forgotten = 0
        self._file = DatabaseFile(path, LAYOUT, begins_anew=begins_anew)
        self.use, self.close = self._file.use, self._file.close
        self._commits = 0

    @property
    def stats(self) -> LedgerStats:
        """Its figures, as of the last commit."""
        return LedgerStats(self.used_bytes, MAX_BYTES, self.forgotten)

    @property
    def path(self) -> Path:
        """The path of the file."""
        return self._file.path

    def open(self) -> None:
        """Open the file and measure its content."""
        self.used_bytes = self._count_bytes()

    @property
    def connection(self) -> sqlite3.Connection:
        """The open database; it is opened first if it is closed."""
        return self._file.connection

    def execute(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one statement; the database is opened first if it is closed."""
        return self._file.connection.execute(sql, values)

    def get(self, correlation_id: str) -> tuple[Life, int] | None:
        """A trigger's life and its version; None if it is unknown."""
        query = f"SELECT {COLUMNS} FROM trigger WHERE correlation_id = ?"  # noqa: S608  COLUMNS is ours
        row = self.execute(query, (correlation_id,)).fetchone()
        return from_row(row) if row is not None else None

    def known(self, correlation_ids: Sequence[str]) -> set[str]:
        """Those of these triggers that are here."""
        found: set[str] = set()
        for start in range(0, len(correlation_ids), _MOST_VALUES):
            part = correlation_ids[start : start + _MOST_VALUES]
            marks = ", ".join("?" * len(part))
            sql = f"SELECT correlation_id FROM trigger WHERE correlation_id IN ({marks})"  # noqa: S608  marks
            found.update([correlation_id for (correlation_id,) in self.execute(sql, tuple(part))])
        return found

    def by_workflow(self, workflow_id: str) -> Life | None:
        """The life of the trigger that started this workflow; None if it is unknown."""
        names = (workflow_id[-CORRELATION_CHARS:], workflow_id, workflow_id)
        rows = self.execute(BY_WORKFLOW, names).fetchmany(1)
        return from_row(rows[0])[0] if rows else None

    def newest(self, where: Mapping[str, str], limit: int, after: device.Place | None) -> list[Life]:
        """The lives of triggers whose columns have these values, newest event first, from a place in that list on."""
        conditions = " AND ".join([AFTER if after is not None else "1", *(f"{column} = ?" for column in where)])
        sql = f"SELECT {COLUMNS} FROM trigger WHERE {conditions} {NEWEST_FIRST} LIMIT ?"  # noqa: S608  constants
        values = (*((after.accepted_ms, *after) if after is not None else ()), *where.values(), limit)
        return [from_row(row)[0] for row in self.execute(sql, values)]

    def devices(self, limit: int) -> dict[str, tuple[int, int]]:
        """The newest event's time and the number of triggers by source; read from an index alone."""
        sql = "SELECT source, max(accepted_ms), count(*) FROM trigger GROUP BY source ORDER BY 2 DESC LIMIT ?"
        return {source: (accepted_ms, count) for source, accepted_ms, count in self.execute(sql, (limit,))}

    def unrelayed(self, after: Place | None, way: int) -> UntoldPage:
        """The next rows that are marked for this way, in the order of their events, from a place on."""
        rows = self.execute(UNRELAYED, (way, *(after or (0, 0)), PAGE_ROWS)).fetchall()
        end = (rows[-1][1], rows[-1][0]) if len(rows) == PAGE_ROWS else None
        return UntoldPage([from_row(row[2:]) for row in rows], end)

    def newest_events(self, sources: Iterable[str]) -> dict[str, Event]:
        """The newest event of each of these sources; (0, "") where none is known."""
        return {source: self.execute(NEWEST_EVENT, (source,)).fetchone() or (0, "") for source in sources}

    def unfinished(self, after: tuple[int, int], rows: int) -> tuple[list[tuple[str, int]], tuple[int, int] | None]:
        """Read the next `rows` triggers after a position, in the order of their events.

        Returns the unfinished ones, each with how often the dispatcher was asked about it in vain, and the position of
        the last row read; None if no row follows it.
        """
        found: list[tuple[str, int]] = []
        looked = self.execute(UNFINISHED_PAGE, (*after, rows)).fetchall()
        for _, _, correlation_id, state, ends_published, asks in looked:
            if state not in FINAL and not ends_published:
                found.append((correlation_id, asks))
        return found, (looked[-1][0], looked[-1][1]) if len(looked) == rows else None

    def write(
        self,
        lives: Sequence[tuple[Life, int]],
        relayed: Sequence[Relayed],
        asked: Mapping[str, int],
        *,
        relay: int,
        more: Callable[[sqlite3.Connection], None] | None = None,
    ) -> None:
        """Commit changes, with `more` in the same commit; see `Ledger`.

        A row that cannot be written is logged and left out; the others are written.
        """
        database = self._file.connection
        with database:
            rows, marks = to_rows(lives, relayed, relay)
            try:
                database.executemany(UPSERT, rows)
            except (OverflowError, UnicodeError):  # raised by the sqlite3 module: a value that SQLite cannot hold
                self._write_each(rows)
            database.executemany(SET_RELAYED, marks)
            counts = [(asks, correlation_id) for correlation_id, asks in asked.items()]
            database.executemany("UPDATE trigger SET asks = ? WHERE correlation_id = ?", counts)
            if more is not None:
                more(database)
            self._commits += 1
            if self._commits % _PRUNE_EVERY_COMMITS == 0:
                self._prune_rows()
            self._prune_bytes()

    def _write_each(self, rows: Sequence[tuple[Any, ...]]) -> None:
        for row in rows:
            try:
                self.execute(UPSERT, row)
            except (OverflowError, UnicodeError) as exc:
                _log.error(
                    "the ledger cannot hold the state of trigger %a: %s",
                    row[0],
                    exc,
                    extra={"event": "ledger_unwritable", "correlation_id": row[0]},
                )

    def _prune_rows(self) -> None:
        (excess,) = self.execute("SELECT count(*) - ? FROM trigger", (_MAX_ROWS,)).fetchone()
        if excess > 0:
            self._forget(excess, f"WHERE {PRUNED_FIRST}")

    def _prune_bytes(self) -> None:
        self.used_bytes = self._count_bytes()
        if self.used_bytes <= MAX_BYTES:
            return
        (rows,) = self.execute("SELECT count(*) FROM trigger").fetchone()
        excess = max(int(rows * (1 - (1 - _FREED) * MAX_BYTES / self.used_bytes)), 1)
        excess -= self._forget(excess, f"WHERE {PRUNED_FIRST}")
        if excess > 0:
            self.forgotten += self._forget(excess, "")
            _log.warning(
                "the ledger is full (%d bytes): %d unfinished triggers are no longer followed",
                MAX_BYTES,
                excess,
                extra={"event": "ledger_full", "count": excess},
            )
        self.used_bytes = self._count_bytes()

    def _forget(self, count: int, where: str) -> int:
        oldest = f"SELECT rowid FROM trigger {where} ORDER BY accepted_ms LIMIT ?"  # noqa: S608  texts of ours
        return self.execute(f"DELETE FROM trigger WHERE rowid IN ({oldest})", (count,)).rowcount  # noqa: S608

    def _count_bytes(self) -> int:
        (pages,) = self._pragma("page_count")
        (free,) = self._pragma("freelist_count")
        (page_bytes,) = self._pragma("page_size")  # a file of an earlier version may have larger ones
        return int((pages - free) * page_bytes)

    def _pragma(self, name: str) -> tuple[int]:
        with contextlib.closing(self.execute(f"PRAGMA {name}")) as cursor:
            row: tuple[int] = cursor.fetchone()
            return row
