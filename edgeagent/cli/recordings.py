"""The events of a rehearsal: from files of JSON lines, of readings or of exports, or from an agent's own outbox.

A file is read line by line and never held in memory; a line that cannot be used is reported with its number, and
reading continues.
"""

from __future__ import annotations

import csv
import heapq
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Self

from edgeagent.cli.access import OutboxAccess
from edgeagent.errors import CommandFailed, MessageError
from edgeagent.events.event import Draft
from edgeagent.ports.operator import RECORDED, EventPlace
from edgeagent.ports.transfer import Checker, ExportedTrigger
from edgeagent.rehearsal.recordings import Columns, event_of_line, event_of_trigger

_LINES = frozenset({".ndjson", ".jsonl", ".json"})
_TABLES = frozenset({".csv", ".tsv"})
_EXPORT = b'{"edgeagent_export"'
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_DELIMITERS = (",", ";", "\t")
_EVENT_LOGS = ("high", "normal")


class Recorded(NamedTuple):
    """One event, its position, and the agent that received it and when ("" and 0 if the recording does not say)."""

    where: str
    agent: str
    event: Draft
    accepted_ms: int = 0


class Unusable(NamedTuple):
    """A line that is not an event, its position, and why."""

    where: str
    reason: str


class _RowTooLong(ValueError):
    """A row of readings exceeds the size of a line: it spans several lines, because a quote was not closed."""


