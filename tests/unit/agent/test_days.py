from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edgeagent.agent.days import days_report, first_day, today
from edgeagent.errors import MessageError
from edgeagent.ledger.daily import ALL, OTHER, RULE, SOURCE, DailyRow
from edgeagent.ledger.tally import Tally, bucket_of
from edgeagent.ports.report import MAX_LINES, ReportQuery

GOLDEN = Path(__file__).parents[2] / "golden" / "days-report.json"
NOW_MS = 1_795_942_800_000  # 2026-11-29T09:00:00Z
TODAY = 20_786


def query(since: str = "7d", by: str = "day") -> ReportQuery:
    return msgspec.convert({"since": since, "by": by}, ReportQuery)


def some(**members: object) -> Tally:
    return msgspec.convert(members, Tally)


def test_days_are_those_of_utc() -> None:
    assert today(NOW_MS) == TODAY
    assert today(TODAY * 86_400_000 - 1) == TODAY - 1


@pytest.mark.parametrize(("since", "first"), [("1d", TODAY), ("7d", TODAY - 6), ("2026-11-01", TODAY - 28)])
def test_the_first_day_is_counted_back_from_today_or_named(since: str, first: int) -> None:
    assert first_day(query(since), NOW_MS) == first


@pytest.mark.parametrize("since", ["", "0d", "7", "7h", "-1d", "1000d", "2026-1-1", "7d\n", "9" * 9 + "d"])
def test_what_is_no_time_is_refused(since: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        query(since)


def test_a_day_that_is_not_in_the_calendar_is_named() -> None:
    with pytest.raises(MessageError) as caught:
        first_day(query("2026-02-30"), NOW_MS)
    assert caught.value.member == "since"


def test_the_report_is_the_golden_one() -> None:
    times = {"answer": {bucket_of(0.33): 5, bucket_of(5.6): 1}, "end": {bucket_of(60): 5}}
    members = {"triggers": 6, "succeeded": 4, "failed": 1, "unknown": 1, **times}
    account = {"received": 9, "duplicate": 1, "filtered": 2, "accepted": 6, "stored": 6, "dropped": 2}
    whole = DailyRow(TODAY - 1, ALL, "", some(**members, account=account, offline_s=3600.2, online_s=82_799.8))
    rule = DailyRow(TODAY - 1, RULE, "overheat", some(**members))
    report = days_report("gw-042", query(by="rule"), (TODAY - 1, TODAY - 1), [whole], [rule])
    assert msgspec.json.encode(report) == GOLDEN.read_bytes()


def test_the_sums_of_several_days_are_added_for_each_rule_and_others_come_last() -> None:
    rows = [
        DailyRow(TODAY - 1, RULE, "zebra", some(triggers=1)),
        DailyRow(TODAY - 1, RULE, OTHER, some(triggers=5)),
        DailyRow(TODAY, RULE, "zebra", some(triggers=2)),
        DailyRow(TODAY, RULE, "ant", some(triggers=4)),
    ]
    report = days_report("gw", query(by="rule"), (TODAY - 6, TODAY), [], rows)
    assert [(line.name, line.triggers) for line in report.lines] == [("ant", 4), ("zebra", 3), (OTHER, 5)]


def test_a_day_has_a_line_of_its_own_with_what_the_account_says() -> None:
    rows = [DailyRow(day, ALL, "", some(account={"received": 3, "expired": 1})) for day in (TODAY - 1, TODAY)]
    report = days_report("gw", query(), (TODAY - 6, TODAY), rows, rows)
    lines = [(line.name, line.events, line.expired) for line in report.lines]
    assert lines == [("2026-11-28", 3, 1), ("2026-11-29", 3, 1)]
    assert (report.total.events, report.since, report.until) == (6, "2026-11-23", "2026-11-29")


def test_of_very_many_sources_the_busiest_have_lines_and_none_is_left_out_of_the_sum() -> None:
    rows = [DailyRow(TODAY, SOURCE, f"s{number}", some(triggers=number)) for number in range(1, 3001)]
    report = days_report("gw", query(by="source"), (TODAY, TODAY), [], rows)
    assert len(report.lines) == MAX_LINES
    assert sum(line.triggers for line in report.lines) == sum(range(3001))
    assert {line.name for line in report.lines} >= {"s3000", OTHER}
