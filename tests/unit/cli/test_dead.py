"""`edgeagent dead`, as a person sees it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from edgeagent.cli import dead
from edgeagent.errors import CommandFailed
from edgeagent.ports.call import A, Call, R
from edgeagent.ports.operator import DeadDiscarded, DeadLetter, DeadLetterList, DeadNames, DeadReplayed
from tests.fakes.device_port import CORRELATION_ID, dead_letter

REASON = "the engine refused it: spec.templates[0].container.image: " + "a very long path of an image, " * 5
LETTER: DeadLetter = msgspec.structs.replace(dead_letter(), reason=REASON)


class Access:
    """An outbox with some dead letters, in pages of one. `gone`: ids that are no dead letters any more when it acts."""

    agent = "gw-1"

    def __init__(self, *letters: DeadLetter, gone: Sequence[str] = ()) -> None:
        self._letters = letters or (LETTER,)
        self._gone = gone
        self.calls: list[str] = []

    def perform(self, call: Call[A, R], arguments: A) -> R:
        """See `OutboxAccess`."""
        self.calls.append(call.name)
        result: Any = self._answer(call.name, arguments)
        assert isinstance(result, call.result)
        return result

    def _answer(self, name: str, asked: Any) -> msgspec.Struct:
        names = [letter.correlation_id for letter in self._letters]
        match name:
            case "dead_letters":
                more = asked.seq + 1 < len(names)
                return DeadLetterList([self._letters[asked.seq]], asked.seq + 1 if more else None)
            case "dead_names":
                return DeadNames(names)
            case "dead_letter":
                return self._letters[names.index(asked.correlation_id)]
            case _:
                found = [each for each in asked.correlation_ids if each not in self._gone]
                return DeadReplayed(found) if name == "replay" else DeadDiscarded(found)


def named(*ids: str, everything: bool = False) -> argparse.Namespace:
    return argparse.Namespace(json=False, id=list(ids), all=everything, yes=True)


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


OTHER: DeadLetter = dead_letter("0190" * 8)


def test_all_pages_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    access = Access(LETTER, OTHER)
    assert dead._ls(argparse.Namespace(json=False), access) == 0
    assert [line[:12] for line in capsys.readouterr().out.splitlines()[1:]] == [CORRELATION_ID[:12], "0190" * 3]
    assert access.calls == ["dead_letters"] * 2


def test_to_show_one_no_others_are_fetched(capsys: pytest.CaptureFixture[str]) -> None:
    access = Access(LETTER, OTHER)
    assert dead._show(argparse.Namespace(json=False, id="0190"), access) == 0
    assert "0190" * 8 in capsys.readouterr().out
    assert access.calls == ["dead_names", "dead_letter"]


@pytest.mark.parametrize("act", [dead._replay, dead._discard])
def test_wrong_arguments_are_told_without_asking_the_agent(act: Any) -> None:
    access = Access()
    for arguments in (named(), named("0190", everything=True)):
        with pytest.raises(CommandFailed, match="name correlation ids, or give --all"):
            act(arguments, access)
    assert access.calls == []


@pytest.mark.parametrize(("act", "name"), [(dead._replay, "replay"), (dead._discard, "discard")])
def test_what_is_no_dead_letter_any_more_is_named(act: Any, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    access = Access(LETTER, OTHER, gone=[OTHER.correlation_id])
    with pytest.raises(CommandFailed, match=f"dead {name}: not done, .* any more: {OTHER.correlation_id}$"):
        act(named(everything=True), access)
    assert capsys.readouterr().out.startswith("1 ")
    assert access.calls == ["dead_names", name]
