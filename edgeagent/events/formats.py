"""Events in JSON, in our own form or as CloudEvents 1.0: from bytes to drafts (contract section 2)."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, TypeVar

import msgspec

from edgeagent.common.foreign import shown
from edgeagent.common.trace_context import read_traceparent
from edgeagent.errors import MessageError
from edgeagent.events.event import DEFAULT_TYPE, Draft
from edgeagent.events.misfit import json_reason, misfit
from edgeagent.events.payload import Data, as_text, no_number_hint, opaque, trimmed

JSON = "application/json"
SPECVERSION = b'"specversion"'  # in the text of every CloudEvent
_PLAIN_TEXT = "text/plain"
_FIELD = re.compile(r"Object (missing required|contains unknown) field `(.*)`", re.DOTALL)
_MAX_NAME_CHARS = 64

T = TypeVar("T")


class JsonEvent(msgspec.Struct, gc=False):
    """The members that all JSON forms of an event share; null means absent."""

    source: str | None = None
    data: msgspec.Raw = msgspec.Raw()
    id: str | None = None
    type: str | None = None
    time: str | None = None
    subject: str | None = None
    datacontenttype: str | None = None
    traceparent: Any = None  # of any kind: what is none is ignored, not refused


class PlainEvent(JsonEvent, gc=False, forbid_unknown_fields=True):
    """Our own form. An unknown member is refused, because it is probably a mistake."""


class CloudEvent(JsonEvent, gc=False):
    """CloudEvents 1.0. An unknown member is an extension, and is ignored."""

    specversion: str | None = None
    data_base64: str | None = None


ANY = msgspec.json.Decoder(Any)
_TEXT = msgspec.json.Decoder(str)
_CLOUDEVENT = msgspec.json.Decoder(CloudEvent)


def draft_of(event: JsonEvent, source: str | None) -> Draft:
    """The draft of one event in JSON. `source` takes precedence over the event's own.

    Raises:
        MessageError: a member is invalid; names it.
    """
    if isinstance(event, CloudEvent) and event.specversion != "1.0":
        raise MessageError("event", "specversion", 'must be "1.0"')
    if "" in (event.id, event.type, event.time):
        empty = next(name for name in ("id", "type", "time") if getattr(event, name) == "")
        raise MessageError("event", empty, "must not be empty")
    source = source if source is not None else event.source
    if source is None:
        raise MessageError("event", "source", "is missing")
    data = _data(event)
    return Draft(  # by position: names take twice as long (`benchmarks http`, batches of 100)
        source,
        data.data,
        data.is_json,
        data.value,
        event.id or "",
        event.type or DEFAULT_TYPE,
        event.time or "",
        event.subject,
        event.datacontenttype,
        None if event.traceparent is None else read_traceparent(event.traceparent),
    )


def _data(event: JsonEvent) -> Data:
    """An event's data: JSON as sent, or data of another media type as `declared`."""
    raw = bytes(event.data)
    if raw and event.datacontenttype is None and event.__class__ is PlainEvent:
        return Data(raw, True, decoded(raw, ANY, "data"))
    declared_json = event.datacontenttype is None or is_json_type(media_type_of(event.datacontenttype))
    encoded = event.data_base64 if isinstance(event, CloudEvent) else None
    if encoded is not None:
        if raw:
            raise MessageError("event", "data_base64", "and data exclude each other")
        try:
            data = base64.b64decode(encoded.encode(), validate=True)
        except (binascii.Error, UnicodeEncodeError) as exc:
            raise MessageError("event", "data_base64", "is not base64") from exc
        if event.datacontenttype is None or not declared_json:
            return declared(data, event.datacontenttype)
        return Data(data, True, decoded(data, ANY, "data_base64"))
    if not raw:
        raise MessageError("event", "data", "is missing")
    if declared_json:
        return Data(raw, True, decoded(raw, ANY, "data"))
    return declared(decoded(raw, _TEXT, "data").encode(), event.datacontenttype)


def declared(data: bytes, content_type: str | None) -> Data:
    """Data of a media type that is not JSON: `text/plain` in UTF-8 is text, everything else is opaque."""
    if content_type is not None and media_type_of(content_type) == _PLAIN_TEXT and is_utf8(content_type):
        return as_text(data) or opaque(data)
    return opaque(data)


def decoded(data: bytes, decoder: msgspec.json.Decoder[T], member: str) -> T:
    """Decode JSON.

    Raises:
        MessageError: it is not valid; names `member`, and what is wrong inside it.
    """
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as exc:
        raise _misfit(str(exc), member) from exc
    except RecursionError as exc:
        raise MessageError("event", member, "is nested too deep") from exc
    except ValueError as exc:  # msgspec's errors are ValueErrors, and so is text that is not UTF-8
        raise MessageError("event", member, f"is not JSON: {json_reason(exc)}{no_number_hint(data)}") from exc


def _misfit(text: str, member: str) -> MessageError:
    """The error for JSON of the wrong form, from msgspec's message about it."""
    reason, _, place = text.partition(" - at `$")
    path = f"{member}{place.removesuffix('`')}"
    if match := _FIELD.fullmatch(reason):
        path += "." + shown(match[2], _MAX_NAME_CHARS)
        reason = "is missing" if match[1].startswith("missing") else "is not a member of an event"
        if match[2] == "body" and reason != "is missing":
            reason += '; what rules see as body is sent as "data"'
    else:
        reason = misfit(reason)
    return MessageError("event", path.lstrip("."), reason)


def media_type_of(content_type: str | None) -> str:
    """The media type without its parameters; a missing one is JSON."""
    return JSON if content_type is None else content_type.partition(";")[0].strip().lower()


def charset_of(content_type: str | None) -> str:
    """The charset in a content type, in lower case; "" if there is none."""
    for parameter in (content_type or "").lower().split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset":
            return value.strip().strip('"')
    return ""


def is_utf8(content_type: str | None) -> bool:
    """Whether a text of this content type is UTF-8, which it is unless another charset is named."""
    return charset_of(content_type) in {"", "utf-8", "utf8", "us-ascii"}


def is_json_type(media_type: str) -> bool:
    """Whether data of this media type is JSON."""
    return media_type.endswith(("/json", "+json"))


def cloudevent(payload: bytes, source: str) -> Draft | None:
    """The draft for a payload that is a CloudEvent in JSON, with this source; None for anything else.

    The event's own source does not count: on a topic, the topic determines the source.

    Raises:
        MessageError: it claims to be one (`specversion`), but is invalid; names the member.
    """
    if SPECVERSION not in payload:  # nearly every payload is none, and this saves decoding it
        return None
    try:
        event = _CLOUDEVENT.decode(trimmed(payload))
    except (ValueError, RecursionError):
        return None
    if event.specversion is None:
        return None
    return draft_of(event, source)
