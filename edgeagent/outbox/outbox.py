"""The outbox as the agent uses it: group commit on one disk thread, in front of the store.

Producers append to a batch in memory; the disk thread writes the batch and syncs once; then every producer is answered.
While one batch is being synced the next one grows, so under load durability costs one sync per batch, not per event.

All methods must be called in the event loop's thread, while `run` is running. Cancelling a waiting call undoes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Self, TypeVar

import msgspec

from edgeagent.errors import OutboxError, OutboxFull
from edgeagent.outbox.alarm import Alarm
from edgeagent.outbox.commit import Append, Commit, Commits, DiskAlert, Done, Health, commit, health_of, pass_on
from edgeagent.outbox.disk import DiskThread
from edgeagent.outbox.headroom import Headroom
from edgeagent.outbox.records import (
    DEAD,
    DEAD_WAY,
    EVENT_LOGS,
    LIMITED,
    PARKED,
    PARKED_WAY,
    UNANSWERED,
    Closing,
    Group,
    Leased,
)
from edgeagent.outbox.runs import apply
from edgeagent.outbox.store import Store
from edgeagent.outbox.tail import Tails
from edgeagent.outbox.unkept import Unkept
from edgeagent.rules.rate import PublishedTriggers

_RATES_S = 1.0
_HEALTH_S = 0.1  # under load `health` is at most this old, plus one commit

T = TypeVar("T")


class Outbox:
    """Owns the store, its disk thread, and the growing batch. A seq that it returns is a promise: it is synced."""

    def __init__(self, store: Store, disk: DiskThread, *, commit_delay_s: float = 0.0) -> None:
        """Create an outbox over an open store, which from now on only the disk thread may use while it has jobs."""
        self._loop = asyncio.get_running_loop()
        self._store = store
        self._disk = disk
        self._commit_delay_s = commit_delay_s
        self._appends: list[Append] = []
        self._unkept = Unkept()
        self._rates_at: float | None = None
        self._commits = Commits(self._loop)
        self._alarm = Alarm(self._loop, self._begin)  # begins the next commit
        self._running: asyncio.Future[None] | None = None
        self._tails = Tails({name: store.leased_seq(name) for name in EVENT_LOGS}, store.ends(), store.boot)
        self._headroom = Headroom()
        self.reopened_seq = dict(store.reopened_seq)
        self.recent_keys, self.recent_deliveries = store.recent.keys(), store.recent.deliveries()
        self.firings, self.published = list(store.firings), store.rates.content
        self.limited = store.log(LIMITED).pending  # how many waited for the rate of a rule when it was opened
        self.events = msgspec.structs.replace(store.events)
        self.spool = store.spool  # may be used by any thread
        self._health = health_of(store)
        self._alert = DiskAlert(self._health.failure)
        self.dead_full = self._health.dead.full  # why no dead letter is accepted; cheap to read, as of the last commit
        self.parked = self._health.parked  # cheap to read, at worst slightly older than `health`
        self._health_at, self._changed = self._loop.time(), False
        self.on_change: Callable[[], None] = lambda: None
        # Writes what became of released triggers, before a checkpoint makes the outbox forget them; calls back then.
        self.before_checkpoint: Callable[[Callable[[], None]], None] = lambda written: written()

    @classmethod
    async def open(cls, make_store: Callable[[], Store], *, commit_delay_s: float = 0.0) -> Self:
        """Open the store on a disk thread of its own.

        Raises:
            StorageFailed: the disk refuses to be read or written.
        """
        disk = DiskThread("disk")
        try:
            outbox = cls(await disk.call(make_store), disk, commit_delay_s=commit_delay_s)
        except BaseException:
            disk.close()
            raise
        disk.died = lambda death: outbox._fall_over([], death)
        return outbox

    @property
    def health(self) -> Health:
        """The state of the outbox now; under load at most 0.1 s and a commit older, but never older than a refusal."""
        if self._changed and not self._disk.jobs:
            apply(self._store, self._unkept.take())
            self._take_up(health_of(self._store))
        return self._health

    def hours_left(self) -> float | None:
        """The hours until the outbox is full, at the rate of the last hour; None while it does not grow."""
        health = self.health
        free = health.max_bytes - health.used_bytes
        return self._headroom.hours_left(self._loop.time(), health.account.pending, free, health.bytes_per_trigger)

    async def append(self, group: Group) -> int:
        """Store a group, all or nothing, in the order of the calls; synced on return. Returns its first trigger's seq.

        Raises:
            RecordTooLarge, OutboxFull, StorageFailed: none of it is stored.
        """
        waiter: asyncio.Future[int] = self._loop.create_future()
        self.submit(group, lambda outcome: pass_on(waiter, outcome))
        return await waiter

    def submit(self, group: Group, on_outcome: Callable[[int | BaseException], None]) -> None:
        """Like `append`, but `on_outcome` receives the outcome even if the caller is cancelled."""
        self._appends.append((group, on_outcome))
        self._begin_soon()

    async def barrier(self) -> None:
        """Return when everything appended before this call is synced or refused."""
        await self._commits.until_ended(self._commits.begun + bool(self._appends))

    async def lease(self, name: str) -> list[Leased]:
        """The next triggers of a log, in order, each once; empty if there are none for now.

        Raises:
            StorageFailed: the disk cannot be read now.
        """
        if name not in EVENT_LOGS:
            return await self._on_disk(lambda: self._store.read(name))
        newest = self.lease_newest(name)
        if newest is not None:
            return newest
        handed_out = self._tails.handed_out()

        def work() -> tuple[list[Leased], int]:
            self._store.hand_out(handed_out)
            return self._store.read(name), self._store.leased_seq(name)

        with self._tails.closed():
            leased, next_seq = await self._on_disk(work)
            self._tails.leased(name, next_seq)
        return leased

    def lease_newest(self, name: str) -> list[Leased] | None:
        """Like `lease`, from memory only: None if the next triggers must be read from the disk."""
        return self._tails.take(name)

    def release(self, leased: Sequence[Leased], way: str) -> None:
        """Release leased triggers: they are final, and `way` says how they ended. Written with the next checkpoint."""
        self._unkept.add(leased, way, self._loop.time())
        self.parked -= sum([one.log == PARKED for one in leased])
        self._changed = True
        if self._unkept.at is not None:
            self._alarm.at(self._unkept.at)
        if self._unkept.is_full:
            self._begin_soon()

    def keep_rates(self, published: PublishedTriggers) -> None:
        """Keep within a second what was published, and at the latest with the next checkpoint."""
        self._store.rates.put(published)
        self._rates_at = self._rates_at or self._loop.time() + _RATES_S
        self._alarm.at(self._rates_at)

    async def bury(self, leased: Leased, *, reason: str, code: int, attempts: int) -> None:
        """Move a leased trigger to the dead letters: synced there before it is released in its own log.

        Raises:
            DeadLettersFull, StorageFailed: it stays in its own log; try again later.
        """
        await self.when_released(
            lambda store: store.move(leased, DEAD, DEAD_WAY, reason=reason, code=code, attempts=attempts)
        )

    async def park(self, leased: Leased, *, attempts: int, reason: str = UNANSWERED, code: int = 0) -> None:
        """Move a leased trigger to the parked ones: synced there before it is released in its own log.

        A trigger is parked because nobody answers it, or because it is final (`reason` then says why) and the dead
        letters have no room for it.

        Raises:
            StorageFailed: it stays in its own log; try again later.
        """
        await self.when_released(
            lambda store: store.move(leased, PARKED, PARKED_WAY, reason=reason, code=code, attempts=attempts)
        )
        self.parked += leased.log != PARKED

    async def gather(self, closings: Sequence[Closing]) -> None:
        """Merge the leased triggers of each window into one in the log `windows`, synced before they are released.

        Raises:
            RecordTooLarge: a window fits no segment of the outbox; nothing was done.
            StorageFailed: try again later, with the same windows; the part already done is left out.
        """
        await self.when_released(lambda store: store.gather(closings))
        self.on_change()

    async def lease_parked(self, *, again: bool) -> list[Leased]:
        """The next parked triggers; with `again`, from the oldest one on.

        Raises:
            StorageFailed: the disk cannot be read now.
        """

        def work() -> list[Leased]:
            if again:
                self._store.rewind(PARKED)
            return self._store.read(PARKED)

        return await self._on_disk(work)

    async def beside(self, work: Callable[[Store], T]) -> T:
        """Do some work on the store between two commits, while triggers are leased from memory as usual.

        The work must not touch triggers that are leased or waiting to be leased, and cannot tell which those are.

        Raises:
            OutboxError: the work raised it.
        """
        return await self._on_disk(lambda: work(self._store))

    async def when_released(self, work: Callable[[Store], T]) -> T:
        """Like `beside`, but what was released until now is released in the store, so that nothing of it is moved.

        Raises:
            OutboxError: the work raised it.
        """
        releases = self._unkept.all

        def released() -> T:
            apply(self._store, releases)
            return work(self._store)

        return await self._on_disk(released)

    async def alone(self, work: Callable[[Store], T]) -> T:
        """Do some work on the store between two commits, while nothing is leased from memory.

        The work may therefore release triggers that wait to be leased; `leased_seq` says which were handed out.

        Raises:
            OutboxError: the work raised it.
        """
        handed_out = self._tails.put_back()

        def rewound() -> T:
            for name, seq in handed_out.items():
                self._store.rewind(name, seq)
            return work(self._store)

        with self._tails.closed():
            return await self._on_disk(rewound)

    async def run(self) -> None:
        """Commit batches until cancelled. Calls to an outbox that is not running are not answered."""
        self._running = self._loop.create_future()
        self._begin_commit(keep=True, probe=False, rates=False)  # the first append needs one; nothing is released yet
        try:
            await self._running  # ends with an error if a commit does
        finally:
            self._running = None

    async def close(self) -> None:
        """Write everything, and close the files. `run` must have ended.

        Raises:
            StorageFailed: the latest releases are lost, and their triggers may be sent again.
        """
        try:
            await self._commits.until_ended(self._commits.begun)  # of a cancelled `run`
            self._begin_commit(keep=True, probe=False, rates=False)
            await self._commits.until_ended(self._commits.begun)
            await self._on_disk(self._store.close)
        finally:
            self._alarm.cancel()
            self._disk.close()

    def _begin_soon(self) -> None:
        """Begin a commit in the loop's next turn, with everything appended by then, or after `commit_delay`."""
        if self._commit_delay_s:
            self._alarm.at(self._loop.time() + self._commit_delay_s)
        else:
            self._alarm.soon()

    def _begin(self) -> None:
        """Begin a commit if there is something to do; otherwise set the alarm for what is due later."""
        self._alarm.cancel()
        if self._running is None or self._commits.under_way:
            return  # the end of that commit calls this again
        now = self._loop.time()
        if not self._unkept.is_held and self._unkept.is_due(now):
            self._unkept.hold()
            self.before_checkpoint(self._checkpoint_may_be_written)
        keep = self._unkept.is_ready
        probe = self._alert.probe_at is not None and now >= self._alert.probe_at
        rates = self._rates_at is not None and now >= self._rates_at
        if self._appends or keep or probe or rates:
            self._begin_commit(keep=keep, probe=probe, rates=rates)
            return
        for at in (self._unkept.at, self._rates_at, self._alert.probe_at):
            if at is not None:
                self._alarm.at(at)

    def _checkpoint_may_be_written(self) -> None:
        self._unkept.release_hold()
        self._alarm.soon()

    def _begin_commit(self, *, keep: bool, probe: bool, rates: bool) -> None:
        with_health = self._loop.time() - self._health_at >= _HEALTH_S
        counts = msgspec.structs.replace(self.events)
        handed_out = self._tails.handed_out()
        releases = self._unkept.take_for_checkpoint() if keep else self._unkept.take()
        work = Commit(self._appends, releases, handed_out, counts, keep, probe, with_health, rates=rates)
        self._appends = []
        self._commits.begun += 1
        self._disk.begin(lambda: commit(self._store, work), lambda done, error: self._end_commit(work, done, error))

    def _end_commit(self, work: Commit, done: Done | None, error: BaseException | None) -> None:
        if work.put_back:
            self._tails.open()
        if done is None:
            self._fall_over(work.appends, error or RuntimeError("a commit on the disk thread came to nothing"))
        elif rest := self._answer(work, done):
            self._try_again(rest)
            return
        self._commits.end()  # after the callbacks: their work is done before the waiters at a barrier resume
        if done is None:
            return
        if work.appends:
            self.on_change()
        if self._appends and self._commit_delay_s:
            self._begin_soon()
        else:
            self._begin()

    def _fall_over(self, appends: Sequence[Append], error: BaseException) -> None:
        """Fail every waiting caller, and `run`: a defect ended a commit or the disk thread."""
        for _, on_outcome in appends:
            on_outcome(error)
        if self._running is not None and not self._running.done():
            self._running.set_exception(error)

    def _try_again(self, rest: list[Append]) -> None:
        """Commit these again with the tails put back: the triggers in them may be dropped to make room."""
        self._tails.close()
        counts = msgspec.structs.replace(self.events)
        work = Commit(rest, [], {}, counts, keep=False, probe=False, with_health=False, put_back=self._tails.put_back())
        self._disk.begin(lambda: commit(self._store, work), lambda done, error: self._end_commit(work, done, error))

    def _answer(self, work: Commit, done: Done) -> list[Append]:
        """Answer the appends; returns those refused for lack of space which the tails may have to free."""
        self._changed = True
        if done.health is not None:
            self._take_up(done.health)
        self.dead_full = done.dead_full
        self._alert.update(done.failure, self._loop.time())
        if work.keep:
            self._unkept.written(self._loop.time(), kept=done.kept)
        if done.needs_checkpoint:
            self._unkept.hasten(self._loop.time())
        if work.rates or work.keep:
            self._rates_at = self._loop.time() + _RATES_S if self._store.rates.changed else None
        rest: list[Append] = []
        for append, outcome in zip(work.appends, done.outcomes, strict=True):
            group, on_outcome = append
            if isinstance(outcome, OutboxFull) and self._store.limits.drop_oldest and not work.put_back:
                rest.append(append)
                continue
            if not isinstance(outcome, OutboxError):
                self.events.stored += len(group.keys)
                self.events.received += len(group.keys)
                self._tails.added(group, outcome, done.ends)
            on_outcome(outcome)
        return rest

    async def _on_disk(self, work: Callable[[], T]) -> T:
        is_due = self._loop.time() - self._health_at >= _HEALTH_S  # many moves may follow each other without a commit

        def job() -> tuple[T, dict[str, int], str, Health | None]:
            return work(), self._store.ends(), self._store.dead.refusing(), health_of(self._store) if is_due else None

        try:
            result, ends, self.dead_full, health = await self._disk.call(job)
            if health is not None:
                self._take_up(health)
        finally:
            self._changed = True
        self._tails.reach(ends)
        return result

    def _take_up(self, health: Health) -> None:
        self._health, self.parked = health, health.parked
        self._health_at, self._changed = self._loop.time(), False
        self._headroom.sample(self._health_at, health.account.pending)
