"""The outbox as the agent uses it: group commit on one worker thread, in front of the store.

Producers append to a batch in memory; the disk thread writes it and syncs once; then all of them are answered. While
one batch is being synced the next one grows, so under load durability costs one sync per batch, not per event.

All methods are called in the loop's thread. `run` must be running. Cancelling a waiting call does not undo it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Self, TypeVar

import msgspec

from edgeagent.core.account import Account, EventCounts
from edgeagent.core.headroom import Headroom
from edgeagent.errors import OutboxError, OutboxFull, StorageFailed
from edgeagent.outbox.records import DEAD, DEAD_WAY, NORMAL, PARKED, PARKED_WAY, REPLAYED, Group, Leased, Loss
from edgeagent.outbox.store import Store

# Releases are kept at the latest after this time, or after so many: what a crash forgets is sent again, for nothing.
_CHECKPOINT_S = 5.0
_CHECKPOINT_RELEASES = 1000
# While the disk fails it is tried this often, also when nobody sends anything: who waits for `readyz` never would.
_PROBE_S = 1.0

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Health(msgspec.Struct, frozen=True):
    """How the outbox is. `accepting` False: it refuses events for want of space.

    `failure`: what the disk said when it last refused something that it has not taken since, empty when it is well.
    """

    account: Account
    used_bytes: int
    max_bytes: int
    accepting: bool
    failure: str
    parked: int
    losses: tuple[Loss, ...]
    bytes_per_trigger: float


class Outbox:
    """See the module."""

    def __init__(self, store: Store, disk: ThreadPoolExecutor, *, max_bytes: int, commit_delay_s: float = 0.0) -> None:
        """An outbox over an open store; `disk` has exactly one thread, the only one that uses the store from now on."""
        self._store = store
        self._disk = disk
        self._max_bytes = max_bytes
        self._commit_delay_s = commit_delay_s
        self._appends: list[tuple[Group, asyncio.Future[int]]] = []
        self._releases: list[tuple[str, int, str]] = []
        self._unkept = 0
        self._keep_at: float | None = None
        self._failure = ""  # what was told
        self._probe_at: float | None = None
        self._work = asyncio.Event()
        self._committing: list[tuple[Group, asyncio.Future[int]]] = []
        self._turning = asyncio.Lock()
        self._headroom = Headroom()
        self.reopened_seq = dict(store.reopened_seq)
        self.recent_keys = store.recent.keys()
        self.recent_deliveries = store.recent.deliveries()
        self.events = msgspec.structs.replace(store.events)
        self.health = self._latest = self._look()
        self.on_change: Callable[[], None] = lambda: None

    @classmethod
    async def open(cls, make_store: Callable[[], Store], *, max_bytes: int, commit_delay_s: float = 0.0) -> Self:
        """Open the store on a thread of its own.

        Raises:
            StorageFailed: the disk refuses to be read or written.
        """
        disk = ThreadPoolExecutor(1, thread_name_prefix="disk")
        try:
            store = await asyncio.get_running_loop().run_in_executor(disk, make_store)
        except BaseException:
            disk.shutdown(wait=False)
            raise
        return cls(store, disk, max_bytes=max_bytes, commit_delay_s=commit_delay_s)

    def hours_left(self) -> float | None:
        """After how many hours the outbox is full at the rate of the last hour; None while it does not grow."""
        health = self.health
        free_bytes = health.max_bytes - health.used_bytes
        now = asyncio.get_running_loop().time()
        return self._headroom.hours_left(now, health.account.pending, free_bytes, health.bytes_per_trigger)

    async def append(self, group: Group) -> int:
        """Store a group, all or nothing; synced when it returns. Returns the seq of its first trigger.

        Groups are stored in the order of the calls.

        Raises:
            RecordTooLarge, OutboxFull, StorageFailed: nothing of it is stored.
        """
        return await asyncio.shield(self.submit(group))  # so that `barrier` waits for it even when this caller is gone

    def submit(self, group: Group) -> asyncio.Future[int]:
        """As `append`, for a caller that must know the outcome even if it is cancelled: do not cancel the future."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._appends.append((group, future))
        self._work.set()
        return future

    async def barrier(self) -> None:
        """Return when everything appended before this call is synced or refused."""
        waiting = [future for _, future in (*self._committing, *self._appends)]
        if waiting:
            await asyncio.wait(waiting)

    async def lease(self, name: str) -> list[Leased]:
        """The next triggers of a log, in order, each once; empty when there are none for now.

        Raises:
            StorageFailed: the disk cannot be read now.
        """
        return await self._on_disk(lambda: self._store.read(name))

    def release(self, leased: Leased, way: str) -> None:
        """Release a leased trigger: it is final, and `way` says how. Kept with the next checkpoint."""
        self._releases.append((leased.log, leased.seq, way))
        self._unkept += 1
        if self._keep_at is None:
            self._keep_at = asyncio.get_running_loop().time() + _CHECKPOINT_S
        self._work.set()

    async def bury(self, leased: Leased, *, reason: str, code: int, attempts: int) -> None:
        """Move a leased trigger to the dead letters: synced there before it is released here.

        Raises:
            DeadLettersFull, StorageFailed: it is where it was; try again later.
        """
        await self._move(leased, DEAD, DEAD_WAY, reason, code, attempts)

    async def park(self, leased: Leased, *, attempts: int) -> None:
        """Move a leased trigger that nobody answers to the parked ones: synced there before it is released here.

        Raises:
            StorageFailed: it is where it was; try again later.
        """
        await self._move(leased, PARKED, PARKED_WAY, "nobody answered", 0, attempts)

    async def lease_parked(self, *, again: bool) -> list[Leased]:
        """The next parked triggers; `again`: from the oldest one on.

        Raises:
            StorageFailed: the disk cannot be read now.
        """

        def work() -> list[Leased]:
            if again:
                self._store.rewind(PARKED)
            return self._store.read(PARKED)

        return await self._on_disk(work)

    async def find(self, name: str, wanted: Callable[[Leased], bool], limit: int) -> list[Leased]:
        """The last `limit` triggers of a log that are not released and are wanted, oldest first.

        Reads all of the log, in parts, so that commits go on in between.
        """
        parts = self._store.peek(name)
        found: list[Leased] = []
        while (part := await self._on_disk(lambda: next(parts, None))) is not None:
            found += filter(wanted, part)
            del found[: max(len(found) - limit, 0)]
        return found

    async def late(self, way: str) -> None:
        """A trigger that ended as `way` was settled after all: put the account right."""
        await self._on_disk(lambda: self._store.late(way))

    async def replay(self, leased: Leased) -> None:
        """Move a dead letter back to the triggers; synced when it returns.

        Raises:
            OutboxFull, StorageFailed: it is where it was.
        """
        await self._on_disk(lambda: self._store.move(leased, NORMAL, REPLAYED, reason="", code=0, attempts=0))
        self.on_change()

    async def settle_dead(self, leased: Leased, way: str) -> None:
        """Release a dead letter: it came to something after all, or was discarded."""
        await self._on_disk(lambda: self._store.release(DEAD, leased.seq, way))

    async def look(self, work: Callable[[Store], T]) -> T:
        """Do something with the store that takes no part in commits, between two of them.

        Raises:
            OutboxError: the work does.
        """
        return await self._on_disk(lambda: work(self._store))

    async def run(self) -> None:
        """Commit batches until cancelled. An outbox that is not running answers nobody."""
        loop = asyncio.get_running_loop()
        while True:
            wake_at = min((at for at in (self._keep_at, self._probe_at) if at is not None), default=None)
            try:
                async with asyncio.timeout_at(wake_at):
                    await self._work.wait()
            except TimeoutError:
                pass  # time for a checkpoint, or to try the disk
            self._work.clear()
            if self._commit_delay_s and self._appends:
                await asyncio.sleep(self._commit_delay_s)
            due = self._keep_at is not None and loop.time() >= self._keep_at
            await self._commit(keep=due or self._unkept >= _CHECKPOINT_RELEASES)

    async def close(self) -> None:
        """Keep everything and let go of the files. `run` must have ended.

        Raises:
            StorageFailed: what was released last may be sent again.
        """
        try:
            await self._commit(keep=True)
            await self._on_disk(self._store.close)
        finally:
            self._disk.shutdown()

    async def _commit(self, *, keep: bool) -> None:
        """One turn on the disk thread. Shielded: a commit that has begun is answered even while we are cancelled."""
        await asyncio.shield(asyncio.ensure_future(self._turn_alone(keep=keep)))

    async def _turn_alone(self, *, keep: bool) -> None:
        """After a cancelled `run` its last turn may still be under way when `close` begins another."""
        async with self._turning:
            await self._turn(keep=keep)

    async def _turn(self, *, keep: bool) -> None:
        appends, self._appends = self._appends, []
        self._committing = appends
        releases, self._releases = self._releases, []
        counts = msgspec.structs.replace(self.events)
        groups = [group for group, _ in appends]
        probe = self._probe_at is not None and asyncio.get_running_loop().time() >= self._probe_at
        outcomes, kept = await self._on_disk(lambda: self._work_off(groups, releases, counts, keep=keep, probe=probe))
        if keep:
            if kept:
                self._unkept = len(self._releases)
            self._keep_at = asyncio.get_running_loop().time() + _CHECKPOINT_S if self._unkept else None
        for (group, future), outcome in zip(appends, outcomes, strict=True):
            if isinstance(outcome, OutboxError):
                future.set_exception(outcome)
                future.exception()  # seen here: its caller may be gone
                continue
            self.events.stored += len(group.records)
            self.events.received += len(group.records)
            future.set_result(outcome)
        self._committing = []
        self._headroom.sample(asyncio.get_running_loop().time(), self.health.account.pending)
        self._tell(self.health.failure)
        if groups:
            self.on_change()

    def _work_off(
        self,
        groups: Sequence[Group],
        releases: Sequence[tuple[str, int, str]],
        counts: EventCounts,
        *,
        keep: bool,
        probe: bool,
    ) -> tuple[list[int | OutboxError], bool]:
        """On the disk thread: see the order of a commit in `store`. Returns the outcomes, and if releases were kept."""
        self._store.events = counts
        self._apply(releases)
        outcomes = self._store.append(groups) if groups else []
        refused = [index for index, outcome in enumerate(outcomes) if isinstance(outcome, OutboxFull)]
        if probe:
            with suppress(StorageFailed):  # it stands in the store's failures
                self._store.probe()
        if not keep and not refused:
            return outcomes, False
        try:
            self._store.checkpoint()
        except StorageFailed:
            return outcomes, False
        if refused:  # the checkpoint may have made room
            again = self._store.append([groups[index] for index in refused])
            for index, outcome in zip(refused, again, strict=True):
                outcomes[index] = outcome
        return outcomes, True

    async def _move(self, leased: Leased, target: str, way: str, reason: str, code: int, attempts: int) -> None:
        releases = tuple(self._releases)  # it may be among them: then it is final and stays so

        def work() -> None:
            self._apply(releases)
            self._store.move(leased, target, way, reason=reason, code=code, attempts=attempts)

        await self._on_disk(work)

    def _apply(self, releases: Sequence[tuple[str, int, str]]) -> None:
        for name, seq, way in releases:
            self._store.release(name, seq, way)

    async def _on_disk(self, work: Callable[[], T]) -> T:
        def job() -> T:
            try:
                return work()
            finally:
                self._latest = self._look()

        try:
            return await asyncio.get_running_loop().run_in_executor(self._disk, job)
        finally:
            self.health = self._latest

    def _look(self) -> Health:
        store = self._store
        failure = next(iter(store.failures.values()), "")
        return Health(
            store.account(),
            store.used_bytes,
            self._max_bytes,
            store.accepting,
            failure,
            store.parked,
            tuple(store.losses.last),
            store.bytes_per_trigger,
        )

    def _tell(self, failure: str) -> None:
        """Log when the disk begins to fail and when it is well again, once each; see that it is tried meanwhile."""
        if failure and not self._failure:
            _log.error(
                "the disk fails: what it refuses is not acknowledged, and is tried again: %s",
                failure,
                extra={"event": "outbox_storage_failed"},
            )
        elif self._failure and not failure:
            _log.warning("the disk is well again", extra={"event": "outbox_storage_recovered"})
        self._failure = failure
        now = asyncio.get_running_loop().time()
        if not failure:
            self._probe_at = None
        elif self._probe_at is None or self._probe_at <= now:
            self._probe_at = now + _PROBE_S
