from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from edgeagent.errors import StorageFailed
from edgeagent.ledger import ledger as ledger_module
from edgeagent.ledger.ledger import Ledger
from edgeagent.ledger.schema import LISTENER, LOCAL
from edgeagent.ledger.untold import MAX_KNOWN
from edgeagent.outbox.disk import DiskThread
from edgeagent.wire.lifecycle import Life
from edgeagent.wire.messages import State
from tests.fakes.ledgers import life, on_disk, running, to
from tests.waiting import DEADLINE_S, until

pytestmark = pytest.mark.virtual_time


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


async def test_committed_returns_when_everything_before_it_is_on_disk(path: Path) -> None:
    async with running(path) as ledger:
        await ledger.committed()
        for number in range(50):
            ledger.begin(life(f"{number:02}"))
        await asyncio.gather(ledger.committed(), ledger.committed())
        assert len(on_disk(path)) == 50


async def test_a_change_is_committed_soon_even_if_nobody_waits(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "_COMMIT_DELAY_S", 0.01)
    async with running(path) as ledger:
        ledger.begin(life("a"))
        await until(lambda: on_disk(path) == ["a"])


async def test_messages_are_acknowledged_after_the_commit_in_their_order(path: Path) -> None:
    async with running(path) as ledger:
        told: list[tuple[int, list[str]]] = []

        def tell(number: int) -> None:
            told.append((number, on_disk(path)))

        for number in range(3):
            ledger.begin(life(str(number)))
            ledger.when_kept(1, partial(tell, number))
        assert told == []
        await ledger.committed()
        assert [number for number, _ in told] == [0, 1, 2]
        assert all(names == ["0", "1", "2"] for _, names in told)


async def test_few_messages_wait_for_company_and_many_do_not(path: Path) -> None:
    async with running(path) as ledger:
        told: list[int] = []
        ledger.begin(life("a"))
        ledger.when_kept(ledger_module._COMMIT_MESSAGES - 1, lambda: told.append(1))
        await ledger.get("nobody")  # a turn of its thread
        assert (told, on_disk(path)) == ([], [])
        ledger.when_kept(1, lambda: told.append(2))
        await until(lambda: told == [1, 2])
        assert on_disk(path) == ["a"]


async def test_many_changes_are_committed_at_once(path: Path) -> None:
    async with running(path) as ledger:
        for number in range(ledger_module._COMMIT_CHANGES):
            ledger.begin(life(f"{number:02}"))
        await until(lambda: len(on_disk(path)) == ledger_module._COMMIT_CHANGES)


async def test_messages_are_not_acknowledged_while_commits_fail(path: Path) -> None:
    async with running(path) as ledger:
        await ledger._on_thread(lambda: ledger._database.execute("PRAGMA busy_timeout = 0").fetchall())
        told: list[int] = []
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            ledger.begin(life("a"))
            ledger.when_kept(1, lambda: told.append(1))
            with pytest.raises(StorageFailed):
                await ledger.committed()
            assert told == []
            other.execute("ROLLBACK")
        await ledger.committed()
        assert told == [1]


async def test_a_report_can_be_told_before_it_is_on_disk_and_is_not_told_twice(path: Path) -> None:
    async with running(path) as ledger:
        ledger.begin(life("a", accepted_ms=1))
        await ledger.committed()
        ledger.begin(life("b", accepted_ms=2))
        found = await ledger.unrelayed(10)
        assert [(entry.report.correlation_id, entry.newest) for entry in found] == [("a", False), ("b", True)]
        assert on_disk(path) == ["a"]
        for entry in found:
            ledger.relayed(entry.report.correlation_id, entry.version)
        assert await ledger.unrelayed(10) == []
        await ledger.committed()
        assert await ledger.unrelayed(10) == []


async def test_a_report_is_told_once_and_again_when_it_changed_meanwhile(path: Path) -> None:
    async with running(path) as ledger:
        ledger.begin(life("a"))
        [first] = await ledger.unrelayed(10)
        await to(ledger, "a", State.RUNNING)
        ledger.relayed("a", first.version)
        [second] = await ledger.unrelayed(10)
        assert (second.report.state, second.version) == (State.RUNNING, first.version + 1)
        ledger.relayed("a", second.version)
        assert await ledger.unrelayed(10) == []
    async with running(path) as ledger:
        assert await ledger.unrelayed(10) == []


async def test_what_was_not_told_before_a_restart_is_told_after_it_oldest_event_first(path: Path) -> None:
    async with running(path) as ledger:
        for name, accepted_ms in (("b", 2), ("a", 1), ("c", 3)):
            ledger.begin(life(name, accepted_ms=accepted_ms, source="pump" if name == "c" else "boiler"))
    async with running(path) as ledger:
        found = await ledger.unrelayed(10)
        assert [(entry.report.correlation_id, entry.newest) for entry in found] == [
            ("a", False),
            ("b", True),
            ("c", True),
        ]
        assert len(await ledger.unrelayed(2)) == 2


async def test_without_local_devices_nothing_waits_to_be_told(path: Path) -> None:
    async with running(path, relay=False) as ledger:
        ledger.begin(life("a"))
        assert await ledger.unrelayed(10) == []


async def test_a_change_that_comes_while_a_commit_fails_is_not_undone_by_it(path: Path) -> None:
    gate = threading.Event()
    async with running(path) as ledger:
        await ledger._on_thread(lambda: ledger._database.execute("PRAGMA busy_timeout = 0").fetchall())
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            ledger.begin(life("a"))
            held = asyncio.create_task(ledger._on_thread(lambda: gate.wait(DEADLINE_S)))
            committing = asyncio.create_task(ledger.committed())
            await until(lambda: bool(ledger._committing))
            await to(ledger, "a", State.RUNNING)
            gate.set()
            await held
            with pytest.raises(StorageFailed):
                await committing
            other.execute("ROLLBACK")
        await ledger.committed()
    async with running(path) as ledger:
        assert await ledger.get("a") == life("a", State.RUNNING)


