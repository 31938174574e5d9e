"""The store: the outbox's logs, cursor file and account behind blocking calls, for one thread.

Logs: `normal` and `high` take events; `dead` takes triggers that were given up. A trigger moves between logs by being
appended to one and synced, and only then released in the other; opening (`recovery`) finds what a crash left between
the two by the origin that a moved record names.

The order of a commit: releases in memory; frames written and synced (the callers are acknowledged after that); then,
if it is due, a checkpoint; then the removal of segments that the checkpoint settled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from edgeagent.core.account import Account, EventCounts
from edgeagent.core.event import Record
from edgeagent.core.frame import Batch, Frame, Kind, SegmentHeader, frame_bytes
from edgeagent.errors import OutboxError, OutboxFull, RecordTooLarge, StorageFailed
from edgeagent.outbox.cursor import Checkpoint, CursorFile
from edgeagent.outbox.files import Filesystem
from edgeagent.outbox.log import Entry, Log
from edgeagent.outbox.reader import Damage, Reader
from edgeagent.outbox.recent import Recent
from edgeagent.outbox.records import (
    DAMAGED,
    DEAD,
    DISCARDED,
    EVENT_LOGS,
    EXPIRED,
    LOGS,
    SETTLED,
    Group,
    Leased,
    Limits,
    Moved,
    decode,
    delivery_of,
)
from edgeagent.outbox.recovery import recover, release_damaged, tell_problems

# What one read brings at most: it bounds what a lease holds in memory.
_READ_FRAMES = 256
_READ_BYTES = 1 << 20
_USUAL_BYTES = 4096


class Store:
    """See the module."""

    def __init__(
        self,
        filesystem: Filesystem,
        directory: Path,
        limits: Limits,
        *,
        boot: bytes,
        new_salt: Callable[[], int],
        now_ms: Callable[[], int],
    ) -> None:
        """Open the outbox in a directory that the caller owns (`lock.state_lock`), and recover it.

        Raises:
            StorageFailed: the disk refuses to be read or written.
        """
        self._filesystem = filesystem
        self._directory = directory
        self._limits = limits
        self._boot = boot
        self._new_salt = new_salt
        self._now_ms = now_ms
        self._dirty = True  # what recovery finds is kept with the first checkpoint
        filesystem.make_directory(directory)
        self.recent = Recent.load(filesystem, directory / "recent", limits.dedupe_events)
        self._logs = {name: self._new_log(name) for name in LOGS}
        self._cursor, checkpoint = CursorFile.open(filesystem, directory / "cursor")
        newest = recover(self._logs, checkpoint, self.recent)
        self._generation = checkpoint.generation if checkpoint is not None else 0
        self._batch_number = newest.number
        self.events = EventCounts(*(getattr(newest, field) for field in EventCounts.__struct_fields__))
        tell_problems(self._logs, self.account(), self.events)
        self._readers = {name: Reader(self._logs[name], self._logs[name].released.cursor) for name in EVENT_LOGS}
        self.reopened_seq = {name: log.next_seq for name, log in self._logs.items()}

    @property
    def used_bytes(self) -> int:
        """What the segments of all logs take on disk."""
        return sum(log.used_bytes for log in self._logs.values())

    @property
    def accepting(self) -> bool:
        """Whether an event of usual size would be stored now."""
        return self._room or any(self._logs[name].fits(_USUAL_BYTES) for name in EVENT_LOGS)

    @property
    def _room(self) -> bool:
        """Whether another segment may be begun for events. One segment stays free for dead letters."""
        return self.used_bytes + 2 * self._limits.segment_bytes <= self._limits.max_bytes

    def account(self) -> Account:
        """The account as it is on disk and, for releases since the last checkpoint, in memory."""
        normal, high, dead = (self._logs[name] for name in LOGS)
        ways: dict[str, int] = {}
        for log in (normal, high, dead):
            for way, count in log.ways.items():
                ways[way] = ways.get(way, 0) + count
        return Account(
            accepted=sum(log.next_seq - 1 - log.moved_in for log in (normal, high)),
            settled=ways.get(SETTLED, 0),
            pending=normal.pending + high.pending,
            dead=dead.pending,
            discarded=ways.get(DISCARDED, 0),
            expired=ways.get(EXPIRED, 0),
            damaged=ways.get(DAMAGED, 0),
        )

    def append(self, groups: Sequence[Group]) -> list[int | OutboxError]:
        """Store groups; for each the seq of its first trigger, or why nothing of it is stored.

        Groups of one log share a sync as far as they fit one segment. Synced when it returns. Once there is no room
        for one, the later ones of its log are refused too, so that their order holds when they are tried again.
        """
        outcomes: list[int | OutboxError] = [OutboxFull(self.used_bytes, self._limits.max_bytes)] * len(groups)
        for name in EVENT_LOGS:
            chosen: list[tuple[int, list[Entry]]] = []
            total = 0
            for index, group in enumerate(groups):
                if group.log != name:
                    continue
                entries = [
                    Entry(Kind.EVENT, len(record.rules), msgspec.msgpack.encode(record)) for record in group.records
                ]
                size = sum(frame_bytes(len(entry.payload)) for entry in entries)
                if size > self._logs[name].capacity:
                    outcomes[index] = RecordTooLarge(size, self._logs[name].capacity)
                    continue
                if chosen and not self._logs[name].fits(total + size):
                    self._append_chosen(name, groups, chosen, outcomes)
                    chosen, total = [], 0
                if not self._logs[name].fits(total + size) and not self._room:
                    break
                chosen.append((index, entries))
                total += size
            if chosen:
                self._append_chosen(name, groups, chosen, outcomes)
        return outcomes

    def read(self, name: str) -> list[Leased]:
        """The next triggers of a log that are not released, in order. Damaged records are skipped, counted and told.

        Raises:
            StorageFailed: the disk refused; the place is kept.
        """
        return self._leased(name, self._readers[name].read(_READ_FRAMES, _READ_BYTES))

    def peek(self, name: str) -> Iterator[list[Leased]]:
        """Every trigger of a log that is not released, oldest first, in parts, without moving its reader."""
        log = self._logs[name]
        reader = Reader(log, log.released.cursor)
        try:
            while items := reader.read(_READ_FRAMES, _READ_BYTES):
                yield self._leased(name, items)
        finally:
            reader.close()

    def release(self, name: str, seq: int, way: str) -> bool:
        """Release one trigger; kept with the next checkpoint. False if it was released before."""
        new = self._logs[name].release(seq, 1, way) > 0
        self._dirty = self._dirty or new
        return new

    def late(self, way: str) -> None:
        """A trigger that ended as `way` was settled after all: the account says so with the next checkpoint."""
        if any(log.recount(way, SETTLED) for log in self._logs.values()):
            self._dirty = True

    def move(self, leased: Leased, target: str, way: str, *, reason: str, code: int, attempts: int) -> None:
        """Move a trigger to another log: synced there, then released here as `way`. Nothing if it is released already.

        Raises:
            OutboxFull: events may not take more room, and it goes back to them.
            StorageFailed: it stays where it is.
        """
        log = self._logs[target]
        if leased.seq in self._logs[leased.log].released:
            return
        record = msgspec.structs.replace(leased.record, rules=(leased.rule,))
        moved = Moved(leased.log, leased.seq, record, reason, code, attempts, self._now_ms(), leased.boot)
        entry = Entry(Kind.MOVED, 1, msgspec.msgpack.encode(moved))
        if target != DEAD and not log.fits(frame_bytes(len(entry.payload))) and not self._room:
            raise OutboxFull(self.used_bytes, self._limits.max_bytes)
        self._append(target, [entry])
        self.release(leased.log, leased.seq, way)

    def checkpoint(self) -> None:
        """Keep what was released, synced, and remove segments that are done with. Does nothing if nothing changed.

        Raises:
            StorageFailed: what was released since the last checkpoint would be sent again after a crash.
        """
        if self._dirty:
            self._write_checkpoint()
        for log in self._logs.values():
            log.remove_settled()

    def close(self) -> None:
        """Keep everything and let go of the files.

        Raises:
            StorageFailed: as in `checkpoint`; the files are let go all the same.
        """
        try:
            self._dirty = True
            self.checkpoint()
        finally:
            for reader in self._readers.values():
                reader.close()
            for log in self._logs.values():
                log.close()
            self._cursor.close()

    def _new_log(self, name: str) -> Log:
        return Log(
            self._filesystem,
            self._directory / name,
            self._limits.segment_bytes,
            lambda number, seq, previous: SegmentHeader(
                self._new_salt(),
                number,
                seq,
                previous.number if previous is not None else 0,
                previous.valid_bytes if previous is not None else 0,
                self._now_ms(),
                self._boot,
            ),
            self._before_roll,
        )

    def _before_roll(self) -> None:
        self.recent.save(self._filesystem, self._directory / "recent", self._batch_number)
        self._write_checkpoint()

    def _write_checkpoint(self) -> None:
        logs = {name: log.state() for name, log in self._logs.items()}
        self._cursor.write(Checkpoint(self._generation + 1, logs, self._batch(self._batch_number)))
        self._generation += 1
        self._dirty = False

    def _append_chosen(
        self,
        name: str,
        groups: Sequence[Group],
        chosen: Sequence[tuple[int, list[Entry]]],
        outcomes: list[int | OutboxError],
    ) -> None:
        try:
            seq = self._append(name, [entry for _, entries in chosen for entry in entries])
        except StorageFailed as exc:
            for index, _ in chosen:
                outcomes[index] = exc
            return
        for index, entries in chosen:
            outcomes[index] = seq
            seq += sum(entry.count for entry in entries)
            self.events.stored += len(entries)
            self.events.received += len(entries)
            for record, (key, digest) in zip(groups[index].records, groups[index].keys, strict=True):
                self.recent.add(key, digest, delivery_of(record, digest))

    def _append(self, name: str, entries: Sequence[Entry]) -> int:
        seq = self._logs[name].append(entries, self._batch(self._batch_number + 1))
        self._batch_number += 1
        return seq

    def _batch(self, number: int) -> Batch:
        counts = self.events
        return Batch(
            number,
            0,
            counts.received,
            counts.stored,
            counts.duplicate,
            counts.filtered,
            counts.throttled,
            counts.refused,
            counts.conflict,
        )

    def _leased(self, name: str, items: Sequence[Frame | Damage]) -> list[Leased]:
        log = self._logs[name]
        result: list[Leased] = []
        for item in items:
            content = decode(item) if isinstance(item, Frame) else None
            if isinstance(item, Frame) and content is not None:
                result += self._triggers(name, log, item, *content)
                continue
            damage = item if isinstance(item, Damage) else Damage(item.seq, item.seq + item.count, None, 0, 0)
            self._dirty = release_damaged(name, log, damage) or self._dirty
        return result

    def _triggers(self, name: str, log: Log, frame: Frame, record: Record, moved: Moved | None) -> list[Leased]:
        if moved is not None:
            boot = moved.boot
        else:
            boot = self._boot if frame.seq >= self.reopened_seq[name] else self._boot_of(log, frame.seq)
        return [
            Leased(name, frame.seq + index, rule, record, boot, moved)
            for index, rule in enumerate(record.rules)
            if frame.seq + index not in log.released
        ]

    @staticmethod
    def _boot_of(log: Log, seq: int) -> bytes:
        return next((segment.header.boot for segment in reversed(log.segments) if segment.first_seq <= seq), b"")
