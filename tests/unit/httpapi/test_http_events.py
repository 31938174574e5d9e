from __future__ import annotations

import base64

import msgspec
import pytest

from edgeagent.errors import EdgeAgentError
from edgeagent.events.event import Draft
from edgeagent.httpapi.events import MAX_BATCH_EVENTS, drafts
from edgeagent.httpapi.problem import problem_for
from edgeagent.httpapi.request import request_head

MAX_EVENT_BYTES = 1000
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
CE = {"Content-Type": "application/cloudevents+json"}
CE_BATCH = {"Content-Type": "application/cloudevents-batch+json"}
NDJSON = {"Content-Type": "application/x-ndjson"}
JSON = {"Content-Type": "application/json"}


def parse(body: bytes, headers: dict[str, str] | None = None, source: str | None = None) -> list[Draft]:
    """What a POST with these headers becomes; `source` is the one in the path."""
    sent = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    return drafts(request_head(b"POST", b"/v1/events", sent), body, source, MAX_EVENT_BYTES)


def test_data_sent_to_a_source_is_passed_on_byte_for_byte() -> None:
    [draft] = parse(b' {"temp":  97.10} ', source="boiler-1")
    assert draft == Draft(source="boiler-1", data=b' {"temp":  97.10} ', is_json=True, value={"temp": 97.1})


@pytest.mark.parametrize(
    ("content_type", "is_json"),
    [
        ("application/json", True),
        ("Application/JSON; charset=UTF-8", True),
        ("application/senml+json", True),
        ("application/octet-stream", False),
        ("text/plain; charset=latin-1", False),
        ("application/jsonlines", False),
    ],
)
def test_the_media_type_says_whether_data_is_json_and_is_kept(content_type: str, is_json: bool) -> None:
    [draft] = parse(b"1", {"Content-Type": content_type}, source="s")
    assert (draft.is_json, draft.datacontenttype) == (is_json, content_type)


@pytest.mark.parametrize(
    ("content_type", "body", "data"),
    [
        ("text/plain", b"ON", b'"ON"'),
        ("Text/Plain; charset=UTF-8", "\ufeff21 °C\0".encode(), '"21 °C"'.encode()),
        ("text/plain", b"\xff", None),  # no UTF-8: opaque, as it always was
        ("text/plain; charset=iso-8859-1", b"ON", None),
        ("text/csv", b"1;2", None),
    ],
)
def test_plain_text_is_a_text(content_type: str, body: bytes, data: bytes | None) -> None:
    [draft] = parse(body, {"Content-Type": content_type}, source="s")
    assert (draft.data, draft.is_json) == ((body, False) if data is None else (data, True))


def test_what_programs_leave_around_json_is_no_obstacle() -> None:
    for headers, source in ((JSON, "s"), (JSON, None), (CE, None)):
        event = b'{"source": "s", "data": 1, "specversion": "1.0"}' if headers is CE else b'{"source": "s", "data": 1}'
        [draft] = parse(b"\xef\xbb\xbf" + event + b"\0\0", headers, source=source)
        assert draft.is_json


def test_json_with_a_number_that_is_none_is_refused_in_words_that_help() -> None:
    with pytest.raises(EdgeAgentError, match="Infinity at byte 6 is not a number in JSON"):
        parse(b'{"t": Infinity}', JSON, source="s")


def test_opaque_data_need_not_be_anything() -> None:
    [draft] = parse(b"\xff\x00{", {"Content-Type": "image/jpeg"}, source="camera/1")
    assert draft.data == b"\xff\x00{"


def test_one_event_in_our_form_has_all_its_attributes() -> None:
    body = (
        b'{"source": "s", "data": {"a" : 1}, "id": "i", "type": "t", "subject": "sub", "time": "2026-01-02T03:04:05Z",'
        b' "datacontenttype": "application/json", "traceparent": "%b"}' % TRACEPARENT.encode()
    )
    assert parse(body, JSON) == [
        Draft(
            source="s",
            data=b'{"a" : 1}',
            is_json=True,
            value={"a": 1},
            id="i",
            type="t",
            subject="sub",
            time="2026-01-02T03:04:05Z",
            datacontenttype="application/json",
            traceparent=TRACEPARENT,
        )
    ]


