"""Events that are still on disk, whatever became of them: what a rehearsal of rules runs over.

A log keeps records until their whole segment is done with, so that the last events of a gateway on which everything is
settled are there too, as far back as its segment goes.
"""

from __future__ import annotations

from edgeagent.outbox.frame import Frame
from edgeagent.outbox.reader import LogReader
from edgeagent.outbox.records import decode
from edgeagent.outbox.store import Store
from edgeagent.ports.operator import RecordedPage
from edgeagent.ports.transfer import ExportedTrigger, exported_trigger

# What one page reads: it fits an answer, and bounds for how long a running agent's commits wait.
_PAGE_FRAMES = 1000
_PAGE_BYTES = 1 << 20


def recorded_page(store: Store, name: str, seq: int) -> RecordedPage:
    """Events of a log from `seq` on, oldest first. What is damaged is passed over; `verify` tells of it.

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
            if record.events:  # of a window, put back from the dead letters: no event
                continue
            found.append(exported_trigger(record, record.rules[0], name))
    return RecordedPage(found, reader.seq if items and reader.seq < log.next_seq else None)
