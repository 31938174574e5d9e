"""The ledger: the state of each trigger from its first publish on, for look-ups, lists and relaying.

It is SQLite on a thread of its own. Changes are held in memory, where every read sees them at once, and committed in
batches (`synchronous = FULL`), because each commit wears the flash: after a delay, or when many changes or messages
wait, or at once on a call of `committed`. The ledger is an index, not a promise: what a crash makes it forget comes
again from the outbox, which resends its triggers, or from the broker, whose messages are acknowledged after the commit.

A damaged database is put aside and a new one started, so that the agent always starts. On a disk that can only be read
the states are in memory until the agent stops. While the disk fails, the broker waits for its acknowledgements.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from edgeagent.errors import DiskThreadDied, OutboxError, StorageFailed
from edgeagent.ledger.companions import Companions, LedgerCompanion
from edgeagent.ledger.database import Database, LedgerStats
from edgeagent.ledger.followed import By, Followed, Seek, sought, with_uncommitted
from edgeagent.ledger.schema import LISTENER, LOCAL, Relayed
from edgeagent.ledger.untold import NewestEvents, Unrelayed, Untold
from edgeagent.ports.device import Place, TriggerQuery
from edgeagent.ports.threads import JobThread
from edgeagent.storage.committing import commit_when_due
from edgeagent.wire.lifecycle import Life

# How long a change waits before it is committed, and how many changes or messages are committed without waiting. Few
# messages suffice: a broker such as Mosquitto sends no more than 20 that are not acknowledged.
_COMMIT_DELAY_S = 2.0
_COMMIT_CHANGES = 1024
_COMMIT_MESSAGES = 8
_COMMIT_MARKS = 1024
# How many triggers one page of the search for unfinished ones reads: about 400 KiB.
_PAGE_ROWS = 1000

T = TypeVar("T")
_log = logging.getLogger(__name__)


class UnfinishedPage(NamedTuple):
    """Unfinished triggers, each with how often it was asked about in vain. `next_place`: None at the end."""

    triggers: Sequence[tuple[str, int]]
    next_place: tuple[int, int] | None


class Ledger:
    """Owns the database and the changes not yet committed. Call it in the loop's thread, while `run` is running.

    A read sees every change made before it. Changes that the disk refuses stay in memory and are tried again; a message
    is never acknowledged before the changes made for it are on disk.
    """

    def __init__(self, path: Path, thread: JobThread, *, relay: int) -> None:
        """A ledger that must be opened. `thread` is used for every access to the database, and for nothing else.

        Whoever makes both connects `thread.died` with `thread_died`.

        `relay`: the ways by which reports go to devices, for which they are marked (`unrelayed`): 0, `LOCAL`,
        `LISTENER` or the sum.
        """
        self._relay = relay
        self._thread = thread
        self._changed: dict[str, tuple[Life, int]] = {}
        self._committing: dict[str, tuple[Life, int]] = {}
        self._relayed: list[Relayed] = []
        self._relaying: list[Relayed] = []
        self._untold = {way: Untold() for way in (LOCAL, LISTENER) if relay & way}
        self._newest = NewestEvents()
        self._asked: dict[str, int] = {}
        self._kept: list[Callable[[], None]] = []
        self._tried: list[Callable[[], None]] = []
        self._waiting_messages = 0
        self._waiters: dict[str, list[asyncio.Future[None]]] = {}
        self._commit_at: float | None = None
        self._work = asyncio.Event()
        self._one_commit = asyncio.Lock()
        self._done: asyncio.Future[None] | None = None
        self._database = Database(path)
        self._failing = False
        self._listeners: list[Callable[[Life], None]] = []
        self._companions = Companions()
        self._observers: list[Callable[[Life | None, Life], None]] = []

    def listen(self, changed: Callable[[Life], None]) -> None:
        """Call `changed` with each new life. It must neither block nor raise."""
        self._listeners.append(changed)

    def observe(self, changed: Callable[[Life | None, Life], None]) -> None:
        """Call `changed` with what each life was before (None: it is new) and what it is; as `listen` does."""
        self._observers.append(changed)

    def accompany(self, companion: LedgerCompanion) -> None:
        """Commit what this part keeps together with the changes that it was made for."""
        self._companions.add(companion)

    def commit_soon(self) -> None:
        """Commit within the usual delay, because the companion has something."""
        self._commit_soon()

    async def use(self, work: Callable[[Database], T]) -> T:
        """Do some work on the database, on its thread.

        Raises:
            StorageFailed: the disk refuses.
        """
        return await self._on_thread(lambda: work(self._database))

    def stats(self) -> LedgerStats:
        """The ledger's figures, as of the last commit."""
        return self._database.stats

    async def open(self) -> None:
        """Open the database, or create one. On a disk that refuses both, each use tries again."""
        try:
            await self._on_thread(self._database.open)
        except StorageFailed as exc:
            self._report_failing(exc)

    async def get(self, correlation_id: str) -> Life | None:
        """A trigger's life; None if it was never published or has been deleted."""
        known = await self._known(correlation_id)
        return known[0] if known is not None else None

    async def known(self, correlation_ids: Sequence[str]) -> set[str]:
        """Those of these triggers of which there is a life."""
        stored = await self._on_thread(lambda: self._database.known(correlation_ids))
        return stored | (self._uncommitted().keys() & correlation_ids)  # what was committed meanwhile was there before

    async def by_workflow(self, workflow_id: str) -> Life | None:
        """The life of the trigger that started this workflow; None if it is unknown."""
        for life, _ in (*self._changed.values(), *self._committing.values()):
            if life.report.workflow_id == workflow_id:
                return life
        return await self._on_thread(lambda: self._database.by_workflow(workflow_id))

    async def change(self, correlation_id: str, step: Callable[[Life | None], Life | None]) -> Life | None:
        """Advance a trigger's life: `step` takes the present one and returns the new one, or None for no change.

        Returns the new life. Changes of one trigger must not be made concurrently.
        """
        known = await self._known(correlation_id)
        life = step(known[0] if known is not None else None)
        if life is None:
            return None
        before, version = known if known is not None else (None, 0)
        self._put(life, version + 1, before)
        return life

    def begin(self, life: Life) -> None:
        """Add a trigger known to be new. Nothing is read, so this is cheap enough for the hot path."""
        self._put(life, 1, None)

    async def wait(self, correlation_id: str, timeout_s: float) -> None:
        """Return at the trigger's next change, or after `timeout_s`."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(correlation_id, [])
        waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        except TimeoutError:
            pass
        finally:
            waiters.remove(waiter)
            if not waiters:
                del self._waiters[correlation_id]

    def when_kept(self, messages: int, kept: Callable[[], None]) -> None:
        """Call `kept` once every change made before this call is on disk; `messages` may be acknowledged then.

        The calls of `kept` come in the order of these calls. A commit is made for them only if many messages wait.
        """
        self._kept.append(kept)
        self._waiting_messages += messages
        self._commit_soon()
        if self._waiting_messages >= _COMMIT_MESSAGES:
            self._commit_now()

    async def committed(self) -> None:
        """Commit now, and return when every change made before this call is on disk.

        Raises:
            StorageFailed: the disk refuses; the changes are kept in memory and tried again.
        """
        while self._changed or self._committing or self._kept:
            if self._done is None:
                self._done = asyncio.get_running_loop().create_future()
            self._commit_now()
            await asyncio.shield(self._done)

    def attempt(self, tried: Callable[[], None]) -> None:
        """Commit now, and call `tried` when each change made before this call is on disk, or the disk refused it."""
        if not (self._changed or self._committing):
            tried()
            return
        self._tried.append(tried)
        self._commit_now()

    async def find(self, query: TriggerQuery) -> list[Life]:
        """The lives that match a query, newest event first."""
        columns = (("source", query.source), ("rule", query.rule), ("state", query.state))
        where = {column: str(value) for column, value in columns if value}
        overlay = self._uncommitted()
        limit = query.limit + len(overlay)
        stored = await self._on_thread(lambda: self._database.newest(where, limit, query.after))
        lives = {life.report.correlation_id: life for life in stored}
        lives.update({correlation_id: life for correlation_id, (life, _) in overlay.items()})
        found = [life for life in lives.values() if _fits(life, query)]
        found.sort(key=Place.of, reverse=True)
        return found[: query.limit]

    async def followed(self, by: By, text: str, limit: int) -> list[Followed]:
        """The triggers that this text names, newest event first, at most `limit`."""
        found: list[Followed] = []
        seek: Seek | None = Seek(by, text, limit)
        while seek is not None:
            page, seek = await self._on_thread(partial(sought, self._database, seek))
            found += page
        told = [*self._relayed, *self._relaying]
        uncommitted = self._uncommitted()
        return with_uncommitted(found, uncommitted, told, Seek(by, text, limit), self._relay)

    async def devices(self, limit: int) -> Mapping[str, tuple[int, int]]:
        """By source: when the newest event with a trigger here was accepted, and how many triggers of it are kept.

        Those of the newest events, `limit` at most, as of the last commit.
        """
        return await self._on_thread(lambda: self._database.devices(limit))

    async def unrelayed(self, limit: int, way: int = LOCAL) -> Sequence[Unrelayed]:
        """The reports not yet relayed to devices by this way, oldest event first. Seldom is anything read for it."""
        untold = self._untold.get(way)
        while untold is not None:
            if untold.lacks(limit):
                await self._read_untold(untold, way)
                continue
            oldest = untold.oldest(limit)
            unknown = self._newest.unknown(oldest)
            if not unknown:
                return self._newest.told(oldest)
            newest = await self._on_thread(partial(self._database.newest_events, unknown))
            self._newest.read(newest, self._uncommitted().values())
        return []

    async def _read_untold(self, untold: Untold, way: int) -> None:
        """Read the next ones. Changes made meanwhile are newer than what is read, and so are marks."""
        uncommitted, told = self._uncommitted(), self._marked(way)
        page = await self._on_thread(partial(self._database.unrelayed, untold.place, way))
        untold.read(page, uncommitted | self._uncommitted(), told | self._marked(way))

    def _uncommitted(self) -> dict[str, tuple[Life, int]]:
        return {**self._committing, **self._changed}

    def relayed(self, correlation_id: str, version: int, way: int = LOCAL) -> None:
        """Note that this version of a report was relayed to devices by this way. Written with the next commit."""
        self._relayed.append((time.time_ns() // 1_000_000, way, correlation_id, version))
        if way in self._untold:
            self._untold[way].told(correlation_id, version)
        self._commit_soon()
        if len(self._relayed) >= _COMMIT_MARKS:
            self._commit_now()

    def _marked(self, way: int) -> set[tuple[str, int]]:
        """What was relayed by this way, and is not on disk as such."""
        return {(cid, version) for _, of, cid, version in (*self._relayed, *self._relaying) if of == way}

    async def unfinished(self, place: tuple[int, int]) -> UnfinishedPage:
        """The unfinished triggers after a position in the order of their events; (0, 0) is before the first.

        Triggers not committed yet are left out: listeners (`listen`) receive them.
        """
        uncommitted = {*self._changed, *self._committing}
        found, next_place = await self._on_thread(lambda: self._database.unfinished(place, _PAGE_ROWS))
        uncommitted |= {*self._changed, *self._committing}
        return UnfinishedPage([each for each in found if each[0] not in uncommitted], next_place)

    def asked(self, asks: Mapping[str, int]) -> None:
        """Write, with the next commit, how often triggers were asked about in vain. Any change resets it to 0."""
        self._asked.update(asks)
        self._commit_soon()

    async def run(self) -> None:
        """Commit batches until cancelled."""
        await commit_when_due(lambda: self._commit_at, self._work, self._commit)

    async def close(self) -> None:
        """Commit all changes and close the database. `run` must have ended."""
        try:
            await self._commit()
            await self._thread.call(self._database.close)
        finally:
            self._thread.close()

    def thread_died(self, _: DiskThreadDied) -> None:
        """Fail the next commit, and so `run`."""
        self._commit_now()

    def _report_failing(self, error: StorageFailed) -> None:
        if not self._failing:
            _log.warning("%s; kept in memory and tried again", error, extra={"event": "ledger_failing"})
        self._failing = True

    def _put(self, life: Life, version: int, before: Life | None) -> None:
        correlation_id = life.report.correlation_id
        self._changed[correlation_id] = (life, version)
        if self._asked:
            self._asked.pop(correlation_id, None)
        for untold in self._untold.values():
            untold.changed(life, version)
        self._newest.changed(life, is_new=before is None)
        if self._commit_at is None:
            self._commit_soon()
        if len(self._changed) >= _COMMIT_CHANGES:
            self._commit_now()
        if self._waiters:
            for waiter in self._waiters.get(correlation_id, ()):
                if not waiter.done():
                    waiter.set_result(None)
        for changed in self._listeners:
            changed(life)
        for observed in self._observers:
            observed(before, life)

    def _commit_soon(self) -> None:
        if self._commit_at is None:
            self._commit_at = asyncio.get_running_loop().time() + _COMMIT_DELAY_S
            self._work.set()

    def _commit_now(self) -> None:
        self._commit_at = 0.0
        self._work.set()

    async def _known(self, correlation_id: str) -> tuple[Life, int] | None:
        known = self._changed.get(correlation_id) or self._committing.get(correlation_id)
        if known is not None:
            return known
        stored = await self._on_thread(lambda: self._database.get(correlation_id))
        return self._changed.get(correlation_id) or self._committing.get(correlation_id) or stored

    async def _commit(self) -> None:
        async with self._one_commit:  # `run` may have been cancelled in the middle of one, which goes on
            await self._commit_batch()

    async def _commit_batch(self) -> None:
        changed, self._changed, self._committing = self._changed, {}, self._changed
        relayed, self._relayed, self._relaying = self._relayed, [], self._relayed
        asked, self._asked = self._asked, {}
        kept, self._kept, self._waiting_messages = self._kept, [], 0
        tried, self._tried = self._tried, []
        done, self._done = self._done, None
        self._commit_at = None
        more = self._companions.begin()
        try:
            lives = [*changed.values()]
            await self._on_thread(lambda: self._database.write(lives, relayed, asked, relay=self._relay, more=more))
        except OutboxError as exc:
            self._companions.ended(kept=False)
            self._changed = {**changed, **self._changed}
            self._relayed = relayed + self._relayed
            self._asked = {**asked, **self._asked}
            self._kept = kept + self._kept
            if done is not None and not done.done():
                done.set_exception(exc)
                done.exception()  # marks it as retrieved: the callers may have been cancelled
            if not isinstance(exc, StorageFailed):
                raise
            self._commit_soon()
            self._report_failing(exc)
        else:
            self._companions.ended(kept=True)
            self._failing = False
            for tell in kept:
                tell()
            if done is not None and not done.done():
                done.set_result(None)
        finally:
            self._committing, self._relaying = {}, []
            for call in tried:
                call()

    async def _on_thread(self, work: Callable[[], T]) -> T:
        return await self._thread.call(lambda: self._database.use(work))


def _fits(life: Life, query: TriggerQuery) -> bool:
    report = life.report
    return (
        query.source in {"", report.source}
        and query.rule in {"", report.rule}
        and query.state in {None, report.state}
        and (query.after is None or Place.of(life) < query.after)
    )
