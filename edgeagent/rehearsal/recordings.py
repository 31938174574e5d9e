"""Reads recorded events for a rehearsal of rules: lines of a file as the drafts that a device would have sent. Pure.

There are three forms: our own JSON events and CloudEvents, one per line; readings in columns; triggers of an export
file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from edgeagent.common.times import rfc3339
from edgeagent.errors import MessageError
from edgeagent.events.event import Draft
from edgeagent.events.formats import CloudEvent, JsonEvent, PlainEvent, decoded, draft_of
from edgeagent.ports.transfer import ExportedTrigger, imported_record

# What a column can be, besides a member of the data.
ATTRIBUTES = ("source", "time", "id", "type", "subject")
_BODY = "body."
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,99})(?:\.[0-9]{1,99})?(?:[eE][-+]?[0-9]{1,2})?", re.ASCII)
_WORDS = {"true": True, "false": False}
_UNIX = re.compile(r"[0-9]{9,14}(?:\.[0-9]{1,9})?", re.ASCII)
_PLAIN = msgspec.json.Decoder(PlainEvent)
_CLOUDEVENT = msgspec.json.Decoder(CloudEvent)
# Unix seconds have eleven digits only after the year 5000, so larger numbers are milliseconds.
_MAX_UNIX_S = 10**11


def event_of_line(line: bytes, source: str) -> Draft:
    """An event as `POST /v1/events` takes it, in our own form or as a CloudEvent. `source`: used if it names none.

    Raises:
        MessageError: a member is invalid; names it.
    """
    event: JsonEvent
    if b'"specversion"' in line and _is_cloudevent(line):
        event = decoded(line, _CLOUDEVENT, "")
    else:
        event = decoded(line, _PLAIN, "")
    if event.source is None and source:
        event.source = source
    return draft_of(event, None)


def event_of_trigger(trigger: ExportedTrigger) -> Draft:
    """The event of an exported trigger.

    Raises:
        MessageError: a member is invalid, which the error names; or the trigger is a window of events.
    """
    if trigger.events:
        raise MessageError("trigger", "events", f"is the window of {len(trigger.events)} events, and no event")
    record = imported_record(trigger)
    return Draft(
        source=record.source,
        data=record.data,
        is_json=record.is_json,
        id=record.id,
        type=record.type,
        time=record.time,
        subject=record.subject,
        datacontenttype=record.datacontenttype,
        traceparent=record.traceparent,
        topic=record.topic,
        time_quality=record.time_quality,
    )


class Columns:
    """The meaning of each column in a table of readings: an attribute of the event, or a member of its data.

    A column without a mapping is the attribute of that name, in upper or lower case, otherwise a member of the data.
    """

    def __init__(self, header: Sequence[str], mapping: Mapping[str, str], source: str) -> None:
        """`mapping`: the meanings of columns, by name or by number from 1 on; `source`: used if no column gives one.

        Raises:
            ValueError: a column is missing or has no name, or two have the same meaning.
        """
        names = [name.strip() for name in header]
        meanings = [name.lower() if name.lower() in ATTRIBUTES else _BODY + _escaped(name) for name in names]
        for column, meaning in mapping.items():
            meanings[_place(names, column)] = _meaning(meaning)
        for place, meaning in enumerate(meanings):
            if meaning == _BODY:
                raise ValueError(f"column {place + 1} has no name; name it: --map {place + 1}=NAME")
            if meaning in meanings[:place]:
                raise ValueError(f"two columns are {meaning.removeprefix(_BODY)!r}: name one of them with --map")
        self._source = source
        self._attributes = {place: each for place, each in enumerate(meanings) if each in ATTRIBUTES}
        self._members = [
            (place, _path(each.removeprefix(_BODY))) for place, each in enumerate(meanings) if each not in ATTRIBUTES
        ]
        self._count = len(meanings)
        self._nested({path: 0 for _, path in self._members})  # refuses columns that exclude each other

    def event(self, row: Sequence[str]) -> Draft:
        """A row as an event: in its data numbers, true and false keep their type, and an empty field is left out.

        Raises:
            ValueError: the row does not have one field for each column.
        """
        if len(row) != self._count:
            raise ValueError(f"has {len(row)} fields, and there are {self._count} columns")
        given = {name: row[place].strip() for place, name in self._attributes.items()}
        value = self._nested({path: _value(row[place]) for place, path in self._members if row[place].strip()})
        return Draft(
            source=given.get("source") or self._source,
            data=msgspec.json.encode(value),
            is_json=True,
            value=value,
            id=given.get("id", ""),
            type=given.get("type") or "event",
            time=_time(given.get("time", "")),
            subject=given.get("subject") or None,
        )

    @staticmethod
    def _nested(values: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for path, value in values.items():
            inner = result
            for name in path[:-1]:
                inner = inner.setdefault(name, {})
                if not isinstance(inner, dict):
                    raise ValueError(f"{'.'.join(path)!r} is inside of another column")  # noqa: TRY004  not of a type
            if path[-1] in inner:
                raise ValueError(f"{'.'.join(path)!r} is around another column")
            inner[path[-1]] = value
        return result


def _is_cloudevent(line: bytes) -> bool:
    try:
        return msgspec.json.decode(line, type=CloudEvent).specversion is not None
    except (ValueError, RecursionError):  # decoding it again gives the reason
        return True


def _place(names: Sequence[str], column: str) -> int:
    if column in names:
        return names.index(column)
    if column.isascii() and column.isdecimal() and 1 <= int(column[:9]) <= len(names):
        return int(column) - 1
    raise ValueError(f"there is no column {column!r}; there are: {', '.join(map(repr, names))}")


def _meaning(text: str) -> str:
    if text in ATTRIBUTES or text.startswith(_BODY):
        return text
    return _BODY + text


def _escaped(name: str) -> str:
    """The name of a column as one member, even if it contains dots."""
    return name.replace("\\", "\\\\").replace(".", "\\.")


def _path(text: str) -> tuple[str, ...]:
    """`pump.temp` as two names; a backslash makes a dot part of a name."""
    names = [re.sub(r"\\(.)", r"\1", name) for name in re.findall(r"(?:[^.\\]|\\.)+", text)]
    if not names or re.search(r"^\.|\.\.|(?<!\\)\.$", text):
        raise ValueError(f"{text!r} is not a path into the data")
    return tuple(names)


def _value(text: str) -> Any:
    text = text.strip()
    if _NUMBER.fullmatch(text):
        return msgspec.json.decode(text)
    return _WORDS.get(text.lower(), text)


def _time(text: str) -> str:
    """A time in the form of events; one without a zone is taken as UTC, a number as Unix seconds or milliseconds."""
    if _UNIX.fullmatch(text):
        number = float(text)
        return rfc3339(int(number * 1000 if number < _MAX_UNIX_S else number))
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return text
    if instant.tzinfo is None:
        return instant.replace(tzinfo=UTC).isoformat().replace("+00:00", "Z")
    return text.replace(" ", "T", 1)
