"""Files that were put aside because this user could not open them, and that can be opened by now (`unreadable`).

Their triggers are imported as if from an export file, since the log may have assigned their seqs again by now. A
trigger that had ended before is sent once more, under the workflow name that keeps it from starting twice.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from edgeagent.errors import MessageError, OutboxError
from edgeagent.outbox.files import Filesystem, OsFilesystem, may_not_open
from edgeagent.outbox.frame import HEADER_BYTES, Frame, SegmentHeader
from edgeagent.outbox.reader import LogReader
from edgeagent.outbox.records import LOGS, decode
from edgeagent.outbox.segment import Segment, number_of
from edgeagent.outbox.store import Store
from edgeagent.outbox.transfer import take_in
from edgeagent.outbox.unreadable import ASIDE, BELOW, SEGMENT_NAME_CHARS, files_aside
from edgeagent.ports.transfer import ExportedTrigger, exported_trigger

_READ_FRAMES = 200
_READ_BYTES = 1 << 20
_NO_END = 1 << 62

_log = logging.getLogger(__name__)


def take_up_mended(store: Store, state: Path, now_ms: int) -> None:
    """Import the files put aside that can be opened by now, synced, and remove them.

    A file that cannot be imported is left for a later start.
    """
    for path in list(files_aside(state)):
        if may_not_open(path) or path.name.startswith(BELOW):
            continue
        log = path.parent.name.removesuffix(f".{ASIDE}")
        try:
            segment = _segment(path)
            count = _import(store, segment, log, now_ms) if segment is not None and log in LOGS else 0
            if segment is not None and log in LOGS:  # it may be long until the log is read up to this point
                OsFilesystem().replace(path.with_name(f"{BELOW}{store.log(log).next_seq}"), b"")
            OsFilesystem().remove(path)
        except (OutboxError, MessageError) as exc:
            _log.warning("%s stays put aside: %s", path, exc, extra={"event": "unreadable_stays", "path": str(path)})
            continue
        _log.warning(
            "%s can be opened again: %d triggers of it are imported",
            path,
            count,
            extra={"event": "unreadable_taken_up", "path": str(path), "imported": count},
        )


def _segment(path: Path) -> Segment | None:
    """The segment in a file; None if it is another kind of file, or is not complete enough."""
    if number_of(path.name[:SEGMENT_NAME_CHARS]) is None:
        return None
    file = OsFilesystem().open(path)
    try:
        header, size = SegmentHeader.decode(file.read_at(0, HEADER_BYTES)), file.size()
    finally:
        file.close()
    return Segment(path, header, size, size) if header is not None else None


class _Source:
    """A single segment as a log for a reader."""

    def __init__(self, segment: Segment) -> None:
        self.filesystem: Filesystem = OsFilesystem()
        self.next_seq = _NO_END
        self.segments: Sequence[Segment] = (segment,)


def _import(store: Store, segment: Segment, log: str, now_ms: int) -> int:
    """Import the triggers of a segment of this log; returns how many there were."""
    digest = f"{ASIDE}:{log}:{segment.number}:{segment.header.salt}"
    reader, count = LogReader(_Source(segment), segment.first_seq), 0
    try:
        while items := reader.read(_READ_FRAMES, _READ_BYTES):
            triggers: list[ExportedTrigger] = []
            for item in items:
                content = decode(item) if isinstance(item, Frame) else None
                if content is not None:
                    triggers += [exported_trigger(content[0], rule, log) for rule in content[0].rules]
            take_in(store, digest, count + 1, triggers, now_ms)
            count += len(triggers)
    finally:
        reader.close()
    return count
