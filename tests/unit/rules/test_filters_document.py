"""docs/filters.md: every example is run, and every row of its tables is so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeagent.config import load_agent
from edgeagent.errors import ConfigError
from edgeagent.events.event import Draft
from edgeagent.lang.re2.pattern import compile_pattern
from edgeagent.rules.ruleset import RuleSet

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "filters.md").read_text("utf-8")
RULE = '[[rule]]\nname = "r"\nnamespace = "plant"\ntemplate = "t"\n'


def rows(text: str) -> Iterator[list[str]]:
    """The cells of a table's rows, without the head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    for line in lines[2:]:
        yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


EXAMPLES = [
    (toml, *cells)
    for toml, table in re.findall(r"```toml\n(.*?)```\n\n((?:\|[^\n]*\n)+)", TEXT, re.DOTALL)
    for cells in rows(table)
]
PATTERNS = list(rows(TEXT.partition("### Regular expressions")[2].partition("`\\d`, `\\w`")[0]))
REFUSED = list(rows(TEXT.partition("## What is refused")[2].partition("\n## ")[0]))


def rules(tmp_path: Path, toml: str) -> RuleSet:
    file = tmp_path / "config.toml"
    file.write_text(RULE + toml, "utf-8")
    return RuleSet(load_agent(file, {}).rule)


def test_the_document_has_examples() -> None:
    assert (len(EXAMPLES), len(PATTERNS), len(REFUSED)) == (17, 8, 16)
    assert TEXT.count("```toml") == len({toml for toml, _, _ in EXAMPLES})


@pytest.mark.parametrize(("toml", "event", "passes"), EXAMPLES)
def test_an_example_lets_through_what_the_document_says(tmp_path: Path, toml: str, event: str, passes: str) -> None:
    [text] = code(event)
    members: dict[str, Any] = {"source": "boiler-1", "time": "2026-03-20T11:00:00Z"} | msgspec.json.decode(text)
    data = msgspec.json.encode(members.pop("body"))
    match = rules(tmp_path, toml).match(Draft(data=data, is_json=True, **members))
    assert (match.rules, len(match.errors)) == {"yes": (("r",), 0), "no": ((), 0), "error": ((), 1)}[passes]


@pytest.mark.parametrize(("pattern", "found", "not_found"), PATTERNS)
def test_a_pattern_is_found_where_the_document_says(pattern: str, found: str, not_found: str) -> None:
    [text] = code(pattern)
    search = compile_pattern(text)
    assert [cell for cell in code(found) if not search(msgspec.json.decode(cell))] == []
    assert [cell for cell in code(not_found) if search(msgspec.json.decode(cell))] == []


@pytest.mark.parametrize(("written", "reason"), REFUSED)
def test_what_the_document_calls_refused_is_refused_for_that_reason(tmp_path: Path, written: str, reason: str) -> None:
    [toml], [words] = code(written), code(reason)
    with pytest.raises(ConfigError) as caught:
        rules(tmp_path, toml)
    [problem] = caught.value.problems
    assert words in problem.reason
