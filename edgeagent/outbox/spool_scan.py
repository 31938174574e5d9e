"""Finds out which records refer to which files of the spool, after a start: part by part, between commits.

A file that no record refers to when every log has been read is an orphan of a crash: its event was never acknowledged,
or is final. The records that are stored or moved meanwhile are noted when that happens, wherever the reading is.
"""

from __future__ import annotations

import logging

from edgeagent.events.artifact import Artifact
from edgeagent.outbox.frame import Frame
from edgeagent.outbox.reader import LogReader
from edgeagent.outbox.records import decode
from edgeagent.outbox.store import Store

# The limits of one part: they bound how long commits wait.
_PART_FRAMES = 2000
_PART_BYTES = 2 << 20

_log = logging.getLogger(__name__)


def note_part(store: Store, name: str, seq: int) -> int | None:
    """Note the references in a part of a log, from `seq` on; returns where the next part begins, None at the end.

    Raises:
        StorageFailed: the disk refuses to be read.
    """
    log = store.log(name)
    reader = LogReader(log, max(log.released.cursor, seq))
    try:
        items = reader.read(_PART_FRAMES, _PART_BYTES)
    finally:
        reader.close()
    for item in items:
        if not isinstance(item, Frame) or not log.released.missing(item.seq, item.count):
            continue
        artifact = artifact_in(item)
        if artifact is not None and store.spool is not None:
            store.spool.refer(artifact, name, item.seq, item.count)
    return reader.seq if items and reader.seq < log.next_seq else None


def artifact_in(frame: Frame) -> Artifact | None:
    """The artifact that a frame refers to, if it is a record that does."""
    content = decode(frame)
    return content[0].artifact if content is not None else None


def finish(store: Store) -> None:
    """Remove the files that are proven orphans, now that every log has been read."""
    if store.spool is None or store.spool.is_complete:
        return
    removed = store.spool.complete()
    if removed.files:
        _log.info(
            "%d files of the spool (%d bytes) belonged to no event that is kept, and are removed",
            removed.files,
            removed.used_bytes,
            extra={"event": "spool_orphans_removed", "files": removed.files, "bytes": removed.used_bytes},
        )
