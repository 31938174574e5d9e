"""docs/mqtt-conformance.md names tests that exist, and modules too."""

from __future__ import annotations

import re

import pytest

from tests.architecture.source import PACKAGE, ROOT, modules

TEXT = (ROOT / "docs" / "mqtt-conformance.md").read_text("utf-8")
DEFINED = re.compile(r"^ *(?:async )?def (\w+)\(", re.MULTILINE)
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.splitlines()
    if line.startswith("| ") and not line.startswith("| MQTT 5 |")
]


# The numbers of all statements, by the section's: of each section the last one.
STATEMENTS_5 = """
1.5.4-3 1.5.5-1 1.5.7-1 2.1.3-1 2.2.1-6 2.2.2-1 3.1.0-2 3.1.2-30 3.1.3-12 3.1.4-6 3.2.0-2 3.2.2-22 3.3.1-13 3.3.2-20
3.3.4-10 3.4.2-3 3.5.2-3 3.6.1-1 3.6.2-3 3.7.2-3 3.8.1-1 3.8.3-5 3.8.4-8 3.9.2-2 3.9.3-2 3.10.1-1 3.10.3-2 3.10.4-6
3.11.2-2 3.11.3-2 3.12.4-1 3.14.0-1 3.14.1-1 3.14.2-4 3.14.4-3 3.15.1-1 3.15.2-3 4.1.0-2 4.2.0-1 4.3.1-1 4.3.2-5
4.3.3-13 4.4.0-2 4.5.0-2 4.6.0-6 4.7.0-1 4.7.1-2 4.7.2-1 4.7.3-4 4.8.2-6 4.9.0-3 4.12.0-7 4.12.1-2 4.13.1-1 4.13.2-1
6.0.0-4
"""
STATEMENTS_311 = """
1.5.3-3 2.2.2-2 2.3.1-7 3.1.0-2 3.1.2-24 3.1.3-11 3.1.4-5 3.2.0-1 3.2.2-6 3.3.1-12 3.3.2-3 3.3.4-1 3.3.5-2 3.6.1-1
3.8.1-1 3.8.3-4 3.8.4-6 3.9.3-2 3.10.1-1 3.10.3-2 3.10.4-6 3.12.4-1 3.14.1-1 3.14.4-3 4.1.0-2 4.3.1-1 4.3.2-2 4.3.3-2
4.4.0-1 4.5.0-2 4.6.0-6 4.7.1-3 4.7.2-1 4.7.3-4 4.8.0-2 6.0.0-4 7.0.0-2 7.1.1-1 7.1.2-1
"""
NOT_THERE = {"2.2.1-1"}  # of MQTT 5: the specification begins with 2
_NUMBERS = re.compile(r"(?:(\d+\.\d+\.\d+))?-(\d+)(?: to (?:\d+\.\d+\.\d+)?-(\d+))?")


def numbers(cell: str) -> set[str]:
    """The statements that a cell names: `3.1.2-4, -6 to -8, 3.2.0-1`."""
    found: set[str] = set()
    section = ""
    for part in _NUMBERS.finditer(cell):
        section = part[1] or section
        found |= {f"{section}-{number}" for number in range(int(part[2]), int(part[3] or part[2]) + 1)}
    return found


def all_of(statements: str) -> set[str]:
    return {
        f"{section}-{number}"
        for section, last in (each.split("-") for each in statements.split())
        for number in range(1, int(last) + 1)
    } - NOT_THERE


@pytest.mark.parametrize(("column", "statements"), [(0, STATEMENTS_5), (1, STATEMENTS_311)], ids=["MQTT 5", "3.1.1"])
def test_every_statement_of_the_specification_has_a_row(column: int, statements: str) -> None:
    named = {number for row in ROWS for number in numbers(row[column])}
    wanted = all_of(statements)
    assert (wanted - named, named - wanted) == (set(), set())


def test_every_test_that_is_named_exists() -> None:
    there = {name for module in modules("tests") for name in DEFINED.findall(module.text)}
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    assert named
    assert named - there == set()


def test_every_module_that_is_named_exists() -> None:
    for row in ROWS:
        for name in re.findall(r"`([a-z0-9_/]+)`", row[3]):
            places = [PACKAGE / f"{name}.py", PACKAGE / "listener" / f"{name}.py"]
            assert any(place.exists() for place in places), f"{name}: {row}"


def test_every_statement_has_a_place_and_a_test_or_a_reason() -> None:
    for row in ROWS:
        assert len(row) == 5, row
        assert row[4], row
        assert row[3] or "test_" not in row[4], row
