"""Reports about the agent's days: on request, and as a retained message once a day (contract section 14)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping

import msgspec

from edgeagent.agent.clock import Clock
from edgeagent.agent.days import KINDS, days_report, first_day, today
from edgeagent.agent.link_time import LinkTime
from edgeagent.common.elapsed import is_set
from edgeagent.errors import StorageFailed
from edgeagent.ledger.daily import ALL, Counters, DailyRollup, DailyRow, risen, rows_between
from edgeagent.ledger.database import Database
from edgeagent.ledger.ledger import Ledger
from edgeagent.ledger.tally import Tally
from edgeagent.ports.link import Link, Publication
from edgeagent.ports.report import DaysReport, ReportQuery
from edgeagent.wire.topics import report_of_days_topic

# Tokens of triggers count from 1; -1 and -2 are the state's, -3 is a query's, -4 a canary's.
TOKEN = -5
# How often what is not written is written although no trigger changes: time without an uplink, filtered events.
_WRITTEN_S = 3600.0
# A new day is noticed within this time; longer than a machine takes for what it does at midnight.
_LOOK_S = 300.0
_NO_DAY_LATER = 1 << 40

_log = logging.getLogger(__name__)


def read_report(ledger: Database, agent: str, query: ReportQuery, now_ms: int, counters: Counters | None) -> DaysReport:
    """The report from the ledger's file. `counters`: a running agent's, whose last rise is not written.

    Raises:
        MessageError: the query names no day.
    """
    first, last = first_day(query, now_ms), today(now_ms)
    # A clock that was ahead for a moment left a day that is still to come; one that is not set knows no day.
    newest = last if is_set(now_ms) else _NO_DAY_LATER
    database = ledger.connection
    more = risen(database, counters) if counters is not None and first <= last else {}

    def rows_of(kind: str) -> Iterator[DailyRow]:
        yield from rows_between(database, first, newest, kind)
        if kind == ALL and more:
            yield DailyRow(last, ALL, "", Tally(account=more))

    return days_report(agent, query, (first, last), rows_of(ALL), rows_of(KINDS[query.by]))


class DaysReporter:
    """Owns the roll-up's unwritten part, and when the last report was published. `run` must be running.

    Promises at most one message a day and connection, about the day before.

    Attributes:
        rollup: observes and accompanies the ledger, with which whoever makes both connects it.
    """

    def __init__(
        self, agent: str, ledger: Ledger, clock: Clock, counters: Callable[[], Mapping[str, int]], *, publishes: bool
    ) -> None:
        """`counters`: the account's. `publishes`: whether there is a retained message (`uplink.report`)."""
        self._agent = agent
        self._ledger = ledger
        self._clock = clock
        self._at_start = dict(counters())
        self._read_counters = counters
        self._publishes = publishes
        self._link: Link | None = None
        self._published = 0  # the day about which it was
        self._work = asyncio.Event()
        self._now = asyncio.get_running_loop().time
        self._link_time = LinkTime(self._now())
        self.rollup = DailyRollup(
            now_ms=clock.now_ms, counters=self._counters, link_times=lambda: self._link_time.taken(self._now())
        )

    def up(self, link: Link) -> None:
        """The uplink is up."""
        self._link = link
        self._link_time.turned(self._now(), up=True)
        self._work.set()

    def down(self) -> None:
        """The uplink is down."""
        self._link = None
        self._link_time.turned(self._now(), up=False)

    async def report(self, query: ReportQuery) -> DaysReport:
        """The report.

        Raises:
            MessageError: the query names no day.
            StorageFailed: the disk refuses.
        """
        now_ms, counters = self._clock.now_ms(), self._counters()

        def read(database: Database) -> DaysReport:
            return read_report(database, self._agent, query, now_ms, counters)

        return await self._ledger.use(read)

    async def run(self) -> None:
        """Have the roll-up written, and publish once a day, until cancelled."""
        written_at, day = self._now(), today(self._clock.now_ms())
        while True:
            self._work.clear()
            if self._now() - written_at >= _WRITTEN_S or today(self._clock.now_ms()) != day:
                written_at, day = self._now(), today(self._clock.now_ms())
                self._ledger.commit_soon()
            with contextlib.suppress(StorageFailed):  # logged by the ledger; tried again
                await self._publish()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._work.wait()

    def _counters(self) -> Counters:
        return Counters(self._at_start, dict(self._read_counters()))

    async def _publish(self) -> None:
        yesterday = today(self._clock.now_ms()) - 1
        if not self._may_publish(yesterday):
            return
        report = await self._ledger.use(lambda database: self._read_day(database, yesterday))
        if self._may_publish(yesterday):
            self._send(report)
            self._published = yesterday

    def _may_publish(self, day: int) -> bool:
        return self._publishes and self._published != day and self._link is not None and self._link.room > 0

    def _send(self, report: DaysReport | None) -> None:
        """Publish a report; nothing for a day of which nothing is known."""
        if self._link is None or report is None:
            return
        payload, retain = msgspec.json.encode(report), self._link.abilities.retains
        topic = report_of_days_topic(self._agent)
        self._link.publish([Publication(TOKEN, topic, payload, retain=retain, content_type="application/json")])
        _log.info("published the report about %s", report.since, extra={"event": "report_published"})

    def _read_day(self, database: Database, day: int) -> DaysReport | None:
        rows = {kind: [*rows_between(database.connection, day, day, kind)] for kind in (ALL, KINDS["rule"])}
        if not rows[ALL]:
            return None
        return days_report(self._agent, ReportQuery(by="rule"), (day, day), rows[ALL], rows[KINDS["rule"]])
