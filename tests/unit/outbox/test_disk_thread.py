from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from edgeagent.errors import DiskThreadDied, StorageFailed
from edgeagent.outbox.disk import DiskThread
from tests.waiting import DEADLINE_S

DEFECTS = [ValueError("no such thing"), MemoryError(), SystemExit(3), KeyboardInterrupt(), StopIteration()]
# What a defect is told by outside of a test: `threading.excepthook`.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


def raising(error: BaseException) -> Callable[[], Any]:
    def job() -> None:
        raise error

    return job


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: type(defect).__name__)
async def test_a_defect_fails_the_job_those_that_wait_and_all_later_ones_at_once(defect: BaseException) -> None:
    thread, gate = DiskThread("disk"), threading.Event()
    told: list[DiskThreadDied] = []
    thread.died = told.append
    held = asyncio.create_task(thread.call(lambda: gate.wait(DEADLINE_S)))
    jobs = [asyncio.create_task(thread.call(raising(defect))), asyncio.create_task(thread.call(lambda: 1))]
    await asyncio.sleep(0)
    gate.set()
    assert await held is True
    async with asyncio.timeout(DEADLINE_S):
        for died in await asyncio.gather(*jobs, thread.call(lambda: 2), return_exceptions=True):
            assert isinstance(died, DiskThreadDied)
            assert str(died).startswith(f"the disk thread has died, and the process ends: {type(defect).__name__}")
            assert "(in job, test_disk_thread.py:" in str(died), "it says where"
            assert died.__cause__ is defect
        with pytest.raises(DiskThreadDied):
            await thread.call(lambda: 3)
    assert len(told) == 1
    assert thread.jobs == 0
    thread.close()


async def test_an_error_of_ours_fails_its_job_alone() -> None:
    thread = DiskThread("disk")
    with pytest.raises(StorageFailed):
        await thread.call(raising(StorageFailed("write", "here", "full")))
    assert await thread.call(lambda: 1) == 1
    thread.close()
