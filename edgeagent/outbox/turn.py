"""What one turn does on the disk thread, and how the store is told of afterwards."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec

from edgeagent.errors import OutboxError, OutboxFull, StorageFailed
from edgeagent.outbox.records import Group, Loss
from edgeagent.outbox.store import Store
from edgeagent.ports.account import Account, EventCounts
from edgeagent.ports.verification import DeadHealth

# What is appended, and who is told the seq of its first trigger, or why it is not stored.
Append = tuple[Group, Callable[[int | BaseException], None]]

# While the disk fails it is tried this often, also when nobody sends anything: who waits for `readyz` never would.
_PROBE_S = 1.0

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
    dead: DeadHealth


class Turn(NamedTuple):
    """What is to be done: see the order of a commit in `store`.

    `handed_out`: what is below this seq of a log was leased. `keep`: write a checkpoint. `probe`: see whether a failing
    disk is well again. `look`: tell the health. `put_back`: read the logs on from these seqs.
    """

    appends: list[Append]
    releases: list[tuple[str, int, str]]
    handed_out: dict[str, int]
    counts: EventCounts
    keep: bool
    probe: bool
    look: bool
    put_back: Mapping[str, int] = {}


class Turns:
    """How many turns were begun and have ended, one after the other; and who waits for that."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.begun = 0
        self._ended = 0
        self._loop = loop
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def under_way(self) -> bool:
        """Whether one is."""
        return self._ended < self.begun

    def end(self) -> None:
        """The one under way has ended: tell who waits."""
        self._ended += 1
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def until_ended(self, number: int) -> None:
        """Return when so many have ended."""
        while self._ended < number:
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._waiting.append(waiter)
            await waiter


class Done(NamedTuple):
    """What came of it.

    An outcome for each append, how far each log of events reaches, whether releases were kept, what the disk says, why
    no dead letter is taken.
    """

    outcomes: list[int | OutboxError]
    ends: dict[str, int]
    kept: bool
    failure: str
    dead_full: str
    health: Health | None


class DiskTold:
    """Tells when the disk begins to fail and when it is well again, once each. `probe_at`: when to try it meanwhile."""

    def __init__(self, failure: str) -> None:
        """`failure`: what is told already."""
        self._failure = failure
        self.probe_at: float | None = None

    def tell(self, failure: str, now: float) -> None:
        """What the disk said last, empty when it is well; `now` by the clock that `probe_at` is of."""
        if failure and not self._failure:
            _log.error(
                "the disk fails: what it refuses is not acknowledged, and is tried again: %s",
                failure,
                extra={"event": "outbox_storage_failed"},
            )
        elif self._failure and not failure:
            _log.warning("the disk is well again", extra={"event": "outbox_storage_recovered"})
        self._failure = failure
        if not failure:
            self.probe_at = None
        elif self.probe_at is None or self.probe_at <= now:
            self.probe_at = now + _PROBE_S


def work_off(store: Store, turn: Turn) -> Done:
    """Do it."""
    store.events = turn.counts
    store.hand_out(turn.handed_out)
    for name, seq in turn.put_back.items():
        store.rewind(name, seq)
    apply(store, turn.releases)
    groups = [group for group, _ in turn.appends]
    outcomes = store.append(groups) if groups else []
    refused = [index for index, outcome in enumerate(outcomes) if isinstance(outcome, OutboxFull)]
    if turn.probe:
        _try(store.probe)
    kept = (turn.keep or bool(refused)) and _try(store.checkpoint)
    if kept and refused:  # the checkpoint may have made room
        again = store.append([groups[index] for index in refused])
        for index, outcome in zip(refused, again, strict=True):
            outcomes[index] = outcome
    return Done(
        outcomes, store.ends(), kept, failure_of(store), store.dead.refusing(), look(store) if turn.look else None
    )


def apply(store: Store, releases: Iterable[tuple[str, int, str]]) -> None:
    """Release triggers: log, seq, and the way each ended. Those that follow each other are released together."""
    run_name, run_way, start, end = "", "", 0, 0
    for name, seq, way in releases:
        if seq == end and name == run_name and way == run_way:
            end += 1
            continue
        if run_name:
            store.release(run_name, start, run_way, end - start)
        run_name, run_way, start, end = name, way, seq, seq + 1
    if run_name:
        store.release(run_name, start, run_way, end - start)


def look(store: Store) -> Health:
    """How the store is; it costs as much as a small commit."""
    return Health(
        store.account(),
        store.used_bytes,
        store.limits.max_bytes,
        store.accepting,
        failure_of(store),
        store.parked,
        tuple(store.losses.last),
        store.bytes_per_trigger,
        store.dead.health(),
    )


def pass_on(waiter: asyncio.Future[int], outcome: int | BaseException) -> None:
    """Pass on what a `submit` came to, to one who may be gone by now."""
    if waiter.done():
        return
    if isinstance(outcome, BaseException):
        waiter.set_exception(outcome)
        waiter.exception()  # seen here: who waits may be cancelled before it is resumed
    else:
        waiter.set_result(outcome)


def failure_of(store: Store) -> str:
    """What the disk refused last and has not taken since; empty when it is well."""
    return next(iter(store.failures.values()), "")


def _try(work: Callable[[], None]) -> bool:
    try:
        work()
    except StorageFailed:  # it stands in the store's failures
        return False
    return True
