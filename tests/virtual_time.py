"""An event loop whose time passes only when nothing else can happen: waits are exact, and take no time.

    pytestmark = pytest.mark.virtual_time

While anything can run, the clock of the loop stands still; when nothing can, it jumps to the next timer. So "a retry
every 50 ms for 300 ms" is six retries on the slowest machine, and an hour passes at once. The tests of a marked file
speak with fakes only; one that does not is marked `real_time`.

* Disk threads and executors may be used: while one of them works, the clock stands still too, and the loop waits for
  it in real time.
* Sockets, pipes and processes are refused, since nobody could tell for how long the other side will be silent.
* If there is no timer either, nothing can happen any more, and the test fails at once instead of at its timeout.

The loop's clock alone is turned. Code that reads `time.monotonic` sees the real one.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any, TypeVar

import pytest

from edgeagent.outbox.disk import DiskThread

MARK, EXCEPT = "virtual_time", "real_time"
# Like the time since a machine's start: differences mean something, the value does not.
_BEGINS_S = 1_000.0
# As a real clock: a timer is never early, not even by a rounding, and always a little late.
_LATE_S = 1e-6
# How long a thread may need. One that waits for what the test does only after some time waits for ever.
_THREAD_S = 90.0
_REFUSED = f"no sockets and no processes in virtual time: take the mark off, or mark the test {EXCEPT}"

T = TypeVar("T")
LoopFactory = Callable[[], asyncio.AbstractEventLoop]


class Forever(Exception):
    """Nothing can happen any more: no callback is ready, no timer is set, no thread works."""


async def _refuse(*_: Any, **__: Any) -> Any:
    raise RuntimeError(_REFUSED)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Owns its clock. Promises that time passes only while no callback is ready and no thread works that it knows of.

    Must never open a socket or start a process: it cannot know when they will have something.
    """

    create_connection = create_server = create_datagram_endpoint = _refuse
    create_unix_connection = create_unix_server = subprocess_exec = subprocess_shell = _refuse

    def __init__(self) -> None:
        self._now_s = _BEGINS_S
        self._away = 0
        self._disks: list[DiskThread] = []
        super().__init__(_Selector(self))

    def time(self) -> float:
        """Virtual seconds."""
        return self._now_s

    def pass_time(self, seconds: float) -> None:
        """Nothing can happen before."""
        self._now_s += seconds + _LATE_S

    def watch(self, disk: DiskThread) -> None:
        """While this thread has jobs, time stands still."""
        self._disks.append(disk)

    @property
    def thread_works(self) -> bool:
        """Whether a thread will call back."""
        return self._away > 0 or any(disk.jobs for disk in self._disks)

    def run_in_executor(self, executor: Executor | None, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """While the function runs, time stands still."""
        running: asyncio.Future[T] = super().run_in_executor(executor, func, *args)
        self._away += 1
        running.add_done_callback(self._came_back)
        return running

    async def shutdown_default_executor(self, *args: Any) -> None:
        """A thread waits for the executor's."""
        self._away += 1
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self._away -= 1

    def _came_back(self, _: asyncio.Future[Any]) -> None:
        self._away -= 1


class _Selector(selectors.DefaultSelector):
    """Waits in real time for threads only; refuses everything but the loop's own pipe, by which threads wake it."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """See `BaseSelector`."""
        if self.get_map():
            raise RuntimeError(_REFUSED)
        key: selectors.SelectorKey = super().register(fileobj, events, data)
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See `BaseSelector`."""
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if ready or timeout == 0:
            return ready
        if self._loop.thread_works:
            ready = super().select(_THREAD_S)
            if not ready:
                raise Forever(f"a thread has worked for {_THREAD_S} s; if it waits for the test, take the mark off")
        elif timeout is None:
            raise Forever("nothing can happen any more, and the test still waits")
        else:
            self._loop.pass_time(timeout)
        return ready


def loop_factories(item: pytest.Item) -> Mapping[str, LoopFactory]:
    """The one kind of loop that a test runs in."""
    is_virtual = item.get_closest_marker(MARK) and not item.get_closest_marker(EXCEPT)
    return {"loop": VirtualTimeLoop if is_virtual else asyncio.new_event_loop}


def watch_disk_threads() -> None:
    """From now on virtual loops know of each disk thread that is made."""
    make = DiskThread.__init__

    def made(disk: DiskThread, name: str) -> None:
        make(disk, name)
        if isinstance(loop := asyncio.get_running_loop(), VirtualTimeLoop):
            loop.watch(disk)

    DiskThread.__init__ = made  # type: ignore[assignment, method-assign]
