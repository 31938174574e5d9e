"""docs/mqtt-conformance.md names tests that exist, and modules too."""

from __future__ import annotations

import re

from tests.architecture.source import PACKAGE, ROOT, modules

TEXT = (ROOT / "docs" / "mqtt-conformance.md").read_text("utf-8")
DEFINED = re.compile(r"^ *(?:async )?def (\w+)\(", re.MULTILINE)
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.splitlines()
    if line.startswith("| ") and not line.startswith("| MQTT 5 |")
]


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
