"""An outbox that runs over a disk that can be held, and what a power cut leaves of it."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AbstractAsyncContextManager

from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import NORMAL, Leased, OutboxLimits
from tests.fakes import outbox as fakes
from tests.fakes.crash_filesystem import CrashFilesystem, Fate
from tests.fakes.stores import LIMITS, everything, group, ids, open_store, opened, record
from tests.waiting import DEADLINE_S


def running(filesystem: CrashFilesystem, limits: OutboxLimits = LIMITS) -> AbstractAsyncContextManager[Outbox]:
    """An outbox that commits, on this disk."""
    return fakes.running(lambda: open_store(filesystem, limits))


class Gate:
    """Holds the disk at every sync while it is shut."""

    def __init__(self, filesystem: CrashFilesystem) -> None:
        self._open = threading.Event()
        self._open.set()
        self._loop = asyncio.get_running_loop()
        self.waiting = asyncio.Event()
        self.fails = False
        filesystem.fails = self._hold

    def shut(self) -> None:
        """From here on syncs wait."""
        self.waiting.clear()
        self._open.clear()

    def open(self) -> None:
        """Let them go."""
        self._open.set()

    async def reached(self) -> None:
        """Return when a sync waits."""
        await self.waiting.wait()

    def _hold(self, _number: int, name: str) -> bool:
        if name != "sync":
            return False
        self._loop.call_soon_threadsafe(self.waiting.set)
        assert self._open.wait(DEADLINE_S)
        return self.fails


def after_a_power_cut(filesystem: CrashFilesystem) -> list[str]:
    return ids(everything(opened(filesystem.survivor(Fate.LOST))))


async def leased_from(outbox: Outbox, count: int) -> list[Leased]:
    """So many triggers, stored and leased."""
    await outbox.append(group(NORMAL, *(record(f"e{number}") for number in range(count))))
    return await outbox.lease(NORMAL)
