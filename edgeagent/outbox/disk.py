"""A disk thread: everything that blocks on the disk runs there, one job after another, in the order of the calls.

A thread and a queue of our own, because a commit goes through here: an executor's bookkeeping costs as much as the rest
of the way there and back (ADR 5 has what a commit may cost). And an executor's threads hold the end of the process up
for as long as a disk does not answer; this one does not.

A job that raises what is no `EdgeAgentError` ends the thread: nobody knows what such a job left behind. Every job that
waits and every later one then fails at once with `DiskThreadDied`, and `died` is told, whose part it is to end the
process.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar, cast

from edgeagent.errors import DiskThreadDied, EdgeAgentError

# How long `close` waits. What was begun by then has ended, unless the disk does not answer at all.
_CLOSE_S = 5.0

T = TypeVar("T")
Told = Callable[[Any, BaseException | None], None]


class DiskThread:
    """See the module. All methods are called in the loop's thread."""

    def __init__(self, name: str) -> None:
        """Start it. `name`: for logs and errors, `disk` or `ledger`."""
        self.name = name
        self.died: Callable[[DiskThreadDied], None] = lambda _: None
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[tuple[Callable[[], Any], Told] | None] = SimpleQueue()
        self._death: DiskThreadDied | None = None
        self._thread = Thread(target=self._work, name=name, daemon=True)  # what matters is synced by each job
        self._thread.start()
        self.jobs = 0  # under way; while there are none, nobody else uses what the jobs use

    def begin(self, job: Callable[[], T], done: Callable[[T | None, BaseException | None], None]) -> None:
        """Run a job there; `done` is called in the loop with what it returned or raised."""
        self.jobs += 1
        if self._death is not None:
            self._loop.call_soon(self._end, done, None, self._death)
        else:
            self._queue.put((job, done))

    async def call(self, job: Callable[[], T]) -> T:
        """Run a job there and return what it returns. It runs in any case, also when this call is cancelled.

        Raises:
            DiskThreadDied: the job, or one before it, ended the thread.
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
        """End the thread when the jobs that were begun are done; waits for that, but not for ever."""
        self._queue.put(None)
        self._thread.join(_CLOSE_S)

    def _work(self) -> None:
        while (task := self._queue.get()) is not None:
            job, done = task
            result: Any = None
            error: EdgeAgentError | None = None
            try:
                result = job()
            except EdgeAgentError as exc:
                error = exc
            finally:  # a defect goes on to `threading.excepthook`, which logs it
                defect = None if error is not None else sys.exception()
                told = (self._end, done, result, error) if defect is None else (self._die, done, defect)
                with suppress(RuntimeError):  # the loop is closed, so that nobody waits any more
                    self._loop.call_soon_threadsafe(*told)

    def _end(self, done: Told, result: object, error: BaseException | None) -> None:
        self.jobs -= 1
        done(result, error)

    def _die(self, done: Told, defect: BaseException) -> None:
        """Fail the job that ended the thread and those behind it; jobs are only ever begun in this thread."""
        death = self._death = DiskThreadDied(self.name, _what(defect))
        death.__cause__ = defect
        waiting = [done]
        with suppress(Empty):
            while True:
                task = self._queue.get_nowait()
                if task is not None:
                    waiting.append(task[1])
        self.died(death)
        for one in waiting:
            self._end(one, None, death)


def _what(defect: BaseException) -> str:
    """What a defect is, and where: the innermost call."""
    text = f"{type(defect).__name__}: {defect}" if str(defect) else type(defect).__name__
    calls = traceback.extract_tb(defect.__traceback__)
    return f"{text} (in {calls[-1].name}, {Path(calls[-1].filename).name}:{calls[-1].lineno})" if calls else text
