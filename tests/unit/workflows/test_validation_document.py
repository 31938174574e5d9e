"""docs/validation.md: its examples are refused with the very lines that stand below them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgeagent.config import load_agent
from edgeagent.errors import ConfigError
from edgeagent.workflows.graph import MAX_RELATED
from edgeagent.workflows.names import MAX_DEPTH

DOCUMENT = (Path(__file__).parents[3] / "docs" / "validation.md").read_text("utf-8")
EXAMPLES = re.findall(r"```toml\n(.*?)```\n\n```text\n(.*?)```", DOCUMENT, re.DOTALL)


def test_every_block_of_the_document_belongs_to_an_example() -> None:
    assert len(EXAMPLES) == 4
    assert DOCUMENT.count("```") == 4 * len(EXAMPLES)


@pytest.mark.parametrize(("configuration", "told"), EXAMPLES)
def test_an_example_is_refused_with_the_lines_below_it(configuration: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(configuration, "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_agent(path, {})
    assert [f"{problem.path}: {problem.reason}" for problem in caught.value.problems] == told.splitlines()


def test_the_limits_in_the_document_are_those_of_the_check() -> None:
    assert f"deeper than {MAX_DEPTH} levels" in DOCUMENT
    assert f"more than {MAX_RELATED} tasks" in DOCUMENT
