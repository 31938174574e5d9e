"""What goes to the journal: fields that can be searched, one entry for each record, and none lost when it is away."""

from __future__ import annotations

import io
import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeagent.host import journal, log

_log = logging.getLogger("edgeagent.tests")


def fields(entry: bytes) -> dict[str, str]:
    """Read an entry as journald does."""
    found: dict[str, str] = {}
    while entry:
        name, sign, rest = entry.partition(b"\n")
        if b"=" in name:
            name, _, value = name.partition(b"=")
            entry = rest
        else:
            length = int.from_bytes(rest[:8], "little")
            value, entry = rest[8 : 8 + length], rest[8 + length + 1 :]
        assert sign
        found[name.decode("ascii")] = value.decode()
    return found


class Journald:
    """The journal's socket, and the stream of a service."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "socket")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.setblocking(False)
        self.stream = io.TextIOWrapper((directory / "stream").open("wb+"), write_through=True)
        found = os.fstat(self.stream.fileno())
        self.env = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}

    def entry(self) -> dict[str, str]:
        """The next entry; there must be one."""
        return fields(self._socket.recv(1 << 20))

    def lines(self) -> list[str]:
        """What was written to the stream."""
        self.stream.seek(0)
        return self.stream.read().splitlines()

    def goes_away(self) -> None:
        """It takes no entry any more."""
        self._socket.close()


@pytest.fixture
def journald(monkeypatch: pytest.MonkeyPatch) -> Iterator[Journald]:
    """A journal that this process logs to."""
    root = logging.getLogger()
    level = root.level
    with tempfile.TemporaryDirectory() as short:  # a socket's path may have 107 characters
        place = Journald(Path(short))
        monkeypatch.setattr(journal, "SOCKET", place.path)
        log.configure("info", "auto", place.stream, place.env)
        (handler,) = [each for each in root.handlers if type(each).__module__ == log.__name__]
        yield place
        root.removeHandler(handler)
        handler.close()
        root.setLevel(level)
        place.goes_away()
        place.stream.close()


def test_each_value_is_a_field_to_search_by(journald: Journald) -> None:
    _log.error("lost %d", 3, extra={"event": "outbox_damaged", "first_seq": 7, "log": "normal\nPRIORITY=0"})
    assert journald.entry() == {
        "PRIORITY": "3",
        "SYSLOG_IDENTIFIER": "edgeagent",
        "MESSAGE": "lost 3",
        "LOGGER": "edgeagent.tests",
        "EDGEAGENT_EVENT": "outbox_damaged",
        "EDGEAGENT_FIRST_SEQ": "7",
        "EDGEAGENT_LOG": "normal\\nPRIORITY=0",
    }
    assert journald.lines() == []
    assert "lost 3" in log.recent_lines()[-1]


def test_what_a_device_wrote_makes_no_field_of_its_own(journald: Journald) -> None:
    _log.warning("on %s", "a\nPRIORITY=0", extra={"event": "x", "a b\nPRIORITY": "1", "topic": "\ud800"})
    entry = journald.entry()
    assert entry["PRIORITY"] == "4"
    assert entry["MESSAGE"] == "on a\\nPRIORITY=0"
    assert entry["EDGEAGENT_TOPIC"] == "\\ud800"
    assert entry["EDGEAGENT_A_B_PRIORITY"] == "1"


def test_a_traceback_keeps_its_lines(journald: Journald) -> None:
    try:
        int("a\nb")
    except ValueError:
        _log.exception("failed", extra={"event": "failed"})
    entry = journald.entry()
    assert entry["MESSAGE"] == "failed"
    assert entry["TRACEBACK"].splitlines()[0] == "Traceback (most recent call last):"
    assert entry["TRACEBACK"].endswith("'a\\nb'")


def test_when_the_journal_is_away_lines_go_to_the_stream_which_it_reads_later(journald: Journald) -> None:
    journald.goes_away()
    _log.warning("it is %s", "away", extra={"event": "x"})
    assert journald.lines() == ["<4>tests: it is away event=x"]


def test_a_record_that_is_too_large_for_an_entry_is_a_line(journald: Journald) -> None:
    many = {f"value_{number}": "x" * 400 for number in range(2000)}
    _log.warning("large", extra={"event": "x", **many})
    (line,) = journald.lines()
    assert line.startswith("<4>tests: large event=x value_0=")


def test_a_stream_that_goes_elsewhere_gets_lines_whatever_the_environment_says(journald: Journald) -> None:
    elsewhere = io.StringIO()
    log.configure("info", "auto", elsewhere, journald.env)
    _log.warning("here", extra={"event": "x"})
    assert elsewhere.getvalue().endswith("WARNING  tests: here event=x\n")
