"""A running outbox in a directory of the test's."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from edgeagent.outbox.files import Filesystem, OsFilesystem
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import DeadLimits, OutboxLimits
from edgeagent.outbox.store import Store

SEGMENT_BYTES = 64 << 10


@asynccontextmanager
async def running_outbox(
    directory: Path,
    *,
    max_bytes: int = 16 * SEGMENT_BYTES,
    filesystem: Filesystem | None = None,
    drop_oldest: bool = False,
    dead: DeadLimits | None = None,
    remembered: frozenset[str] = frozenset(),
    spool: bool = False,
) -> AsyncIterator[Outbox]:
    """Open it, run it, close it."""
    salts = itertools.count(1)

    def make() -> Store:
        return Store(
            filesystem or OsFilesystem(),
            directory / "outbox",
            OutboxLimits(
                max_bytes, SEGMENT_BYTES, 1000, drop_oldest=drop_oldest, dead=dead or DeadLimits(), spool=spool
            ),
            boot=bytes(16),
            new_salt=lambda: next(salts),
            now_ms=lambda: 1_000,
            remembered=remembered,
        )

    async with running(make) as outbox:
        yield outbox


@asynccontextmanager
async def running(make_store: Callable[[], Store]) -> AsyncIterator[Outbox]:
    """An outbox over this store that commits; closed in the end as the agent does it."""
    outbox = await Outbox.open(make_store)
    committing = asyncio.create_task(outbox.run())
    try:
        yield outbox
    finally:
        committing.cancel()
        await asyncio.wait([committing])
        await outbox.close()
