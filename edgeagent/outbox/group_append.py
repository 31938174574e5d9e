"""Storing groups in a log of events: groups that arrive together share a sync if they fit one segment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Protocol

import msgspec

from edgeagent.errors import OutboxError, RecordTooLarge, StorageFailed
from edgeagent.events.event import Record
from edgeagent.outbox.frame import FrameKind
from edgeagent.outbox.log import Entries, Log, room_of
from edgeagent.outbox.records import Group

_EVENT = bytes((FrameKind.EVENT,))
_ARMED = bytes((FrameKind.ARMED,))
_COMPLETED = bytes((FrameKind.COMPLETED,))
_encode = msgspec.msgpack.Encoder().encode


class _Store(Protocol):
    """The operations that `store_groups` needs of the store."""

    failures: dict[str, str]

    def log(self, name: str) -> Log:
        """The log of this name."""

    def make_room(self) -> bool:
        """Whether another segment may be begun for events."""

    def commit(self, name: str, entries: Entries) -> int:
        """Write to a log and sync; returns the seq of the first trigger."""

    def stored(self, groups: Sequence[Group]) -> None:
        """Count and remember groups that were stored."""

    def refer(self, name: str, seq: int, records: Iterable[tuple[Record, int]]) -> None:
        """Note that records were stored from `seq` on, with so many triggers each."""


class _Part:
    """Groups that share a sync: their indexes in a call, and the frames of all of them."""

    __slots__ = ("counts", "indexes", "kinds", "payloads", "room", "size")

    def __init__(self) -> None:
        self.indexes: list[int] = []
        self.kinds = bytearray()
        self.counts: list[int] = []
        self.payloads: list[bytes] = []
        self.size = 0  # bytes of the payloads
        self.room = 0  # an upper bound for the bytes of all frames

    def add(self, index: int, group: Group, payloads: list[bytes], size: int, room: int) -> None:
        """Add a group. `size`: bytes of its payloads; `room`: the bound for all frames including it."""
        self.indexes.append(index)
        if len(group.keys) == len(payloads):  # nearly always: there are only events
            self.kinds += _EVENT * len(payloads)
            self.counts += [len(record.rules) for record in group.records]
        else:
            for entry in group.records:
                is_event = isinstance(entry, Record)
                self.kinds += _EVENT if is_event else _ARMED
                self.counts.append(len(entry.rules) if is_event else 0)
            self.kinds += _COMPLETED * len(group.completed)
            self.counts += [0] * len(group.completed)
        self.payloads += payloads
        self.size += size
        self.room = room


def store_groups(
    store: _Store, name: str, groups: Sequence[Group], wanted: Sequence[int], outcomes: dict[int, int | OutboxError]
) -> None:
    """Store the groups with these indexes in a log, and set their outcomes. Groups that find no room get none."""
    log = store.log(name)
    part = _Part()
    for index in wanted:
        group = groups[index]
        payloads = [_encode(record) for record in group.records]
        if group.completed:
            payloads += [_encode(completed) for completed in group.completed]
        size = sum(map(len, payloads))
        alone = room_of(len(payloads), size)
        if alone > log.capacity:
            outcomes[index] = RecordTooLarge(size, log.capacity)
            continue
        room = room_of(len(part.payloads) + len(payloads), part.size + size)
        if part.indexes and not log.fits(room):
            _store_part(store, name, groups, part, outcomes)
            part, room = _Part(), alone
        if not log.fits(room) and not store.make_room():
            break
        part.add(index, group, payloads, size, room)
    if part.indexes:
        _store_part(store, name, groups, part, outcomes)


def _store_part(
    store: _Store, name: str, groups: Sequence[Group], part: _Part, outcomes: dict[int, int | OutboxError]
) -> None:
    try:
        seq = store.commit(name, Entries(bytes(part.kinds), part.counts, part.payloads, part.room))
    except StorageFailed as exc:
        store.failures[name] = str(exc)
        outcomes.update(dict.fromkeys(part.indexes, exc))
        return
    store.failures.pop(name, None)
    counts = iter(part.counts)
    for index in part.indexes:
        outcomes[index] = seq
        if groups[index].has_artifacts:
            store.refer(name, seq, [(record, len(record.rules)) for record in groups[index].events])
        seq += sum(islice(counts, groups[index].frames))
    store.stored([groups[index] for index in part.indexes])
