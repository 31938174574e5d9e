"""What is sent is read by the official protobuf messages."""

from __future__ import annotations

import base64
import json
from typing import Any

from google.protobuf.json_format import ParseDict
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from edgeagent import __version__
from edgeagent.tracing.spans import SpanKind, TraceSpan, rejected, request_body, service_attributes

TRACE, SPAN, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "b7ad6b7169203331"
SERVICE = service_attributes("edgeagent", "gw-042")


def span(**changes: Any) -> TraceSpan:
    known = {
        "trace_id": TRACE,
        "span_id": SPAN,
        "parent_id": PARENT,
        "name": "send argo/workflows/trigger",
        "kind": SpanKind.PRODUCER,
        "start_ms": 1_774_004_400_250,
        "end_ms": 1_774_004_400_375,
        "attributes": {"edgeagent.rule": "overheat", "edgeagent.code": 200, "edgeagent.workflow": ""},
    }
    return TraceSpan(**{**known, **changes})


def parsed(body: bytes) -> ExportTraceServiceRequest:
    """The request as the official messages have it. OTLP's ids are hexadecimal, where protobuf's JSON has base64."""
    request = json.loads(body)
    for resource in request["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for each in scope["spans"]:
                for name in {"traceId", "spanId", "parentSpanId"} & each.keys():
                    each[name] = base64.b64encode(bytes.fromhex(each[name])).decode()
    made = ExportTraceServiceRequest()
    ParseDict(request, made)
    return made


def test_a_span_is_what_opentelemetry_reads_it_as() -> None:
    request = parsed(request_body(SERVICE, [span(), span(span_id=PARENT, parent_id="", failure="no room")]))
    (resource,) = request.resource_spans
    known = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert known == {"service.name": "edgeagent", "service.instance.id": "gw-042", "service.version": __version__}
    (scope,) = resource.scope_spans
    assert scope.scope.name == "edgeagent"
    sent, failed = scope.spans
    assert (sent.trace_id.hex(), sent.span_id.hex(), sent.parent_span_id.hex()) == (TRACE, SPAN, PARENT)
    assert (sent.name, sent.kind) == ("send argo/workflows/trigger", 4)
    assert (sent.start_time_unix_nano, sent.end_time_unix_nano) == (
        1_774_004_400_250_000_000,
        1_774_004_400_375_000_000,
    )
    assert sent.status.code == 0
    values = {each.key: each.value for each in sent.attributes}
    assert values["edgeagent.rule"].string_value == "overheat"
    assert values["edgeagent.code"].int_value == 200
    assert "edgeagent.workflow" not in values, "what is not known is left out"
    assert failed.parent_span_id == b""
    assert (failed.status.code, failed.status.message) == (2, "no room")


def test_a_span_never_ends_before_it_begins_whatever_the_clock_did() -> None:
    (resource,) = parsed(request_body(SERVICE, [span(end_ms=0)])).resource_spans
    (sent,) = resource.scope_spans[0].spans
    assert sent.end_time_unix_nano == sent.start_time_unix_nano


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 1 << 62))
def test_whatever_a_device_is_called_the_request_can_be_read(text: str, number: int) -> None:
    body = request_body(SERVICE, [span(name=text, attributes={"edgeagent.source": text, "n": number}, failure=text)])
    (sent,) = parsed(body).resource_spans[0].scope_spans[0].spans
    assert sent.name == text
    values = {each.key: each.value for each in sent.attributes}
    assert values["n"].int_value == number


def test_what_a_collector_rejects_although_it_answers_200_is_known() -> None:
    assert rejected(b'{"partialSuccess": {"rejectedSpans": "3", "errorMessage": "too old"}}') == (3, "too old")
    assert rejected(b'{"partialSuccess": {"rejectedSpans": 2}}') == (2, "")
    for nothing in (
        b"{}",
        b'{"partialSuccess":null}',
        b"",
        b"<html>",
        b'{"partialSuccess":{"rejectedSpans":"x"}}',
        b"[]",
    ):
        assert rejected(nothing) == (0, "")
