"""Opening the logs: reading the checkpoint and what was written after it, and repairing what a crash left.

A trigger moves by being appended to one log and synced, and only then released in the other. What a crash left in
between is completed here (`unfinished`). Moves are handled before damage, because a trigger that was moved away is not
lost with the bytes of its old record.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

import msgspec

from edgeagent.outbox.counting import later_logs
from edgeagent.outbox.cursor import Checkpoint, LogState
from edgeagent.outbox.frame import Batch, Frame, FrameKind, decode_batch
from edgeagent.outbox.log import Log
from edgeagent.outbox.losses import Losses
from edgeagent.outbox.memory import Memory
from edgeagent.outbox.reader import Damage, LogReader, numbered
from edgeagent.outbox.records import (
    COPY_LOGS,
    DAMAGED,
    EVENT_LOGS,
    EXPORTED,
    IMPORT,
    NORMAL,
    VOID,
    decode,
)
from edgeagent.outbox.segment_end import Recovered
from edgeagent.outbox.unfinished import Unfinished, gone_way
from edgeagent.ports.account import Account, EventCounts, event_problems

_READ_FRAMES = 256
_READ_BYTES = 1 << 20

_log = logging.getLogger(__name__)


def recover(logs: Mapping[str, Log], checkpoint: Checkpoint | None, memory: Memory, losses: Losses) -> Batch:
    """Open every log and apply what was written after the checkpoint; everything lost or cut is logged.

    Without a checkpoint all logs are read from end to end, and every trigger on disk is pending again.

    Returns:
        The newest counters in events, with the number of the last group commit.

    Raises:
        StorageFailed: the disk refuses to be read or written.
    """
    states = checkpoint.logs if checkpoint is not None else {}
    if IMPORT in states:
        logs[NORMAL].imported = states[IMPORT].next_seq - 1  # for any log: only the sum counts
    found = {name: log.recover(states.get(name), gone_way=gone_way(name)) for name, log in logs.items()}
    _report(found)
    for name, state in later_logs(checkpoint).items():
        _log.error(
            "the log %s is of a later version of edgeagent: %d triggers wait there until that version runs again",
            name,
            state.pending,
            extra={"event": "outbox_later_log", "log": name, "pending": state.pending},
        )
    if checkpoint is None and (memory.number or any(log.segments for log in logs.values())):
        _log.error(
            "the cursor file is lost: every trigger still on disk is sent again, and the account begins anew; "
            "whether newer triggers were lost is unknown",
            extra={"event": "outbox_cursor_lost"},
        )
    moves = Unfinished(logs, checkpoint=checkpoint is not None)
    damages = _scan(logs, states, found, moves)
    damages += [(name, damage, _known_seq(states, name)) for name, damage in moves.lost_origins()]
    moves.finish()
    for name, damage, known_seq in damages:
        release_damaged(name, logs[name], damage, losses, known_seq)
    for name in EVENT_LOGS:
        if found[name].open_end and not losses.end_in_file_aside(name, _first_missing(states, name, logs[name])):
            losses.report_open_end(name, logs[name].next_seq, found[name].open_end)
    for log in logs.values():
        log.secure_tail()
    memory.take_up((logs[name].boot_of(logs[name].next_seq), opened.frames) for name, opened in found.items())
    batches = [batch for opened in found.values() for batch in _last_batch(opened.frames)]
    newest = max([checkpoint.events, *batches] if checkpoint is not None else batches, key=_number, default=Batch(0, 0))
    return msgspec.structs.replace(newest, number=max(newest.number, memory.number))


def _scan(
    logs: Mapping[str, Log], states: Mapping[str, LogState], found: Mapping[str, Recovered], moves: Unfinished
) -> list[tuple[str, Damage, int]]:
    """Find the moves since the checkpoint; returns the damage: log, range, and the seq where the checkpoint ends."""
    damages: list[tuple[str, Damage, int]] = []
    first_seqs = {name: log.released.cursor for name, log in logs.items()}  # before moves release anything
    for name, log in logs.items():
        known_seq = _known_seq(states, name)
        items = found[name].frames if name in states else _everything(log, first_seqs[name])
        for number, item in numbered(chain(found[name].damages, items)):
            if isinstance(item, Damage):
                damages.append((name, item, known_seq))
            elif item.kind is FrameKind.MOVED and item.seq >= known_seq:
                content = decode(item)
                if content is None or content[1] is None:
                    damages.append((name, Damage(item.seq, item.seq + item.count, None, 0, 0), known_seq))
                else:
                    moves.found(number, name, item.seq, content[1])
    return damages


def release_damaged(name: str, log: Log, damage: Damage, losses: Losses, known_seq: int | None = None) -> bool:
    """Release and report damaged records; False if all of them were released before.

    `known_seq`: the checkpoint covers the log below it (all of it if None). A damaged copy beyond it is no loss,
    because its original was not released.
    """
    void_seq = damage.end_seq if name not in COPY_LOGS or known_seq is None else max(damage.first_seq, known_seq)
    void = log.release(void_seq, max(damage.end_seq - void_seq, 0), VOID)
    known = min(damage.end_seq, void_seq) - damage.first_seq
    missing = log.released.missing(damage.first_seq, known)
    aside = not damage.reason and losses.in_file_aside(name, damage)
    lost = log.release(damage.first_seq, known, EXPORTED if aside else DAMAGED)
    if lost and not aside:
        where = str(damage.segment.path) if damage.segment is not None else "a missing segment or record"
        reason = damage.reason or f"damaged records in {where}"
        losses.report(name, missing[0][0], missing[-1][1], lost, DAMAGED, reason)
        losses.quarantine(name, damage)
    if void:
        _log.warning(
            "%d copies that were being written are damaged; their triggers are still pending",
            void,
            extra={"event": "outbox_copy_damaged", "log": name, "first_seq": void_seq, "last_seq": damage.end_seq - 1},
        )
    return bool(lost or void)


def report_problems(logs: Mapping[str, Log], account: Account, events: EventCounts) -> None:
    """Log every discrepancy in the account; any is a defect of the program."""
    problems = [*event_problems(events), *account.problems()]
    for name, log in logs.items():
        if sum(log.ways.values()) != log.released.count():
            problems.append(f"log {name}: {log.released.count()} released, but {sum(log.ways.values())} accounted for")
    for problem in problems:
        _log.error("the account does not add up: %s", problem, extra={"event": "outbox_account_wrong"})


def _known_seq(states: Mapping[str, LogState], name: str) -> int:
    """The seq below which the checkpoint covers a log."""
    return states[name].next_seq if name in states else 1


def _first_missing(states: Mapping[str, LogState], name: str, log: Log) -> int:
    """The number of the first segment that may be missing at the end of a log, counting only those with records."""
    active_number = states[name].active_number if name in states else 0
    return max(active_number, log.segments[-1].number + 1 if log.segments else 1)


def _everything(log: Log, first_seq: int) -> Iterator[Frame | Damage]:
    reader = LogReader(log, first_seq)
    try:
        while items := reader.read(_READ_FRAMES, _READ_BYTES):
            yield from items
    finally:
        reader.close()


def _last_batch(frames: Sequence[Frame]) -> list[Batch]:
    """The last batch, its counters increased by the events stored after it; empty if there is no batch."""
    events = 0
    for frame in reversed(frames):
        if frame.kind is FrameKind.EVENT:
            events += 1
        elif frame.kind is FrameKind.BATCH and (batch := decode_batch(frame)) is not None:
            return [msgspec.structs.replace(batch, received=batch.received + events, stored=batch.stored + events)]
    return []


def _number(batch: Batch) -> int:
    return batch.number


def _report(found: Mapping[str, Recovered]) -> None:
    for name, opened in found.items():
        if opened.torn_bytes:
            _log.warning(
                "cut %d half-written bytes, as a power cut leaves them; no acknowledged event was in them, "
                "unless the disk lost data that it had synced, which cannot be detected",
                opened.torn_bytes,
                extra={"event": "outbox_tail_cut", "log": name, "bytes": opened.torn_bytes},
            )
        for path in opened.foreign:
            _log.warning(
                "%s is not a segment of this outbox; it is left alone",
                path,
                extra={"event": "outbox_foreign_file", "path": str(path)},
            )
