"""Log lines: for journald, for a person, for a machine. One record is one line, whatever a message contains.

Every record carries a stable key, `event` (from `extra`, else the logger's name), to search and to alarm by.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import msgspec

from edgeagent.core.foreign import escaped

Format = Literal["auto", "journal", "text", "json"]

_PACKAGE = "edgeagent."
# What every record has; whatever else is found in one was given as `extra`. Python 3.12 added taskName.
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
# syslog(3); systemd reads `<N>` at the start of a line (sd-daemon(3)).
_PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}
_DEBUG_PRIORITY = 7


def configure(level: str, fmt: Format, stream: TextIO, env: Mapping[str, str] = os.environ) -> None:
    """Send everything that is logged in this process, asyncio's own records too, to `stream`.

    Args:
        level: the least level that is written: `debug`, `info`, `warning`, `error`.
        fmt: `journal` (priority, no time), `text` (for a person), `json` (one object a line), or `auto`: `journal`
            when `$JOURNAL_STREAM` says that the stream is connected to the journal, else `text`.
        stream: where the lines go, stderr as a rule. A second call replaces what the first one set.
        env: the environment.
    """
    if fmt == "auto":
        fmt = "journal" if _is_journal(stream, env) else "text"
    handler = _Handler(stream)
    if fmt == "json":
        handler.setFormatter(_JsonFormatter())
    else:
        handler.setFormatter(_LineFormatter(_journal_beginning if fmt == "journal" else _text_beginning))
    root = logging.getLogger()
    for earlier in [known for known in root.handlers if isinstance(known, _Handler)]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.setLevel(level.upper())


class _Handler(logging.StreamHandler[TextIO]):
    """Our own handler, so that a second `configure` finds it again."""


def _is_journal(stream: TextIO, env: Mapping[str, str]) -> bool:
    """Whether this very stream goes to the journal; the variable alone is inherited by everything started below."""
    try:
        found = os.fstat(stream.fileno())
    except OSError:  # no file behind it
        return False
    return env.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    """What was given as `extra`, with `event` first."""
    given = {key: value for key, value in record.__dict__.items() if key not in _STANDARD}
    return {"event": given.pop("event", record.name), **given}


def _pair(key: str, value: object) -> str:
    text = escaped(str(value))
    if not text or any(sign in text for sign in ' "='):
        text = '"' + text.replace('"', '\\"') + '"'
    return f"{escaped(key)}={text}"


def _journal_beginning(record: logging.LogRecord) -> str:
    """The priority, which the journal takes off the line; it adds the time itself."""
    return f"<{_PRIORITIES.get(record.levelno, _DEBUG_PRIORITY)}>"


def _text_beginning(record: logging.LogRecord) -> str:
    """Local time with its offset, so that a line says the same wherever it is read."""
    time = datetime.fromtimestamp(record.created, UTC).astimezone().isoformat(timespec="milliseconds")
    return f"{time} {record.levelname:<8} "


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
        return f"{self._beginning(record)}{name}: {escaped(record.getMessage())} {' '.join(pairs)}"


class _JsonFormatter(logging.Formatter):
    """One object a line: `ts` (RFC 3339, UTC), `level`, `event`, `message`, `logger`, then the extras."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        extras = _extras(record)
        members = {
            "ts": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": extras.pop("event"),
            "message": record.getMessage(),
            "logger": record.name,
        }
        if record.exc_info:
            members["traceback"] = self.formatException(record.exc_info)
        members |= {key: value for key, value in extras.items() if key not in members}
        try:
            return msgspec.json.encode(members, enc_hook=str).decode()
        except UnicodeEncodeError:  # a lone surrogate, from a file name that is no UTF-8
            return msgspec.json.encode({escaped(key): escaped(str(value)) for key, value in members.items()}).decode()
