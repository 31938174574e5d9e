from __future__ import annotations

import csv
import re
from pathlib import Path

import msgspec
import pytest

from edgeagent.cli.report_table import csv_lines, table
from edgeagent.ports.report import DaysReport

GOLDEN = Path(__file__).parents[2] / "golden" / "days-report.json"


@pytest.fixture
def report() -> DaysReport:
    return msgspec.json.decode(GOLDEN.read_bytes(), type=DaysReport)


def columns(line: str) -> list[str]:
    """The columns, which stand at least two blanks apart."""
    return re.split(r" {2,}", line.strip())


def test_the_table_has_a_line_for_each_and_the_total_and_says_what_was_lost_and_why(report: DaysReport) -> None:
    title, heading, rule, total, lost, taken = table(report)
    assert title == "gw-042, 2026-11-28 to 2026-11-28 (days in UTC), by rule"
    assert heading.split()[:4] == ["RULE", "EVENTS", "TRIGGERS", "SUCCEEDED"]
    assert columns(rule) == ["overheat", "-", "6", "4", "1", "1", "0", "0.35 s", "5.6 s", "1 min", "1 min", "-"]
    assert columns(total) == ["total", "9", "6", "4", "1", "1", "0", "0.35 s", "5.6 s", "1 min", "1 min", "1 h"]
    assert lost == (
        "ended without a workflow: 2 dropped, because the outbox or the dead letters were full (among TRIGGERS if "
        "published before)"
    )
    assert taken == "of the events, no trigger was made for: 2 filtered, 1 duplicates"


def test_the_columns_of_ends_add_up_to_the_triggers_and_those_that_are_needed_are_there(report: DaysReport) -> None:
    more = {"triggers": 4012, "merged": 4000, "expired": 1}
    line = msgspec.structs.replace(report.lines[0], **more)
    total = msgspec.structs.replace(report.total, **more)
    _, heading, row, _, words, *_ = table(msgspec.structs.replace(report, lines=[line], total=total))
    names = ["TRIGGERS", "SUCCEEDED", "FAILED", "UNKNOWN", "REJECTED", "MERGED", "EXPIRED", "OPEN"]
    assert columns(heading)[2:10] == names
    assert columns(row)[2:10] == ["4,012", "4", "1", "1", "0", "4,000", "1", "5"]
    assert words.startswith(f"TRIGGERS = {' + '.join(names[1:])}; merged: ended in the trigger of a window")


def test_a_devices_name_can_neither_steer_the_terminal_nor_break_the_columns(report: DaysReport) -> None:
    evil = msgspec.structs.replace(report.lines[0], name="\x1b[2J\u202e" + "x" * 500)
    lines = [*table(msgspec.structs.replace(report, lines=[evil]))]
    assert all(line.isprintable() and len(line) < 250 for line in lines)


def test_a_spreadsheet_takes_no_name_for_a_formula_and_reads_every_member(report: DaysReport) -> None:
    evil = msgspec.structs.replace(report.lines[0], name='=HYPERLINK("http://evil","x")')
    heading, row = csv.reader(csv_lines(msgspec.structs.replace(report, lines=[evil])))
    assert heading[:3] == ["rule", "events", "duplicates"]
    assert len(row) == len(heading)
    assert row[0] == """'=HYPERLINK("http://evil","x")"""
    assert row[1] == "", "not known for a rule alone"
    assert row[heading.index("succeeded")] == "4"


@pytest.mark.parametrize("name", ["a;=cmd()", "=cmd()", "\uff1dcmd()"])
def test_no_cell_is_a_formula_where_semicolons_separate_columns_either(report: DaysReport, name: str) -> None:
    evil = msgspec.structs.replace(report.lines[0], name=name)
    (_, row) = csv.reader(csv_lines(msgspec.structs.replace(report, lines=[evil])), delimiter=";")
    assert not any(cell.startswith(("=", "\uff1d")) for cell in row)
