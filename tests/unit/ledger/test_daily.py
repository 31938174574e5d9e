from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edgeagent.common.times import rfc3339
from edgeagent.errors import StorageFailed
from edgeagent.ledger import daily
from edgeagent.ledger.daily import ALL, OTHER, RULE, SOURCE, Counters, DailyRollup, DailyRow, rows_between
from edgeagent.ledger.ledger import Ledger
from edgeagent.ledger.schema import LAYOUT, TRIGGERS
from edgeagent.ledger.tally import Tally
from edgeagent.wire.lifecycle import Life
from edgeagent.wire.messages import Report, State
from tests.fakes.ledgers import running

DAY_MS = daily.DAY_MS
NOON_MS = 1_800_000_000_000 // DAY_MS * DAY_MS + DAY_MS // 2
TODAY = NOON_MS // DAY_MS


class Machine:
    """A roll-up with a clock, counters and a link that the test turns."""

    def __init__(self) -> None:
        self.now_ms = NOON_MS
        self.received = 0
        self.offline_s = 0.0
        self.rollup = self.started()

    def started(self) -> DailyRollup:
        """A roll-up as after a start of the agent."""
        at_start = {"received": self.received}
        return DailyRollup(
            now_ms=lambda: self.now_ms,
            counters=lambda: Counters(at_start, {"received": self.received}),
            link_times=self._link_times,
        )

    def joins(self, ledger: Ledger) -> None:
        """Start beside this ledger."""
        self.rollup = self.started()
        ledger.observe(self.rollup.changed)
        ledger.accompany(self.rollup)

    def _link_times(self) -> tuple[float, float]:
        offline_s, self.offline_s = self.offline_s, 0.0
        return offline_s, 0.0


def life(name: str, rule: str = "overheat", source: str = "boiler-1", state: State = State.PUBLISHED) -> Life:
    return Life(Report(name, f"e-{name}", source, rule, state, rfc3339(NOON_MS + 2000)), NOON_MS)


