"""What a log line is: one line, bounded, and not more of a kind than a person reads."""

from __future__ import annotations

import io
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from edgeagent.common.times import instant
from edgeagent.errors import ConfigError, Problem
from edgeagent.host import log, repeats

_log = logging.getLogger("edgeagent.tests")
HUGE = "x" * 65_000


@pytest.fixture
def lines() -> Iterator[Callable[[], list[str]]]:
    """What was logged since the last call, in the form `text`, the time left out."""
    yield from _configured("text")


@pytest.fixture
def documents() -> Iterator[Callable[[], list[str]]]:
    """The same in the form `json`."""
    yield from _configured("json")


def _configured(form: log.Format) -> Iterator[Callable[[], list[str]]]:
    root, stream = logging.getLogger(), io.StringIO()
    level = root.level
    log.configure("info", form, stream, {})
    (handler,) = [each for each in root.handlers if type(each).__module__ == log.__name__]

    def taken() -> list[str]:
        handler.flush()
        text = stream.getvalue()
        stream.seek(0)
        stream.truncate()
        return text.splitlines()

    try:
        yield taken
    finally:
        root.removeHandler(handler)
        handler.close()
        root.setLevel(level)


def test_what_somebody_else_wrote_is_one_line_and_cut(lines: Callable[[], list[str]]) -> None:
    _log.warning("on %s: %s", HUGE, "a\nb\x1b[2J\u202e", extra={"event": "x", "topic": HUGE, "foreign": True})
    (line,) = lines()
    assert len(line) < 700
    assert line.isprintable()
    assert r"a\nb\x1b[2J\u202e event=x" in line
    assert line.endswith('x… (65000 characters)"'), line[-40:]
    assert "foreign" not in line


def test_json_is_bounded_too_and_printable(documents: Callable[[], list[str]]) -> None:
    _log.warning("on %s", HUGE + "\x9b", extra={"event": "x", "topic": "\x9b" + HUGE, "\ud800": "\udc80"})
    (line,) = documents()
    assert line.isprintable()
    assert len(line) < 1700
    found = json.loads(line)
    assert found["topic"].endswith("(65001 characters)")
    assert found["\ud800"] == "\udc80"


def test_our_own_long_messages_are_whole(lines: Callable[[], list[str]]) -> None:
    problems = [Problem(f"rule[{number}].name", "is missing") for number in range(100)]
    _log.error("refused: %s; %s", ConfigError("/etc/x.toml", problems), "w" * 900, extra={"event": "x"})
    (line,) = lines()
    assert "rule[99].name: is missing" in line
    assert "w" * 900 in line
    _log.error("%(a)s 100%%", {"a": 1}, extra={"event": "x"})
    _log.error("100%", extra={"event": "x"})
    assert [line.split(": ", 1)[1] for line in lines()] == ["1 100% event=x", "100% event=x"]


def test_of_what_comes_from_far_away_one_of_each_kind_is_told_a_minute(
    lines: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    for number in range(2000):
        _log.warning("message %d", number, extra={"event": "a", "foreign": True})
        _log.error("message %d", number, extra={"event": "a", "foreign": True})
    _log.error("lost seq 7", extra={"event": "loss"})
    _log.error("lost seq 8", extra={"event": "loss"})
    assert [line.split(": ", 1)[1].split(" event")[0] for line in lines()] == [
        "message 0",
        "message 0",
        "lost seq 7",
        "lost seq 8",
    ]
    now += repeats.PERIOD_S
    _log.warning("message %d", 2000, extra={"event": "a", "foreign": True})
    told = lines()
    assert [line.split(": ", 1)[1] for line in told] == [
        "and 1999 more like it within 60 s event=a more=1999",
        "and 1999 more like it within 60 s event=a more=1999",
        "message 2000 event=a",
    ]
    assert (" WARNING " in told[0], " ERROR " in told[1]) == (True, True)


def test_the_count_is_told_when_the_minute_is_over_and_nothing_follows(
    lines: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeats, "PERIOD_S", 0.1)
    told: list[str] = []
    counts: list[int] = []
    while not counts:  # on a busy machine the period may be over before the second one comes
        for number in range(3):
            _log.warning("message %d", number, extra={"event": "b", "foreign": True})
        for _ in range(1000):
            told += lines()
            counts = [int(count) for line in told for count in re.findall(r"and (\d+) more", line)]
            if len(told) - len(counts) + sum(counts) == 3:
                break
            _wait()
        assert len(told) - len(counts) + sum(counts) == 3, told
        told.clear()


def test_the_count_is_told_at_the_end(lines: Callable[[], list[str]]) -> None:
    for number in range(3):
        _log.warning("message %d", number, extra={"event": "c", "foreign": True})
    assert len(lines()) == 1
    (handler,) = [each for each in logging.getLogger().handlers if type(each).__module__ == log.__name__]
    handler.close()
    assert [line.split(": ", 1)[1] for line in lines()] == ["and 2 more like it within 60 s event=c more=2"]


def _wait() -> None:
    """Let a timer's thread have its turn."""
    threading.Event().wait(0.01)


def test_a_line_for_a_person_begins_with_the_time_in_utc_whatever_the_machines_zone(
    lines: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        before = datetime.now(UTC)
        _log.info("m")
    time.tzset()
    began, level, *_ = lines()[0].split()
    assert (level, began[-1]) == ("INFO", "Z")
    assert timedelta(seconds=-1) < instant(began) - before < timedelta(hours=1)
