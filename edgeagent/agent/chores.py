"""Chores: work that the link's callbacks leave for later, because it must wait for the disk. Done one at a time."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from edgeagent.errors import StorageFailed

# While the disk refuses, this is logged this often, not for each chore.
_TOLD_AGAIN_S = 600.0

_log = logging.getLogger(__name__)

Chore = Callable[[], Awaitable[None]]


class Chores:
    """A queue of chores, done one after the other by `run`, which must be running.

    Owns the queue. Promises that chores are done in the order in which they were left, so that the life of a trigger
    advances in the order in which things happened. The queue is bounded by what may be unacknowledged on the links that
    fill it. A chore that the disk refuses is not done again: the log says that it is put off, because its cause comes
    again by itself. A chore for which that is not true catches the error itself.
    """

    def __init__(self) -> None:
        self._queue: deque[Chore] = deque()
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def leave(self, chore: Chore) -> None:
        """Queue this chore behind those that were left before."""
        self._queue.append(chore)
        self._idle.clear()
        self._work.set()

    async def idle(self) -> None:
        """Return when nothing is left to do."""
        await self._idle.wait()

    async def run(self) -> None:
        """Do chores until cancelled."""
        told_at = -_TOLD_AGAIN_S
        while True:
            await self._work.wait()
            while self._queue:
                chore = self._queue.popleft()
                try:
                    await chore()
                except StorageFailed as exc:
                    now = asyncio.get_running_loop().time()
                    if now - told_at >= _TOLD_AGAIN_S:
                        told_at = now
                        _log.warning("put off, as others will be: %s", exc, extra={"event": "chore_failed"})
            self._work.clear()
            self._idle.set()
