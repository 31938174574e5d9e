"""The store: the outbox's logs, cursor file and account behind blocking calls, for one thread.

Logs: `normal` and `high` receive events; `dead` those triggers that were given up, `parked` those that nobody answers,
`windows` those that stand for many, `limited` those that wait for a rule's rate. A trigger moves between logs by being
appended to one and synced, and only then released in the other; opening (`recovery`) completes what a crash left, by
the origin that a moved record names.

The order of a commit: releases in memory; frames written and synced (the callers are acknowledged after that); then, if
it is due, a checkpoint; then the removal of segments whose records the checkpoint has as released.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from edgeagent.common.elapsed import Instant
from edgeagent.errors import DiskReadOnly, OutboxError, OutboxFull, StorageFailed
from edgeagent.events.event import Record
from edgeagent.outbox.counting import account_of, batch_of, later_logs, states_of
from edgeagent.outbox.cursor import Checkpoint, CursorFile
from edgeagent.outbox.cuts import Cuts
from edgeagent.outbox.deadletters import DeadLetters
from edgeagent.outbox.evidence import Evidence
from edgeagent.outbox.files import Filesystem
from edgeagent.outbox.frame import Frame, FrameKind
from edgeagent.outbox.group_append import store_groups
from edgeagent.outbox.leasing import boots_of, triggers_of
from edgeagent.outbox.log import Entries, Log
from edgeagent.outbox.losses import Losses
from edgeagent.outbox.memory import Memory
from edgeagent.outbox.moves import MovedPart, moved_entries, parts_of, windows_of
from edgeagent.outbox.reader import Damage, LogReader
from edgeagent.outbox.records import (
    DEAD,
    EVENT_LOGS,
    GATHERED,
    LEASED_LOGS,
    LOGS,
    MERGED,
    PARKED,
    SETTLED,
    SPOOL,
    WINDOWS,
    Closing,
    Group,
    Leased,
    OutboxLimits,
)
from edgeagent.outbox.recovery import recover, release_damaged, report_problems
from edgeagent.outbox.segment import header_maker, unknown_uptime
from edgeagent.outbox.spooled import lacking, note, opened_spool
from edgeagent.ports.account import Account, EventCounts

# The limits of one read: they bound what a lease holds in memory.
_READ_FRAMES = 256
_READ_BYTES = 1 << 20
_USUAL_BYTES = 4096


class Store:
    """Owns an outbox's logs, cursor file and account; it reports nothing stored and releases nothing moved unsynced."""

    read_only: DiskReadOnly | None = None  # why no change is kept on disk; None if changes are

    def __init__(
        self,
        filesystem: Filesystem,
        directory: Path,
        limits: OutboxLimits,
        *,
        boot: bytes,
        new_salt: Callable[[], int],
        now_ms: Callable[[], int],
        uptime_ms: Callable[[], int] = unknown_uptime,
        remembered: frozenset[str] = frozenset(),
    ) -> None:
        """Open the outbox in a directory that the caller owns (`lock.state_lock`), and recover it.

        `remembered`: the rules whose last firings are kept.

        Raises:
            StorageFailed: the disk refuses to be read or written.
        """
        self.limits, self.boot = limits, boot
        self.failures: dict[str, str] = {}  # by log, or "cursor": the last write refused and not yet accepted
        self._dirty = True  # the first checkpoint records what recovery finds
        self.unnoted = self.lacks_evidence = False  # the end of some is noted nowhere; evidence waits for that
        filesystem.make_directory(directory)
        self.spool = opened_spool(filesystem, directory / SPOOL) if limits.spool else None
        self._memory = Memory(filesystem, directory, limits.dedupe_events, remembered)
        self.recent, self.firings, self.rates = self._memory.recent, self._memory.firings, self._memory.rates
        self._now: Callable[[], Instant] = lambda: Instant(now_ms(), uptime_ms(), boot)
        new_header = header_maker(new_salt, self._now, limits.segment_bytes)
        self._logs = {
            name: Log(filesystem, directory / name, limits.segment_bytes, new_header, partial(self._before_roll, name))
            for name in LOGS
        }
        self._cursor, checkpoint = CursorFile.open(filesystem, directory / "cursor")
        self.losses = Losses(filesystem, directory / "quarantine", now_ms)
        self.later = later_logs(checkpoint)
        newest = recover(self._logs, checkpoint, self._memory, self.losses)
        self._evidence, self._batch_number = Evidence(self._logs), newest.number
        self._generation = checkpoint.generation if checkpoint is not None else 0
        self.events = EventCounts(*(getattr(newest, field) for field in EventCounts.__struct_fields__))
        report_problems(self._logs, self.account(), self.events)
        self._readers = {name: LogReader(self._logs[name], self._logs[name].released.cursor) for name in LEASED_LOGS}
        self.dead = DeadLetters(self._logs[DEAD], limits.dead, limits.segment_bytes, lambda: self.peek(DEAD))
        self._cuts = Cuts(
            self._logs,
            self._readers,
            self.dead,
            limits,
            self.losses,
            self._now,
            keep=self._write_checkpoint,
            changed=self._changed,
            may_forget=lambda: self._memory.may_forget(self._batch_number),
        )
        self.reopened_seq = {name: log.next_seq for name, log in self._logs.items()}

    @property
    def log_bytes(self) -> int:
        """The size of all logs' segments on disk."""
        return sum(log.used_bytes for log in self._logs.values())

    @property
    def used_bytes(self) -> int:
        """The same, and what the spool counts for."""
        return self.log_bytes + (self.spool.used_bytes if self.spool is not None else 0)

    @property
    def accepting(self) -> bool:
        """Whether an event of usual size would be stored now."""
        return self.limits.drop_oldest or self._room or any(self._logs[name].fits(_USUAL_BYTES) for name in EVENT_LOGS)

    @property
    def _room(self) -> bool:
        """Whether another segment may be begun for events. One segment is reserved for dead letters."""
        return self.used_bytes + 2 * self.limits.segment_bytes <= self.limits.max_bytes

    @property
    def bytes_per_trigger(self) -> float:
        """The average size of a trigger on disk, in the log where it is largest; in bytes."""
        return max(self._logs[name].bytes_per_trigger for name in EVENT_LOGS)

    @property
    def parked(self) -> int:
        """How many of the pending triggers are parked."""
        return self._logs[PARKED].pending

    def account(self) -> Account:
        """The account as it is on disk, with the releases since the last checkpoint."""
        return account_of(self._logs, self.later)

    def append(self, groups: Sequence[Group]) -> list[int | OutboxError]:
        """Store groups; returns for each the seq of its first trigger, or why none of it is stored.

        Groups of one log share a sync if they fit one segment. All are synced when this returns. Once one finds no
        room, the later ones of its log are refused too, so that their order holds when they are tried again.
        """
        outcomes: dict[int, int | OutboxError] = {}
        for name in EVENT_LOGS:
            indexes = [index for index, group in enumerate(groups) if group.log == name]
            if indexes:
                store_groups(self, name, groups, indexes, outcomes)
        self._keep_evidence()
        if len(outcomes) < len(groups):
            full = OutboxFull(self.used_bytes, self.limits.max_bytes)
            return [outcomes.get(index, full) for index in range(len(groups))]
        return [outcomes[index] for index in range(len(groups))]

    def read(self, name: str) -> list[Leased]:
        """The next unreleased triggers of a log, in order. Damaged records are skipped, counted and reported.

        Raises:
            StorageFailed: the disk refused; the position is unchanged.
        """
        return self._leased(name, self._readers[name].read(_READ_FRAMES, _READ_BYTES))

    def peek(self, name: str, seq: int = 0) -> Generator[list[Leased], None, None]:
        """Every unreleased trigger of a log, from `seq` on, in parts, without moving the log's reader."""
        log = self._logs[name]
        reader = LogReader(log, max(log.released.cursor, seq))
        try:
            while items := reader.read(_READ_FRAMES, _READ_BYTES):
                yield self._leased(name, items)
        finally:
            reader.close()

    def rewind(self, name: str, seq: int = 0) -> None:
        """Read a log from `seq` or its first unreleased trigger: what was leased there is leased again."""
        self._readers[name].close()
        self._readers[name] = LogReader(self._logs[name], max(self._logs[name].released.cursor, seq))

    def release(self, name: str, seq: int, way: str, count: int = 1) -> bool:
        """Release triggers from a seq on; kept with the next checkpoint. False if all were released before."""
        new = self._logs[name].release(seq, count, way) > 0
        self._dirty = self._dirty or new
        return new

    def late(self, way: str) -> None:
        """Correct the account, with the next checkpoint: a trigger that ended as `way` was settled after all."""
        if any(log.recount(way, SETTLED) for log in self._logs.values()):
            self._dirty = True

    def move(self, leased: Leased, target: str, way: str, *, reason: str, code: int, attempts: int) -> None:
        """Move a trigger to another log, synced, then release it in its own as `way`. No effect if already released.

        Raises:
            OutboxFull: it returns to the events, which may not take more space.
            DeadLettersFull: the dead letters have no room for it.
            StorageFailed: it stays in its own log.
        """
        if leased.seq in self._logs[leased.log].released:
            return
        entries = moved_entries(leased, reason, code, attempts, self._now().wall_ms)
        if target == DEAD:
            self.dead.make_room(entries.room, self._now(), self._cuts.drop_dead)
        if target in EVENT_LOGS and not self._logs[target].fits(entries.room) and not self._room:
            raise OutboxFull(self.used_bytes, self.limits.max_bytes)
        with self.dead.moving(leased):  # a segment may be begun for it, which expires what is too old
            seq = self.commit(target, entries)
        self.refer(target, seq, [(leased.record, 1)])
        self.release(leased.log, leased.seq, way)
        self._keep_evidence()

    def gather(self, closings: Sequence[Closing]) -> None:
        """Merge the triggers of each window into one in the log `windows`: synced there, then released in their own.

        A trigger that is already released joins no window. So the same call after a failure does the rest. `max_bytes`
        does not apply, as for parked triggers: all that is gathered leaves the logs of events.

        Raises:
            RecordTooLarge: a window fits no segment; nothing was done.
            StorageFailed: the triggers of some windows, or of all, are still in their own logs.
        """
        moves = windows_of(closings, lambda leased: leased.seq in self._logs[leased.log].released, self._now().wall_ms)
        for part in list(parts_of(moves, self._logs[WINDOWS].capacity)):
            self.commit(WINDOWS, part.entries)
            for moved in part.moves:
                self.release(moved.origin, moved.origin_seq, GATHERED)
                for name, seq in moved.merged:
                    self.release(name, seq, MERGED)

    def log(self, name: str) -> Log:
        """The log of this name, for reading."""
        return self._logs[name]

    def hand_out(self, next_seqs: Mapping[str, int]) -> None:
        """Record that everything below these seqs of the logs was handed out, by `read` or from memory."""
        for name, seq in next_seqs.items():
            if seq > self._readers[name].seq:
                self._readers[name].skip_to(seq)

    def ends(self) -> dict[str, int]:
        """The next seq of each log of events."""
        return {name: self._logs[name].next_seq for name in EVENT_LOGS}

    def leased_seq(self, name: str) -> int:
        """The seq below which a log's triggers were handed out by `read`."""
        return self._readers[name].seq if name in self._readers else 1

    def refer(self, name: str, seq: int, records: Iterable[tuple[Record, int]]) -> None:
        """Note that these records, stored from `seq` on with so many triggers each, need their files of the spool."""
        if self.spool is not None:
            note(self.spool, name, seq, records)

    def take_in(self, name: str, part: MovedPart) -> None:
        """Store triggers from another outbox in a log of events. They are synced when this returns.

        Raises:
            OutboxFull, StorageFailed: none of them is stored.
        """
        log = self._logs[name]
        if not log.fits(part.entries.room) and not self.make_room():
            raise OutboxFull(self.used_bytes, self.limits.max_bytes)
        seq = self.commit(name, part.entries)
        self.refer(name, seq, [(moved.record, 1) for moved in part.moves])
        log.imported += len(part.moves)
        self._keep_evidence()

    def commit(self, name: str, entries: Entries) -> int:
        """Write frames to a log and sync; returns the seq of the first trigger.

        Raises:
            StorageFailed: none of them is stored.
        """
        number = self._batch_number + 1
        try:
            seq = self._logs[name].append(entries, batch_of(number, self.events))
        except StorageFailed:
            self._evidence.changed(name)
            raise
        finally:
            self._batch_number = number  # even if it failed: it may be on the disk all the same
        if FrameKind.MOVED in entries.kinds:
            self._evidence.changed(name)
        return seq

    def stored(self, groups: Sequence[Group]) -> None:
        """Count and remember groups that were committed."""
        count = sum([len(group.keys) for group in groups])
        self.events.stored += count
        self.events.received += count
        self._memory.stored(groups, self.boot)

    def make_room(self) -> bool:
        """Whether another segment may be begun for events; drops the oldest triggers for it if that is the policy."""
        return self._cuts.make_room(lambda: self._room)

    def checkpoint(self) -> None:
        """Write what was released, synced, and remove segments no longer needed. Does nothing if nothing changed.

        Raises:
            StorageFailed: a crash would forget the releases since the last checkpoint, and send those triggers again.
        """
        try:
            if self._dirty or self.rates.changed or self._evidence.outlived():
                self._write_checkpoint()
            for log in self._logs.values():
                log.remove_front(lambda: self._memory.may_forget(self._batch_number))
        except StorageFailed as exc:
            self.failures["cursor"] = str(exc)
            raise
        self.failures.pop("cursor", None)

    def probe(self) -> None:
        """Try whether the disk accepts again what it refused: do what the next append needs, without an event.

        Raises:
            StorageFailed: it still refuses.
        """
        self.checkpoint()  # which may make room
        for name in EVENT_LOGS:
            if name in self.failures:
                if self._room:
                    self._logs[name].prepare()
                del self.failures[name]

    def close(self) -> None:
        """Write everything, and close the files.

        Raises:
            StorageFailed: as in `checkpoint`; the files are closed all the same.
        """
        for log in self._logs.values():
            log.seal()
        try:
            self._dirty = True
            self.checkpoint()
        finally:
            for reader in self._readers.values():
                reader.close()
            for log in self._logs.values():
                log.close()
            self._cursor.close()

    def _changed(self) -> None:
        self._dirty = True

    def _before_roll(self, name: str) -> None:
        self._cuts.expire_old()
        self._memory.save(self._batch_number)
        if self._evidence.needed(name):
            self._write_checkpoint()

    def _keep_evidence(self) -> None:
        """Write a checkpoint that a new segment has records. These are acknowledged even if it fails or must wait."""
        self.lacks_evidence = self._evidence.missing()
        if self.lacks_evidence and not self.unnoted:
            try:
                self._write_checkpoint()
            except StorageFailed as exc:
                self._dirty = True
                self.failures["cursor"] = str(exc)

    def _write_checkpoint(self) -> None:
        logs = states_of(self._logs, self.later)
        self.rates.save()
        self._cursor.write(Checkpoint(self._generation + 1, logs, batch_of(self._batch_number, self.events)))
        self._generation, self._dirty, self.lacks_evidence = self._generation + 1, False, False
        self._evidence.kept(logs)
        if self.spool is not None and not self.later:
            self.spool.sweep(lambda name, first, end: not self._logs[name].released.missing(first, end - first))

    def _leased(self, name: str, items: Sequence[Frame | Damage]) -> list[Leased]:
        log = self._logs[name]

        def damaged(damage: Damage) -> None:
            self._dirty = release_damaged(name, log, damage, self.losses) or self._dirty

        spool, boot_of = self.spool, boots_of(log, self.reopened_seq[name], self.boot)
        return list(triggers_of(name, log, items, boot_of, damaged, lambda artifact: lacking(spool, artifact)))
