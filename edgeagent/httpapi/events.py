"""Makes drafts from the bodies and headers of requests (contract section 2). Pure: bytes in, drafts or an error out."""

from __future__ import annotations

from typing import Any

import msgspec

from edgeagent.common.names import event_id_problem
from edgeagent.common.trace_context import read_traceparent
from edgeagent.errors import MessageError
from edgeagent.events.artifact import OCTETS, Artifact
from edgeagent.events.event import DEFAULT_TYPE, Draft, check
from edgeagent.events.formats import (
    ANY,
    JSON,
    CloudEvent,
    JsonEvent,
    PlainEvent,
    charset_of,
    declared,
    decoded,
    draft_of,
    is_json_type,
    is_utf8,
    media_type_of,
)
from edgeagent.events.payload import Data, trimmed
from edgeagent.httpapi.plan import parameters_of
from edgeagent.httpapi.problem import Refused
from edgeagent.httpapi.request import Request, percent_decoded

# A batch is decoded in one piece in the loop's thread: this many small events take a few milliseconds.
MAX_BATCH_EVENTS = 1000
# The memory of an event beside its data until it is stored, with the triggers of a few rules.
_EVENT_BYTES = 2 << 10
# Decoded JSON is up to 27 times as large as its text. This much of a batch stays decoded until it is matched; the rest
# is decoded again then, one event after the other.
_DECODED_BYTES = 256 << 10

_NDJSON = "application/x-ndjson"
# JSON lines go by several names, none of them registered.
_LINES = frozenset(
    {_NDJSON, *(f"application/{name}" for name in ("ndjson", "jsonl", "jsonlines", "x-jsonl", "x-jsonlines"))}
)
_CLOUDEVENT = "application/cloudevents+json"
_CLOUDEVENTS = "application/cloudevents-batch+json"


class _Decoders(msgspec.Struct, frozen=True):
    """The decoders of one form of event: for a single event, and for an array."""

    one: msgspec.json.Decoder[Any]
    many: msgspec.json.Decoder[Any]


_PLAIN_DECODERS = _Decoders(msgspec.json.Decoder(PlainEvent), msgspec.json.Decoder(list[PlainEvent]))
_CLOUDEVENT_DECODERS = _Decoders(msgspec.json.Decoder(CloudEvent), msgspec.json.Decoder(list[CloudEvent]))


def drafts(request: Request, body: bytes, source: str | None, max_event_bytes: int) -> list[Draft]:
    """The events in a request, in the order sent, each checked against the contract.

    `source`: the one in the path (`POST /v1/events/{source}`), which takes precedence over any in the body or the
    headers; None for `POST /v1/events`.

    Raises:
        MessageError: an event is invalid; names the member, in a batch with its index (`events[3].source`).
        Refused: 413 for data over `max_event_bytes` and for too long a batch; 415 for another media type or charset.
    """
    content_type = request.text("Content-Type")
    media_type = media_type_of(content_type)
    key = _idempotency_key(request)
    if media_type in {_CLOUDEVENT, _CLOUDEVENTS}:
        decoders = _CLOUDEVENT_DECODERS
    elif (attributes := _cloudevent_headers(request)) or source is not None:
        draft = _binary(request, body, source, content_type, attributes)
        draft.id = draft.id or key
        _check(draft, max_event_bytes)
        return [draft]
    elif media_type == JSON or media_type in _LINES:
        decoders = _PLAIN_DECODERS
    else:
        raise Refused(415, f"Content-Type: {media_type} is none of {JSON}, {_NDJSON}, {_CLOUDEVENT}, {_CLOUDEVENTS}")
    _require_utf8(content_type)
    events, is_batch = _body(decoders, trimmed(body), media_type)
    if len(events) > MAX_BATCH_EVENTS:
        raise _too_many(len(events))
    traceparent = read_traceparent(request.text("traceparent"))
    result: list[Draft] = []
    decoded_bytes = 0
    try:
        for event in events:
            draft = draft_of(event, source)
            decoded_bytes += len(draft.data)
            if decoded_bytes > _DECODED_BYTES and is_batch:
                draft.value = msgspec.UNSET
            own = draft.traceparent
            draft.traceparent = traceparent if traceparent is not None and not own else own
            if key and not draft.id:
                draft.id = f"{key}-{len(result)}" if is_batch else key
            _check(draft, max_event_bytes)
            result.append(draft)
    except (MessageError, Refused) as exc:
        if not is_batch:
            raise
        raise _placed(exc, f"events[{len(result)}].") from exc
    return result


def large_head(request: Request, source: str) -> Draft:
    """The event of a request whose data goes to the spool, without that: its attributes, checked. See `large_draft`.

    Raises:
        MessageError: an attribute is invalid; names it.
    """
    attributes = _cloudevent_headers(request)
    _check_attributes(attributes)
    draft = _with_attributes(request, Data(b"", False, msgspec.UNSET), source, request.text("Content-Type"), attributes)
    draft.datacontenttype = draft.datacontenttype or OCTETS
    draft.id = draft.id or _idempotency_key(request)
    check(draft)
    return draft


def large_draft(head: Draft, artifact: Artifact) -> Draft:
    """The event of `large_head` whose data is in the spool."""
    return msgspec.structs.replace(head, data=artifact.claim(), is_json=True, artifact=artifact)


