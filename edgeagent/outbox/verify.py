"""Reading an outbox from end to end: what is good, what is damaged, and whether everything is consistent.

Nothing is changed. A log is read in parts, so that a running agent commits in between; the caller combines the parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgeagent.common.plural import counted
from edgeagent.errors import StorageFailed
from edgeagent.events.artifact import Artifact
from edgeagent.outbox.cursor import read_slots
from edgeagent.outbox.files import File, Filesystem
from edgeagent.outbox.frame import Frame
from edgeagent.outbox.log import Log
from edgeagent.outbox.overlay import open_read_only
from edgeagent.outbox.reader import Damage, LogReader
from edgeagent.outbox.records import LOGS, Loss, decode
from edgeagent.outbox.segment import Segment
from edgeagent.outbox.spooled import lacking
from edgeagent.outbox.store import Store
from edgeagent.ports.account import event_problems
from edgeagent.ports.verification import DamagedRange, LogExtent, Overview, SpoolExtent, TornTail, VerifiedPart

# The limits of one part: they bound how long a running agent's commits wait.
_PART_FRAMES = 2000
_PART_BYTES = 2 << 20


def overview(store: Store, filesystem: Filesystem, directory: Path) -> Overview:
    """The findings available before any log is read, for a store on this filesystem in this directory."""
    logs = {name: store.log(name) for name in LOGS}
    account = store.account()
    generations = _generations(directory / "cursor")
    good = [number for number in generations if number is not None]
    if good:
        cursor = f"checkpoint {max(good)}, in {len(good)} of 2 slots"
    else:
        cursor = "no good slot: every trigger still on disk would be sent again, and the account begins anew"
    used = any(log.segments or log.next_seq > 1 for log in logs.values())
    return Overview(
        cursor=cursor,
        cursor_good=bool(good) or not used,
        torn=tuple(_torn(logs)),
        foreign=tuple(_foreign(filesystem, directory, logs)),
        lost=tuple(map(_lost, store.losses.last)),
        account=account,
        problems=(*account.problems(), *event_problems(store.events)),
        logs={name: LogExtent(_first_seq(log), log.next_seq, log.pending) for name, log in logs.items()},
        read_only=str(store.read_only or ""),
        dead=store.dead.health(),
        spool=_spool(store),
    )


def verify_part(store: Store, name: str, seq: int) -> VerifiedPart:
    """Continue verifying a log at `seq`.

    Raises:
        StorageFailed: the disk refuses to be read.
    """
    log = store.log(name)
    records = triggers = 0
    damaged: list[DamagedRange] = []
    artifacts: list[Artifact] = []
    reader = LogReader(log, max(seq, _first_seq(log)))
    try:
        items = reader.read(_PART_FRAMES, _PART_BYTES)
    finally:
        reader.close()
    if not items and reader.seq < log.next_seq:  # the end is gone
        items = [Damage(reader.seq, log.next_seq, None, 0, 0)]
        reader.seq = log.next_seq
    for item in items:
        content = decode(item) if isinstance(item, Frame) else None
        if isinstance(item, Frame) and content is not None:
            records += 1
            triggers += item.count
            artifact, missing = content[0].artifact, log.released.missing(item.seq, item.count)
            if artifact is not None and missing:
                if reason := lacking(store.spool, artifact):
                    pending = sum(end - start for start, end in missing)
                    last_seq = item.seq + item.count - 1
                    damaged.append(DamagedRange(name, item.seq, last_seq, pending, "", 0, 0, reason))
                else:
                    artifacts.append(artifact)
            continue
        found = _range(log, name, item)
        if found.pending or found.file:  # whole segments are removed once all their records are released
            damaged.append(found)
    next_seq = reader.seq if reader.seq < log.next_seq else None
    return VerifiedPart(records, triggers, tuple(damaged), next_seq, tuple(artifacts))


def _spool(store: Store) -> SpoolExtent | None:
    if store.spool is None:
        return None
    figures = store.spool.figures()
    return SpoolExtent(*figures, store.spool.orphans() if store.spool.is_complete else None)


def _lost(loss: Loss) -> str:
    if loss.last_seq is None:
        what = f"everything stored from seq {loss.first_seq} on is lost; how much that was, if anything, is unknown"
        return f"log {loss.log}: {what}: {loss.reason}"
    seqs = f"seq {loss.first_seq} to {loss.last_seq}"
    return f"log {loss.log}: {counted(loss.count, 'trigger is', 'triggers are')} lost, {seqs}: {loss.reason}"


def _range(log: Log, name: str, item: Frame | Damage) -> DamagedRange:
    """The report of a damaged range, or of a frame whose bytes are good but hold no record of this format."""
    if isinstance(item, Frame):
        damage = Damage(item.seq, item.seq + item.count, _segment_of(log, item.seq), item.offset, item.end)
    else:
        damage = item
    missing = log.released.missing(damage.first_seq, damage.end_seq - damage.first_seq)
    pending = sum(end - start for start, end in missing)
    last_seq = damage.end_seq - 1
    if damage.segment is None or _is_gone(log, damage, damage.segment):
        return DamagedRange(name, damage.first_seq, last_seq, pending, "", 0, 0)
    file = str(damage.segment.path)
    return DamagedRange(name, damage.first_seq, last_seq, pending, file, damage.offset, damage.end)


def _is_gone(log: Log, damage: Damage, segment: Segment) -> bool:
    """Whether records are missing because the segment after this one is missing."""
    following = next((other for other in log.segments if other.number > segment.number), None)
    if following is None or following.header.previous_number == segment.number:
        return False
    return damage.end == segment.valid_bytes


def _segment_of(log: Log, seq: int) -> Segment | None:
    return next((segment for segment in reversed(log.segments) if segment.first_seq <= seq), None)


def _first_seq(log: Log) -> int:
    """The seq to begin at: that of the first segment, or the first pending one if it is below."""
    first_seq = log.segments[0].first_seq if log.segments else log.next_seq
    return min(first_seq, log.released.cursor)


def _generations(path: Path) -> list[int | None]:
    """The generation of each slot's checkpoint, None for a slot that is not good."""
    try:
        file = open_read_only(path)
    except StorageFailed:
        return [None, None]
    try:
        return [slot.generation if slot is not None else None for slot in read_slots(file)]
    finally:
        file.close()


def _torn(logs: dict[str, Log]) -> Iterator[TornTail]:
    for log in logs.values():
        if not log.torn:
            continue
        for segment in log.segments[-1:]:
            file = open_read_only(segment.path)
            try:
                size = _used_bytes(file, segment.valid_bytes)
            finally:
                file.close()
            if size:
                yield TornTail(str(segment.path), size)


def _used_bytes(file: File, offset: int) -> int:
    """How many bytes follow an offset, without the zeros at the end."""
    return len(file.read_at(offset, max(file.size() - offset, 0)).rstrip(b"\0"))


def _foreign(filesystem: Filesystem, directory: Path, logs: dict[str, Log]) -> Iterator[str]:
    """Files in the logs' directories that are not segments of theirs."""
    for name, log in logs.items():
        known = {segment.path.name for segment in log.segments}
        for file in filesystem.list(directory / name):
            if file not in known:
                yield str(directory / name / file)
