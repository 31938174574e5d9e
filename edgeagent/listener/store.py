"""What of the listener survives a restart: retained messages, sessions with their subscriptions, and what waits.

SQLite in a file of its own, on a thread of its own. Each commit wears the flash, so that changes are written together:
something new within a second, another value of what is there within ten, and what somebody waits for at once. What
waits in sessions is written at an orderly end only: each message would be written once more otherwise.

A damaged file is put aside and begun anew, and on a disk that can only be read all is in memory: the agent always
starts. While the disk refuses, changes are kept in memory, each thing once, and tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from edgeagent.errors import StorageFailed
from edgeagent.listener.changes import ChangeBatch, Changes, StoredSession, Urgency, WaitingParcels
from edgeagent.listener.parcels import Kept
from edgeagent.listener.schema import (
    DROP_MESSAGE,
    DROP_OVER,
    DROP_SESSION,
    DROP_WAITING,
    LAYOUT,
    PUT_MESSAGE,
    PUT_SESSION,
    PUT_WAITING,
    Times,
    message_row,
    messages_in,
    session_row,
    sessions_in,
    waiting_in,
    waiting_rows,
)
from edgeagent.ports.threads import JobThread
from edgeagent.storage.committing import commit_when_due
from edgeagent.storage.database import DatabaseFile

_DELAYS_S: Final = {Urgency.SOON: 1.0, Urgency.LATER: 10.0}
_RETRY_S: Final = 5.0

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Stored(msgspec.Struct, frozen=True):
    """What was on disk."""

    messages: Sequence[Kept] = ()
    sessions: Sequence[StoredSession] = ()
    waiting: Sequence[WaitingParcels] = ()


class ListenerStore:
    """Owns the listener's file and its thread, which `close` ends. All methods are called in the loop's thread.

    Promises to call `kept` when everything that changed before is on disk, in the order of the calls; what the disk
    refuses is tried again until `close`. Must never keep the agent from starting: a damaged file is put aside, and one
    that cannot be read counts as empty.
    """

    def __init__(self, path: Path, thread: JobThread, changes: Changes) -> None:
        """A store that is opened by `load`, and writes what `changes` says."""
        self._file = DatabaseFile(path, LAYOUT)
        self._thread = thread
        self._changes = changes
        self._kept: list[Callable[[], None]] = []
        self._commit_at: float | None = None
        self._is_committing = False
        self._work = asyncio.Event()
        self._failing = False

    async def load(self) -> Stored:
        """Everything that is there; nothing if the disk refuses, which is told."""
        times = _times()
        try:
            return await self._on_thread(lambda: self._read(times))
        except StorageFailed as exc:
            self._tell_failing(exc)
            return Stored()

    def look(self) -> None:
        """Something may have changed: see that it is written in time."""
        urgency = self._changes.urgency
        if urgency is Urgency.NONE:
            return
        at = asyncio.get_running_loop().time() + _DELAYS_S[urgency]
        if self._commit_at is None or (at < self._commit_at and not self._failing):
            self._commit_at = at
            self._work.set()

    def when_kept(self, kept: Callable[[], None]) -> None:
        """Call `kept` when every change made before this call is on disk, which is begun at once.

        Calls come in the order of these calls; the first may come before this returns.
        """
        if not self._kept and not self._is_committing and self._changes.urgency is Urgency.NONE:
            kept()
            return
        self._kept.append(kept)
        if not self._failing:
            self._commit_at = 0.0
            self._work.set()

    def when_written(self, kept: Callable[[], None]) -> None:
        """As `when_kept`, but nothing is committed just for this."""
        self.look()
        if self._commit_at is None and not self._kept and not self._is_committing:
            kept()
        else:
            self._kept.append(kept)

    async def run(self) -> None:
        """Commit what changes until cancelled."""
        await commit_when_due(lambda: self._commit_at, self._work, self._commit)

    async def close(self, waiting: Sequence[WaitingParcels]) -> None:
        """Commit what is there, with what waits in sessions, and let go of the file. `run` must have ended."""
        try:
            await self._commit(waiting)
            with contextlib.suppress(StorageFailed):  # told by the commit
                await self._thread.call(self._file.close)
        finally:
            self._thread.close()

    async def _commit(self, waiting: Sequence[WaitingParcels] = ()) -> None:
        batch, times = self._changes.take(), _times()
        kept, self._kept, self._commit_at, self._is_committing = self._kept, [], None, True
        try:
            await self._on_thread(lambda: self._write(batch, waiting, times))
        except StorageFailed as exc:
            self._changes.put_back()
            self._kept = kept + self._kept
            self._commit_at = asyncio.get_running_loop().time() + _RETRY_S
            self._tell_failing(exc)
        else:
            self._failing = False
            self._changes.written()
            for tell in kept:
                tell()
            if self._kept:  # of changes that came meanwhile
                self._commit_at = 0.0
                self._work.set()
            else:
                self.look()
        finally:
            self._is_committing = False

    def _tell_failing(self, error: StorageFailed) -> None:
        if not self._failing:
            _log.warning(
                "%s; retained messages and sessions are kept in memory, and written when it works again",
                error,
                extra={"event": "mqtt_store_failing"},
            )
        self._failing = True

    async def _on_thread(self, work: Callable[[], T]) -> T:
        return await self._thread.call(lambda: self._file.use(work))

    # On the thread.

    def _read(self, times: Times) -> Stored:
        database = self._file.connection
        messages = database.execute("SELECT topic, message, expires_ms FROM retained")
        sessions = database.execute("SELECT client_id, session FROM session")
        waiting = database.execute("SELECT client_id, message, expires_ms FROM waiting ORDER BY client_id, position")
        stored = Stored(
            list(messages_in(messages, times, _damaged)),
            list(sessions_in(sessions, _damaged)),
            list(waiting_in(waiting, times, _damaged)),
        )
        with database:  # it is taken back once: at the next end there is another one
            database.execute(DROP_WAITING)
            database.execute(DROP_OVER, (times.unix_ms(times.now),))
        return stored

    def _write(self, batch: ChangeBatch, waiting: Sequence[WaitingParcels], times: Times) -> None:
        database = self._file.connection
        messages, sessions = batch.messages.entries, batch.sessions.entries
        put = [message_row(message, times) for message in messages.values() if message is not None]
        dropped = [(topic,) for topic, message in messages.items() if message is None]
        begun = [session_row(session) for session in sessions.values() if session is not None]
        ended = [(client_id,) for client_id, session in sessions.items() if session is None]
        rows = [row for each in waiting for row in waiting_rows(each, times)]
        with database:
            for sql, values in (
                (PUT_MESSAGE, put),
                (DROP_MESSAGE, dropped),
                (PUT_SESSION, begun),
                (DROP_SESSION, ended),
                (PUT_WAITING, rows),
            ):
                if values:
                    database.executemany(sql, values)


def _times() -> Times:
    return Times(asyncio.get_running_loop().time(), time.time())


def _damaged(what: str) -> None:
    _log.error("%s cannot be read from the disk, and is gone", what, extra={"event": "mqtt_store_unreadable"})
