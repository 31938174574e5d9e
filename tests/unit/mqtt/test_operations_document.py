"""docs/operations.md says of each reason code what the program says and does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from edgeagent.mqtt import reason_codes, reasons
from edgeagent.mqtt.reason_codes import publish_outcome
from edgeagent.ports.link import PublishRefused

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "operations.md").read_text("utf-8")


class Row(NamedTuple):
    """One line of the table."""

    words: str
    comes_in: str
    told_as: str
    remedy: str


ROWS = {
    int(code, 16): Row(*(cell.strip() for cell in cells.split("|")))
    for code, cells in re.findall(r"^\| (0x[0-9a-f]{2}) \|(.*)\|$", TEXT, re.MULTILINE)
}


def test_every_code_is_in_the_document_and_no_other() -> None:
    assert sorted(ROWS) == sorted(reason_codes.WORDS)


@pytest.mark.parametrize("code", ROWS)
def test_the_words_are_those_of_the_log(code: int) -> None:
    assert ROWS[code].words == reason_codes.WORDS[code]
    assert ROWS[code].remedy


@pytest.mark.parametrize("code", ROWS)
def test_the_document_says_who_must_act(code: int) -> None:
    acts = code in reasons._DENYING or code == reason_codes.SESSION_TAKEN_OVER
    assert ROWS[code].told_as == ("ERROR" if acts else "WARNING")


@pytest.mark.parametrize("code", ROWS)
def test_the_document_says_which_refusals_make_a_dead_letter(code: int) -> None:
    refused = publish_outcome(code)
    assert isinstance(refused, PublishRefused)
    assert ("(final)" in ROWS[code].comes_in) == refused.permanent


def test_the_readme_leads_to_it() -> None:
    assert "(docs/operations.md)" in (ROOT / "README.md").read_text("utf-8")