def test_a_null_attribute_is_an_absent_one_but_null_is_data() -> None:
    [draft] = parse(b'{"source": "s", "data": null, "id": null, "type": null}', JSON)
    assert (draft.data, draft.id, draft.type) == (b"null", "", "event")


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (JSON, b' [{"source":"a","data":1},{"source":"b","data":"x"}]'),
        (NDJSON, b'{"source":"a","data":1}\r\n\n{"source":"b","data":"x"}\n'),
        (
            CE_BATCH,
            b'[{"specversion":"1.0","source":"a","data":1},{"specversion":"1.0","source":"b","data":"x","ext":{}}]',
        ),
    ],
)
def test_batches_keep_their_order(headers: dict[str, str], body: bytes) -> None:
    assert [(draft.source, draft.data) for draft in parse(body, headers)] == [("a", b"1"), ("b", b'"x"')]


@pytest.mark.parametrize(
    "media_type",
    ["application/jsonl", "Application/JSONL; charset=utf-8", "application/ndjson", "application/x-jsonlines;v=1"],
)
def test_lines_of_json_are_known_by_all_their_names(media_type: str) -> None:
    lines = b'{"source":"a","data":1}\n{"source":"b","data":2}\n'
    assert [draft.source for draft in parse(lines, {"Content-Type": media_type})] == ["a", "b"]


@pytest.mark.parametrize(
    "media_type",
    ["application/cloudevents-batch+json", "APPLICATION/CloudEvents-Batch+JSON ;charset=UTF-8"],
)
def test_a_batch_of_cloudevents_is_known_however_its_type_is_written(media_type: str) -> None:
    assert len(parse(b'[{"specversion":"1.0","source":"s","data":1}]', {"Content-Type": media_type})) == 1


def test_of_a_large_batch_little_stays_decoded_until_it_is_stored() -> None:
    line = b'{"source":"s","data":[%b]}\n' % b",".join([b"{}"] * 300)
    result = parse(line * 1000, NDJSON)
    assert sum(draft.value is not msgspec.UNSET for draft in result) * 900 < 300_000
    assert {len(draft.data) for draft in result} == {901}


@pytest.mark.parametrize(("headers", "body"), [(JSON, b"[]"), (NDJSON, b"\n\n"), (CE_BATCH, b"[]")])
def test_an_empty_batch_is_no_event_and_no_error(headers: dict[str, str], body: bytes) -> None:
    assert parse(body, headers) == []


def test_the_idempotency_key_is_the_id_of_an_event_that_has_none() -> None:
    key = {"Idempotency-Key": "k"}
    assert parse(b"1", key, source="s")[0].id == "k"
    assert parse(b'{"source":"a","data":1}', JSON | key)[0].id == "k"
    batch = b'{"source":"a","data":1}\n{"source":"a","data":1,"id":"own"}\n{"source":"a","data":1}'
    assert [draft.id for draft in parse(batch, NDJSON | key)] == ["k-0", "own", "k-2"]
    assert [draft.id for draft in parse(b'[{"source":"a","data":1}]', JSON | key)] == ["k-0"]


def test_the_events_own_traceparent_wins_and_a_malformed_one_is_ignored() -> None:
    other = TRACEPARENT.replace("4bf9", "aaaa")
    header = {"traceparent": other}
    own = b'{"source":"a","data":1,"traceparent":"%b"}' % TRACEPARENT.encode()
    assert parse(own, JSON | header)[0].traceparent == TRACEPARENT
    assert parse(b"1", header, source="s")[0].traceparent == other
    malformed = {"traceparent": "00-" + "0" * 32 + "-00f067aa0ba902b7-01"}
    assert parse(b"1", malformed, source="s")[0].traceparent == "", "which the intake drops"
    assert parse(b'{"source":"a","data":1}', JSON | malformed)[0].traceparent == ""
    wrong = b'{"source":"a","data":1,"traceparent":7}'
    assert parse(wrong, JSON)[0].traceparent == "", "not refused, whatever it is"
    assert parse(wrong, JSON | header)[0].traceparent == other


def test_a_structured_cloudevent_is_taken_and_the_paths_source_wins() -> None:
    body = b'{"specversion":"1.0","id":"i","source":"s","type":"t","subject":"x","data":{"a":1},"comexampleext":5}'
    [draft] = parse(body, CE)
    assert draft == Draft(source="s", data=b'{"a":1}', is_json=True, value={"a": 1}, id="i", type="t", subject="x")
    assert parse(body, CE, source="path")[0].source == "path"


