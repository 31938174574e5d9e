"""From the bodies and headers of requests to drafts (contract section 2). Pure: bytes in, drafts or an error out."""

from __future__ import annotations

import base64
import binascii
import re
from types import GenericAlias
from typing import Any

import msgspec

from edgeagent.core.event import DEFAULT_TYPE, Draft, check
from edgeagent.core.names import event_id_problem
from edgeagent.errors import MessageError
from edgeagent.httpapi.problem import Refused
from edgeagent.httpapi.request import Request, percent_decoded

# A batch is decoded in one piece on the loop's thread: this many small events take a few milliseconds.
MAX_BATCH_EVENTS = 1000

_JSON = "application/json"
_NDJSON = "application/x-ndjson"
_CLOUDEVENT = "application/cloudevents+json"
_CLOUDEVENTS = "application/cloudevents-batch+json"
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?", re.ASCII
)
_FIELD = re.compile(r"Object (missing required|contains unknown) field `(.*)`", re.DOTALL)
_MAX_NAME_CHARS = 64


class _Event(msgspec.Struct, gc=False):
    """The members that all JSON forms of an event share; null means absent."""

    source: str | None = None
    data: msgspec.Raw = msgspec.Raw()
    id: str | None = None
    type: str | None = None
    time: str | None = None
    subject: str | None = None
    datacontenttype: str | None = None
    traceparent: str | None = None


class _Plain(_Event, gc=False, forbid_unknown_fields=True):
    """Our own form: a member that we do not know is a mistake."""


class _CloudEvent(_Event, gc=False):
    """CloudEvents 1.0: members that we do not know are extensions."""

    specversion: str | None = None
    data_base64: str | None = None


def drafts(request: Request, body: bytes, source: str | None, max_event_bytes: int) -> list[Draft]:
    """The events that a request carries, in the order sent, each held to the contract.

    `source` is the one in the path (`POST /v1/events/{source}`), which wins over any in the body or the headers;
    None for `POST /v1/events`.

    Raises:
        MessageError: names the member at fault, in a batch with its index (`events[3].source`).
        Refused: 413 for data over `max_event_bytes` and for too long a batch, 415.
    """
    content_type = request.text("Content-Type")
    media_type = _media_type(content_type)
    key = _idempotency_key(request)
    if media_type in {_CLOUDEVENT, _CLOUDEVENTS}:
        _require_utf8(content_type)
        events, is_batch = _decoded(_CloudEvent, body, media_type)
    elif source is not None or _has_cloudevent_headers(request):
        draft = _binary(request, body, source, content_type)
        draft.id = draft.id or key
        _require_size(draft, "", max_event_bytes)
        check(draft)
        return [draft]
    elif media_type in {_JSON, _NDJSON}:
        _require_utf8(content_type)
        events, is_batch = _decoded(_Plain, body, media_type)
    else:
        raise Refused(415, f"Content-Type: {media_type} is none of {_JSON}, {_NDJSON}, {_CLOUDEVENT}, {_CLOUDEVENTS}")
    if len(events) > MAX_BATCH_EVENTS:
        raise _too_many(len(events))
    traceparent = _traceparent(request.text("traceparent"))
    result = []
    for index, event in enumerate(events):
        where = f"events[{index}]." if is_batch else ""
        draft = _draft(event, source, where)
        draft.traceparent = draft.traceparent or traceparent
        if key and not draft.id:
            draft.id = f"{key}-{index}" if is_batch else key
        _require_size(draft, where, max_event_bytes)
        try:
            check(draft)
        except MessageError as exc:
            raise MessageError(exc.what, where + exc.member, exc.reason) from exc
        result.append(draft)
    return result


def _decoded(kind: type[_Event], body: bytes, media_type: str) -> tuple[list[_Event], bool]:
    """The events in a JSON body, and whether it is a batch (even of one)."""
    if media_type == _NDJSON:
        if body.count(b"\n") > MAX_BATCH_EVENTS:
            raise _too_many(body.count(b"\n"))
        lines = [line for line in body.split(b"\n") if line.strip()]
        return [_json(line, kind, f"events[{index}]") for index, line in enumerate(lines)], True
    is_array = media_type == _CLOUDEVENTS or (media_type == _JSON and body.lstrip()[:1] == b"[")
    if is_array:
        return _json(body, GenericAlias(list, kind), "events"), True
    return [_json(body, kind, "")], False


def _draft(event: _Event, source: str | None, where: str) -> Draft:
    """One event in JSON as a draft."""
    if isinstance(event, _CloudEvent) and event.specversion != "1.0":
        raise MessageError("event", where + "specversion", 'must be "1.0"')
    for name in ("id", "type", "time"):
        if not getattr(event, name) and getattr(event, name) is not None:
            raise MessageError("event", where + name, "must not be empty")
    source = source if source is not None else event.source
    if source is None:
        raise MessageError("event", where + "source", "is missing")
    data, is_json = _data(event, where)
    return Draft(
        source=source,
        data=data,
        is_json=is_json,
        id=event.id or "",
        type=event.type or DEFAULT_TYPE,
        time=event.time or "",
        subject=event.subject,
        datacontenttype=event.datacontenttype,
        traceparent=_traceparent(event.traceparent),
    )


