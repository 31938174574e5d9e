"""Deliveries to webhooks in the ledger: committed with the state that they report, deleted when they are done.

A delivery is seen by its receiver only once it is on disk, so that one that was begun is known after a crash. Each
receiver has its share of `MAX_DELIVERIES`: beyond it the oldest are lost, which is reported, so that a receiver that is
away for weeks can neither fill the disk nor crowd out another.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Sequence

import msgspec

from edgeagent.common.elapsed import Instant
from edgeagent.ledger.database import Database
from edgeagent.ledger.ledger import Ledger
from edgeagent.ports.deliveries import WebhookDelivery

# About 4 MB of flash, 30 MB at the most.
MAX_DELIVERIES = 10_000
# How many of the lost ones in one commit are named.
MAX_NAMED = 1000

_INSERT = (
    "INSERT OR REPLACE INTO delivery (seq, receiver, key, state, payload, created_ms, uptime_ms, boot) "
    "VALUES (?,?,?,?,?,?,?,?)"
)
_NEXT = (
    "SELECT seq, key, state, payload, created_ms, uptime_ms, boot FROM delivery "
    "WHERE receiver = ? AND seq > ? ORDER BY seq LIMIT ?"
)
_COUNTS = "SELECT receiver, count(*) FROM delivery GROUP BY receiver"
_OLDEST = (
    "SELECT count(*), min(seq), max(seq), min(created_ms), max(created_ms) FROM "
    "(SELECT seq, created_ms FROM delivery WHERE receiver = ? ORDER BY seq LIMIT ?)"
)
_NAMED = "SELECT key, state FROM delivery WHERE receiver = ? AND seq <= ? ORDER BY seq LIMIT ?"
# A seq begins with its time, so that none comes twice even if the file is lost.
_SEQS_IN_A_MS = 1000
_Row = tuple[int, str, str, str, bytes, int, int, bytes]


class LostDeliveries(msgspec.Struct, frozen=True):
    """A range of deliveries of one receiver that are lost, the oldest. Times are Unix milliseconds.

    `about`: key and state of the first of them, `MAX_NAMED` at most.
    """

    receiver: str
    about: tuple[tuple[str, str], ...]
    count: int
    first_seq: int
    last_seq: int
    first_ms: int
    last_ms: int


class LedgerDeliveries:
    """Owns what is to be written of deliveries; a `DeliverySource` and a `LedgerCompanion`.

    Attributes:
        pending: how many deliveries each receiver has on disk, as of the last commit that changed it.
    """

    def __init__(
        self,
        ledger: Ledger,
        receivers: Collection[str],
        *,
        kept: Callable[[Collection[str]], None],
        lost: Callable[[LostDeliveries], None],
    ) -> None:
        """Begin with nothing to write.

        Args:
            ledger: keeps them.
            receivers: all there are.
            kept: called after a commit with the receivers that have new deliveries.
            lost: called with deliveries for which there was no room.
        """
        self.pending: dict[str, int] = {}
        self._ledger = ledger
        self._share = MAX_DELIVERIES // max(len(receivers), 1)
        self._receivers = frozenset(receivers)
        self._kept = kept
        self._lost = lost
        self._seq = 0
        self._new: list[_Row] = []
        self._done: list[int] = []
        self._writing: tuple[list[_Row], list[int]] = [], []
        self._over: list[LostDeliveries] = []

    async def open(self) -> int:
        """Count what is there; returns how many were of receivers that are not configured any more, which are deleted.

        Raises:
            StorageFailed: the disk refuses.
        """
        return await self._ledger.use(self._opened)

    def post(self, receiver: str, key: str, state: str, created: Instant, payload: bytes) -> None:
        """Keep a delivery. It takes the place of one of the same receiver, key and state that was not made yet."""
        self._seq = max(self._seq + 1, created.wall_ms * _SEQS_IN_A_MS)
        self._new.append((self._seq, receiver, key, state, payload, *created))
        self._ledger.commit_soon()

    async def deliveries(self, receiver: str, after: int, limit: int) -> Sequence[WebhookDelivery]:
        """See `DeliverySource`."""
        rows = await self._ledger.use(lambda database: database.execute(_NEXT, (receiver, after, limit)).fetchall())
        return [WebhookDelivery(seq, key, state, Instant(*times), payload) for seq, key, state, payload, *times in rows]

    def delivered(self, receiver: str, seqs: Sequence[int]) -> None:  # noqa: ARG002  a seq is enough
        """See `DeliverySource`."""
        self._done += seqs
        self._ledger.commit_soon()

    async def forget(self, receiver: str) -> int:
        """See `DeliverySource`."""
        self._new = [row for row in self._new if row[1] != receiver]

        def forgotten(database: Database) -> int:
            with database.connection:
                return database.execute("DELETE FROM delivery WHERE receiver = ?", (receiver,)).rowcount

        count = await self._ledger.use(forgotten)
        self.pending[receiver] = 0
        return count

    def begin(self) -> Callable[[sqlite3.Connection], None] | None:
        """See `LedgerCompanion`."""
        if not (self._new or self._done):
            return None
        self._writing = new, done = self._new, self._done
        self._new, self._done = [], []
        return lambda database: self._write(database, new, done)

    def ended(self, *, kept: bool) -> None:
        """See `LedgerCompanion`."""
        (new, done), self._writing = self._writing, ([], [])
        over, self._over = self._over, []
        if not kept:
            self._new, self._done = new + self._new, done + self._done
            return
        for lost in over:
            self._lost(lost)
        if new:
            self._kept({row[1] for row in new})

    def _opened(self, database: Database) -> int:
        with database.connection:
            marks = ", ".join("?" * len(self._receivers))
            unknown = f"DELETE FROM delivery WHERE receiver NOT IN ({marks})"  # noqa: S608  question marks
            deleted = database.execute(unknown, tuple(self._receivers)).rowcount
            self.pending = dict(database.execute(_COUNTS).fetchall())
            (self._seq,) = database.execute("SELECT coalesce(max(seq), 0) FROM delivery").fetchone()
        return deleted

    def _write(self, database: sqlite3.Connection, new: Sequence[_Row], done: Sequence[int]) -> None:
        self._over = []
        database.executemany(_INSERT, new)
        database.executemany("DELETE FROM delivery WHERE seq = ?", [(seq,) for seq in done])
        counts: dict[str, int] = dict(database.execute(_COUNTS).fetchall())
        for receiver, count in counts.items():
            if (excess := count - self._share) > 0:
                found = database.execute(_OLDEST, (receiver, excess)).fetchone()
                named = database.execute(_NAMED, (receiver, found[2], MAX_NAMED)).fetchall()
                self._over.append(LostDeliveries(receiver, tuple(named), *found))
                database.execute("DELETE FROM delivery WHERE receiver = ? AND seq <= ?", (receiver, found[2]))
                counts[receiver] = self._share
        self.pending = counts