@pytest.mark.parametrize(
    ("members", "data", "is_json"),
    [
        (b'"data_base64":"AP8="', b"\x00\xff", False),
        (b'"data_base64":"eyJhIjoxfQ==","datacontenttype":"application/json"', b'{"a":1}', True),
        (b'"data":"text \\u20ac","datacontenttype":"text/plain"', '"text €"'.encode(), True),
        (b'"data":"text","datacontenttype":"text/csv"', b"text", False),
        (b'"data":"text","datacontenttype":"application/json"', b'"text"', True),
        (b'"data":[1, 2]', b"[1, 2]", True),
    ],
)
def test_the_data_of_a_cloudevent_is_what_its_media_type_says(members: bytes, data: bytes, is_json: bool) -> None:
    [draft] = parse(b'{"specversion":"1.0","source":"s",%b}' % members, CE)
    assert (draft.data, draft.is_json) == (data, is_json)


def test_a_binary_cloudevent_has_its_attributes_in_headers() -> None:
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "a%20b",
        "ce-source": "plant%2fboiler-1",
        "ce-type": "Euro%20%E2%82%AC%20%F0%9F%98%80",
        "ce-subject": '"quoted \\"subject\\""',
        "ce-time": "2026-01-02T03:04:05Z",
        "ce-traceparent": TRACEPARENT,
        "ce-unknown": "extension",
        "Content-Type": "text/plain",
    }
    expected = Draft(
        source="plant/boiler-1",
        data=b'"hot"',
        is_json=True,
        value="hot",
        id="a b",
        type="Euro € 😀",
        subject='quoted "subject"',
        time="2026-01-02T03:04:05Z",
        datacontenttype="text/plain",
        traceparent=TRACEPARENT,
    )
    assert parse(b"hot", headers) == [expected]
    assert parse(b"hot", headers, source="path")[0].source == "path"


