"""The export file, line by line and without I/O: triggers on their way between outboxes (docs/format.md).

Each line is a JSON object: a header, the triggers, and an end with their number and the digest of all lines before it.
A file is complete only if its end matches; otherwise `Checker` names the line that is wrong, and why.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

import msgspec

from edgeagent.common.digests import blake2b
from edgeagent.common.foreign import shown
from edgeagent.common.names import event_id_problem, is_dns_label
from edgeagent.common.trace_context import valid_traceparent
from edgeagent.errors import MessageError
from edgeagent.events.artifact import LARGEST_BYTES, SHA256, Artifact
from edgeagent.events.event import Draft, Record, check, record
from edgeagent.events.time_quality import NOT_NOTED, QUALITY_NAMES, accepted_quality
from edgeagent.rules.spec import MAX_WINDOW_COUNT
from edgeagent.rules.trigger import correlation_id

VERSION = 1
DATA_VERSION = 2  # of a file that may hold the data of artifacts
# The largest event that can be configured is smaller; a longer line is not from an export.
MAX_LINE_BYTES = 64 << 20
_DIGEST_BYTES = 32
_LAST_MS = 253_402_300_799_999  # the end of the year 9999, where RFC 3339 ends too
_MAX_TOPIC_CHARS = 65_535  # MQTT's own limit is in bytes


class ExportedTrigger(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """One trigger: an event and one rule that it matched, with everything that another agent needs to send it.

    `data`: JSON or other text, unchanged; `data_base64` instead if the bytes are not UTF-8. `is_json`: whether the data
    is rendered as JSON. `accepted_ms`: Unix milliseconds. `log`: the log it waited in. `events`: the ids of a window's
    events, empty for a single event. `artifact`: its data is in lines before this one. `time_quality`: of `time`; empty
    where nobody noted it.
    """

    agent: str
    source: str
    id: str
    rule: str
    type: str
    time: str
    is_json: bool
    accepted_ms: Annotated[int, msgspec.Meta(ge=0, le=_LAST_MS)]
    log: str
    data: str | None = None
    data_base64: str | None = None
    subject: str | None = None
    datacontenttype: str | None = None
    traceparent: str | None = None
    topic: str | None = None
    events: Annotated[tuple[str, ...], msgspec.Meta(max_length=MAX_WINDOW_COUNT)] = ()
    artifact: Artifact | None = None
    time_quality: str = ""

    @property
    def correlation_id(self) -> str:
        """The trigger's identity, the same in every outbox."""
        return correlation_id(self.agent, self.source, self.id, self.rule)


