"""docs/paths.md: every path in it finds what the page says, or is refused with the words that it gives."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeagent.lang.gjson.modifiers import MODIFIER_NAMES
from edgeagent.lang.gjson.path import MISSING, compile_path, lookup

TEXT = (Path(__file__).parents[3] / "docs" / "paths.md").read_text("utf-8")
EVENT = msgspec.json.decode(TEXT.partition("```json\n")[2].partition("```")[0])


def rows(head: str) -> list[list[str]]:
    """The cells of all tables with this first line, bare of backquotes."""
    tables = re.findall(rf"^\| {re.escape(head)}.*\n\|[-|]+\|\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    lines = "".join(tables).splitlines()
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    return [[cell.strip().strip("`").replace(r"\|", "|") for cell in row] for row in cells]


FOUND = [row[:2] for row in rows("path | finds")]
REFUSED = [row[:2] for row in rows("path | why")]


@pytest.mark.parametrize(("path", "value"), FOUND)
def test_a_path_finds_what_the_page_says(path: str, value: str) -> None:
    found = lookup(compile_path(path), EVENT)
    expected: Any = MISSING if value == "nothing" else msgspec.json.decode(value)
    assert found == expected
    if found is not MISSING:
        assert msgspec.json.encode(found).decode() == value  # the order of members, too, and 1 is not 1.0


@pytest.mark.parametrize(("path", "reason"), REFUSED)
def test_a_path_is_refused_for_the_reason_on_the_page(path: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        compile_path(path)


def test_every_modifier_is_on_the_page() -> None:
    assert len(FOUND) > 40
    assert set(re.findall(r"@([a-z]+)", TEXT)) >= MODIFIER_NAMES


@pytest.mark.parametrize(("path", "value"), [("@this", {"a": 2}), ("a", 2), ("text", '{"a": 1}'), ("text.a", MISSING)])
def test_the_differences_are_those_on_the_page(path: str, value: Any) -> None:
    text = '{"a": 1, "a": 2}' if "text" not in path else '{"text": "{\\"a\\": 1}"}'
    assert lookup(compile_path(path), msgspec.json.decode(text)) == value