ONE = b'{"source":"a","data":1}'
V1 = b'"specversion":"1.0","source":"s"'
BAD = [
    # body, headers, source in the path, status, what the detail begins with
    (b"", {}, "s", 400, "data: is not JSON"),
    (b'{"a":', JSON, "s", 400, "data: is not JSON"),
    (b'"\xff"', JSON, "s", 400, "data: is not JSON: it is not UTF-8"),
    (b"1e999", JSON, "s", 400, "data: number out of range"),
    (b"[" * 5000, {}, "s", 400, "data: is nested too deep"),
    (b"1", {"Content-Type": "application/json; charset=latin-1"}, "s", 415, "Content-Type: charset"),
    (b"1", {}, "a ", 400, "source: must not begin or end with a space"),
    (b"1", {}, "", 400, "source: must have 1 to 128"),
    (b"1", {}, "s" * 129, 400, "source: must have 1 to 128"),
    (b"1", {"Idempotency-Key": ""}, "s", 400, "Idempotency-Key: must have"),
    (b"1", {"Idempotency-Key": "\x80"}, "s", 400, "Idempotency-Key: must be printable"),
    (b'"' + b"x" * MAX_EVENT_BYTES + b'"', {}, "s", 413, "data: has 1002 bytes"),
    (ONE, {"Content-Type": "text/plain"}, None, 415, "Content-Type: text/plain is none of"),
    (ONE, {"Content-Type": "application/x-www-form-urlencoded"}, None, 415, "Content-Type: "),
    (ONE, {"Content-Type": "application/x-ndjson; charset=utf-16"}, None, 415, "Content-Type: charset"),
    (b"", JSON, None, 400, "is not JSON"),
    (b"3", JSON, None, 400, "must be an object, is a whole number"),
    (b'{"source":"a"}', JSON, None, 400, "data: is missing"),
    (b'{"data":1}', JSON, None, 400, "source: is missing"),
    (b'{"source":1,"data":1}', JSON, None, 400, "source: must be a text or null, is a whole number"),
    (b'{"source":"a","data":1,"colour":2}', JSON, None, 400, "colour: is not a member of an event"),
    (b'{"source":"a","data":1,"data_base64":"AA=="}', JSON, None, 400, "data_base64: is not a member"),
    (b'{"source":"a\xff","data":1}', JSON, None, 400, "is not JSON: it is not UTF-8"),
    (b'{"source":"a","data":"\xff"}', JSON, None, 400, "data: is not JSON"),
    (b'{"source":"a","data":1,"id":""}', JSON, None, 400, "id: must not be empty"),
    (b'{"source":"a","data":1,"type":"\\u0007"}', JSON, None, 400, "type: must be printable"),
    (
        b'{"source":"a","data":1,"datacontenttype":"text/plain"}',
        JSON,
        None,
        400,
        "data: must be a text, is a whole number",
    ),
    (b'[{"source":"a","data":1},{"source":"","data":1}]', JSON, None, 400, "events[1].source: must have"),
    (b'[{"source":"a","data":1},{"source":3,"data":1}]', JSON, None, 400, "events[1].source: must be a text or null"),
    (b'[{"source":"a","data":1},{"data":1}]', JSON, None, 400, "events[1].source: is missing"),
    (b'[{"source":"a","data":1,"x":1}]', JSON, None, 400, "events[0].x: is not a member"),
    (b"[3]", JSON, None, 400, "events[0]: must be an object, is a whole number"),
    (ONE + b"\n" + b'{"source":"#","data":1}', NDJSON, None, 400, "events[1].source: must be"),
    (ONE + b"\n\n" + b'{"source":"b","data":', NDJSON, None, 400, "events[1]: is not JSON"),
    (ONE + b"\n" + b'{"source":"b","data":1,"y":1}', NDJSON, None, 400, "events[1].y: is not a member"),
    (ONE + b'\n{"source":"b","data":"' + b"x" * 999 + b'"}', NDJSON, None, 413, "events[1].data: has 1001 bytes"),
    (b"[" + b",".join([ONE] * (MAX_BATCH_EVENTS + 1)) + b"]", JSON, None, 413, "events: a batch has at most"),
    (b"\n" * (MAX_BATCH_EVENTS + 1), NDJSON, None, 413, "events: a batch has at most"),
    (b'{"source":"s","data":1}', CE, None, 400, "specversion: must be"),
    (b'{"specversion":"0.3","source":"s","data":1}', CE, None, 400, "specversion: must be"),
    (b"{%b}" % V1, CE, None, 400, "data: is missing"),
    (b'{"specversion":"1.0","data":1}', CE, None, 400, "source: is missing"),
    (b'{%b,"data":1,"data_base64":"AA=="}' % V1, CE, None, 400, "data_base64: and data exclude each other"),
    (b'{%b,"data_base64":"A*=="}' % V1, CE, None, 400, "data_base64: is not base64"),
    (b'{%b,"data_base64":"\xc3\xa4"}' % V1, CE, None, 400, "data_base64: is not base64"),
    (
        b'{%b,"data_base64":"%b","datacontenttype":"text/json"}' % (V1, base64.b64encode(b"{")),
        CE,
        None,
        400,
        "data_base64: is not JSON",
    ),
    (b'[{"specversion":"1.0","source":"s","data":1},{}]', CE_BATCH, None, 400, "events[1].specversion: must be"),
    (b'{"specversion":"1.0","source":"s","data":1}', CE_BATCH, None, 400, "events: must be an array, is an object"),
    (b"1", {"ce-id": "i", "ce-source": "s"}, None, 400, "ce-specversion: must be 1.0"),
    (b"1", {"ce-specversion": "1.0"}, None, 400, "ce-source: is missing"),
    (b"1", {"ce-specversion": "1.0", "ce-id": "", "ce-source": "s"}, None, 400, "ce-id: must not be empty"),
    (b"1", {"ce-specversion": "1.0", "ce-source": "%C0%A0"}, None, 400, "ce-source: is not UTF-8"),
    (b"1", {"ce-specversion": "1.0", "ce-source": "a%0ab"}, None, 400, "source: must be printable"),
]


@pytest.mark.parametrize(("body", "headers", "source", "status", "begin"), BAD)
def test_what_can_be_no_event_is_refused_and_the_detail_names_the_member(
    body: bytes, headers: dict[str, str], source: str | None, status: int, begin: str
) -> None:
    with pytest.raises(EdgeAgentError) as caught:
        parse(body, headers, source)
    answer = problem_for(caught.value)
    assert answer.status == status
    assert f'"detail":"{begin}'.encode() in answer.body


def test_a_header_full_of_quotes_is_read_in_linear_time() -> None:
    value = '"' + '\\"' * 8000
    headers = {"ce-specversion": "1.0", "ce-source": "s", "ce-x": value}
    assert parse(b"1", headers)[0].source == "s"
