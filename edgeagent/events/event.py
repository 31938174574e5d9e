"""Events: a device's report, and the record of it that the outbox keeps.

A `Draft` is an event as it came in, perhaps with attributes missing. A `Record` is what is synced to disk: the event,
the agent's id and the rules that matched when it was accepted.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from edgeagent.common.foreign import shown
from edgeagent.common.names import event_id_problem, source_problem
from edgeagent.errors import MessageError
from edgeagent.events.artifact import Artifact
from edgeagent.events.misfit import json_reason
from edgeagent.events.time_quality import CORRECTED, DEVICE, NOT_NOTED, QUALITY_NAMES

_MAX_ATTRIBUTE_CHARS = 1024
DEFAULT_TYPE = "event"
_PLACE_BYTES = 24  # in the record of its window, in addition to the event's id
_decode = msgspec.json.Decoder().decode
_CHECKED = ("type", "time", "subject", "datacontenttype", "traceparent")


class Draft(msgspec.Struct, gc=False):
    """An event as a device sent it. `data` is JSON text if `is_json`, otherwise opaque bytes.

    `delivery`: the MQTT delivery that brought it, as (session token, packet id), if it has no id of its own; at QoS 2
    `EXACTLY_ONCE` is added to the packet id. `redelivered`: it may have come before (DUP; always at QoS 2).
    `repeated`: the intake found that this very delivery was taken before; `id` is then that event's. `value`: the
    decoded data, if it was decoded to see whether it is JSON; otherwise `UNSET`. `traceparent`: "" if what came as such
    is malformed; the intake drops it then. `artifact`: its data is in the spool,
    and `data` is the claim. `time_quality`: of `time`, once it has one (`events.time_quality`).
    """

    source: str
    data: bytes
    is_json: bool
    value: Any = msgspec.UNSET
    id: str = ""
    type: str = DEFAULT_TYPE
    time: str = ""
    subject: str | None = None
    datacontenttype: str | None = None
    traceparent: str | None = None
    topic: str | None = None
    delivery: tuple[str, int] | None = None
    redelivered: bool = False
    repeated: bool = False
    artifact: Artifact | None = None
    time_quality: int = DEVICE


class Record(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An accepted event, as the outbox stores it (msgpack array; members are only ever added at the end).

    `rules`: the names of the rules that matched; the record stands for one trigger of each, in this order.
    `accepted_ms`: wall clock, Unix milliseconds. `uptime_ms`: the boot's monotonic clock (the segment names the boot).
    `events`: for a closed window, the ids of its events; `data` is then the array of their data, and everything else is
    the first event's. `artifact`: the event's data, which is in the spool; `data` is its claim without the URL. No
    window has one. `time_quality`: of `time`, as it was when the event was accepted (`events.time_quality`).
    """

    agent: str
    source: str
    id: str
    type: str
    time: str
    data: bytes
    is_json: bool
    rules: tuple[str, ...]
    accepted_ms: int
    uptime_ms: int
    subject: str | None = None
    datacontenttype: str | None = None
    traceparent: str | None = None
    topic: str | None = None
    delivery: tuple[str, int] | None = None
    events: tuple[str, ...] = ()
    artifact: Artifact | None = None
    time_quality: Annotated[int, msgspec.Meta(ge=NOT_NOTED, le=CORRECTED)] = NOT_NOTED


def check(draft: Draft) -> None:
    """Check a draft against the contract (section 2).

    Raises:
        MessageError: an attribute is invalid; names it.
    """
    if problem := source_problem(draft.source):
        raise MessageError("event", "source", problem)
    if draft.id and (problem := event_id_problem(draft.id)):
        raise MessageError("event", "id", problem)
    others = draft.time or draft.subject or draft.datacontenttype or draft.traceparent
    if not others and draft.type == DEFAULT_TYPE:  # nearly all of MQTT: a third of the time (`benchmarks path`, CPU)
        return
    texts = draft.type, draft.time, draft.subject, draft.datacontenttype, draft.traceparent
    for text in texts:
        if text and (len(text) > _MAX_ATTRIBUTE_CHARS or not text.isprintable()):
            name = _CHECKED[texts.index(text)]
            raise MessageError("event", name, f"must be printable, at most {_MAX_ATTRIBUTE_CHARS} characters")


def named(draft: Draft | None) -> dict[str, str]:
    """What a log line says to name an event; nothing of one that was not made, or has no id yet."""
    return {"source": shown(draft.source), "event_id": shown(draft.id)} if draft is not None and draft.id else {}


def record(draft: Draft, agent: str, rules: tuple[str, ...], accepted_ms: int, uptime_ms: int) -> Record:
    """The record of a complete draft (with id and time)."""
    return Record(  # by position: names take half as long again (`benchmarks path`, CPU an event)
        agent,
        draft.source,
        draft.id,
        draft.type,
        draft.time,
        draft.data,
        draft.is_json,
        rules,
        accepted_ms,
        uptime_ms,
        draft.subject,
        draft.datacontenttype,
        draft.traceparent,
        draft.topic,
        draft.delivery,
        (),
        draft.artifact,
        draft.time_quality,
    )


def envelope(event: Draft | Record) -> dict[str, Any]:
    """The event as filters and parameters see it (contract section 2); missing attributes are absent.

    Raises:
        MessageError: `is_json`, but the data is not JSON.
    """
    result: dict[str, Any] = {"id": event.id, "source": event.source, "type": event.type}
    if event.subject is not None:
        result["subject"] = event.subject
    result["time"] = event.time
    result["time_quality"] = QUALITY_NAMES[event.time_quality]
    if event.datacontenttype is not None:
        result["datacontenttype"] = event.datacontenttype
    if event.topic is not None:
        result["topic"] = event.topic
    result["body"] = body(event)
    if isinstance(event, Record) and event.events:
        result["events"] = list(event.events)
    return result


def body_json(event: Draft | Record) -> bytes:
    """The data as JSON text: unchanged, or opaque bytes as a text of base64."""
    return event.data if event.is_json else b'"%b"' % base64.b64encode(event.data)


def member_size(event: Record) -> int:
    """About how many bytes an event adds to that of its window: its data, its id and its place in the outbox."""
    return len(body_json(event)) + len(event.id.encode()) + _PLACE_BYTES


def gathered(records: Sequence[Record], rule: str) -> Record:
    """The events of one window as one event, for the rule of that window; the first event gives it its identity."""
    return msgspec.structs.replace(
        records[0],
        data=b"[%b]" % b",".join(map(body_json, records)),
        is_json=True,
        rules=(rule,),
        delivery=None,
        events=tuple(record.id for record in records),
        artifact=None,
    )


def body(event: Draft | Record) -> Any:
    """The data: JSON decoded, anything else as base64 text.

    Raises:
        MessageError: `is_json`, but the data is not JSON.
    """
    # Not isinstance: for a Struct of another class that takes 0.15 us, 3 % of a row of `benchmarks rules`.
    if event.__class__ is Draft and event.value is not msgspec.UNSET:
        return event.value
    if not event.is_json:
        return base64.b64encode(event.data).decode()
    try:
        return _decode(event.data)
    except (ValueError, RecursionError) as exc:  # msgspec's errors are ValueErrors
        raise MessageError("event", "data", f"is not JSON: {json_reason(exc)}") from exc
