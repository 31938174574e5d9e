"""A group commit: the work on the disk thread, its result, and the health of the store afterwards."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

import msgspec

from edgeagent.errors import OutboxError, OutboxFull, StorageFailed
from edgeagent.outbox.records import Group, Loss
from edgeagent.outbox.runs import ReleasedRun, apply
from edgeagent.outbox.store import Store
from edgeagent.ports.account import Account, EventCounts
from edgeagent.ports.verification import DeadHealth

# A group, and the callback that receives the seq of its first trigger, or the error for which none of it was stored.
Append = tuple[Group, Callable[[int | BaseException], None]]

# A failing disk is probed this often even when no event arrives: a device that waits for /readyz sends none.
_PROBE_S = 1.0

_log = logging.getLogger(__name__)


class Health(msgspec.Struct, frozen=True):
    """The state of the outbox at one moment.

    `accepting`: False while events are refused for lack of space. `failure`: the disk's last error, until the disk
    accepts the same write again; empty while the disk works. `spool_bytes`: what of `used_bytes` the spool counts for.
    """

    account: Account
    used_bytes: int
    max_bytes: int
    accepting: bool
    failure: str
    parked: int
    losses: tuple[Loss, ...]
    bytes_per_trigger: float
    dead: DeadHealth
    spool_bytes: int = 0


class Commit(msgspec.Struct, frozen=True):
    """The work of one group commit. `store` documents the order in which it is done.

    `appends`: groups to store. `releases`: triggers that ended. `handed_out`: for each log, the
    seq below which every trigger was leased. `counts`: the event counters to write with it. `keep`: write a
    checkpoint: what became of everything released is written by now. `probe`: try a failing disk again. `with_health`:
    report the health afterwards. `put_back`: for each log, the seq at which reading continues, because the triggers
    held in memory are left to the disk. `rates`: write the file `rates`.
    """

    appends: list[Append]
    releases: list[ReleasedRun]
    handed_out: dict[str, int]
    counts: EventCounts
    keep: bool
    probe: bool
    with_health: bool
    put_back: Mapping[str, int] = {}
    rates: bool = False


class Commits:
    """Counts the commits that have begun and ended, one at a time, and wakes the callers that wait for one to end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.begun = 0
        self._ended = 0
        self._loop = loop
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def under_way(self) -> bool:
        """Whether a commit has begun and not yet ended."""
        return self._ended < self.begun

    def end(self) -> None:
        """End the commit that is under way, and wake every waiting caller."""
        self._ended += 1
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def until_ended(self, number: int) -> None:
        """Return when this many commits have ended since the outbox was opened."""
        while self._ended < number:
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._waiting.append(waiter)
            await waiter


class Done(msgspec.Struct, frozen=True):
    """The result of a commit.

    `outcomes`: for each append the seq of its first trigger, or its error. `ends`: the next seq of each log of events.
    `kept`: whether a checkpoint with the releases was synced. `failure`: the disk's error, if it failed. `dead_full`:
    why no dead letter is accepted; empty if they are. `health`: if it was requested, or anything was refused.
    `needs_checkpoint`: the next one should come soon.
    """

    outcomes: list[int | OutboxError]
    ends: dict[str, int]
    kept: bool
    failure: str
    dead_full: str
    health: Health | None
    needs_checkpoint: bool = False


class DiskAlert:
    """Logs once when the disk begins to fail, and once when it recovers.

    `probe_at`: when to try a failing disk again, in the caller's clock; None while it works.
    """

    def __init__(self, failure: str) -> None:
        """`failure`: the error that has been logged already, empty if none has."""
        self._failure = failure
        self.probe_at: float | None = None

    def update(self, failure: str, now: float) -> None:
        """Record the disk's current error, empty while it works."""
        if failure and not self._failure:
            _log.error(
                "the disk fails; events are not acknowledged until it accepts them: %s",
                failure,
                extra={"event": "outbox_storage_failed"},
            )
        elif self._failure and not failure:
            _log.warning("the disk works again", extra={"event": "outbox_storage_recovered"})
        self._failure = failure
        if not failure:
            self.probe_at = None
        elif self.probe_at is None or self.probe_at <= now:
            self.probe_at = now + _PROBE_S


def commit(store: Store, work: Commit) -> Done:
    """Do the work of a commit. Called on the disk thread."""
    store.events = work.counts
    store.hand_out(work.handed_out)
    for name, seq in work.put_back.items():
        store.rewind(name, seq)
    apply(store, work.releases)
    if work.keep:
        store.unnoted = False
    groups = [group for group, _ in work.appends]
    outcomes = store.append(groups) if groups else []
    refused = [index for index, outcome in enumerate(outcomes) if isinstance(outcome, OutboxFull)]
    if work.probe:
        _try(store.probe)
    if work.rates:
        _try(store.rates.save)
    kept = (work.keep or bool(refused)) and _try(store.checkpoint)
    if kept and refused:  # the checkpoint may have made room
        again = store.append([groups[index] for index in refused])
        for index, outcome in zip(refused, again, strict=True):
            outcomes[index] = outcome
    failure = failure_of(store)
    return Done(
        outcomes,
        store.ends(),
        kept,
        failure,
        store.dead.refusing(),
        # Who was refused may look at once why, while the next job is under way and the health of before is still told.
        health_of(store) if work.with_health or failure or refused else None,
        store.unnoted and store.lacks_evidence,
    )


def health_of(store: Store) -> Health:
    """The store's health. Computing it costs as much CPU as a small commit."""
    spool_bytes = store.spool.used_bytes if store.spool is not None else 0
    return Health(
        store.account(),
        store.log_bytes + spool_bytes,
        store.limits.max_bytes,
        store.accepting,
        failure_of(store),
        store.parked,
        tuple(store.losses.last),
        store.bytes_per_trigger,
        store.dead.health(),
        spool_bytes,
    )


def pass_on(waiter: asyncio.Future[int], outcome: int | BaseException) -> None:
    """Give the outcome of a `submit` to the future of a caller that may have been cancelled in the meantime."""
    if waiter.done():
        return
    if isinstance(outcome, BaseException):
        waiter.set_exception(outcome)
        waiter.exception()  # marks it as retrieved: the caller may be cancelled before it resumes
    else:
        waiter.set_result(outcome)


def failure_of(store: Store) -> str:
    """The disk's last error that no later success has cleared; empty while the disk works."""
    return next(iter(store.failures.values()), "")


def _try(work: Callable[[], None]) -> bool:
    try:
        work()
    except StorageFailed:  # the store records it in `failures`
        return False
    return True
