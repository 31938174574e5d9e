"""Looks through the logs for events with large data, ahead of the triggers that are leased. For the disk thread.

The spool knows where records are that refer to its files, so what lies between them is not read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from edgeagent.outbox.frame import Frame
from edgeagent.outbox.leasing import boots_of, triggers_of
from edgeagent.outbox.log import Log
from edgeagent.outbox.reader import Damage, LogReader
from edgeagent.outbox.records import HIGH, LIMITED, NORMAL, Leased
from edgeagent.outbox.store import Store

# In this order; a trigger in `limited` goes when its rule has a permit.
_LOGS: Final = (HIGH, NORMAL, LIMITED)
# One part: it bounds how long commits wait, and how much is found at once.
_PART_FRAMES: Final = 64
_PART_BYTES: Final = 256 << 10
_MAX_PARTS: Final = 8
# So few records are read, rather than to ask the spool, which looks through all of its files.
_NEAR: Final = 256
# How many events are found at a time, and more by less than a part.
ENOUGH: Final = 64
# How many events that are found may be pending. What is known of their uploads takes so many rows on disk.
MAX_AHEAD: Final = 20_000

Place = tuple[str, int]


class AheadPart(NamedTuple):
    """What one look found.

    `events`: the pending triggers of each event with large data, in order. `has_more`: it ended before the logs did.
    `released`: of the places that were asked about, those that are not pending any more.
    """

    events: list[tuple[Leased, ...]]
    has_more: bool
    released: frozenset[Place]


class AheadReader:
    """Owns how far each log was looked through. It moves nothing, and never calls anything damaged or lost."""

    def __init__(self) -> None:
        self._readers: dict[str, LogReader] = {}
        self._found: dict[str, deque[int]] = {name: deque() for name in _LOGS}  # seqs of pending events

    def look(self, store: Store, places: Collection[Place], *, on: bool = True) -> AheadPart:
        """Look on, and at whether these places are still pending. Not `on`: only at the places.

        Raises:
            StorageFailed: the disk cannot be read now.
        """
        released = frozenset(place for place in places if place[1] in store.log(place[0]).released)
        events: list[tuple[Leased, ...]] = []
        has_more = False
        for name in _LOGS if on else ():
            has_more = self._look_into(store, name, events) or has_more
        return AheadPart(events, has_more, released)

    def _look_into(self, store: Store, name: str, events: list[tuple[Leased, ...]]) -> bool:
        """Add the events of one log; returns whether there may be more to be found now."""
        log = store.log(name)
        found = self._found[name] = deque(seq for seq in self._found[name] if seq not in log.released)
        reader = self._readers.setdefault(name, LogReader(log, log.released.cursor))
        reader.close_removed()
        for _ in range(_MAX_PARTS):
            if sum(map(len, self._found.values())) >= MAX_AHEAD or not _move_on(store, name, reader):
                return False
            if len(events) >= ENOUGH:
                return True
            items = reader.read(_PART_FRAMES, _PART_BYTES)
            if not items:
                return False
            new = _events_of(store, name, items)
            found.extend(event[0].seq for event in new)
            events += new
        return True


def _move_on(store: Store, name: str, reader: LogReader) -> bool:
    """Move to where the next record may be that refers to a file; returns whether there may be one."""
    log = store.log(name)
    begin = max(reader.seq, log.released.cursor)
    if log.next_seq - begin <= _NEAR:
        return begin < log.next_seq
    seq = store.spool.next_reference(name, begin) if store.spool is not None else None
    if seq is None or seq >= log.next_seq:
        return False
    if _segment_of(log, seq) != _segment_of(log, reader.seq):
        reader.skip_to(seq)
    return True


def _segment_of(log: Log, seq: int) -> int:
    """The number of the segment that has a record; 0 if it is before all of them."""
    return max((segment.number for segment in log.segments if segment.first_seq <= seq), default=0)


def _events_of(store: Store, name: str, items: Sequence[Frame | Damage]) -> list[tuple[Leased, ...]]:
    log = store.log(name)
    boot_of = boots_of(log, store.reopened_seq[name], store.boot)
    events: list[tuple[Leased, ...]] = []
    for item in items:
        if isinstance(item, Damage):
            continue
        triggers = triggers_of(name, log, [item], boot_of, _ignore, lambda _: "")
        event = tuple(one for one in triggers if one.record.artifact is not None)
        if event:
            events.append(event)
    return events


def _ignore(_damage: Damage) -> None:
    """What is damaged is told when it is leased."""
