"""What the store does with records whose data is in the spool; the spool's own code is loaded only if there is one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from edgeagent.events.artifact import Artifact
from edgeagent.events.event import Record
from edgeagent.outbox.files import Filesystem

if TYPE_CHECKING:
    from edgeagent.outbox.spool import Spool


def opened_spool(filesystem: Filesystem, directory: Path) -> Spool:
    """The spool of an outbox, opened.

    Raises:
        StorageFailed: the disk refuses.
    """
    from edgeagent.outbox.spool import Spool  # noqa: PLC0415  only for those who use it

    return Spool(filesystem, directory)


def note(spool: Spool, name: str, seq: int, records: Iterable[tuple[Record, int]]) -> None:
    """Note which files records need that were stored in a log from `seq` on, with so many triggers each."""
    for record, count in records:
        if record.artifact is not None:
            spool.refer(record.artifact, name, seq, count)
        seq += count


def lacking(spool: Spool | None, artifact: Artifact) -> str:
    """Why the data of a record is not there; empty if it is.

    Raises:
        StorageFailed: the disk cannot be read.
    """
    if spool is not None and spool.has(artifact):
        return ""
    where = spool.path(artifact.sha256) if spool is not None else f"the spool ({artifact.sha256})"
    return f"the event's data is missing: {where}, {artifact.size} bytes"
