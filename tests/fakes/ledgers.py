"""A ledger that runs, and lives to put into it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import msgspec

from edgeagent.ledger.ledger import Ledger
from edgeagent.ledger.schema import LOCAL
from edgeagent.outbox.disk import DiskThread
from edgeagent.wire.lifecycle import Life
from edgeagent.wire.messages import Report, State
from tests.ending import end


@asynccontextmanager
async def running(path: Path, *, relay: int = LOCAL) -> AsyncIterator[Ledger]:
    """A ledger that commits; closed in the end as the agent does it."""
    ledger = Ledger(path, DiskThread("ledger"), relay=relay)
    await ledger.open()
    task = asyncio.create_task(ledger.run())
    try:
        yield ledger
    finally:
        await end(task)
        await ledger.close()


def life(name: str, state: State = State.PUBLISHED, accepted_ms: int = 1, **members: str) -> Life:
    """The life of a trigger of this name."""
    report = Report(name, f"event-{name}", "boiler", "overheat", state, "now", f"w-{name}", "plant")
    return Life(msgspec.structs.replace(report, **members), accepted_ms)


def moved(state: State) -> object:
    """A step to another state."""
    return lambda known: msgspec.structs.replace(known, report=msgspec.structs.replace(known.report, state=state))


async def to(ledger: Ledger, name: str, state: State) -> None:
    """Carry a life on to a state."""
    await ledger.change(name, moved(state))  # type: ignore[arg-type]


def on_disk(path: Path) -> list[str]:
    """What a second look at the file finds, as after a crash."""
    with closing(sqlite3.connect(path)) as database:
        return [name for (name,) in database.execute("SELECT correlation_id FROM trigger ORDER BY 1")]
