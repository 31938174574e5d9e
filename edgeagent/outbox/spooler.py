"""The spool as the agent uses it: large data on its way to a thread of its own, so that no commit waits for it.

All methods must be called in the event loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final, NoReturn

from edgeagent.errors import EdgeAgentError, RecordTooLarge, SpoolFull, StorageFailed
from edgeagent.events.artifact import Artifact
from edgeagent.outbox.disk import DiskThread
from edgeagent.outbox.incoming import IncomingFile
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import LOGS
from edgeagent.outbox.spool import Spool
from edgeagent.outbox.spool_book import counted_bytes, room_bytes
from edgeagent.outbox.spool_scan import finish, note_part
from edgeagent.outbox.store import Store
from edgeagent.ports.large import LeftArrival

# What one arrival may have in memory for the disk, beside what one read of its socket brings.
MAX_BACKLOG_BYTES: Final = 1 << 20
_MIB: Final = 1 << 20
# What the disk keeps free for the logs and whatever else the machine needs to live.
_FREE_BYTES: Final = 16 << 20
_GROWTH_BYTES: Final = 4 << 20  # data of unknown size is given room in steps of this
_SCAN_RETRY_S = 5.0
_TELL_S: Final = 600.0  # devices try again and again: the log says it this often
# Data that may come in parts is synced after this time at the latest, so that a thin link does not bring it twice.
SECURE_S: Final = 30.0
# What is read at a time of data from before a restart, for its hash: other arrivals are written in between.
_HASH_BYTES: Final = 4 << 20

_log = logging.getLogger(__name__)


class SpoolArrival:
    """One arrival; see `Arrival`. Owns its file until it is finished or abandoned."""

    def __init__(
        self,
        spooler: Spooler,
        size: int | None,
        wake: Callable[[], None],
        key: str = "",
        file: IncomingFile | None = None,
    ) -> None:
        """`file`: from before a restart."""
        self.received_bytes = self.kept_bytes = file.size if file is not None else 0
        self.error: EdgeAgentError | None = None
        self.wake = wake
        self.reserved_bytes = size or 0
        self._spooler = spooler
        self._key = key
        self._backlog = 0
        self._secured_at = spooler.now_s()
        self._file = file  # belongs to the spool's thread, which makes it
        self._is_broken = False  # as above
        self._is_over = False
        if file is None:
            spooler.disk.begin(self._open, self._done)

    @property
    def is_congested(self) -> bool:
        """Whether the disk is behind; see `Arrival`."""
        return self._backlog >= MAX_BACKLOG_BYTES

    def write(self, data: bytes | bytearray) -> None:
        """Add data; see `Arrival`."""
        if self.error is not None:
            raise self.error
        total = self.received_bytes + len(data)
        if total > self.reserved_bytes:
            self._spooler.grow(self, total)
        self.received_bytes = total
        self._backlog += len(data)
        self._spooler.disk.begin(lambda: self._write(data), self._done)
        if self._key and self._spooler.now_s() - self._secured_at >= SECURE_S:
            self.rest()

    async def secure(self) -> None:
        """Keep what came; see `Arrival`."""
        self._secured_at = self._spooler.now_s()
        if self.error is None:
            try:
                self.kept_bytes = await self._spooler.disk.call(self._secure)
            except EdgeAgentError as exc:
                self.error = exc
        if self.error is not None:
            raise self.error

    def rest(self) -> None:
        """Keep what came; see `Arrival`."""
        self._secured_at = self._spooler.now_s()
        self._spooler.disk.begin(self._secure, self._secured)

    def back(self) -> None:
        """Go on with what survives; see `Arrival`."""
        self.error = None
        self.received_bytes = self.kept_bytes
        self._spooler.disk.begin(self._back, self._secured)

    def leave(self) -> None:
        """Let go of it; see `Arrival`."""
        if not self._is_over:
            self._over()
            self._spooler.disk.begin(self._leave, lambda _result, _error: None)

    async def finish(self, content_type: str) -> Artifact:
        """Keep it; see `Arrival`."""
        if self.error is None:
            try:
                while self._key and not await self._spooler.disk.call(self._catch_up):
                    pass
                artifact = await self._spooler.disk.call(lambda: self._keep(content_type))
            except EdgeAgentError as exc:
                self.error = exc
            else:
                self._over()
                return artifact
        self.abandon()
        raise self.error

    def abandon(self) -> None:
        """Forget it; see `Arrival`."""
        if not self._is_over:
            self._over()
            self._spooler.disk.begin(self._drop, lambda _result, _error: None)

    def _over(self) -> None:
        self._is_over = True
        self._spooler.ended(self)

    def _secured(self, kept_bytes: int | None, error: BaseException | None) -> None:
        self.kept_bytes = kept_bytes if kept_bytes is not None else self.kept_bytes
        self._done(0, error)

    def _done(self, written: int | None, error: BaseException | None) -> None:
        was_congested = self.is_congested
        self._backlog -= written or 0
        if self._is_over:
            return
        if error is not None and self.error is None:
            self.error = error if isinstance(error, EdgeAgentError) else StorageFailed("write", "spool", str(error))
            self.wake()
        elif was_congested and not self.is_congested:
            self.wake()

    # On the spool's thread.

    def _open(self) -> int:
        self._file = self._spooler.spool.begin(self._key, self.reserved_bytes)
        self._file.reserved_bytes = self.reserved_bytes
        return 0

    def _write(self, data: bytes | bytearray) -> int:
        if self._file is not None and not self._is_broken:
            self._is_broken = True  # until it is written: what follows a part that is missing is of no use
            self._file.write(bytes(data))
            self._is_broken = False
            self._file.reserved_bytes = max(self.reserved_bytes, self._file.size)
        return len(data)

    def _keep(self, content_type: str) -> Artifact:
        if self._file is None or self._is_broken:
            raise StorageFailed("write", "the spool", "a part of the data could not be written")
        return self._spooler.spool.keep(self._file, content_type)

    def _catch_up(self) -> bool:
        return self._file is None or self._is_broken or self._file.catch_up(_HASH_BYTES)

    def _secure(self) -> int:
        if self._file is not None and not self._is_broken:
            self._is_broken = True
            self._file.secure()
            self._is_broken = False
        return self._kept_bytes()

    def _back(self) -> int:
        if self._file is not None:
            self._file.back()
            self._is_broken = False
        else:
            self._open()
        return self._kept_bytes()

    def _kept_bytes(self) -> int:
        return self._file.partial.kept_bytes if self._file is not None and self._file.partial is not None else 0

    def _leave(self) -> None:
        if self._file is not None:
            self._spooler.spool.leave(self._file)

    def _drop(self) -> None:
        if self._file is not None:
            self._spooler.spool.drop(self._file)


class Spooler:
    """Takes in large data (`LargeDataPort`); owns the spool's thread and the arrivals.

    Promises that what it admits fits the limit of the outbox together with everything else that is in it.

    Attributes:
        all_noted: set when every log was read since the start, so that the spool knows which records refer to files.
    """

    def __init__(
        self,
        outbox: Outbox,
        spool: Spool,
        *,
        inline_bytes: int,
        max_bytes: int,
        is_unreadable: Callable[[], bool] = lambda: False,
    ) -> None:
        """`max_bytes`: the largest data that is taken.

        `is_unreadable`: whether some of the outbox cannot be read now, so that nothing is proven an orphan; it may
        block.
        """
        self._is_unreadable = is_unreadable
        self.inline_bytes = inline_bytes
        self.max_bytes = max_bytes
        self.spool = spool
        self.disk = DiskThread("spool")
        self.now_s = asyncio.get_running_loop().time
        self.all_noted = asyncio.Event()
        self._outbox = outbox
        self._arrivals: set[SpoolArrival] = set()
        self._refused = 0
        self._tell_at_s = 0.0

    def admit(self, size: int) -> None:
        """Check a size; see `LargeDataPort`."""
        self._admit(size, size)

    def begin(self, size: int | None, wake: Callable[[], None] = lambda: None, key: str = "") -> SpoolArrival:
        """Begin an arrival; see `LargeDataPort`."""
        self._admit(size or 1, size or _GROWTH_BYTES)
        arrival = SpoolArrival(self, size, wake, key)
        self._arrivals.add(arrival)
        return arrival

    def left(self) -> list[LeftArrival]:
        """Arrivals from before the start; see `LargeDataPort`."""
        found: list[LeftArrival] = []
        for file in self.spool.adopt():
            assert file.partial is not None  # noqa: S101  otherwise there is nothing to adopt
            key, total, _ = file.partial
            arrival = SpoolArrival(self, total, lambda: None, key, file)
            self._arrivals.add(arrival)
            if total > self.max_bytes:
                arrival.abandon()
            else:
                found.append(LeftArrival(key, total, arrival))
        return found

    def put_back(self, artifact: Artifact, key: str) -> None:
        """Keep the data of an event that was not stored; see `LargeDataPort`."""
        self.disk.begin(lambda: self.spool.put_back(artifact, key), lambda _result, _error: None)

    def grow(self, arrival: SpoolArrival, total: int) -> None:
        """Give an arrival room for so many bytes in total.

        Raises:
            RecordTooLarge, SpoolFull: there is none.
        """
        wanted = min(total + _GROWTH_BYTES, max(self.max_bytes, total))
        self._admit(total, wanted - arrival.reserved_bytes)
        arrival.reserved_bytes = wanted

    def ended(self, arrival: SpoolArrival) -> None:
        """An arrival is over."""
        self._arrivals.discard(arrival)

    def let_go(self, artifact: Artifact) -> None:
        """End the hold of an artifact; see `LargeDataPort`."""
        self.disk.begin(lambda: self.spool.let_go(artifact.sha256), lambda _result, _error: None)

    def stats(self) -> dict[str, Any]:
        """What is in the spool and what comes in, ready for JSON."""
        figures = self.spool.figures()
        return {
            "files": figures.files,
            "bytes": figures.used_bytes,
            "incoming": len(self._arrivals),
            "incoming_bytes": sum(arrival.received_bytes for arrival in self._arrivals),
            "incoming_reserved_bytes": sum(arrival.reserved_bytes for arrival in self._arrivals),
            "refused": self._refused,
        }

    async def run(self) -> None:
        """Find the orphans that a crash left, by reading every log once; then there is nothing to do."""
        is_read = self.spool.is_complete
        while not is_read:
            try:
                await self._scan()
                is_read = True
            except StorageFailed:  # told where the log is read to be sent
                await asyncio.sleep(_SCAN_RETRY_S)
        self.all_noted.set()
        await asyncio.Event().wait()

    async def _scan(self) -> None:
        for name in LOGS:
            seq: int | None = 0
            while seq is not None:
                seq = await self._outbox.beside(lambda store, name=name, seq=seq: note_part(store, name, seq))  # type: ignore[misc]
        await self._outbox.beside(self._finish)

    def _finish(self, store: Store) -> None:
        if self._is_unreadable() or store.later:
            _log.warning(
                "parts of the outbox cannot be read: until they can, no data in the spool is removed",
                extra={"event": "spool_not_judged"},
            )
        else:
            finish(store)

    def close(self) -> None:
        """End the thread; what did not arrive completely is removed by the next start."""
        self.disk.close()

    def _admit(self, size: int, more: int) -> None:
        """Check that data of this size is taken, of which so many bytes are not reserved yet.

        Raises:
            RecordTooLarge, SpoolFull: it is not.
            StorageFailed: the disk cannot be asked, or can only be read.
        """
        if size > self.max_bytes:
            raise RecordTooLarge(size, self.max_bytes, "artifacts.max_bytes")
        health = self._outbox.health
        limit = room_bytes(health.max_bytes)
        if counted_bytes(size) > limit:
            raise RecordTooLarge(size, limit, "outbox.max_bytes, less what small events need")
        log_bytes = health.used_bytes - health.spool_bytes
        arriving = sum(counted_bytes(arrival.reserved_bytes) for arrival in self._arrivals)
        used = log_bytes + self.spool.figures().used_bytes + arriving
        if used + counted_bytes(more) > limit:
            self._refuse(
                f"{used / _MIB:.1f} of {limit / _MIB:.1f} MiB are used (outbox.max_bytes, less what small events need)"
            )
        free_bytes = self.spool.free_bytes()
        if free_bytes < more + _FREE_BYTES:
            self._refuse(f"its disk has {free_bytes / _MIB:.1f} MiB left, of which {_FREE_BYTES // _MIB} are kept free")

    def _refuse(self, what: str) -> NoReturn:
        """Refuse data that there is no room for. The operator is told too: only the device gets the answer.

        Raises:
            SpoolFull: always.
        """
        self._refused += 1
        if self.now_s() >= self._tell_at_s:
            self._tell_at_s = self.now_s() + _TELL_S
            _log.warning(
                "large data is refused, and its device asked to try again, because there is no room: %s",
                what,
                extra={"event": "spool_full", "refused": self._refused},
            )
        raise SpoolFull(f"no room for the data: {what}")
