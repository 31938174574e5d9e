"""A disk thread: everything that blocks on the disk runs there, one job after another, in the order of the calls.

It has its own thread and queue because every commit goes through it: an executor's bookkeeping costs as much as the
rest of the round trip (ADR 5 states what a commit may cost). An executor's threads also keep the process from ending
for as long as a disk does not answer; this one does not.

A job that raises anything but an `EdgeAgentError` ends the thread, because the state it left behind is unknown. Every
waiting job and every later one then fails at once with `DiskThreadDied`, and `died` is called, which ends the process.
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

# How long `close` waits. Jobs begun by then have ended, unless the disk does not answer at all.
_CLOSE_S = 5.0

T = TypeVar("T")
_Callback = Callable[[Any, BaseException | None], None]


class DiskThread:
    """Owns one thread that runs blocking jobs in order. All methods must be called in the event loop's thread."""

    def __init__(self, name: str) -> None:
        """Start the thread. `name`, for logs and errors: whose jobs it runs, such as `disk` or `ledger`."""
        self.name = name
        self.died: Callable[[DiskThreadDied], None] = lambda _: None
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[tuple[Callable[[], Any], _Callback] | None] = SimpleQueue()
        self._death: DiskThreadDied | None = None
        self._thread = Thread(target=self._work, name=name, daemon=True)  # each job syncs what matters
        self._thread.start()
        self.jobs = 0  # under way; while it is 0, no other thread uses what the jobs use

    def begin(self, job: Callable[[], T], done: Callable[[T | None, BaseException | None], None]) -> None:
        """Run a job on the thread; `done` is called in the loop with its result or its error."""
        self.jobs += 1
        if self._death is not None:
            self._loop.call_soon(self._end, done, None, self._death)
        else:
            self._queue.put((job, done))

    async def call(self, job: Callable[[], T]) -> T:
        """Run a job on the thread and return its result. The job runs even if this call is cancelled.

        Raises:
            DiskThreadDied: the job, or one before it, ended the thread.
            EdgeAgentError: the job raised it.
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
        """End the thread when the jobs already begun are done; waits for that, but not for ever."""
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
            finally:  # a defect is passed on to `threading.excepthook`, which logs it
                defect = None if error is not None else sys.exception()
                report = (self._end, done, result, error) if defect is None else (self._die, done, defect)
                with suppress(RuntimeError):  # the loop is closed, so that nobody waits any more
                    self._loop.call_soon_threadsafe(*report)

    def _end(self, done: _Callback, result: object, error: BaseException | None) -> None:
        self.jobs -= 1
        done(result, error)

    def _die(self, done: _Callback, defect: BaseException) -> None:
        """Fail the job that ended the thread and those behind it; jobs are begun only in the loop's thread."""
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
    """The defect and where it occurred: the innermost call."""
    text = f"{type(defect).__name__}: {defect}" if str(defect) else type(defect).__name__
    calls = traceback.extract_tb(defect.__traceback__)
    return f"{text} (in {calls[-1].name}, {Path(calls[-1].filename).name}:{calls[-1].lineno})" if calls else text
