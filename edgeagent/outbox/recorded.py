"""Events that are still on disk, however they ended: the input of a rehearsal of rules.

A log keeps records until every record of their segment is released. So a gateway on which everything is settled still
has its last events, back to the start of the oldest segment.
"""

from __future__ import annotations

from edgeagent.outbox.frame import Frame
from edgeagent.outbox.reader import LogReader
from edgeagent.outbox.records import decode
from edgeagent.outbox.store import Store
from edgeagent.ports.operator import RecordedPage
from edgeagent.ports.transfer import ExportedTrigger, exported_trigger

# The limits of one page: it fits into a response, and bounds how long a running agent's commits wait.
_PAGE_FRAMES = 1000
_PAGE_BYTES = 1 << 20


def recorded_page(store: Store, name: str, seq: int) -> RecordedPage:
    """Events of a log from `seq` on, oldest first. Damaged records are skipped; `verify` reports them.

    Raises:
        StorageFailed: the disk refuses to be read.
    """
    log = store.log(name)
    if not log.segments:
        return RecordedPage([], None)
    reader = LogReader(log, max(seq, log.segments[0].first_seq))
    try:
        items = reader.read(_PAGE_FRAMES, _PAGE_BYTES)
    finally:
        reader.close()
    found: list[ExportedTrigger] = []
    for item in items:
        content = decode(item) if isinstance(item, Frame) and item.count else None
        if content is not None:
            record, _ = content
            if record.events:  # a window, put back from the dead letters, is no event
                continue
            found.append(exported_trigger(record, record.rules[0], name))
    return RecordedPage(found, reader.seq if items and reader.seq < log.next_seq else None)