async def test_a_stop_in_the_middle_of_a_commit_loses_nothing(path: Path) -> None:
    ledger = Ledger(path, DiskThread("ledger"), relay=True)
    await ledger.open()
    task = asyncio.create_task(ledger.run())
    for number in range(200):
        ledger.begin(life(f"{number:03}"))
    committing = asyncio.create_task(ledger.committed())
    await until(lambda: bool(ledger._committing))
    ledger.begin(life("last"))
    task.cancel()
    await asyncio.wait([task])
    await ledger.close()
    committing.cancel()
    await asyncio.wait([committing])
    assert len(on_disk(path)) == 201


async def test_a_commit_that_fails_while_the_ledger_is_closed_is_made_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(path, DiskThread("ledger"), relay=True)
    await ledger.open()
    task = asyncio.create_task(ledger.run())
    gate = threading.Event()
    write, writes = ledger._database.write, list[int]()

    def fails_once(lives: Sequence[tuple[Life, int]], *args: Any, **kwargs: Any) -> None:
        writes.append(len(lives))
        if len(writes) == 1:
            raise StorageFailed("write", "ledger.db", "no space left on device")
        write(lives, *args, **kwargs)

    monkeypatch.setattr(ledger._database, "write", fails_once)
    ledger.begin(life("a"))
    held = asyncio.create_task(ledger._on_thread(lambda: gate.wait(DEADLINE_S)))
    committing = asyncio.create_task(ledger.committed())
    await until(lambda: bool(ledger._committing))
    task.cancel()
    await asyncio.wait([task])
    closing_it = asyncio.create_task(ledger.close())
    await asyncio.sleep(0)  # it has begun, and the first commit has not ended
    gate.set()
    await asyncio.gather(held, closing_it)
    committing.cancel()
    await asyncio.wait([committing])
    assert writes == [1, 1]
    assert on_disk(path) == ["a"]


async def test_a_report_that_is_told_before_its_commit_is_written_once_as_told(path: Path) -> None:
    async with running(path, relay=LOCAL | LISTENER) as ledger:
        ledger.begin(life("a"))
        for way in (LOCAL, LISTENER):
            [waiting] = await ledger.unrelayed(10, way)
            ledger.relayed("a", waiting.version, way)
        ledger.begin(life("b"))
        ledger.relayed("b", 1, LISTENER)
        ledger.relayed("b", 7, LOCAL)  # a version that never was
        await ledger.committed()
        with closing(sqlite3.connect(path)) as database:
            rows = database.execute("SELECT correlation_id, unrelayed, relayed_ms > 0 FROM trigger ORDER BY 1")
            assert rows.fetchall() == [("a", 0, 1), ("b", LOCAL, 1)]


async def test_the_time_at_which_devices_were_told_last_outlives_a_change(path: Path) -> None:
    async with running(path) as ledger:
        ledger.begin(life("a"))
        ledger.relayed("a", 1)
        await ledger.committed()
        await to(ledger, "a", State.RUNNING)
        await ledger.committed()
        with closing(sqlite3.connect(path)) as database:
            [(unrelayed, relayed_ms)] = database.execute("SELECT unrelayed, relayed_ms FROM trigger").fetchall()
        assert (unrelayed, relayed_ms > 0) == (LOCAL, True)


async def test_reports_that_are_told_at_once_need_no_look_at_the_disk(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(path) as ledger:
        ledger.begin(life("first"))
        assert len(await ledger.unrelayed(10)) == 1
        monkeypatch.setattr(ledger._database, "unrelayed", None)
        monkeypatch.setattr(ledger._database, "newest_events", None)
        for number in range(3 * MAX_KNOWN):
            name = f"{number:04}"
            ledger.begin(life(name, accepted_ms=number + 2))
            for waiting in await ledger.unrelayed(10):
                ledger.relayed(waiting.report.correlation_id, waiting.version)
        assert await ledger.unrelayed(10) == []


async def test_more_reports_than_there_is_room_for_are_told_oldest_event_first_and_once(path: Path) -> None:
    names = [f"{number:04}" for number in range(2 * MAX_KNOWN + 100)]
    async with running(path) as ledger:
        for number, name in enumerate(names):
            ledger.begin(life(name, accepted_ms=number // 3))
        await ledger.committed()
        told: list[str] = []
        while waiting := await ledger.unrelayed(100):
            told += [each.report.correlation_id for each in waiting]
            for each in waiting:
                ledger.relayed(each.report.correlation_id, each.version)
            if len(told) % 300 == 0:
                await ledger.committed()
        assert len(told) == len(set(told))
        assert sorted(told) == names
        assert [int(name) // 3 for name in told] == sorted(int(name) // 3 for name in names)


async def test_of_the_events_of_one_moment_the_last_is_the_newest_before_and_after_a_restart(path: Path) -> None:
    async with running(path) as ledger:
        for name in ("b", "c", "a"):
            ledger.begin(life(name, accepted_ms=5))
        newest = [each.report.correlation_id for each in await ledger.unrelayed(10) if each.newest]
        assert newest == ["a"]
        await to(ledger, "b", State.RUNNING)
        newest = [each.report.correlation_id for each in await ledger.unrelayed(10) if each.newest]
        assert newest == ["a"], "an earlier event goes on, and does not become the newest"
    async with running(path) as ledger:
        newest = [each.report.correlation_id for each in await ledger.unrelayed(10) if each.newest]
        assert newest == ["a"]
