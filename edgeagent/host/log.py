"""Log lines: for journald, for a person, for a machine. One record is one line (of the journal, one entry), always.

Every record has a stable key, `event` (from `extra`, otherwise the logger's name), for searches and alarms.

A remote peer cannot fill the log. Each value is cut, and so is each part of a message. Records with
`extra={"foreign": True}`, which a remote peer can cause as often as it likes, are written once a minute for each kind
(logger, level, event), with the number of further ones. A record that reports a loss is never marked so.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple, TextIO

from edgeagent.common.foreign import MAX_SHOWN_CHARS, escaped, json_line, shown
from edgeagent.common.times import rfc3339
from edgeagent.errors import ConfigError
from edgeagent.host.journal import Journal, datagram
from edgeagent.host.recent_lines import RecentLines
from edgeagent.host.repeats import PERIOD_S, More, Repeats

Format = Literal["auto", "journal", "text", "json"]

_PACKAGE = "edgeagent."
# The attributes of every record; any other was given as `extra`. Python 3.12 added taskName.
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
# syslog(3); systemd reads `<N>` at the start of a line (sd-daemon(3)).
_PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}
_DEBUG_PRIORITY = 7
# The limit for a value in a message: our own errors, which name files and reasons or quote Argo, are at most this long.
MAX_PART_CHARS: Final = 1000
_FOREIGN = "foreign"
_recent = RecentLines()


def recent_lines(level: int = 0) -> list[str]:
    """The last lines of this process, as they are written for a person; of this level (`logging`'s number) or above."""
    return _recent.lines(level)


def configure(level: str, fmt: Format, stream: TextIO, env: Mapping[str, str] = os.environ) -> None:
    """Send everything logged in this process, asyncio's own records too, to `stream`.

    Args:
        level: the lowest level that is written: `debug`, `info`, `warning`, `error`.
        fmt: `journal` (fields of the journal if the stream is connected to it, else lines with a priority and without
            a time), `text` (for a person), `json` (one object a line), or `auto`: `journal` if `$JOURNAL_STREAM` says
            that the stream is connected to the journal, otherwise `text`.
        stream: where the lines go, usually stderr. A second call replaces the effect of the first.
        env: the environment.
    """
    in_journal = _is_journal(stream, env)
    if fmt == "auto":
        fmt = "journal" if in_journal else "text"
    handler = _Handler(stream, _recent, Journal() if fmt == "journal" and in_journal else None)
    if fmt == "json":
        handler.setFormatter(_JsonFormatter())
    else:
        handler.setFormatter(_LineFormatter(_journal_beginning if fmt == "journal" else _text_beginning))
    root = logging.getLogger()
    for earlier in [known for known in root.handlers if isinstance(known, _Handler)]:
        root.removeHandler(earlier)
        earlier.close()
    root.addHandler(handler)
    root.setLevel(level.upper())


class _Kind(NamedTuple):
    """The kind of a record; one of each is written a minute."""

    logger: str
    level: int
    event: str


class _Handler(logging.StreamHandler[TextIO]):
    """Our own handler, so that a second `configure` finds it. Its methods are called with its lock held, as usual."""

    def __init__(self, stream: TextIO, recent: RecentLines, journal: Journal | None) -> None:
        super().__init__(stream)
        self._recent = recent
        self._journal = journal
        self._for_recent = _LineFormatter(_text_beginning)
        self._repeats: Repeats[_Kind] = Repeats()
        self._timer: threading.Timer | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or count it."""
        if getattr(record, _FOREIGN, False):
            now = time.monotonic()
            self._write_counts(self._repeats.due(now))
            kind = _Kind(record.name, record.levelno, getattr(record, "event", record.name))
            if not self._repeats.is_logged(kind, now):
                self._wake_when_due(now)
                return
        self._write(record)

    def close(self) -> None:
        """Write the counts that are left, at the end of the process."""
        self.acquire()
        try:
            self._write_counts(self._repeats.rest())
            if self._timer is not None:
                self._timer.cancel()
            if self._journal is not None:
                self._journal.close()
        finally:
            self.release()
        super().close()

    def _wake_when_due(self, now: float) -> None:
        due_at = self._repeats.due_at()
        if self._timer is None and due_at is not None:
            self._timer = threading.Timer(max(due_at - now, 0.0), self._wake)
            self._timer.daemon = True
            self._timer.start()

    def _wake(self) -> None:
        self.acquire()
        try:
            now, self._timer = time.monotonic(), None
            self._write_counts(self._repeats.due(now))
            self._wake_when_due(now)
        finally:
            self.release()

    def _write_counts(self, counts: list[More[_Kind]]) -> None:
        for (name, level, event), count in counts:
            text, period = "and %d more like it within %.0f s", PERIOD_S
            record = logging.LogRecord(name, level, "", 0, text, (count, period), None)
            record.__dict__.update(event=event, more=count)
            self._write(record)

    def _write(self, record: logging.LogRecord) -> None:
        """To the journal, or to the stream; the line is also kept among the recent ones."""
        try:
            line = self._for_recent.format(record)
            is_sent = self._journal is not None and self._journal.send(_fields(record))
        except (TypeError, ValueError):  # its arguments do not fit its message
            self.handleError(record)
            return
        self._recent.add(record.levelno, line)
        if not is_sent:
            super().emit(record)


def _is_journal(stream: TextIO, env: Mapping[str, str]) -> bool:
    """Whether this very stream goes to the journal; the variable alone is inherited by every child process."""
    try:
        found = os.fstat(stream.fileno())
    except OSError:  # the stream is not a file
        return False
    return env.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    """The record's `extra` values, with `event` first."""
    given = {key: _cut(value) for key, value in record.__dict__.items() if key not in _STANDARD and key != _FOREIGN}
    return {"event": given.pop("event", record.name), **given}


def _cut(value: Any) -> Any:
    return shown(value) if isinstance(value, str) and len(value) > MAX_SHOWN_CHARS else value


def message_of(record: logging.LogRecord) -> str:
    """The message, with each of its parts cut; more tightly in a foreign record."""
    if not isinstance(record.args, tuple):
        return record.getMessage()
    most = MAX_SHOWN_CHARS if getattr(record, _FOREIGN, False) else MAX_PART_CHARS
    return str(record.msg) % tuple(_part(arg, most) for arg in record.args) if record.args else str(record.msg)


def _part(arg: Any, most: int) -> Any:
    if not isinstance(arg, str | Exception) or isinstance(arg, ConfigError):  # a file's problems are all shown
        return arg
    text = str(arg)
    return shown(text, most) if len(text) > most else text


def _pair(key: str, value: object) -> str:
    text = escaped(str(value))
    if not text or any(sign in text for sign in ' "='):
        text = '"' + text.replace('"', '\\"') + '"'
    return f"{escaped(key)}={text}"


def _journal_beginning(record: logging.LogRecord) -> str:
    """The priority, which the journal removes from the line; it adds the time itself."""
    return f"<{_PRIORITIES.get(record.levelno, _DEBUG_PRIORITY)}>"


def _fields(record: logging.LogRecord) -> bytes:
    """The record for the journal."""
    trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
    priority = _PRIORITIES.get(record.levelno, _DEBUG_PRIORITY)
    return datagram(priority, escaped(message_of(record)), record.name, _extras(record), trace)


def _text_beginning(record: logging.LogRecord) -> str:
    """The time in UTC, as everywhere else, so that a line can be compared with the page and with another machine's."""
    return f"{_utc(record)} {record.levelname:<8} "


def _utc(record: logging.LogRecord) -> str:
    return rfc3339(int(record.created * 1000))


class _LineFormatter(logging.Formatter):
    """`<beginning><logger>: <message> key=value ...`, the traceback (if any) as the last value."""

    def __init__(self, beginning: Callable[[logging.LogRecord], str]) -> None:
        super().__init__()
        self._beginning = beginning

    def format(self, record: logging.LogRecord) -> str:
        pairs = [_pair(key, value) for key, value in _extras(record).items()]
        if record.exc_info:
            pairs.append(_pair("traceback", self.formatException(record.exc_info)))
        name = record.name.removeprefix(_PACKAGE)
        return f"{self._beginning(record)}{name}: {escaped(message_of(record))} {' '.join(pairs)}"


class _JsonFormatter(logging.Formatter):
    """One object a line: `ts` (RFC 3339, UTC), `level`, `event`, `message`, `logger`, then the extras."""

    def format(self, record: logging.LogRecord) -> str:
        extras = _extras(record)
        members = {
            "ts": _utc(record),
            "level": record.levelname.lower(),
            "event": extras.pop("event"),
            "message": message_of(record),
            "logger": record.name,
        }
        if record.exc_info:
            members["traceback"] = self.formatException(record.exc_info)
        members |= {key: value for key, value in extras.items() if key not in members}
        return json_line(members)
