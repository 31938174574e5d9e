"""Makes the report about an agent's days from the ledger's daily roll-up: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta

import msgspec

from edgeagent.errors import MessageError
from edgeagent.ledger.daily import ALL, OTHER, RULE, SOURCE, DailyRow
from edgeagent.ledger.tally import Tally, percentile
from edgeagent.ports.report import MAX_LINES, By, DaysReport, ReportLine, ReportQuery

KINDS: Mapping[By, str] = {"day": ALL, "rule": RULE, "source": SOURCE}
_EPOCH = date(1970, 1, 1)
_P95 = 0.95


def first_day(query: ReportQuery, now_ms: int) -> int:
    """The first day that is asked for, in days since 1970.

    Raises:
        MessageError: there is no such day.
    """
    if query.since.endswith("d"):
        return today(now_ms) - int(query.since.removesuffix("d")) + 1
    try:
        return (date.fromisoformat(query.since) - _EPOCH).days
    except ValueError as exc:
        raise MessageError("query", "since", "is no day of the calendar") from exc


def today(now_ms: int) -> int:
    """The day of a time, in UTC."""
    return (datetime.fromtimestamp(now_ms / 1000, UTC).date() - _EPOCH).days


def days_report(
    agent: str,
    query: ReportQuery,
    days: tuple[int, int],
    whole: Iterable[DailyRow],
    rows: Iterable[DailyRow],
) -> DaysReport:
    """The report.

    Args:
        agent: whose it is.
        query: what was asked.
        days: the first and the last day.
        whole: the rows of whole days.
        rows: those of the kind that is asked for.
    """
    total = Tally()
    for row in whole:
        total.add(row.tally)
    sums: dict[str, Tally] = {}
    for row in rows:
        name = _day_text(row.day) if query.by == "day" else row.name
        sums.setdefault(name, Tally()).add(row.tally)
    if len(sums) > MAX_LINES:
        sums = _largest(sums)
    names = sorted(sums, key=lambda name: (name == OTHER, name))
    return DaysReport(
        agent,
        query.by,
        _day_text(days[0]),
        _day_text(days[1]),
        line("", total, is_whole=True),
        [line(name, sums[name], is_whole=query.by == "day") for name in names],
    )


def line(name: str, tally: Tally, *, is_whole: bool) -> ReportLine:
    """The sums as a line. `is_whole`: of whole days, for which the account says more."""
    account = tally.account
    counted = {
        member: account.get(counter, 0) if is_whole else None
        for member, counter in (
            *(("events", "received"), ("duplicates", "duplicate"), ("filtered", "filtered")),
            *(("throttled", "throttled"), ("refused", "refused"), ("conflicts", "conflict"), ("accepted", "accepted")),
            *(("dropped", "dropped"), ("discarded", "discarded"), ("damaged", "damaged")),
        )
    }
    members = {
        "name": name,
        **counted,
        **{member: getattr(tally, member) for member in ("triggers", "succeeded", "failed", "unknown", "rejected")},
        "merged": tally.merged,
        "expired": account.get("expired", 0) if is_whole else tally.expired,
        "answer_median_s": percentile(tally.answer, 0.5),
        "answer_p95_s": percentile(tally.answer, _P95),
        "end_median_s": percentile(tally.end, 0.5),
        "end_p95_s": percentile(tally.end, _P95),
        "offline_s": round(tally.offline_s, 1) if is_whole else None,
        "online_s": round(tally.online_s, 1) if is_whole else None,
    }
    return msgspec.convert(members, ReportLine)


def _largest(sums: Mapping[str, Tally]) -> dict[str, Tally]:
    """Those with the most triggers, and one for all others."""
    ordered = sorted(sums, key=lambda name: (name == OTHER, -sums[name].triggers, name))
    kept = {name: sums[name] for name in ordered[: MAX_LINES - 1]}
    other = Tally()
    for name in ordered[MAX_LINES - 1 :]:
        other.add(sums[name])
    return {**kept, OTHER: other}


def _day_text(day: int) -> str:
    return (_EPOCH + timedelta(days=min(max(day, 0), 2_900_000))).isoformat()
