"""Releases on their way to the disk thread: runs of consecutive seqs, without the records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from edgeagent.outbox.records import Leased

if TYPE_CHECKING:
    from edgeagent.outbox.store import Store


class ReleasedRun(msgspec.Struct, frozen=True):
    """Triggers of a log that ended in the same way, from `seq` on. Their records are not kept."""

    log: str
    seq: int
    triggers: int
    way: str


def runs_of(leased: Sequence[Leased], way: str) -> list[ReleasedRun]:
    """The runs of consecutive seqs among these triggers, which ended as `way` says."""
    runs: list[ReleasedRun] = []
    name, start, end = "", 0, 0
    for one in leased:
        seq = one.seq
        if seq == end and one.log == name:
            end += 1
            continue
        if name:
            runs.append(ReleasedRun(name, start, end - start, way))
        name, start, end = one.log, seq, seq + 1
    if name:
        runs.append(ReleasedRun(name, start, end - start, way))
    return runs


def apply(store: Store, releases: Iterable[ReleasedRun]) -> None:
    """Release triggers; what became of them need not be written anywhere yet."""
    for run in releases:
        store.release(run.log, run.seq, run.way, run.triggers)
        store.unnoted = True
