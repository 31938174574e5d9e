from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import msgspec
import pytest

from edgeagent.agent.reporter import DaysReporter, read_report
from edgeagent.common.times import rfc3339
from edgeagent.ledger.daily import SOURCE
from edgeagent.ledger.database import Database
from edgeagent.ledger.ledger import Ledger
from edgeagent.ledger.tally import Tally
from edgeagent.ports.report import DaysReport, ReportQuery
from edgeagent.wire.lifecycle import Life
from edgeagent.wire.messages import Report, State
from tests.ending import end
from tests.fakes.ledgers import running
from tests.fakes.link import FakeLink
from tests.fakes.turned_clock import TurnedClock
from tests.waiting import turns, until

pytestmark = pytest.mark.virtual_time

DAY_MS = 86_400_000


class Scene:
    """A reporter over a real ledger, with a clock that the test turns."""

    def __init__(self, ledger: Ledger, *, publishes: bool = True) -> None:
        self.ledger = ledger
        self.clock = TurnedClock()
        self.received = 0
        self.reporter = DaysReporter(
            "gw-042", ledger, self.clock, lambda: {"received": self.received}, publishes=publishes
        )
        ledger.observe(self.reporter.rollup.changed)
        ledger.accompany(self.reporter.rollup)

    async def trigger(self, name: str) -> None:
        """One event that makes one trigger, committed."""
        report = Report(name, f"e-{name}", "boiler-1", "overheat", State.PUBLISHED, rfc3339(self.clock.ms))
        self.ledger.begin(Life(report, self.clock.ms))
        self.received += 1
        await self.ledger.committed()


@asynccontextmanager
async def scene(directory: Path, *, publishes: bool = True) -> AsyncIterator[Scene]:
    async with running(directory / "ledger.db") as ledger:
        made = Scene(ledger, publishes=publishes)
        task = asyncio.create_task(made.reporter.run())
        try:
            yield made
        finally:
            await end(task)


def said(link: FakeLink) -> list[DaysReport]:
    return [msgspec.json.decode(publication.payload, type=DaysReport) for publication in link.published]


async def test_yesterday_is_published_once_retained_on_the_first_connection_of_the_day(tmp_path: Path) -> None:
    async with scene(tmp_path) as made:
        await made.trigger("a")
        made.clock.ms += DAY_MS
        link = FakeLink()
        made.reporter.up(link)
        await until(lambda: link.published)
        made.reporter.down()
        made.reporter.up(link)
        await turns(200)
    (publication,) = link.published
    assert (publication.topic, publication.qos, publication.retain) == ("edgeagent/report/gw-042", 1, True)
    (report,) = said(link)
    assert (report.by, report.since == report.until, report.total.events, report.total.triggers) == ("rule", True, 1, 1)
    assert [(line.name, line.triggers) for line in report.lines] == [("overheat", 1)]


async def test_a_day_of_which_nothing_is_known_is_not_published(tmp_path: Path) -> None:
    async with scene(tmp_path) as made:
        link = FakeLink()
        made.reporter.up(link)
        await made.trigger("a")
        await turns(200)
        assert link.published == []


async def test_nothing_is_published_unless_it_is_asked_for(tmp_path: Path) -> None:
    async with scene(tmp_path, publishes=False) as made:
        await made.trigger("a")
        made.clock.ms += DAY_MS
        link = FakeLink()
        made.reporter.up(link)
        await turns(200)
        assert link.published == []


async def test_a_report_has_what_the_account_counted_and_no_commit_has_written(tmp_path: Path) -> None:
    async with scene(tmp_path) as made:
        await made.trigger("a")
        made.received += 10  # filtered: nothing is committed for them
        report = await made.reporter.report(ReportQuery("1d"))
        assert (report.total.events, report.total.triggers) == (11, 1)
        again = await made.reporter.report(ReportQuery("1d"))
        assert again == report, "asking changes nothing"


async def test_a_day_that_is_still_to_come_is_in_no_report(tmp_path: Path) -> None:
    async with scene(tmp_path) as made:
        await made.trigger("a")
        made.clock.ms += 70 * 365 * DAY_MS  # wrong for a moment
        await made.trigger("b")
        made.clock.ms -= 70 * 365 * DAY_MS
        await made.trigger("c")
        report = await made.reporter.report(ReportQuery())
    assert [line.name for line in report.lines] == [report.until]
    assert (report.total.triggers, report.total.events) == (2, 2)


@pytest.mark.slow
def test_a_report_about_a_year_of_many_sources_takes_little_memory(tmp_path: Path) -> None:
    machine = TurnedClock()
    of_a_day = msgspec.json.encode(Tally(triggers=1, answer=dict.fromkeys(range(40), 1)))
    ledger = Database(tmp_path / "ledger.db")
    with closing(ledger):
        day = machine.ms // DAY_MS
        rows = [(day - ago, SOURCE, f"boiler-{each}", of_a_day) for ago in range(60) for each in range(100)]
        with ledger.connection as database:
            database.executemany("INSERT INTO daily VALUES (?,?,?,?)", rows)
        tracemalloc.start()
        try:
            report = read_report(ledger, "gw", ReportQuery("366d", "source"), machine.ms, None)
            _, most_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert len(report.lines) == 100
    assert report.lines[0].triggers == 60
    assert most_bytes < 2 << 20, "of each source a sum, not each of its days"
