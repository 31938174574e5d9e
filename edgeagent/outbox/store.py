"""The store: the outbox's logs, cursor file and account behind blocking calls, for one thread.

Logs: `normal` and `high` take events; `dead` takes triggers that were given up, `parked` those that nobody answers,
`windows` those that stand for many. A trigger moves between logs by being appended to one and synced, and only then
released in the other; opening (`recovery`) finds what a crash left between the two by the origin that a moved record
names.

The order of a commit: releases in memory; frames written and synced (the callers are acknowledged after that); then,
if it is due, a checkpoint; then the removal of segments that the checkpoint settled.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec

from edgeagent.errors import DiskReadOnly, OutboxError, OutboxFull, StorageFailed
from edgeagent.outbox.counting import account_of, states_of
from edgeagent.outbox.cursor import Checkpoint, CursorFile
from edgeagent.outbox.deadletters import TOO_OLD, DeadLetters
from edgeagent.outbox.evidence import Evidence
from edgeagent.outbox.files import Filesystem
from edgeagent.outbox.frame import Batch, Frame, FrameKind
from edgeagent.outbox.group_append import store_groups
from edgeagent.outbox.leasing import triggers_of
from edgeagent.outbox.log import Entries, Log
from edgeagent.outbox.losses import Losses
from edgeagent.outbox.memory import Memory
from edgeagent.outbox.moves import moved_entries, parts_of, windows_of
from edgeagent.outbox.reader import Damage, LogReader
from edgeagent.outbox.records import (
    DEAD,
    DROPPED,
    EVENT_LOGS,
    EXPIRED,
    GATHERED,
    HIGH,
    LEASED_LOGS,
    LOGS,
    MERGED,
    NORMAL,
    PARKED,
    SETTLED,
    WINDOWS,
    Closing,
    Group,
    Leased,
    OutboxLimits,
)
from edgeagent.outbox.recovery import recover, release_damaged, tell_problems
from edgeagent.outbox.retention import Cut, release_expired, release_oldest
from edgeagent.outbox.segment import header_maker
from edgeagent.ports.account import Account, EventCounts

# What one read brings at most: it bounds what a lease holds in memory.
_READ_FRAMES = 256
_READ_BYTES = 1 << 20
_USUAL_BYTES = 4096


class Store:
    """See the module. `read_only`: why nothing that is done here is kept; None if it is."""

    read_only: DiskReadOnly | None = None

    def __init__(
        self,
        filesystem: Filesystem,
        directory: Path,
        limits: OutboxLimits,
        *,
        boot: bytes,
        new_salt: Callable[[], int],
        now_ms: Callable[[], int],
        remembered: frozenset[str] = frozenset(),
    ) -> None:
        """Open the outbox in a directory that the caller owns (`lock.state_lock`), and recover it.

        `remembered`: the rules whose last firings are wanted.

        Raises:
            StorageFailed: the disk refuses to be read or written.
        """
        self.limits = limits
        self.boot = boot
        self._now_ms = now_ms
        self.failures: dict[str, str] = {}  # what the disk refused last and has not taken since: a log, or "cursor"
        self._dirty = True  # what recovery finds is kept with the first checkpoint
        filesystem.make_directory(directory)
        self._memory = Memory(filesystem, directory, limits.dedupe_events, remembered)
        self.recent, self.firings = self._memory.recent, self._memory.firings
        new_header = header_maker(new_salt, now_ms, boot, limits.segment_bytes)
        self._logs = {
            name: Log(filesystem, directory / name, limits.segment_bytes, new_header, partial(self._before_roll, name))
            for name in LOGS
        }
        self._cursor, checkpoint = CursorFile.open(filesystem, directory / "cursor")
        self.losses = Losses(filesystem, directory / "quarantine", now_ms)
        newest = recover(self._logs, checkpoint, self._memory, self.losses)
        self._evidence = Evidence(self._logs)
        self._generation = checkpoint.generation if checkpoint is not None else 0
        self._batch_number = newest.number
        self.events = EventCounts(*(getattr(newest, field) for field in EventCounts.__struct_fields__))
        tell_problems(self._logs, self.account(), self.events)
        self._readers = {name: LogReader(self._logs[name], self._logs[name].released.cursor) for name in LEASED_LOGS}
        self.dead = DeadLetters(self._logs[DEAD], limits.dead, limits.segment_bytes, lambda: self.peek(DEAD))
        self.reopened_seq = {name: log.next_seq for name, log in self._logs.items()}

    @property
    def used_bytes(self) -> int:
        """What the segments of all logs take on disk."""
        return sum(log.used_bytes for log in self._logs.values())

    @property
    def accepting(self) -> bool:
        """Whether an event of usual size would be stored now."""
        return self.limits.drop_oldest or self._room or any(self._logs[name].fits(_USUAL_BYTES) for name in EVENT_LOGS)

    @property
    def _room(self) -> bool:
        """Whether another segment may be begun for events. One segment stays free for dead letters."""
        return self.used_bytes + 2 * self.limits.segment_bytes <= self.limits.max_bytes

    @property
    def bytes_per_trigger(self) -> float:
        """What a trigger takes on disk, in the log that takes most."""
        return max(self._logs[name].bytes_per_trigger for name in EVENT_LOGS)

    @property
    def parked(self) -> int:
        """How many of the pending triggers are parked."""
        return self._logs[PARKED].pending

    def account(self) -> Account:
        """The account as it is on disk and, for releases since the last checkpoint, in memory."""
        return account_of(self._logs)

    def append(self, groups: Sequence[Group]) -> list[int | OutboxError]:
        """Store groups; for each the seq of its first trigger, or why nothing of it is stored.

        Groups of one log share a sync as far as they fit one segment. Synced when it returns. Once there is no room
        for one, the later ones of its log are refused too, so that their order holds when they are tried again.
        """
        outcomes: dict[int, int | OutboxError] = {}
        for name in EVENT_LOGS:
            mine = [index for index, group in enumerate(groups) if group.log == name]
            if mine:
                store_groups(self, name, groups, mine, outcomes)
        self._keep_evidence()
        if len(outcomes) < len(groups):
            full = OutboxFull(self.used_bytes, self.limits.max_bytes)
            return [outcomes.get(index, full) for index in range(len(groups))]
        return [outcomes[index] for index in range(len(groups))]

    def read(self, name: str) -> list[Leased]:
        """The next triggers of a log that are not released, in order. Damaged records are skipped, counted and told.

        Raises:
            StorageFailed: the disk refused; the place is kept.
        """
        return self._leased(name, self._readers[name].read(_READ_FRAMES, _READ_BYTES))

    def peek(self, name: str, seq: int = 0) -> Generator[list[Leased], None, None]:
        """Every trigger of a log that is not released, from `seq` on, in parts, without moving its reader."""
        log = self._logs[name]
        reader = LogReader(log, max(log.released.cursor, seq))
        try:
            while items := reader.read(_READ_FRAMES, _READ_BYTES):
                yield self._leased(name, items)
        finally:
            reader.close()

    def rewind(self, name: str, seq: int = 0) -> None:
        """Read a log on from `seq` or its first trigger that is not released: what was leased there is leased again."""
        self._readers[name].close()
        self._readers[name] = LogReader(self._logs[name], max(self._logs[name].released.cursor, seq))

    def release(self, name: str, seq: int, way: str, count: int = 1) -> bool:
        """Release triggers from a seq on; kept with the next checkpoint. False if all were released before."""
        new = self._logs[name].release(seq, count, way) > 0
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
            DeadLettersFull: it goes to the dead letters, which have no place.
            StorageFailed: it stays where it is.
        """
        if leased.seq in self._logs[leased.log].released:
            return
        entries = moved_entries(leased, reason, code, attempts, self._now_ms())
        if target == DEAD:
            self.dead.make_room(entries.room, self._now_ms(), self._lose_dead)
        if target in EVENT_LOGS and not self._logs[target].fits(entries.room) and not self._room:
            raise OutboxFull(self.used_bytes, self.limits.max_bytes)
        with self.dead.moving(leased):  # a segment may be begun for it, and then what is too old expires
            self.commit(target, entries)
        self.release(leased.log, leased.seq, way)
        self._keep_evidence()

    def gather(self, closings: Sequence[Closing]) -> None:
        """Make the triggers of each window one in the log `windows`: synced there, then released where they were.

        A trigger that is released already is in no window. So the same call again, after a failure, does the rest.
        `max_bytes` is not heeded, as for what is parked: nothing is gathered but what is out of the logs of events.

        Raises:
            RecordTooLarge: a window fits no segment; nothing was done.
            StorageFailed: the triggers of some windows, or of all, are where they were.
        """
        moves = windows_of(closings, lambda leased: leased.seq in self._logs[leased.log].released, self._now_ms())
        for part in list(parts_of(moves, self._logs[WINDOWS].capacity)):
            self.commit(WINDOWS, part.entries)
            for moved in part.moves:
                self.release(moved.origin, moved.origin_seq, GATHERED)
                for name, seq in moved.merged:
                    self.release(name, seq, MERGED)

    def log(self, name: str) -> Log:
        """One of the logs, to look at."""
        return self._logs[name]

    def hand_out(self, next_seqs: Mapping[str, int]) -> None:
        """What is below these seqs of the logs was handed out, by `read` or without it."""
        for name, seq in next_seqs.items():
            if seq > self._readers[name].seq:
                self._readers[name].skip_to(seq)

    def ends(self) -> dict[str, int]:
        """The seq that comes next in each log of events."""
        return {name: self._logs[name].next_seq for name in EVENT_LOGS}

    def leased_seq(self, name: str) -> int:
        """Triggers of a log below this seq were handed out by `read`."""
        return self._readers[name].seq if name in self._readers else 1

    def take_in(self, name: str, entries: Entries) -> None:
        """Store triggers (each a `Moved`) that came from another outbox, in a log of events. Synced when it returns.

        Raises:
            OutboxFull, StorageFailed: none of them is stored.
        """
        log = self._logs[name]
        if not log.fits(entries.room) and not self.make_room():
            raise OutboxFull(self.used_bytes, self.limits.max_bytes)
        self.commit(name, entries)
        log.imported += len(entries.payloads)
        self._keep_evidence()

    def commit(self, name: str, entries: Entries) -> int:
        """Write frames to a log and sync; returns the seq of the first trigger.

        Raises:
            StorageFailed: nothing of them is stored.
        """
        number = self._batch_number + 1
        try:
            seq = self._logs[name].append(entries, self._batch(number))
        except StorageFailed:
            self._evidence.changed(name)
            raise
        finally:
            self._batch_number = number  # also of what failed: it may be on the disk all the same
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
        for name in (NORMAL, HIGH):
            while not self._room and self.limits.drop_oldest:
                cut = release_oldest(self._logs[name], self._readers[name], DROPPED)
                if cut is None:
                    break
                self._cut(name, cut, DROPPED, "the outbox is full (outbox.when_full)")
                try:
                    self._write_checkpoint()
                    self._logs[name].remove_released()
                except StorageFailed:
                    return False
        return self._room

    def checkpoint(self) -> None:
        """Keep what was released, synced, and remove segments that are done with. Does nothing if nothing changed.

        Raises:
            StorageFailed: what was released since the last checkpoint would be sent again after a crash.
        """
        try:
            if self._dirty or self._evidence.outlived():
                self._write_checkpoint()
            for log in self._logs.values():
                log.remove_settled(lambda: self._memory.may_forget(self._batch_number))
        except StorageFailed as exc:
            self.failures["cursor"] = str(exc)
            raise
        self.failures.pop("cursor", None)

    def probe(self) -> None:
        """See whether the disk takes again what it refused: do what the next append needs, without an event.

        Raises:
            StorageFailed: it does not.
        """
        self.checkpoint()  # which may make room
        for name in EVENT_LOGS:
            if name in self.failures:
                if self._room:
                    self._logs[name].prepare()
                del self.failures[name]

    def close(self) -> None:
        """Keep everything and let go of the files.

        Raises:
            StorageFailed: as in `checkpoint`; the files are let go all the same.
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

    def _expire_old(self) -> None:
        """What nobody could take for `max_age` expires, by whole segments, even while the uplink is away."""
        now_ms = self._now_ms()
        for name, cut in release_expired(self._logs, self._readers, now_ms, self.limits.max_age_ms):
            self._cut(name, cut, EXPIRED, "older than outbox.max_age")
        if (older := self.dead.cut_older(now_ms)) is not None:
            self._cut(DEAD, older, EXPIRED, TOO_OLD)

    def _lose_dead(self, cut: Cut, way: str, reason: str) -> None:
        self._cut(DEAD, cut, way, reason)
        self._write_checkpoint()
        self._logs[DEAD].remove_settled(lambda: self._memory.may_forget(self._batch_number))
        self._logs[DEAD].remove_released()

    def _cut(self, name: str, cut: Cut, way: str, reason: str) -> None:
        self._dirty = True
        if cut.released:
            self.losses.tell(name, cut.first_seq, cut.end_seq, cut.released, way, reason)

    def _before_roll(self, name: str) -> None:
        self._expire_old()
        self._memory.save(self._batch_number)
        if self._evidence.needed(name):
            self._write_checkpoint()

    def _keep_evidence(self) -> None:
        """Say with a checkpoint that a new segment has records. They are acknowledged even if that fails."""
        if self._evidence.missing():
            try:
                self._write_checkpoint()
            except StorageFailed as exc:
                self._dirty = True
                self.failures["cursor"] = str(exc)

    def _write_checkpoint(self) -> None:
        logs = states_of(self._logs)
        self._cursor.write(Checkpoint(self._generation + 1, logs, self._batch(self._batch_number)))
        self._generation += 1
        self._dirty = False
        self._evidence.kept(logs)

    def _batch(self, number: int) -> Batch:
        return Batch(number, 0, *msgspec.structs.astuple(self.events))

    def _leased(self, name: str, items: Sequence[Frame | Damage]) -> list[Leased]:
        log = self._logs[name]

        def damaged(damage: Damage) -> None:
            self._dirty = release_damaged(name, log, damage, self.losses) or self._dirty

        ours = self.reopened_seq[name]
        return list(triggers_of(name, log, items, lambda seq: self.boot if seq >= ours else log.boot_of(seq), damaged))
