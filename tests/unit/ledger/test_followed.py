"""Finding triggers in the ledger by what a person knows of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeagent.ledger.database import Database
from edgeagent.ledger.followed import By, Followed
from edgeagent.ledger.schema import LISTENER, LOCAL
from edgeagent.wire.lifecycle import Life
from edgeagent.wire.messages import Report, State
from tests.fakes.ledgers import life, moved, running

pytestmark = pytest.mark.virtual_time


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def full(number: int, source: str = "boiler", **members: str) -> Life:
    name = f"{number:032x}"
    report = Report(name, f"e{number}", source, "overheat", State.PUBLISHED, "now", f"overheat-{name}", "plant")
    return Life(msgspec.structs.replace(report, **members), number)


def names(found: list[Followed]) -> list[int]:
    return [int(each.life.report.correlation_id, 16) for each in found]


@pytest.mark.parametrize("committed", [True, False])
async def test_a_trigger_is_found_by_all_that_people_know_of_it(path: Path, *, committed: bool) -> None:
    async with running(path) as ledger:
        for number in range(1, 10):
            ledger.begin(full(number, source=f"boiler-{number % 3}"))
        ledger.begin(full(10, workflow_id="nightly"))
        ledger.begin(full(11, event_id="e3"))
        if committed:
            await ledger.committed()
        assert names(await ledger.followed(By.CORRELATION, f"{7:032x}", 1)) == [7]
        assert names(await ledger.followed(By.BEGINNING, f"{7:032x}"[:30], 100)) == [*range(11, 0, -1)]
        assert names(await ledger.followed(By.EVENT, "e3", 100)) == [11, 3]
        assert names(await ledger.followed(By.WORKFLOW, f"overheat-{4:032x}", 1)) == [4]
        assert names(await ledger.followed(By.WORKFLOW, "nightly", 1)) == [10]
        assert names(await ledger.followed(By.SOURCE, "boiler-1", 2)) == [7, 4]
        for by in By:
            assert await ledger.followed(by, "nothing", 100) == []


async def test_a_search_by_event_reads_the_ledger_in_parts_and_finds_what_is_in_the_last_one(path: Path) -> None:
    async with running(path) as ledger:
        for number in range(1, 9_002):
            ledger.begin(full(number))
        await ledger.committed()
        assert names(await ledger.followed(By.EVENT, "e9001", 100)) == [9001]
        assert names(await ledger.followed(By.EVENT, "e1", 100)) == [1]


async def test_what_devices_were_told_counts_from_the_moment_on_not_from_the_commit(path: Path) -> None:
    async with running(path) as ledger:
        ledger.begin(life("a"))
        [new] = await ledger.followed(By.SOURCE, "boiler", 10)
        assert (new.untold, new.relayed_ms) == (LOCAL, 0)
        ledger.relayed("a", new.version)
        [told] = await ledger.followed(By.SOURCE, "boiler", 10)
        assert told.untold == 0
        assert told.relayed_ms > 0
        await ledger.committed()
        assert await ledger.followed(By.SOURCE, "boiler", 10) == [told]
        ledger.relayed("a", new.version)  # told once more, as may happen
        await ledger.committed()
        assert await ledger.followed(By.SOURCE, "boiler", 10) == [told], "the first time counts"
        await ledger.change("a", moved(State.RUNNING))  # type: ignore[arg-type]
        for _ in range(2):
            [again] = await ledger.followed(By.SOURCE, "boiler", 10)
            assert (again.untold, again.relayed_ms) == (LOCAL, told.relayed_ms), "of the new state they do not know"
            await ledger.committed()
        ledger.relayed("a", told.version)
        [again] = await ledger.followed(By.SOURCE, "boiler", 10)
        assert again.untold == LOCAL, "the report that was taken is an earlier one"


async def test_each_way_to_devices_counts_by_itself(path: Path) -> None:
    async with running(path, relay=LOCAL | LISTENER) as ledger:
        ledger.begin(life("a"))
        ledger.relayed("a", 1, LISTENER)
        await ledger.committed()
        [told] = await ledger.followed(By.CORRELATION, "a", 1)
        assert told.untold == LOCAL


async def filled(path: Path, count: int) -> None:
    async with running(path) as ledger:
        for number in range(count):
            ledger.begin(full(number, source=f"boiler-{number % 100}", rule=f"rule-{number % 10}"))


# What is asked for, and how many of ten thousand triggers fit that, up to a thousand.
FILTERS = [
    ({}, 1000),
    ({"rule": "rule-7"}, 1000),
    ({"state": "failed"}, 0),
    ({"rule": "rule-7", "state": "failed"}, 0),
    ({"source": "boiler-7"}, 100),
    ({"source": "boiler-7", "rule": "rule-7", "state": "failed"}, 0),
]


@pytest.mark.parametrize("where", [where for where, _ in FILTERS])
async def test_a_list_of_triggers_is_read_in_the_order_of_an_index(path: Path, where: dict[str, str]) -> None:
    await filled(path, 1)
    asked: list[tuple[str, Sequence[Any]]] = []

    class Listening(Database):
        def execute(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
            asked.append((sql, values))
            return super().execute(sql, values)

    database = Listening(path)
    database.newest(where, 100, None)
    [(sql, values)] = asked
    first, *others = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
    database.close()
    assert ("trigger_by_source" if "source" in where else "trigger_by_time") in first
    assert "USE TEMP B-TREE FOR ORDER BY" not in others, "all rows would be read and sorted before the first one"


@pytest.mark.parametrize(("where", "fits"), FILTERS)
async def test_ten_thousand_triggers_are_filtered_in_one_look_at_each_row(
    path: Path, where: dict[str, str], fits: int
) -> None:
    await filled(path, 10_000)
    database, steps = Database(path), 0

    def counted() -> int:
        nonlocal steps
        steps += 1
        return 0

    def work() -> int:
        connection = database.execute("SELECT 1").connection
        connection.set_progress_handler(counted, 1000)
        return len(database.newest(where, 1000, None))

    assert database.use(work) == fits
    database.close()
    assert steps * 1000 < 10_000 * 60, "SQLite takes a few steps for each row, and none beside them"
