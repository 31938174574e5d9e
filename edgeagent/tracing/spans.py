"""Spans, and how OTLP/HTTP writes them in JSON. Pure.

https://opentelemetry.io/docs/specs/otlp/ : the protobuf messages in their JSON form, in which numbers of 64 bits are
texts; but ids are hexadecimal digits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Any, Final

import msgspec

from edgeagent import __version__

_SCOPE: Final = "edgeagent"
_ERROR: Final = 2  # STATUS_CODE_ERROR
_NS_PER_MS: Final = 1_000_000

Attributes = Mapping[str, str | int]


class SpanKind(IntEnum):
    """What a span is to its neighbours, by OTLP's numbers."""

    INTERNAL = 1
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


class TraceSpan(msgspec.Struct, frozen=True):
    """What took a time. Times are Unix milliseconds. `parent_id`: "" for none. `failure`: why it failed; "" it did not.

    Attributes without a value ("") are left out.
    """

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: SpanKind
    start_ms: int
    end_ms: int
    attributes: Attributes
    failure: str = ""


def service_attributes(name: str, instance: str) -> Attributes:
    """Who tells spans: the program, and which of them."""
    return {"service.name": name, "service.instance.id": instance, "service.version": __version__}


class _PartialSuccess(msgspec.Struct, rename="camel"):
    rejected_spans: str | int = 0
    error_message: str = ""


class _Answer(msgspec.Struct, rename="camel"):
    partial_success: _PartialSuccess | None = None


_encode = msgspec.json.Encoder().encode
_answer = msgspec.json.Decoder(_Answer)


def request_body(service: Attributes, spans: Iterable[TraceSpan]) -> bytes:
    """The body of a request to `/v1/traces`. `service`: the attributes of who tells the spans."""
    scope = {"name": _SCOPE, "version": __version__}
    told = {"scope": scope, "spans": [_told(span) for span in spans]}
    return _encode({"resourceSpans": [{"resource": {"attributes": _listed(service)}, "scopeSpans": [told]}]})


def rejected(answer: bytes) -> tuple[int, str]:
    """How many spans the collector did not take although it answered 200, and why."""
    try:
        partial = _answer.decode(answer).partial_success
        count = int(partial.rejected_spans) if partial is not None else 0
    except ValueError:  # msgspec's errors are ValueErrors; a collector may answer with anything
        return 0, ""
    return max(count, 0), partial.error_message if partial is not None else ""


def _told(span: TraceSpan) -> dict[str, Any]:
    told = {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "name": span.name,
        "kind": int(span.kind),
        "startTimeUnixNano": str(span.start_ms * _NS_PER_MS),
        # A clock that was set meanwhile may have gone back.
        "endTimeUnixNano": str(max(span.start_ms, span.end_ms) * _NS_PER_MS),
        "attributes": _listed(span.attributes),
    }
    if span.parent_id:
        told["parentSpanId"] = span.parent_id
    if span.failure:
        told["status"] = {"code": _ERROR, "message": span.failure}
    return told


def _listed(attributes: Attributes) -> Sequence[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in attributes.items() if value != ""]


def _value(value: str | int) -> dict[str, str]:
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}
