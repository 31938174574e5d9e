"""Finding triggers in the ledger by what a person knows of them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from edgeagent.ledger.followed import By, Followed
from edgeagent.ledger.schema import LISTENER, LOCAL
from edgeagent.ports.device import TriggerQuery
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


async def test_no_list_of_triggers_sorts_or_reads_more_than_it_must(path: Path) -> None:
    """Ten thousand rows and a filter cost one pass over an index in the order of the answer."""
    async with running(path) as ledger:
        ledger.begin(life("a"))
        await ledger.committed()
        for query in (TriggerQuery(), TriggerQuery(rule="r"), TriggerQuery(state=State.FAILED), TriggerQuery("s", "r")):
            await ledger.find(query)
    columns = {"source": "boiler", "rule": "r", "state": "failed"}
    with closing(sqlite3.connect(path)) as database:
        for names_ in ((), ("rule",), ("state",), ("rule", "state"), ("source",), ("source", "rule", "state")):
            where = " AND ".join(["1", *(f"{name} = ?" for name in names_)])
            sql = f"EXPLAIN QUERY PLAN SELECT * FROM trigger WHERE {where} ORDER BY accepted_ms DESC LIMIT 100"  # noqa: S608
            steps = [row[3] for row in database.execute(sql, [columns[name] for name in names_])]
            assert len(steps) == 1, steps
            assert "trigger_by_source" in steps[0] if "source" in names_ else "trigger_by_time" in steps[0]


async def test_ten_thousand_triggers_are_listed_and_filtered_in_one_read_of_each_row(path: Path) -> None:
    async with running(path) as ledger:
        for number in range(10_000):
            ledger.begin(full(number, source=f"boiler-{number % 100}", rule=f"rule-{number % 10}"))
        await ledger.committed()
        found = await ledger.find(TriggerQuery(rule="rule-7", limit=1000))
        assert len(found) == 1000
        assert await ledger.find(TriggerQuery(state=State.FAILED)) == []
    steps = 0

    def counted() -> int:
        nonlocal steps
        steps += 1
        return 0

    with closing(sqlite3.connect(path)) as database:
        database.set_progress_handler(counted, 1000)
        sql = "SELECT * FROM trigger WHERE 1 AND rule = ? AND state = ? ORDER BY accepted_ms DESC LIMIT 100"
        assert database.execute(sql, ("rule-7", "failed")).fetchall() == []
    assert steps * 1000 < 10_000 * 20, "the virtual machine does a few steps a row, and nothing else"
