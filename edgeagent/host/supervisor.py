"""Runs the long-running coroutines of a process until it is asked to stop, or until one of them fails.

No part dies unnoticed. The process ends, with a log line, if a task raises, if a task returns or is cancelled before
the stop, or if a callback of the loop raises (a protocol's `data_received`, a timer, a task that nobody awaits): after
any of these it is unknown what no longer works. systemd starts the process again, and what was accepted is on disk.

The order at the end: SIGTERM, SIGINT or `stop` → the drain, with a deadline; a second signal or a failure ends it at
once → the tasks are cancelled one after another, the last of the mapping first → the exit code. After a failure there
is no drain, because the state in memory can no longer be trusted.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

from edgeagent.errors import EdgeAgentError

# Their sum is how long a process may take to end (`host.ending`); less than systemd's TimeoutStopSec (30 s).
DRAIN_TIMEOUT_S = 10.0
CANCEL_TIMEOUT_S = 5.0

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

log = logging.getLogger(__name__)


class Ender(Protocol):
    """Ends the process if it does not exit by itself (`host.ending.Deadline`)."""

    def begin(self, exit_code: int = 1) -> None:
        """Note that the process should end from now on."""


async def supervise(
    tasks: Mapping[str, Coroutine[Any, Any, None]],
    *,
    stop: asyncio.Event,
    drain: Callable[[], Coroutine[Any, Any, None]],
    drain_timeout_s: float = DRAIN_TIMEOUT_S,
    deadline: Ender | None = None,
) -> int:
    """Run the tasks until a signal or `stop`, then drain, cancel and return the process's exit code.

    Must run in the main thread: it takes over SIGTERM, SIGINT and the loop's exception handler until it returns.

    Args:
        tasks: the coroutines that run for the process's life, by name. One that others depend on comes first: it is
            cancelled last.
        stop: set by the first signal; setting it elsewhere requests the same orderly end. Tasks may return after it.
        drain: hands over what is in flight while all tasks still run; it is cancelled at its deadline.
        drain_timeout_s: the longest time that the drain may take, in seconds.
        deadline: is notified when the stop or a failure begins.

    Returns:
        0 after a clean stop; after a failure the `exit_code` of the `EdgeAgentError` that came first, else 1.
    """
    supervision = _Supervision(stop)
    loop = asyncio.get_running_loop()
    previous_handler = loop.get_exception_handler()
    loop.set_exception_handler(supervision.loop_error)
    for number in _SIGNALS:
        loop.add_signal_handler(number, supervision.signalled, number)
    running = [asyncio.create_task(coroutine, name=name) for name, coroutine in tasks.items()]
    for task in running:
        task.add_done_callback(supervision.task_ended)
    try:
        await _first_of(stop, supervision.failed)
        if deadline is not None:
            deadline.begin(supervision.exit_code or 1)
        if not supervision.failed.is_set():
            await supervision.drain(drain, drain_timeout_s)
    finally:
        await supervision.cancel(running)
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
        loop.set_exception_handler(previous_handler)
    return supervision.exit_code


class _Supervision:
    """The state of the process's end: who asked for it, what failed first, and how it is reported."""

    def __init__(self, stop: asyncio.Event) -> None:
        self.exit_code = 0
        self.failed = asyncio.Event()
        self._stop = stop
        self._hurry = asyncio.Event()
        self._cancelling = False

    def signalled(self, number: signal.Signals) -> None:
        log.info(
            "%s: %s", number.name, "stopping at once" if self._stop.is_set() else "stopping", extra={"event": "signal"}
        )
        (self._hurry if self._stop.is_set() else self._stop).set()

    def task_ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            if not self._cancelling:
                self._fail(f"task {task.get_name()} was cancelled by itself", None)
        elif (error := task.exception()) is not None:
            self._fail(f"task {task.get_name()} failed", error)
        elif not self._stop.is_set() and not self._cancelling:
            self._fail(f"task {task.get_name()} returned, although it should run until the stop", None)

    def loop_error(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Called by the loop for an error that no task and no caller can receive."""
        error = context.get("exception")
        # After a failed accept(), for lack of file descriptors for example, the loop continues by itself.
        if error is None or (isinstance(error, OSError) and "socket" in context):
            log.error("%s: %s", context["message"], error, extra={"event": "loop_error"})
        else:
            self._fail(context["message"], error)

    async def drain(self, drain: Callable[[], Coroutine[Any, Any, None]], timeout_s: float) -> None:
        task = asyncio.create_task(drain(), name="drain")
        ends = [asyncio.create_task(event.wait()) for event in (self._hurry, self.failed)]
        try:
            await asyncio.wait([task, *ends], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                extra = {"event": "drain_cut_short", "timeout_s": timeout_s}
                log.warning("the drain was cut short; what was not handed over stays on disk", extra=extra)
        finally:
            await self.cancel([task, *ends])
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            self._fail("the drain failed", error)

    async def cancel(self, tasks: list[asyncio.Task[Any]]) -> None:
        """Cancel the tasks one after another, the last first, and await each; all within `CANCEL_TIMEOUT_S`.

        A task that does not end delays the next ones by half of the time that is left, so that each of them has some.
        """
        self._cancelling = True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + CANCEL_TIMEOUT_S
        for task in reversed(tasks):
            task.cancel()
            await asyncio.wait([task], timeout=max(0.0, deadline - loop.time()) / 2)
        if stubborn := [task for task in reversed(tasks) if not task.done()]:
            await asyncio.wait(stubborn, timeout=max(0.0, deadline - loop.time()))
        for task in stubborn:
            if not task.done():
                self._fail(f"task {task.get_name()} did not end when it was cancelled", None)

    def _fail(self, what: str, error: BaseException | None) -> None:
        # A defect needs its traceback; an error of our own tree says what, where and what to do.
        trace = None if isinstance(error, EdgeAgentError) else error
        text = what if error is None else f"{what}: {str(error) or type(error).__name__}"
        log.critical("%s", text, extra={"event": "failed"}, exc_info=trace)
        if not self.failed.is_set():
            self.exit_code = error.exit_code if isinstance(error, EdgeAgentError) else 1
            self.failed.set()


async def _first_of(*events: asyncio.Event) -> None:
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
