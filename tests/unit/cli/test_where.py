"""What `edgeagent where` prints."""

from __future__ import annotations

import argparse
from typing import Any

import msgspec
import pytest

from edgeagent.cli import where
from edgeagent.cli.client import AgentRefused
from edgeagent.errors import CommandFailed
from edgeagent.ports.deliveries import LostReport
from edgeagent.ports.where import Course, Courses, CourseStep, Hang, KnownEvent

NAME = "9f2c" * 8
ACCEPTED = CourseStep("accepted", "2026-03-20T11:00:00.250Z")
HANG = Hang("triggered", "2026-03-20T11:00:01.000Z", "published 14 min ago, no answer", "see the dispatcher's log")
COURSE = Course(
    *(NAME, "e7", "boiler-1", "overheat", "published", None, "plant"),
    [ACCEPTED, CourseStep("published", "2026-03-20T11:00:00.900Z", "at last"), CourseStep("running", None)],
    HANG,
)


class Access:
    """An `OutboxAccess` with one answer to everything."""

    agent = "gw"

    def __init__(self, answer: Courses | Exception) -> None:
        self._answer = answer

    def perform(self, _call: Any, _arguments: Any) -> Any:
        """Answer, or fail."""
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def printed(
    answer: Courses | Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], **args: Any
) -> list[str]:
    monkeypatch.setattr(where, "with_outbox", lambda args, work, read_only: work(args, Access(answer)))  # noqa: ARG005
    assert where.run(argparse.Namespace(id="x", json=False, **args)) == 0
    return capsys.readouterr().out.splitlines()


def test_a_life_is_told_step_by_step_and_what_it_waits_for_at_its_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    event = KnownEvent("e7", "boiler-1", "reading", "2026-03-20T11:00:00Z", str(ACCEPTED.at))
    assert printed(Courses("e7", "event", [COURSE], event), monkeypatch, capsys) == [
        "event e7 from boiler-1 of type reading",
        "",
        f"trigger {NAME} is published",
        "  rule        overheat, source boiler-1",
        "  accepted    2026-03-20T11:00:00.250Z",
        "  published   2026-03-20T11:00:00.900Z      +0.7 s  at last",
        "  running     (time not kept)",
        "  waits       for the engine's answer: published 14 min ago, no answer",
        "              see the dispatcher's log",
    ]


def test_reports_that_a_webhook_does_not_get_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = LostReport("relay.webhook[0]", "failed", "2026-03-20T11:00:02.000Z", "it answered 422: no")
    course = msgspec.structs.replace(COURSE, lost_reports=[lost])
    lines = printed(Courses("e7", "event", [course], None), monkeypatch, capsys)
    assert "  lost        2026-03-20T11:00:02.000Z  report failed to relay.webhook[0]: it answered 422: no" in lines


def test_a_sources_triggers_are_listed_one_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(Courses("boiler-1", "source", [COURSE, COURSE], None), monkeypatch, capsys)
    assert lines[0].split() == ["TRIGGER", "ACCEPTED", "STATE", "RULE", "WAITS", "FOR"]
    assert lines[1] == lines[2]
    assert lines[1].startswith("9f2c9f2c9f2c  2026-03-20T11:00:00.250Z  published  overheat  ")
    assert lines[1].endswith("published 14 min ago, no answer")
    assert lines[-1] == "2 triggers; edgeagent where TRIGGER shows one"


def test_a_hostile_name_moves_no_cursor_and_begins_no_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "\x1b[2J\nroot# \u202e"
    course = Course(NAME, evil, evil, evil, "running", evil, evil, [CourseStep(evil, evil, evil)], Hang(*[evil] * 4))
    one = printed(Courses(evil, "event", [course], KnownEvent(*[evil] * 5)), monkeypatch, capsys)
    many = printed(Courses(evil, "source", [course, course], None), monkeypatch, capsys)
    assert all(line.isprintable() for line in one + many)
    assert not any(line.startswith("root#") for line in one + many)


def test_what_is_unknown_fails_in_the_agents_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CommandFailed, match=r"^x: nothing is known$"):
        printed(AgentRefused(404, "x: nothing is known"), monkeypatch, capsys)
    with pytest.raises(AgentRefused):
        printed(AgentRefused(503, "the disk"), monkeypatch, capsys)


@pytest.mark.parametrize("name", ["", "  "])
def test_a_name_is_needed(name: str) -> None:
    with pytest.raises(CommandFailed, match="name a correlation id"):
        where.run(argparse.Namespace(id=name))
