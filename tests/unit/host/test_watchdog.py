"""What systemd's watchdog is told while threads answer, and while one does not."""

from __future__ import annotations

import asyncio
import logging

import pytest

from edgeagent.errors import DiskThreadDied
from edgeagent.host import systemd

pytestmark = pytest.mark.virtual_time

INTERVAL_S = 15.0


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What systemd was told."""
    told: list[str] = []
    monkeypatch.setattr(systemd, "notify", lambda state, _: told.append(state))
    return told


async def test_it_is_fed_while_the_threads_answer(told: list[str]) -> None:
    async def answers() -> None:
        await asyncio.sleep(INTERVAL_S * 3)  # slow, and not stuck

    watchdog = asyncio.create_task(systemd.keep_watchdog(INTERVAL_S, {"disk": answers}))
    await asyncio.sleep(INTERVAL_S * 20.5)
    watchdog.cancel()
    assert told == ["WATCHDOG=1"] * 21


async def test_it_is_fed_no_more_when_a_thread_is_stuck_and_again_when_it_is_back(
    told: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    back = asyncio.Event()
    others = 0

    async def other() -> None:
        nonlocal others
        others += 1

    watchdog = asyncio.create_task(systemd.keep_watchdog(INTERVAL_S, {"ledger": other, "disk": back.wait}))
    await asyncio.sleep(INTERVAL_S * 10.5)
    assert told == ["WATCHDOG=1"] * 4, "for twice WatchdogSec it may be a slow disk"
    assert others == 11
    (record,) = caplog.records
    assert (record.levelno, record.__dict__["event"]) == (logging.CRITICAL, "thread_stuck")
    assert "the thread disk has not come back for 60 s" in record.getMessage()
    back.set()
    await asyncio.sleep(INTERVAL_S)
    assert len(told) == 5
    watchdog.cancel()


async def test_a_thread_that_died_is_told_of_by_others(told: list[str]) -> None:
    async def died() -> None:
        raise DiskThreadDied("disk", "MemoryError")

    watchdog = asyncio.create_task(systemd.keep_watchdog(INTERVAL_S, {"disk": died}))
    await asyncio.sleep(INTERVAL_S * 2.5)
    watchdog.cancel()
    assert len(told) == 3