def sums(path: Path, kind: str = ALL) -> dict[tuple[int, str], Tally]:
    """What stands in the file."""
    with closing(sqlite3.connect(path)) as database:
        return {(row.day, row.name): row.tally for row in rows_between(database, 0, 1 << 40, kind)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as made:
        made.executescript(LAYOUT.schema)
        yield made


def written(database: sqlite3.Connection, machine: Machine, *lives: Life) -> None:
    for each in lives:
        machine.rollup.changed(None, each)
    machine.rollup.begin()(database)
    machine.rollup.ended(kept=True)


def rows(database: sqlite3.Connection, kind: str) -> list[DailyRow]:
    return [*rows_between(database, 0, 1 << 40, kind)]


async def test_the_sums_are_committed_with_the_changes_and_go_on_after_a_restart_in_mid_day(path: Path) -> None:
    machine = Machine()
    async with running(path) as ledger:
        machine.joins(ledger)
        ledger.begin(life("a"))
        ledger.begin(life("b", rule="leak", source="meter"))
        machine.received += 5
        await ledger.committed()
        assert sums(path)[TODAY, ""].triggers == 2, "as after a crash at this moment"
        assert sums(path)[TODAY, ""].account == {"received": 5}
    async with running(path) as ledger:
        machine.joins(ledger)
        ledger.begin(life("c"))
        await ledger.change("a", lambda known: life("a", state=State.FAILED) if known is not None else None)
        machine.received += 1
    total = sums(path)[TODAY, ""]
    assert (total.triggers, total.failed, total.account) == (3, 1, {"received": 6})
    assert {name: tally.triggers for (_, name), tally in sums(path, RULE).items()} == {"overheat": 2, "leak": 1}
    assert {name: tally.triggers for (_, name), tally in sums(path, SOURCE).items()} == {"boiler-1": 2, "meter": 1}


async def test_what_a_failed_commit_counted_is_counted_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine()
    async with running(path) as ledger:
        machine.joins(ledger)
        ledger.begin(life("a"))
        machine.received, machine.offline_s = 1, 7.0
        broken: Any = ledger

        def refuse(*_: Any, **__: Any) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        with monkeypatch.context() as patch:
            patch.setattr(broken._database, "write", refuse)
            with pytest.raises(StorageFailed):
                await ledger.committed()
        ledger.begin(life("b"))
        await ledger.committed()
    total = sums(path)[TODAY, ""]
    assert (total.triggers, total.account, total.offline_s) == (2, {"received": 1}, 7.0)


async def test_each_day_of_utc_has_its_own_sums(path: Path) -> None:
    machine = Machine()
    machine.now_ms = (TODAY + 1) * DAY_MS - 1
    async with running(path) as ledger:
        machine.joins(ledger)
        ledger.begin(life("a"))
        await ledger.committed()
        machine.now_ms += 1
        ledger.begin(life("b"))
        await ledger.committed()
    assert {day: tally.triggers for (day, _), tally in sums(path).items()} == {TODAY: 1, TODAY + 1: 1}


def test_more_rules_and_sources_than_a_day_may_have_are_put_together(
    database: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(daily._MOST, RULE, 2)
    monkeypatch.setitem(daily._MOST, SOURCE, 3)
    machine = Machine()
    for number in range(10):
        written(database, machine, life(f"t{number}", rule=f"r{number % 5}", source=f"s{number}"))
    assert {row.name: row.tally.triggers for row in rows(database, RULE)} == {"r0": 2, "r1": 2, OTHER: 6}
    assert {row.name: row.tally.triggers for row in rows(database, SOURCE)} == {"s0": 1, "s1": 1, "s2": 1, OTHER: 7}


@pytest.mark.slow
def test_a_year_with_a_thousand_sources_a_day_stays_within_its_bounds(
    database: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daily, "MAX_ROWS", 5_000)
    monkeypatch.setitem(daily._MOST, SOURCE, 40)
    machine = Machine()
    for day in range(800):
        machine.now_ms = NOON_MS + day * DAY_MS
        written(database, machine, *(life(f"{day}-{number}", source=f"s{number}") for number in range(50)))
    days = rows(database, ALL)
    assert len(days) == daily.MAX_DAYS
    assert [row.day for row in days] == [*range(TODAY + 800 - daily.MAX_DAYS, TODAY + 800)]
    (count,) = database.execute("SELECT count(*) FROM daily").fetchone()
    assert count <= 5_000 + 45
    sources = rows(database, SOURCE)
    assert sum(row.tally.triggers for row in sources) == 50 * daily.MAX_DAYS, "what is put together is not lost"
    assert sum(row.day == TODAY + 799 for row in sources) == 41, "the newest days keep their sources"


def test_a_full_days_rows_take_little(database: sqlite3.Connection) -> None:
    machine = Machine()
    lives = [life(str(number), rule=f"r{number % 100}", source=f"source-{number}") for number in range(1000)]
    written(database, machine, *lives)
    (count, size) = database.execute("SELECT count(*), sum(length(tally) + length(name) + 16) FROM daily").fetchone()
    assert count == 1 + 1 + 100 + 1000
    assert size / count * daily.MAX_ROWS < 8 << 20


def test_a_clock_that_is_not_set_yet_adds_to_the_newest_day(database: sqlite3.Connection) -> None:
    machine = Machine()
    written(database, machine, life("a"))
    machine.now_ms = 40_000  # 1970
    written(database, machine, life("b"))
    assert [(row.day, row.tally.triggers) for row in rows(database, ALL)] == [(TODAY, 2)]


def test_a_clock_that_jumped_far_ahead_forgets_no_more_than_one_day(
    database: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daily, "MAX_DAYS", 3)
    machine = Machine()
    for ahead in (0, 1, 20_000, 2):
        machine.now_ms = NOON_MS + ahead * DAY_MS
        written(database, machine, life(str(ahead)))
    assert [row.day - TODAY for row in rows(database, ALL)] == [1, 2, 20_000]


def test_a_counter_that_a_crash_took_back_is_not_counted_twice(database: sqlite3.Connection) -> None:
    machine = Machine()
    for received in (10, 7, 9):  # after the crash 7 of the 10 are known, and two more come
        machine.received = received
        written(database, machine)
    assert [row.tally.account for row in rows(database, ALL)] == [{"received": 12}]


def test_what_was_before_the_roll_up_began_is_not_counted(database: sqlite3.Connection) -> None:
    machine = Machine()
    machine.received = 1_000_000
    machine.rollup = machine.started()
    machine.received += 2
    written(database, machine)
    assert [row.tally.account for row in rows(database, ALL)] == [{"received": 2}]


def test_a_disk_that_fails_for_long_does_not_fill_the_memory(
    database: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daily, "_MAX_UNWRITTEN", 10)
    machine = Machine()
    for number in range(100):
        machine.rollup.changed(None, life(str(number), source=f"s{number}"))
        machine.rollup.begin()
        machine.rollup.ended(kept=False)
    machine.rollup.begin()(database)
    assert sum(row.tally.triggers for row in rows(database, SOURCE)) == 100
    assert len(rows(database, SOURCE)) <= 10


async def test_a_ledger_of_the_version_before_gets_the_table(path: Path) -> None:
    steps = LAYOUT.upgrades
    with closing(sqlite3.connect(path)) as old:
        old.executescript(TRIGGERS + steps[4].removesuffix(steps[5]) + "PRAGMA user_version = 5;")
    machine = Machine()
    async with running(path) as ledger:
        machine.joins(ledger)
        ledger.begin(life("a"))
        await ledger.committed()
        await asyncio.sleep(0)
    assert sums(path)[TODAY, ""].triggers == 1
