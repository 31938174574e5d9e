"""`edgeagent size`: what it prints can be copied into the configuration, and a wrong argument is named."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from edgeagent.__main__ import main
from edgeagent.config.tables import OutboxTable


def test_it_says_what_to_configure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["size", "--events", "86400", "--bytes", "1KiB", "--offline", "3d"]) == 0
    said = capsys.readouterr().out
    match = re.search(r'^outbox.max_bytes +"(\d+)MiB"$', said, re.MULTILINE)
    assert match
    assert 330 <= int(match[1]) <= 460, "259,200 events of 1.3 KiB, and a quarter more"
    assert "259200 events wait after 72 h" in said
    assert int(match[1]) << 20 >= 4 * OutboxTable().segment_bytes


def test_for_programs_it_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["size", "--json", "--untracked"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["waiting_events"] == 259_200
    assert 4 << 10 < found["written_bytes_per_event"] < 6 << 10
    assert found["flash_years"] > 20


def test_the_example_of_the_document_is_what_it_prints(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[3] / "docs/sizing.md").read_text("utf-8")
    match = re.search(r"^```\n\$ edgeagent (.+)\n((?:.+\n)+)```", text, re.MULTILINE)
    assert match
    assert main(match[1].split()) == 0
    assert capsys.readouterr().out == match[2]


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("--events", "0"),
        ("--events", "-1"),
        ("--events", "1e9"),
        ("--bytes", "3XB"),
        ("--bytes", "-5"),
        ("--offline", "soon"),
        ("--cycles", "0"),
        ("--amplification", "nan"),
        ("--amplification", "0.5"),
        ("--rules", "101"),
    ],
)
def test_a_wrong_argument_is_named(argument: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["size", f"{argument}={value}"])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert f"argument {argument}: " in error
    assert "Traceback" not in error


def test_a_small_card_and_many_events_are_told_in_months(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["size", "--events", "10000000", "--flash", "4GB", "--cycles", "500"]) == 0
    assert re.search(r"^flash +\d+\.\d months: ", capsys.readouterr().out, re.MULTILINE)
