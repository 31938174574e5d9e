"""The report about an agent's days: a table for a person, lines for a spreadsheet. Pure."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import msgspec

from edgeagent.common.foreign import shown
from edgeagent.common.spans import span
from edgeagent.ports.report import DaysReport, ReportLine

# What triggers ended as: its heading, the member, and whether it has a column although there is none. With the last one
# they are TRIGGERS.
_ENDS = (
    ("SUCCEEDED", "succeeded", True),
    ("FAILED", "failed", True),
    ("UNKNOWN", "unknown", True),
    ("REJECTED", "rejected", True),
    ("MERGED", "merged", False),
    ("EXPIRED", "expired", False),
    ("OPEN", "open", False),
)
_TIMES = ("ANSWER", "95 %", "END", "95 %", "NO UPLINK")
_MAX_NAME_CHARS = 48
_WORDS = (
    ("merged", "merged: ended in the trigger of a window, or in a newer one"),
    ("open", "open: not ended yet; below 0, ended of days before"),
)
# A spreadsheet would take such a text for a formula; some take the wide forms of these characters for the same.
_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_LOSSES = (
    ("expired", "older than their ttl"),
    ("dropped", "dropped, because the outbox or the dead letters were full (among TRIGGERS if published before)"),
    ("damaged", "damaged on the disk"),
    ("discarded", "discarded by an operator"),
)


def table(report: DaysReport) -> Iterator[str]:
    """The report as lines for a person."""
    yield f"{report.agent}, {report.since} to {report.until} (days in UTC), by {report.by}"
    lines = [*report.lines, report.total]
    ends = [
        (heading, member) for heading, member, always in _ENDS if always or any(getattr(line, member) for line in lines)
    ]
    headings = (report.by.upper(), "EVENTS", "TRIGGERS", *(heading for heading, _ in ends), *_TIMES)
    rows = [headings, *(_row(line, [member for _, member in ends]) for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        first, *others = (
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join([first, *others]).rstrip()
    if told := [words for member, words in _WORDS if any(getattr(line, member) for line in lines)]:
        yield f"TRIGGERS = {' + '.join(heading for heading, _ in ends)}; {'; '.join(told)}"
    total = report.total
    lost = [f"{count:,} {why}" for member, why in _LOSSES if (count := getattr(total, member))]
    if lost:
        yield f"ended without a workflow: {', '.join(lost)}"
    taken = [("throttled", total.throttled), ("filtered", total.filtered), ("duplicates", total.duplicates)]
    refused = [("refused", total.refused), ("conflicts", total.conflicts)]
    if told := [f"{count:,} {name}" for name, count in (*taken, *refused) if count]:
        yield f"of the events, no trigger was made for: {', '.join(told)}"


def csv_lines(report: DaysReport) -> Iterator[str]:
    """The rows as lines of CSV. Names stand in quotes: where `;` separates columns, one with a `;` would be two."""
    for name, *others in csv_rows(report):
        yield f"{_csv([name], csv.QUOTE_ALL)},{_csv(others, csv.QUOTE_MINIMAL)}"


def csv_rows(report: DaysReport) -> Iterator[Sequence[str | int | float | None]]:
    """The report as rows of a table, with a heading; without the total, which a spreadsheet makes."""
    names = ReportLine.__struct_fields__
    yield (report.by, *names[1:])
    for line in report.lines:
        name = f"'{line.name}" if line.name.startswith(_FORMULAS) else line.name
        yield (name, *msgspec.structs.astuple(line)[1:])


class _Lines(NamedTuple):
    """What `csv` writes to."""

    write: Callable[[str], object]


def _csv(cells: Sequence[str | int | float | None], quoting: Literal[0, 1]) -> str:
    text: list[str] = []
    csv.writer(_Lines(text.append), lineterminator="", quoting=quoting).writerow(cells)
    return "".join(text)


def _row(line: ReportLine, ends: Sequence[str]) -> tuple[str, ...]:
    """`ends`: the members that have columns."""
    return (
        shown(line.name, _MAX_NAME_CHARS) if line.name else "total",
        "-" if line.events is None else f"{line.events:,}",
        f"{line.triggers:,}",
        *(f"{getattr(line, member):,}" for member in ends),
        *map(_time, (line.answer_median_s, line.answer_p95_s, line.end_median_s, line.end_p95_s, line.offline_s)),
    )


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.2g} s" if 0 < seconds < 10 else span(seconds)  # noqa: PLR2004  from ten on whole seconds do
