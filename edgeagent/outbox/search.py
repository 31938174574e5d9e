"""Searching a log for triggers while the outbox is running."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable

from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import Leased


async def walk(outbox: Outbox, name: str, seq: int = 0) -> AsyncGenerator[list[Leased], None]:
    """Every trigger of a log that is not released, from `seq` on, in parts, so that commits continue in between.

    Raises:
        StorageFailed: the disk cannot be read now.
    """
    parts = await outbox.beside(lambda store: store.peek(name, seq))
    try:
        while (part := await outbox.beside(lambda _: next(parts, None))) is not None:
            yield part
    finally:
        await outbox.beside(lambda _: parts.close())


async def find(outbox: Outbox, name: str, wanted: Callable[[Leased], bool], limit: int) -> list[Leased]:
    """The last `limit` unreleased triggers of a log for which `wanted` is true, oldest first. Reads the whole log.

    Raises:
        StorageFailed: the disk cannot be read now.
    """
    found: deque[Leased] = deque(maxlen=limit)
    async for part in walk(outbox, name):
        found += filter(wanted, part)
    return list(found)