def _data(event: _Event, where: str) -> tuple[bytes, bool]:
    """An event's data and whether it is JSON: JSON as sent, a text of another media type as its bytes."""
    raw = bytes(event.data)
    declared_json = event.datacontenttype is None or _is_json(_media_type(event.datacontenttype))
    encoded = event.data_base64 if isinstance(event, _CloudEvent) else None
    if encoded is not None:
        if raw:
            raise MessageError("event", where + "data_base64", "and data exclude each other")
        try:
            data = base64.b64decode(encoded.encode(), validate=True)
        except (binascii.Error, UnicodeEncodeError) as exc:
            raise MessageError("event", where + "data_base64", "is no base64") from exc
        if event.datacontenttype is None or not declared_json:
            return data, False
        _json(data, Any, where + "data_base64")
        return data, True
    if not raw:
        raise MessageError("event", where + "data", "is missing")
    if declared_json:
        _json(raw, Any, where + "data")
        return raw, True
    return _json(raw, str, where + "data").encode(), False


def _binary(request: Request, body: bytes, source: str | None, content_type: str | None) -> Draft:
    """The body is the data; attributes are in `ce-*` headers, if there are any."""
    attributes = _cloudevent_headers(request)
    if attributes and attributes.get("specversion") != "1.0":
        raise MessageError("event", "ce-specversion", "must be 1.0")
    for name in ("id", "type", "time"):
        if attributes.get(name) == "":
            raise MessageError("event", "ce-" + name, "must not be empty")
    source = source if source is not None else attributes.get("source")
    if source is None:
        raise MessageError("event", "ce-source", "is missing")
    is_json = content_type is None or _is_json(_media_type(content_type))
    if is_json:
        _require_utf8(content_type)
        _json(body, Any, "data")
    return Draft(
        source=source,
        data=body,
        is_json=is_json,
        id=attributes.get("id", ""),
        type=attributes.get("type", DEFAULT_TYPE),
        time=attributes.get("time", ""),
        subject=attributes.get("subject"),
        datacontenttype=content_type,
        traceparent=_traceparent(attributes.get("traceparent")) or _traceparent(request.text("traceparent")),
    )


def _has_cloudevent_headers(request: Request) -> bool:
    return any(name.startswith(b"ce-") for name in request.headers)


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


def _json(data: bytes, kind: Any, member: str) -> Any:
    """Decode JSON into `kind`.

    Raises:
        MessageError: names `member`, and what is wrong inside it.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as exc:
        raise _misfit(str(exc), member) from exc
    except UnicodeDecodeError as exc:
        raise MessageError("event", member, "is no JSON: it is not UTF-8") from exc
    except RecursionError as exc:
        raise MessageError("event", member, "is nested too deep") from exc
    except msgspec.DecodeError as exc:
        raise MessageError("event", member, f"is no JSON: {exc}") from exc


def _misfit(text: str, member: str) -> MessageError:
    """The error for JSON that is not of the form wanted, from msgspec's words for it."""
    reason, _, place = text.partition(" - at `$")
    path = f"{member}{place.removesuffix('`')}"
    if match := _FIELD.fullmatch(reason):
        path += "." + match[2][:_MAX_NAME_CHARS]
        reason = "is missing" if match[1].startswith("missing") else "is no member of an event"
    return MessageError("event", path.lstrip("."), reason[:1].lower() + reason[1:])


def _media_type(content_type: str | None) -> str:
    """The media type without its parameters; none is JSON."""
    return _JSON if content_type is None else content_type.partition(";")[0].strip().lower()


def _is_json(media_type: str) -> bool:
    return media_type.endswith(("/json", "+json"))


def _require_utf8(content_type: str | None) -> None:
    for parameter in (content_type or "").lower().split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip().strip('"') not in {"utf-8", "utf8", "us-ascii"}:
            raise Refused(415, f"Content-Type: charset must be utf-8, is {value.strip()}")


def _require_size(draft: Draft, where: str, max_event_bytes: int) -> None:
    if len(draft.data) > max_event_bytes:
        raise Refused(
            413,
            f"{where}data: has {len(draft.data)} bytes, at most {max_event_bytes} are taken (outbox.max_event_bytes)",
        )


def _too_many(count: int) -> Refused:
    return Refused(413, f"events: a batch has at most {MAX_BATCH_EVENTS}, this one has {count}")


def _idempotency_key(request: Request) -> str:
    key = request.text("Idempotency-Key")
    if key is None:
        return ""
    if problem := event_id_problem(key):
        raise MessageError("event", "Idempotency-Key", problem)
    return key


def _traceparent(text: str | None) -> str | None:
    """A W3C traceparent, None for one that is malformed: the standard wants it ignored."""
    return text if text is not None and _TRACEPARENT.fullmatch(text) else None
