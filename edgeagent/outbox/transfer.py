"""Moves triggers between outboxes: pages of waiting triggers, the release of exported ones, and the import.

An export reads pages, writes them to a file, syncs it, and only then releases the triggers here; the release is in a
checkpoint before it returns. An import is synced before it returns. A crash in between leaves a trigger in both
outboxes and never in none. It has the same name in both, so it starts one workflow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgeagent.errors import MessageError, NotFound, OutboxFull
from edgeagent.events.artifact import Artifact
from edgeagent.outbox.keeping import must_keep
from edgeagent.outbox.moves import parts_of
from edgeagent.outbox.records import (
    EVENT_LOGS,
    EXPORTED,
    HIGH,
    IMPORT,
    LEASED_LOGS,
    LIMITED,
    NORMAL,
    Leased,
    Moved,
    import_key,
    import_marks,
)
from edgeagent.outbox.spooled import lacking
from edgeagent.outbox.store import Store
from edgeagent.ports.operator import (
    DATA_PIECE_BYTES,
    DataPart,
    DataPiece,
    DataPlace,
    DataTaken,
    Imported,
    Waiting,
    WaitingPage,
)
from edgeagent.ports.transfer import ExportedTrigger, exported_trigger, imported_record

# A page ends after about this much data, so that it fits a response and does not hold up a running agent's commits.
_PAGE_BYTES = 1 << 20


def waiting_page(store: Store, name: str, seq: int, limit: int) -> WaitingPage:
    """Unreleased triggers of a log, oldest first, from `seq` on, at most `limit`.

    Raises:
        StorageFailed: the disk refuses to be read.
    """
    found: list[Waiting] = []
    size = 0
    leased_seq = store.leased_seq(name)
    for part in store.peek(name, seq):
        for leased in part:
            if len(found) == limit or size > _PAGE_BYTES:
                return WaitingPage(name, store.log(name).pending, found, leased.seq)
            found.append(waiting(leased, leased_seq))
            size += len(leased.record.data)
    return WaitingPage(name, store.log(name).pending, found, None)


def waiting(leased: Leased, leased_seq: int) -> Waiting:
    """A trigger as an operator sees it. `leased_seq`: the triggers below it were handed out to be sent."""
    log = HIGH if leased.log == LIMITED and leased.is_high else leased.log
    trigger = exported_trigger(leased.record, leased.rule, log)
    reason = leased.moved.reason if leased.moved is not None and leased.moved.origin != IMPORT else ""
    in_flight, size = leased.seq < leased_seq, len(leased.record.data)
    return Waiting(leased.seq, leased.log, trigger.correlation_id, in_flight, size, reason, trigger)


def data_piece(store: Store, place: DataPlace) -> DataPiece:
    """A piece of the data of an artifact.

    Raises:
        NotFound: it is not there, or not any more.
        StorageFailed: the disk refuses to be read.
    """
    if store.spool is None:
        raise NotFound(place.sha256, "this outbox has no large data")
    return DataPiece(*store.spool.piece(place.sha256, place.offset, DATA_PIECE_BYTES))


def take_data(store: Store, part: DataPart) -> DataTaken:
    """Take a piece of the data of an artifact in, before the triggers that need it.

    Raises:
        MessageError: it cannot be taken, now or ever.
        OutboxFull, SpoolFull, StorageFailed: try again later.
    """
    must_keep(store)
    if store.spool is None:
        raise MessageError("data", "", "this agent takes no large data: configure [artifacts]")
    if store.used_bytes + part.size - part.offset > store.limits.max_bytes:
        raise OutboxFull(store.used_bytes, store.limits.max_bytes)
    return DataTaken(store.spool.take_piece(Artifact(part.sha256, part.size), part.offset, part.data))


def release_exported(store: Store, ranges: Mapping[str, Sequence[tuple[int, int]]]) -> int:
    """Release the triggers that an export file holds, each range with its end excluded; synced when it returns.

    Triggers handed out to be sent in the meantime are kept, and are sent from here too, under the same name. Returns
    how many were released.

    Raises:
        StorageFailed: they may still be sent from here as well.
    """
    must_keep(store)
    count = 0
    for name in LEASED_LOGS:
        log, leased_seq = store.log(name), store.leased_seq(name)
        for first_seq, end_seq in ranges.get(name, ()):
            start, end = max(first_seq, leased_seq), min(end_seq, log.next_seq)
            for missing_start, missing_end in log.released.missing(start, max(end - start, 0)):
                count += sum(store.release(name, seq, EXPORTED) for seq in range(missing_start, missing_end))
    store.checkpoint()
    return count


def take_in(store: Store, digest: str, first_number: int, triggers: Sequence[ExportedTrigger], now_ms: int) -> Imported:
    """Store triggers of the export file with this digest, numbered from `first_number` on (the file's first is 1).

    Those imported before from the same file are left out, as far back as `outbox.dedupe_events` reaches. Synced when it
    returns. If it raises, some of them may be stored; the same call again leaves those out.

    Raises:
        MessageError, RecordTooLarge: one of them can never be stored.
        OutboxFull, StorageFailed: try again later.
    """
    entries = store.recent.keys()
    known = {key for key, _ in entries}
    new: dict[str, list[Moved]] = {name: [] for name in EVENT_LOGS}
    for number, trigger in enumerate(triggers, first_number):
        if import_key(digest, number) not in known:
            if trigger.artifact is not None and (reason := lacking(store.spool, trigger.artifact)):
                raise MessageError("trigger", "artifact", reason)
            moved = Moved(IMPORT, number, imported_record(trigger), digest, 0, 0, now_ms, b"")
            new[HIGH if trigger.log == HIGH else NORMAL].append(moved)
        elif trigger.artifact is not None and store.spool is not None:
            store.spool.imported(trigger.artifact)
    stored = 0
    for name, moves in new.items():
        for part in parts_of(moves, store.log(name).capacity):
            store.take_in(name, part)
            for moved in part.moves:
                store.recent.add(*import_marks(moved), None)
                if moved.record.artifact is not None and store.spool is not None:
                    store.spool.imported(moved.record.artifact)
            stored += len(part.moves)
    return Imported(stored, len(triggers) - stored)
