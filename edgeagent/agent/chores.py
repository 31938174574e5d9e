"""Chores: work that callbacks of the link leave behind because it must wait for the disk. One after the other."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from edgeagent.errors import StorageFailed

# While the disk refuses, the operator is told this often, not for each chore.
_TOLD_AGAIN_S = 600.0

_log = logging.getLogger(__name__)

Chore = Callable[[], Awaitable[None]]


class Chores:
    """A queue of chores; `run` must be running.

    Order matters: a trigger's life is carried on by one chore at a time, in the order in which things happened. The
    queue is bounded by what may be unacknowledged on the links that fill it. A chore that the disk refuses is logged
    and dropped: a chore for which that is not right catches the error itself.
    """

    def __init__(self) -> None:
        self._queue: deque[Chore] = deque()
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def leave(self, chore: Chore) -> None:
        """Do this after what was left before."""
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