class Recording:
    """Owns a file of recorded events, read once. `read_bytes` of its `size_bytes` were read. A context manager."""

    def __init__(self, path: Path, *, mapping: Mapping[str, str], source: str, max_line_bytes: int) -> None:
        """`mapping`: the meaning of the columns of readings; `source`: the source of events that name none.

        Raises:
            CommandFailed: the file cannot be read.
        """
        self.read_bytes = 0
        self._path = path
        self._mapping = mapping
        self._source = source
        self._max_line_bytes = max_line_bytes
        self._number = 0
        self._too_long = ""
        self._row_begins = self._row_bytes = 0
        try:
            self._stream = path.open("rb")
            self.size_bytes = path.stat().st_size
        except OSError as exc:
            raise self._failed(f"cannot be read: {exc.strerror}") from exc

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close the file."""
        self._stream.close()

    def items(self) -> Iterator[Recorded | Unusable]:
        """Every event in the file, and every line that is not one.

        Raises:
            CommandFailed: the format is unknown, a mapped column is missing, or the disk fails.
        """
        head = self._stream.peek().removeprefix(_BYTE_ORDER_MARK).lstrip()
        suffix = self._path.suffix.lower()
        if head.startswith(_EXPORT):
            return self._exported()
        if suffix in _TABLES or self._mapping:
            return self._readings(head)
        if head.startswith(b"["):
            raise self._failed("is a JSON array: write one event a line")
        return self._events() if suffix in _LINES or head.startswith(b"{") else self._readings(head)

    def _events(self) -> Iterator[Recorded | Unusable]:
        for line in self._lines():
            if isinstance(line, Unusable):
                yield line
            elif line.strip():
                try:
                    event = event_of_line(line, self._source)
                except MessageError as exc:
                    yield Unusable(self._where, _reason(exc))
                else:
                    yield Recorded(self._where, "", event)

    def _exported(self) -> Iterator[Recorded | Unusable]:
        checker = Checker()
        for line in self._lines():
            if isinstance(line, Unusable):
                yield line
                continue
            try:
                item = checker.take(line)
                trigger = item if isinstance(item, ExportedTrigger) else None  # rules see no more of large data
                event = event_of_trigger(trigger) if trigger is not None else None
            except MessageError as exc:
                yield Unusable(self._where, exc.reason)
                continue
            if trigger is not None and event is not None:
                yield Recorded(self._where, trigger.agent, event, trigger.accepted_ms)
        if not checker.digest:
            yield Unusable("end", "the file is cut off or was altered")

    def _readings(self, head: bytes) -> Iterator[Recorded | Unusable]:
        first = head.partition(b"\n")[0].decode("utf-8", "replace")
        delimiter = max(_DELIMITERS, key=first.count)
        rows = csv.reader(self._texts(), delimiter=delimiter, strict=True)
        columns: Columns | None = None
        while True:
            self._row_begins, self._row_bytes = self._number + 1, 0
            try:
                row = next(rows)
                "".join(row).encode()
                if not row:
                    continue
                if columns is not None:
                    yield Recorded(self._where, "", columns.event(row))
                    continue
            except StopIteration:
                return
            except (csv.Error, ValueError) as exc:
                reason = self._reason_of(exc)
                if isinstance(exc, _RowTooLong):  # it ended the generator of lines that the reader had
                    rows = csv.reader(self._texts(), delimiter=delimiter, strict=True)
                if columns is None:
                    raise self._failed(f"{self._where}, which should name the columns, {reason}") from exc
                yield Unusable(self._where, reason)
                continue
            try:
                columns = Columns(row, self._mapping, self._source or self._path.stem)
            except ValueError as exc:
                raise self._failed(str(exc)) from exc

    def _reason_of(self, exc: csv.Error | ValueError) -> str:
        """Why the row just read cannot be used."""
        if isinstance(exc, UnicodeEncodeError):
            reason, self._too_long = self._too_long or "is not UTF-8", ""
            return reason
        if isinstance(exc, csv.Error | _RowTooLong) and self._number > self._row_begins:
            return f"ends a row that begins in line {self._row_begins}: a quote there is not closed ({exc})"
        return str(exc)

    def _texts(self) -> Iterator[str]:
        """The lines for the CSV reader; one that is too long is replaced by a text that is not UTF-8 either."""
        for line in self._lines():
            self._row_bytes += len(line) if isinstance(line, bytes) else 0
            if self._row_bytes > self._max_line_bytes:
                raise _RowTooLong(f"more than {self._max_line_bytes} bytes")
            if isinstance(line, Unusable):
                self._too_long = line.reason
                yield "\udc80\n"
            else:
                yield line.decode("utf-8", "surrogateescape")

    def _lines(self) -> Iterator[bytes | Unusable]:
        while line := self._read_line():
            self._number += 1
            if len(line) > self._max_line_bytes:
                while line and not line.endswith(b"\n"):
                    line = self._read_line()
                yield Unusable(self._where, f"has more than {self._max_line_bytes} bytes")
            else:
                yield line.removeprefix(_BYTE_ORDER_MARK) if self._number == 1 else line

    def _read_line(self) -> bytes:
        try:
            line = self._stream.readline(self._max_line_bytes + 1)
        except OSError as exc:
            raise self._failed(f"cannot be read: {exc.strerror}") from exc
        self.read_bytes += len(line)
        return line

    @property
    def _where(self) -> str:
        return f"line {self._number}"

    def _failed(self, reason: str) -> CommandFailed:
        return CommandFailed(f"{self._path}: {reason}")


def recent(outbox: OutboxAccess) -> Iterator[Recorded | Unusable]:
    """The events that are still in an outbox, however they ended, oldest first."""
    for trigger in heapq.merge(*(_walk(outbox, log) for log in _EVENT_LOGS), key=lambda each: each.accepted_ms):
        try:
            event = event_of_trigger(trigger)
        except MessageError as exc:
            yield Unusable(f"event {trigger.id}", _reason(exc))
        else:
            yield Recorded(f"event {trigger.id}", trigger.agent, event, trigger.accepted_ms)


def _walk(outbox: OutboxAccess, log: str) -> Iterator[ExportedTrigger]:
    seq: int | None = 0
    while seq is not None:
        page = outbox.perform(RECORDED, EventPlace(log, seq))
        yield from page.triggers
        seq = page.next_seq


def _reason(error: MessageError) -> str:
    return f"{error.member}: {error.reason}" if error.member else error.reason
