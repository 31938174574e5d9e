"""`edgeagent dead`, as a person sees it."""

from __future__ import annotations

import argparse
from typing import Any

import msgspec
import pytest

from edgeagent.cli import dead
from edgeagent.ports.call import A, Call, R
from edgeagent.ports.operator import DeadLetter, DeadLetterList, DeadReplayed
from tests.fakes.device_port import CORRELATION_ID, dead_letter

REASON = "the engine refused it: spec.templates[0].container.image: " + "a very long path of an image, " * 5
LETTER: DeadLetter = msgspec.structs.replace(dead_letter(), reason=REASON)


class Access:
    """An outbox with one dead letter."""

    agent = "gw-1"

    def perform(self, call: Call[A, R], arguments: A) -> R:  # noqa: ARG002  as `OutboxAccess`
        """See `OutboxAccess`."""
        result: Any = DeadLetterList([LETTER]) if call.name == "dead_letters" else DeadReplayed([CORRELATION_ID])
        assert isinstance(result, call.result)
        return result


def listed(capsys: pytest.CaptureFixture[str], *, as_json: bool = False) -> str:
    assert dead._ls(argparse.Namespace(json=as_json), Access()) == 0
    return capsys.readouterr().out


def test_a_reason_is_whole_where_no_terminal_cuts_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert REASON in listed(capsys)
    assert REASON in listed(capsys, as_json=True)


@pytest.mark.parametrize(("columns", "longest"), [("100", 148), ("200", 200), ("400", 400)])
def test_on_a_terminal_a_reason_has_what_is_left_of_the_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str, longest: int
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", columns)
    _, line = listed(capsys).splitlines()
    assert len(line) <= longest
    assert (REASON in line) == (columns == "400")
    assert REASON[:40] in line, "enough to understand it, however narrow the terminal is"


def test_one_is_one_dead_letter(capsys: pytest.CaptureFixture[str]) -> None:
    assert dead._replay(argparse.Namespace(json=False, id=[CORRELATION_ID], all=False), Access()) == 0
    assert capsys.readouterr().out.startswith("1 dead letter put back, ")
