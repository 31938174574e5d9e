"""docs/rehearsal.md shows what the program prints, and says how it is called."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from edgeagent.__main__ import main
from edgeagent.rehearsal.recordings import ATTRIBUTES

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "rehearsal.md").read_text("utf-8")
FILES = re.findall(r"^```(?:toml|json)\n(?:#|//) (\S+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^```console\n\$ edgeagent (.*?)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file that the page names, where it says."""
    for name, content in FILES:
        (tmp_path / name).write_text(content, "utf-8")
    (tmp_path / "water-flow.csv").write_bytes((ROOT / "edgeagent" / "demo" / "water-flow.csv").read_bytes())
    monkeypatch.chdir(tmp_path)


def test_the_page_has_the_examples_that_are_run() -> None:
    assert len(FILES) == 5
    assert len(COMMANDS) == 4
    assert "water-flow.csv" in COMMANDS[0][0]


@pytest.mark.parametrize(("command", "shown"), COMMANDS)
def test_an_example_prints_what_the_page_shows(command: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(shlex.split(command)) == 0
    assert capsys.readouterr() == (shown, "")


def test_the_page_names_every_attribute_that_a_column_can_be() -> None:
    assert all(f"`{name}`" in TEXT for name in ATTRIBUTES)
