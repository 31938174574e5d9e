"""The disk thread: everything that blocks on the disk runs there, one job after another, in the order of the calls.

A thread and a queue of our own, because a commit goes through here: an executor's bookkeeping costs as much as the rest
of the way there and back (ADR 5 has what a commit may cost).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar, cast

from edgeagent.errors import EdgeAgentError

T = TypeVar("T")


class DiskThread:
    """See the module. All methods are called in the loop's thread."""

    def __init__(self) -> None:
        """Start it."""
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[tuple[Callable[[], Any], Callable[[Any, BaseException | None], None]] | None]
        self._queue = SimpleQueue()
        self._thread = Thread(target=self._work, name="disk", daemon=True)  # what matters is synced by each job
        self._thread.start()
        self.jobs = 0  # under way; while there are none, nobody else uses what the jobs use

    def begin(self, job: Callable[[], T], done: Callable[[T | None, BaseException | None], None]) -> None:
        """Run a job there; `done` is called in the loop with what it returned or raised."""
        self.jobs += 1
        self._queue.put((job, done))

    async def call(self, job: Callable[[], T]) -> T:
        """Run a job there and return what it returns. It runs in any case, also when this call is cancelled.

        Raises:
            EdgeAgentError: the job does.
        """
        future: asyncio.Future[T] = self._loop.create_future()

        def done(result: T | None, error: BaseException | None) -> None:
            if future.cancelled():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(cast("T", result))

        self.begin(job, done)
        return await future

    def close(self) -> None:
        """End the thread when the jobs that were begun are done; waits for that."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (task := self._queue.get()) is not None:
            job, done = task
            result: Any = None
            error: BaseException | None = None
            try:
                result = job()
            except EdgeAgentError as exc:
                error = exc
            finally:  # a defect ends the thread; whoever waits is told, and ends the process
                self._loop.call_soon_threadsafe(self._end, done, result, error or sys.exception())

    def _end(
        self, done: Callable[[Any, BaseException | None], None], result: object, error: BaseException | None
    ) -> None:
        self.jobs -= 1
        done(result, error)
