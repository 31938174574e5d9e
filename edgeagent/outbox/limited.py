"""The log `limited`: triggers that wait for the `rate` of their rule, moved there so that others go past them.

In a log of events they would keep the segments of everything that was accepted after them, and holes in what is
released, which a checkpoint holds. Here, only rules of unequal pace do that to each other. Before it costs much, the
log is condensed: what is left is copied to its end, in order, and nothing else is written there meanwhile. Each copy
names the log's end at the beginning of that, so that what a crash interrupts is finished before the log is read.

Everything here is done in parts, each of which holds up commits no longer than a lease does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

import msgspec

from edgeagent.events.artifact import Artifact
from edgeagent.outbox.frame import Frame
from edgeagent.outbox.leasing import triggers_of
from edgeagent.outbox.log import Log
from edgeagent.outbox.moves import parts_of
from edgeagent.outbox.reader import Damage, LogReader
from edgeagent.outbox.records import DEAD, IMPORT, LIMITED, LIMITED_WAY, REPLAYED, Leased, Moved, decode
from edgeagent.outbox.store import Store

# A checkpoint has room for some ten thousand ranges, of all logs together.
_MAX_RANGES = 4096
# The log is condensed when more than three quarters of it are released, and there is more than a little to gain.
_SPARSE = 4
_MIN_SEGMENTS = 3
_READ_FRAMES = 256
_READ_BYTES = 1 << 20


class HeldBack(msgspec.Struct, frozen=True):
    """A leased trigger that must wait. `high`: before those of normal priority."""

    leased: Leased
    high: bool


class Condensing(msgspec.Struct, frozen=True):
    """How far the log is condensed: the next seq to copy, and the seq before which everything is copied."""

    seq: int
    end: int


class LinePart(msgspec.Struct, frozen=True):
    """Triggers that were read, in order, and the seq from which to read on."""

    found: Sequence[Leased]
    next_seq: int


def relocate(store: Store, waiting: Iterable[HeldBack], now_ms: int) -> None:
    """Move triggers to the end of the log: synced there, then released in their own. Released ones are left out.

    `max_bytes` does not apply, as for parked triggers: they are pending as before.

    Raises:
        RecordTooLarge: one fits no segment; nothing was done.
        StorageFailed: some are still in their own logs; try again later with the same ones.
    """
    moves = [_moved(each, now_ms) for each in waiting if each.leased.seq not in store.log(each.leased.log).released]
    _commit(store, moves)


def read_line(store: Store, seq: int, until: int, wanted: Callable[[Leased], bool], most: int) -> LinePart:
    """The wanted triggers from `seq` on, at most `most`, and none after `until`; a part of the log is read.

    Raises:
        StorageFailed: the disk cannot be read now.
    """
    leased, next_seq = _read(store, seq)
    found: list[Leased] = []
    for one in leased:
        if one.seq > until:
            return LinePart(found, until + 1)
        if wanted(one):
            if len(found) == most:
                return LinePart(found, one.seq)
            found.append(one)
    return LinePart(found, next_seq)


def is_sparse(log: Log, from_seq: int) -> bool:
    """Whether the log should be condensed. `from_seq`: below it is only what was in flight when that was done last."""
    begin = max(log.released.cursor, from_seq)
    ranges, released = log.released.above(begin)
    if ranges > _MAX_RANGES:
        return True
    segments = sum(segment.first_seq >= begin for segment in log.segments) + 1
    span = log.next_seq - begin
    return segments >= _MIN_SEGMENTS and span > _SPARSE * max(span - released, 1)


def interrupted(store: Store) -> Condensing | None:
    """What is left of condensing that a crash interrupted; None if nothing was."""
    log = store.log(LIMITED)
    reader = LogReader(log, log.next_seq - 1)
    try:
        items = reader.read(1, 1)
    finally:
        reader.close()
    content = decode(items[0]) if items and isinstance(items[0], Frame) else None
    moved = content[1] if content is not None else None
    if moved is None or moved.origin != LIMITED or not moved.attempts:
        return None
    begin, end = log.released.cursor, moved.attempts
    return Condensing(begin, end) if log.released.missing(begin, max(end - begin, 0)) else None


def condense(store: Store, at: Condensing, kept: Collection[int], now_ms: int) -> Condensing | None:
    """Copy the next part; None when everything is copied. `kept`: seqs that stay, because they are in flight.

    Raises:
        StorageFailed: none of this part is copied, or some; try again later.
    """
    leased, next_seq = _read(store, at.seq)
    part = [one for one in leased if one.seq < at.end and one.seq not in kept]
    _commit(store, [_copied(one, at.end, now_ms) for one in part])
    return Condensing(next_seq, at.end) if at.seq < next_seq < at.end else None


def _commit(store: Store, moves: Sequence[Moved]) -> None:
    for part in list(parts_of(moves, store.log(LIMITED).capacity)):
        seq = store.commit(LIMITED, part.entries)
        store.refer(LIMITED, seq, [(moved.record, 1) for moved in part.moves])  # before their first files are let go
        for moved in part.moves:
            store.release(moved.origin, moved.origin_seq, LIMITED_WAY)


def _read(store: Store, seq: int) -> tuple[list[Leased], int]:
    """A part of the log, without those that are released; the log's own reader has told of what is damaged."""
    log = store.log(LIMITED)
    reader = LogReader(log, max(seq, log.released.cursor))
    try:
        items = reader.read(_READ_FRAMES, _READ_BYTES)
    finally:
        reader.close()
    return list(triggers_of(LIMITED, log, items, log.boot_of, _ignore, _as_it_is)), reader.seq


def _ignore(_: Damage) -> None:
    pass


def _as_it_is(_: Artifact) -> str:
    """A record whose data is gone is told of when it is read to be sent, like any other."""
    return ""


def _moved(waiting: HeldBack, now_ms: int) -> Moved:
    leased, high = waiting.leased, waiting.high
    record = msgspec.structs.replace(leased.record, rules=(leased.rule,))
    again = leased.moved is not None and leased.moved.origin in {DEAD, IMPORT}
    return Moved(leased.log, leased.seq, record, REPLAYED if again else "", int(high), 0, now_ms, leased.boot)


def _copied(leased: Leased, end: int, now_ms: int) -> Moved:
    moved = leased.moved
    reason, code = (moved.reason, moved.code) if moved is not None else ("", 0)
    return Moved(LIMITED, leased.seq, leased.record, reason, code, end, now_ms, leased.boot)