def event_id(request: Request, draft: Draft) -> str:
    """The id that a PUT gives its event: the one in the query, or that of a header.

    Raises:
        MessageError: there is none, or there are two.
    """
    found = parameters_of(request, {"id"}).get("id", "")
    if found and draft.id and found != draft.id:
        raise MessageError("event", "id", "the query and a header name different ones")
    if not found and not draft.id:
        raise MessageError("query", "id", "is missing: PUT needs the event's id, as in ?id=shot-1; POST does not")
    if problem := event_id_problem(found or draft.id):
        raise MessageError("event", "id", problem)
    return found or draft.id


def is_streamed(request: Request) -> bool:
    """Whether a large body of this request is data as it is: neither coded, nor events in JSON."""
    media_type = media_type_of(request.text("Content-Type"))
    return media_type not in {_CLOUDEVENT, _CLOUDEVENTS} and b"content-encoding" not in request.headers


def batch_weight(body: bytes) -> int:
    """The memory, in bytes, of the events in a body beside it: an upper limit, since each one has a brace."""
    return _EVENT_BYTES * min(body.count(b"{"), MAX_BATCH_EVENTS)


def _placed(error: MessageError | Refused, where: str) -> MessageError | Refused:
    """The error for one event of a batch, with its index."""
    if isinstance(error, Refused):
        return Refused(error.status, where + error.detail)
    return MessageError(error.what, where + error.member, error.reason)


def _body(decoders: _Decoders, body: bytes, media_type: str) -> tuple[list[JsonEvent], bool]:
    """The events in a JSON body, and whether it is a batch (even of one)."""
    if media_type in _LINES:
        if body.count(b"\n") > MAX_BATCH_EVENTS:
            raise _too_many(body.count(b"\n"))
        lines = [line for line in body.split(b"\n") if line.strip()]
        try:
            return list(map(decoders.one.decode, lines)), True
        except (ValueError, RecursionError):  # decoded again, to find the line: msgspec's errors are ValueErrors
            return [decoded(line, decoders.one, f"events[{index}]") for index, line in enumerate(lines)], True
    is_array = media_type == _CLOUDEVENTS or (media_type == JSON and body.lstrip()[:1] == b"[")
    if is_array:
        return decoded(body, decoders.many, "events"), True
    return [decoded(body, decoders.one, "")], False


def _binary(
    request: Request, body: bytes, source: str | None, content_type: str | None, attributes: dict[str, str]
) -> Draft:
    """The draft whose data is the body; `attributes`: those in `ce-*` headers, if there are any."""
    _check_attributes(attributes)  # before the data, which may be wrong too
    if content_type is None or is_json_type(media_type_of(content_type)):
        _require_utf8(content_type)
        body = trimmed(body)
        data = Data(body, True, decoded(body, ANY, "data"))
    else:
        data = declared(body, content_type)
    return _with_attributes(request, data, source, content_type, attributes)


def _check_attributes(attributes: dict[str, str]) -> None:
    if attributes and attributes.get("specversion") != "1.0":
        raise MessageError("event", "ce-specversion", "must be 1.0")
    for name in ("id", "type", "time") if attributes else ():
        if attributes.get(name) == "":
            raise MessageError("event", "ce-" + name, "must not be empty")


def _with_attributes(
    request: Request, data: Data, source: str | None, content_type: str | None, attributes: dict[str, str]
) -> Draft:
    source = source if source is not None else attributes.get("source")
    if source is None:
        raise MessageError("event", "ce-source", "is missing")
    return Draft(
        source=source,
        data=data.data,
        is_json=data.is_json,
        value=data.value,
        id=attributes.get("id", ""),
        type=attributes.get("type", DEFAULT_TYPE),
        time=attributes.get("time", ""),
        subject=attributes.get("subject"),
        datacontenttype=content_type,
        traceparent=read_traceparent(attributes.get("traceparent"), request.text("traceparent")),
    )


def _cloudevent_headers(request: Request) -> dict[str, str]:
    """The attributes in the `ce-*` headers, decoded as the CloudEvents HTTP binding 1.0 (3.1.3.2) says."""
    attributes = {}
    for name in request.headers:
        if name.startswith(b"ce-"):
            header = name.decode("latin-1")
            value = _unquoted(request.text(header) or "")
            attributes[header.removeprefix("ce-")] = percent_decoded(value, header)
    return attributes


def _unquoted(value: str) -> str:
    """A header's value without double quotes, and backslash escapes between them undone."""
    if '"' not in value:
        return value
    result = []
    in_quotes = False
    characters = iter(value)
    for character in characters:
        if character == '"':
            in_quotes = not in_quotes
        elif character == "\\" and in_quotes:
            result.append(next(characters, ""))
        else:
            result.append(character)
    return "".join(result)


def _require_utf8(content_type: str | None) -> None:
    if not is_utf8(content_type):
        raise Refused(415, f"Content-Type: charset must be utf-8, is {charset_of(content_type)}")


def _check(draft: Draft, max_event_bytes: int) -> None:
    if len(draft.data) > max_event_bytes:
        raise Refused(
            413, f"data: has {len(draft.data)} bytes, at most {max_event_bytes} are taken (outbox.max_event_bytes)"
        )
    check(draft)


def _too_many(count: int) -> Refused:
    return Refused(413, f"events: a batch has at most {MAX_BATCH_EVENTS}, this one has {count}")


def _idempotency_key(request: Request) -> str:
    key = request.text("Idempotency-Key")
    if key is None:
        return ""
    if problem := event_id_problem(key):
        raise MessageError("event", "Idempotency-Key", problem)
    return key
