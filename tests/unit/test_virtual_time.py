"""The loop that other tests run in: waits are exact and take no time, and what would make them inexact is refused."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from edgeagent.outbox.disk import DiskThread
from tests.virtual_time import Forever, VirtualTimeLoop
from tests.waiting import DEADLINE_S, until

pytestmark = pytest.mark.virtual_time


def run_virtually(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(main)


async def test_a_day_passes_at_once_and_exactly() -> None:
    loop, began_s = asyncio.get_running_loop(), time.monotonic()
    before_s = loop.time()
    await asyncio.sleep(86_400)
    assert loop.time() - before_s == pytest.approx(86_400, abs=0.001)
    assert time.monotonic() - began_s < 20


async def test_a_timer_is_never_early() -> None:
    loop = asyncio.get_running_loop()
    for number in range(1, 200):
        before_s = loop.time()
        await asyncio.sleep(number / 30)
        assert loop.time() - before_s >= number / 30


async def test_things_happen_in_the_order_of_their_times_and_as_often_as_they_should() -> None:
    happened: list[str] = []

    async def every(name: str, period_s: float) -> None:
        while True:
            await asyncio.sleep(period_s)
            happened.append(name)

    tasks = [asyncio.create_task(every("a", 0.02)), asyncio.create_task(every("b", 0.05))]
    await asyncio.sleep(0.11)
    for task in tasks:
        task.cancel()
    assert "".join(happened) == "aabaaba"


async def test_time_stands_still_while_a_thread_works() -> None:
    loop, disk = asyncio.get_running_loop(), DiskThread("disk")
    begun, go_on = asyncio.Event(), threading.Event()

    def work() -> bool:
        loop.call_soon_threadsafe(begun.set)
        return go_on.wait(DEADLINE_S)

    for working in (disk.call(work), asyncio.to_thread(work)):
        begun.clear()
        go_on.clear()
        before_s = loop.time()
        worked = asyncio.ensure_future(working)
        late = asyncio.ensure_future(asyncio.sleep(0.001))
        await begun.wait()
        assert not late.done()
        go_on.set()
        assert await worked
        assert loop.time() == before_s
        await late
    disk.close()


async def test_a_condition_that_comes_to_hold_late_is_waited_for_and_one_that_never_does_fails() -> None:
    loop = asyncio.get_running_loop()
    due_s = loop.time() + 2.5
    await until(lambda: loop.time() > due_s, deadline_s=3)
    with pytest.raises(AssertionError, match=r"waited 3 s for Godot"):
        await until(lambda: False, "Godot", deadline_s=3)


def test_a_test_that_waits_for_nothing_fails_at_once() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Forever):
        run_virtually(wait())


@pytest.mark.parametrize("program", [False, True], ids=["socket", "program"])
def test_what_takes_a_time_of_its_own_is_refused(*, program: bool) -> None:
    async def wait() -> None:
        if program:
            await asyncio.create_subprocess_exec("true", stdout=asyncio.subprocess.PIPE)
        else:
            await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)

    with pytest.raises(RuntimeError, match="no sockets"):
        run_virtually(wait())


@pytest.mark.real_time
async def test_one_test_of_a_file_may_be_an_exception() -> None:
    assert not isinstance(asyncio.get_running_loop(), VirtualTimeLoop)
