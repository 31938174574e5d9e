"""Looking for triggers in a log, beside its work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import Leased


async def find(outbox: Outbox, name: str, wanted: Callable[[Leased], bool], limit: int) -> list[Leased]:
    """The last `limit` triggers of a log that are not released and are wanted, oldest first. Reads all of the log.

    Raises:
        StorageFailed: the disk cannot be read now.
    """
    found: deque[Leased] = deque(maxlen=limit)
    async for part in outbox.walk(name):
        found += filter(wanted, part)
    return list(found)
