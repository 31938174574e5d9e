"""What one turn does on the disk thread, and how the store is told of afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from edgeagent.core.account import Account, EventCounts
from edgeagent.errors import OutboxError, OutboxFull, StorageFailed
from edgeagent.outbox.records import Group, Loss
from edgeagent.outbox.store import Store


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


class Turn(NamedTuple):
    """What is to be done: see the order of a commit in `store`.

    `handed_out`: what is below this seq of a log was leased. `keep`: write a checkpoint. `probe`: see whether a failing
    disk is well again. `look`: tell the health.
    """

    appends: list[tuple[Group, asyncio.Future[int]]]
    releases: list[tuple[str, int, str]]
    handed_out: dict[str, int]
    counts: EventCounts
    keep: bool
    probe: bool
    look: bool


class Done(NamedTuple):
    """What came of it.

    An outcome for each append, how far each log of events reaches, whether releases were kept, what the disk says.
    """

    outcomes: list[int | OutboxError]
    ends: dict[str, int]
    kept: bool
    failure: str
    health: Health | None


def work_off(store: Store, turn: Turn) -> Done:
    """Do it."""
    store.events = turn.counts
    store.hand_out(turn.handed_out)
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
    return Done(outcomes, store.ends(), kept, failure_of(store), look(store) if turn.look else None)


def apply(store: Store, releases: Iterable[tuple[str, int, str]]) -> None:
    """Release triggers: log, seq, and the way each ended."""
    for name, seq, way in releases:
        store.release(name, seq, way)


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
    )


def failure_of(store: Store) -> str:
    """What the disk refused last and has not taken since; empty when it is well."""
    return next(iter(store.failures.values()), "")


def _try(work: Callable[[], None]) -> bool:
    try:
        work()
    except StorageFailed:  # it stands in the store's failures
        return False
    return True