class ExportedData(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A piece of the data of an artifact; the pieces of one follow each other, before the first trigger that needs it.

    `data_of`: its SHA-256. `offset`: of this piece, in bytes; `size`: of all of it. `data`: base64 in the file.
    """

    data_of: Annotated[str, msgspec.Meta(pattern=SHA256)]
    offset: Annotated[int, msgspec.Meta(ge=0, le=LARGEST_BYTES)]
    size: Annotated[int, msgspec.Meta(ge=1, le=LARGEST_BYTES)]
    data: bytes


class _Header(msgspec.Struct, frozen=True):
    edgeagent_export: int
    agent: str
    created: str


class _End(msgspec.Struct, frozen=True):
    end: bool
    triggers: int
    blake2b: str


def exported_trigger(stored: Record, rule: str, log: str) -> ExportedTrigger:
    """Convert a record and one of its rules into a line of the file."""
    try:
        text, encoded = stored.data.decode() if stored.is_json else None, None
    except UnicodeDecodeError:
        text = None
    if text is None:
        encoded = base64.b64encode(stored.data).decode()
    return ExportedTrigger(
        agent=stored.agent,
        source=stored.source,
        id=stored.id,
        rule=rule,
        type=stored.type,
        time=stored.time,
        is_json=stored.is_json,
        accepted_ms=stored.accepted_ms,
        log=log,
        data=text,
        data_base64=encoded,
        subject=stored.subject,
        datacontenttype=stored.datacontenttype,
        traceparent=stored.traceparent,
        topic=stored.topic,
        events=stored.events,
        artifact=stored.artifact,
        time_quality=QUALITY_NAMES[stored.time_quality] if stored.time_quality != NOT_NOTED else "",
    )


def imported_record(trigger: ExportedTrigger) -> Record:
    """The record that another outbox stores for the trigger. Its uptime is 0: the other machine's boot never saw it.

    Raises:
        MessageError: a member breaks the contract; names the member.
    """
    for name in ("agent", "rule"):
        if not is_dns_label(getattr(trigger, name)):
            raise MessageError("trigger", name, f"{shown(getattr(trigger, name))} is not a valid name")
    if not trigger.id:
        raise MessageError("trigger", "id", "is empty")
    if trigger.topic is not None and len(trigger.topic) > _MAX_TOPIC_CHARS:
        raise MessageError("trigger", "topic", f"has more than {_MAX_TOPIC_CHARS} characters")
    draft = Draft(
        source=trigger.source,
        data=_data(trigger),
        is_json=trigger.is_json,
        id=trigger.id,
        type=trigger.type,
        time=trigger.time,
        subject=trigger.subject,
        datacontenttype=trigger.datacontenttype,
        traceparent=valid_traceparent(trigger.traceparent),
        topic=trigger.topic,
        artifact=trigger.artifact,
        time_quality=accepted_quality(trigger.time_quality),
    )
    check(draft)
    for event_id in trigger.events:
        if problem := event_id_problem(event_id):
            raise MessageError("trigger", "events", problem)
    stored = record(draft, trigger.agent, (trigger.rule,), trigger.accepted_ms, 0)
    return msgspec.structs.replace(stored, events=trigger.events)


def _data(trigger: ExportedTrigger) -> bytes:
    if (trigger.data is None) == (trigger.data_base64 is None):
        raise MessageError("trigger", "data", "there must be either data or data_base64")
    if trigger.data is not None:
        return trigger.data.encode()
    try:
        return base64.b64decode(trigger.data_base64 or "", validate=True)
    except (binascii.Error, ValueError) as exc:
        raise MessageError("trigger", "data_base64", "is not base64") from exc


class Lines:
    """Encodes the lines of a file, each with its line feed, and owns the running count and digest."""

    def __init__(self) -> None:
        self.triggers = 0
        self._digest = blake2b(digest_size=_DIGEST_BYTES)

    def header(self, agent: str, created: str, *, with_data: bool = False) -> bytes:
        """The first line: which agent exports, and when (RFC 3339). `with_data`: there may be data of artifacts."""
        return self._counted(_Header(DATA_VERSION if with_data else VERSION, agent, created))

    def data(self, piece: ExportedData) -> bytes:
        """The line of a piece of data."""
        return self._counted(piece)

    def trigger(self, trigger: ExportedTrigger) -> bytes:
        """The line of one trigger."""
        self.triggers += 1
        return self._counted(trigger)

    def end(self) -> bytes:
        """The last line."""
        return msgspec.json.encode(_End(end=True, triggers=self.triggers, blake2b=self._digest.hexdigest())) + b"\n"

    def _counted(self, value: msgspec.Struct) -> bytes:
        line = msgspec.json.encode(value) + b"\n"
        self._digest.update(line)
        return line


class Checker:
    """Checks the lines of a file, given in order, each with its line feed.

    `number`: of the last line, from 1 on. `triggers`: how many were read. `digest`: the file's, once `finish` returned.
    """

    def __init__(self) -> None:
        self.number = 0
        self.triggers = 0
        self.digest = ""
        self._has_data = False
        self._hash = blake2b(digest_size=_DIGEST_BYTES)

    def take(self, line: bytes) -> ExportedTrigger | ExportedData | None:
        """Check the next line; returns its trigger or data, None for the header and the end.

        Raises:
            MessageError: names the line and the reason.
        """
        self.number += 1
        if self.digest:
            raise self._wrong("there is a line after the end")
        if not line.endswith(b"\n"):
            raise self._wrong("the line is cut off, or longer than any line of an export")
        if self.number == 1:
            self._take_header(line)
        elif line.startswith(b'{"end":'):
            self._take_end(line)
        elif line.startswith(b'{"data_of":') and self._has_data:
            return self._take_data(line)
        else:
            return self._take_trigger(line)
        return None

    def finish(self) -> None:
        """Check that the file is complete, after its last line.

        Raises:
            MessageError: the end is missing.
        """
        if not self.digest:
            self.number += 1
            raise self._wrong("the end is missing: the file is cut off")

    def _take_header(self, line: bytes) -> None:
        try:
            header = msgspec.json.decode(line, type=_Header)
        except (ValueError, RecursionError) as exc:  # msgspec's errors are ValueErrors
            raise self._wrong("the file is not an export of edgeagent") from exc
        self._has_data = header.edgeagent_export == DATA_VERSION
        if header.edgeagent_export not in {VERSION, DATA_VERSION}:
            version = header.edgeagent_export
            raise self._wrong(f"the export is of version {version}; only {VERSION} and {DATA_VERSION} can be read")
        self._hash.update(line)

    def _take_end(self, line: bytes) -> None:
        try:
            end = msgspec.json.decode(line, type=_End)
        except (ValueError, RecursionError) as exc:
            raise self._wrong(f"the end cannot be read: {exc}") from exc
        if end.triggers != self.triggers:
            raise self._wrong(f"{end.triggers} triggers were written, but {self.triggers} are here")
        if end.blake2b != self._hash.hexdigest():
            raise self._wrong("the digest does not match: the file was altered")
        self.digest = end.blake2b

    def _take_data(self, line: bytes) -> ExportedData:
        try:
            piece = msgspec.json.decode(line, type=ExportedData)
        except (ValueError, RecursionError) as exc:  # msgspec's errors are ValueErrors
            raise self._wrong(str(exc)) from exc
        self._hash.update(line)
        return piece

    def _take_trigger(self, line: bytes) -> ExportedTrigger:
        try:
            trigger = msgspec.json.decode(line, type=ExportedTrigger)
            imported_record(trigger)
        except (ValueError, RecursionError, MessageError) as exc:
            raise self._wrong(str(exc)) from exc
        self.triggers += 1
        self._hash.update(line)
        return trigger

    def _wrong(self, reason: str) -> MessageError:
        return MessageError("export", f"line {self.number}", reason)
