"""How long the oldest pending trigger has been waiting."""

from __future__ import annotations

from contextlib import closing

from edgeagent.outbox.records import LEASED_LOGS
from edgeagent.outbox.store import Store


def oldest_ms(store: Store) -> int | None:
    """When the event of the oldest pending trigger was accepted (Unix milliseconds); None if nothing is pending.

    Reads the beginning of each log from the disk. Among parked triggers the one that was parked first counts as the
    oldest.

    Raises:
        StorageFailed: the disk cannot be read.
    """
    found: list[int] = []
    for name in LEASED_LOGS:
        with closing(store.peek(name)) as parts:
            found += [first.record.accepted_ms for first in next((part for part in parts if part), [])[:1]]
    return min(found, default=None)
