from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.config.tables import OutboxTable
from edgeagent.errors import MessageError
from edgeagent.wire import messages
from edgeagent.wire.messages import (
    Report,
    Response,
    State,
    Status,
    Trigger,
    parse_response,
    parse_status,
    parse_status_query,
    parse_trigger,
)


def response(correlation_data: bytes | None = None, **members: Any) -> Response:
    return parse_response(msgspec.json.encode(members), correlation_data)


def status(**members: Any) -> Status:
    return parse_status(msgspec.json.encode(members))


def test_the_engines_example_of_success_is_understood() -> None:
    answer = response(
        correlation_id="9f2c",
        code=200,
        status="Workflow triggered successfully",
        workflowId="overheat-9f2c",
        namespace="plant",
        duplicate=False,
    )
    assert (answer.code, answer.workflow_id, answer.namespace) == (200, "overheat-9f2c", "plant")


def test_the_engines_example_of_failure_is_understood() -> None:
    answer = response(
        correlation_id="9f2c",
        code=400,
        error="Invalid workflow definition",
        detail="spec.entrypoint is required",
        retryable=False,
        retry_after_s=30,
    )
    assert (answer.code, answer.retryable, answer.retry_after_s) == (400, False, 30)
    assert (answer.error, answer.detail) == ("Invalid workflow definition", "spec.entrypoint is required")


def test_correlation_data_stands_in_for_a_missing_correlation_id() -> None:
    assert response(b"9f2c", code=200).correlation_id == "9f2c"
    assert response(b"other", code=200, correlation_id="9f2c").correlation_id == "9f2c"


@pytest.mark.parametrize("correlation_data", [None, b"", b"\xff\xfe"])
def test_an_answer_to_nothing_is_refused(correlation_data: bytes | None) -> None:
    with pytest.raises(MessageError, match=r"^response: correlation_id: is missing"):
        response(correlation_data, code=200)


def test_a_missing_code_is_200_with_a_workflow_and_400_with_an_error() -> None:
    assert response(correlation_id="x", workflowId="w").code == 200
    assert response(correlation_id="x", error="no").code == 400
    assert response(correlation_id="x", workflowId="w", error="no").code == 200
    with pytest.raises(MessageError, match=r"^response: code: is missing"):
        response(correlation_id="x")


@pytest.mark.parametrize(
    ("code", "retryable"),
    [
        (200, False),
        (400, False),
        (403, False),
        (404, False),
        (408, True),
        (409, False),
        (413, False),
        (429, True),
        (499, False),
        (500, True),
        (503, True),
        (599, True),
    ],
)
def test_what_the_engine_does_not_say_follows_from_the_code(code: int, retryable: bool) -> None:
    assert response(correlation_id="x", code=code).retryable is retryable
    assert response(correlation_id="x", code=code, retryable=not retryable).retryable is not retryable


def test_the_four_members_of_the_interface_are_a_status() -> None:
    told = status(namespace="plant", workflowId="w", status="Running", progress="50%")
    assert (told.namespace, told.workflow_id, told.status, told.progress) == ("plant", "w", "Running", "50%")
    assert (told.correlation_id, told.started_at) == ("", None)


def test_times_may_be_null_and_unknown_members_are_ignored() -> None:
    told = status(namespace="p", workflowId="w", status="Failed", startedAt=None, finishedAt="", nodes={"a": 1})
    assert (told.started_at, told.finished_at) == (None, None)


def test_times_are_read_in_every_form_of_rfc_3339_and_compare_as_texts_from_then_on() -> None:
    told = status(
        namespace="p",
        workflowId="w",
        status="Failed",
        startedAt="2026-03-20T12:00:00.999999999+01:00",
        finishedAt="2026-03-20T11:00:01Z",
    )
    assert (told.started_at, told.finished_at) == ("2026-03-20T11:00:00Z", "2026-03-20T11:00:01Z")


@pytest.mark.parametrize(
    ("members", "member"),
    [
        ({"workflowId": "w", "status": "Running"}, ""),
        ({"namespace": "p", "status": "Running"}, ""),
        ({"namespace": "p", "workflowId": "w"}, ""),
        ({"namespace": "p", "workflowId": "", "status": "Running"}, "workflowId"),
        ({"namespace": "p", "workflowId": 5, "status": "Running"}, "workflowId"),
        ({"namespace": "p", "workflowId": "w", "status": "running"}, "status"),
        ({"namespace": "p", "workflowId": "w", "status": "Omitted"}, "status"),
        ({"namespace": "p", "workflowId": "w", "status": "Running", "progress": 50}, "progress"),
    ],
)
def test_a_status_that_is_none_is_refused_by_its_member(members: dict[str, object], member: str) -> None:
    with pytest.raises(MessageError) as caught:
        status(**members)
    assert (caught.value.what, caught.value.member) == ("status", member)


@pytest.mark.parametrize("payload", [b"", b"null", b"[]", b"{", b"\xff", b'"x"', b"5", b"[" * 100_000])
def test_what_is_no_object_is_no_message(payload: bytes) -> None:
    for parse in (parse_status, parse_status_query, parse_trigger, lambda data: parse_response(data, b"x")):
        with pytest.raises(MessageError):
            parse(payload)


def test_a_message_larger_than_any_of_its_kind_is_not_even_decoded() -> None:
    payload = b'{"namespace": "' + b"x" * messages.MAX_TRIGGER_BYTES + b'"}'
    with pytest.raises(MessageError, match="at most 1048576 are read"):
        parse_trigger(payload)
    for parse in (parse_status, parse_status_query, lambda data: parse_response(data, b"x")):
        with pytest.raises(MessageError, match="at most 262144 are read"):
            parse(payload[: messages.MAX_MESSAGE_BYTES + 1])


def test_a_trigger_may_be_as_large_as_the_largest_event_by_default_makes_it() -> None:
    data = "x" * (4 * (OutboxTable().max_event_bytes + 2) // 3)  # opaque bytes go as base64
    payload = msgspec.json.encode({"namespace": "p", "workflow": {"data": data}})
    assert parse_trigger(payload).workflow == {"data": data}


BEYOND = 10**30
WRONG_RESPONSES: list[tuple[dict[str, object], str]] = [
    ({"code": 99}, "code"),
    ({"code": 600}, "code"),
    ({"code": 0}, "code"),
    ({"code": -200}, "code"),
    ({"code": BEYOND}, "code"),
    ({"code": 200.5}, "code"),
    ({"correlation_id": "x" * 129}, "correlation_id"),
    ({"workflowId": "w" * 254}, "workflowId"),
    ({"namespace": "n" * 64}, "namespace"),
    ({"retry_after_s": -1}, "retry_after_s"),
    ({"retry_after_s": BEYOND}, "retry_after_s"),
    ({"retry_after_s": messages.MAX_RETRY_AFTER_S + 1}, "retry_after_s"),
]
WRONG_STATUSES: list[tuple[dict[str, object], str]] = [
    ({"correlation_id": "x" * 129}, "correlation_id"),
    ({"workflowId": "w" * 254}, "workflowId"),
    ({"namespace": "n" * 64}, "namespace"),
    ({"agent": "a" * 64}, "agent"),
    ({"progress": "9" * 65}, "progress"),
    ({"startedAt": "yesterday"}, "startedAt"),
    ({"startedAt": "2026-03-20T11:00:00"}, "startedAt"),
    ({"startedAt": "0001-01-01T00:00:00+23:59"}, "startedAt"),
    ({"startedAt": "2" * 65}, "startedAt"),
    ({"startedAt": BEYOND}, "startedAt"),
    ({"finishedAt": "2026-02-30T11:00:00Z"}, "finishedAt"),
]
WRONG_TRIGGERS: list[tuple[dict[str, object], str]] = [
    ({"attempt": -1}, "attempt"),
    ({"attempt": 2**31 + 1}, "attempt"),
    ({"attempt": BEYOND}, "attempt"),
    ({"correlation_id": "x" * 129}, "correlation_id"),
    ({"namespace": "n" * 64}, "namespace"),
    ({"agent": "a" * 64}, "agent"),
    ({"reply_to": "t" * 65536}, "reply_to"),
]


def encoded(members: dict[str, object]) -> bytes:
    """As JSON: `msgspec` itself encodes no number beyond 64 bits."""
    return json.dumps(members).encode()


@pytest.mark.parametrize(("members", "member"), WRONG_RESPONSES)
def test_an_answer_beyond_a_bound_is_refused_by_its_member(members: dict[str, object], member: str) -> None:
    with pytest.raises(MessageError) as caught:
        parse_response(encoded({"correlation_id": "x", "code": 503} | members), None)
    assert (caught.value.what, caught.value.member) == ("response", member)


@pytest.mark.parametrize(("members", "member"), WRONG_STATUSES)
def test_a_status_beyond_a_bound_is_refused_by_its_member(members: dict[str, object], member: str) -> None:
    with pytest.raises(MessageError) as caught:
        parse_status(encoded({"namespace": "p", "workflowId": "w", "status": "Running"} | members))
    assert (caught.value.what, caught.value.member) == ("status", member)


@pytest.mark.parametrize(("members", "member"), WRONG_TRIGGERS)
def test_a_trigger_beyond_a_bound_is_refused_by_its_member(members: dict[str, object], member: str) -> None:
    with pytest.raises(MessageError) as caught:
        parse_trigger(encoded({"namespace": "p", "workflow": {}} | members))
    assert (caught.value.what, caught.value.member) == ("trigger", member)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "1" + "0" * 5000])
@pytest.mark.parametrize("member", ["code", "retry_after_s"])
def test_a_number_that_no_machine_holds_is_refused(member: str, number: str) -> None:
    with pytest.raises(MessageError):
        parse_response(f'{{"correlation_id": "x", "workflowId": "w", "{member}": {number}}}'.encode(), None)


def test_correlation_data_has_the_bound_of_a_correlation_id() -> None:
    with pytest.raises(MessageError, match="correlation_id"):
        response(b"x" * 129, code=200)
    assert response(b"x" * 128, code=200).correlation_id == "x" * 128


def test_what_is_at_a_bound_is_taken() -> None:
    answer = response(
        correlation_id="x" * 128, code=599, workflowId="w" * 253, namespace="n" * 63, retry_after_s=30 * 86400
    )
    assert (answer.code, len(answer.workflow_id), answer.retry_after_s) == (599, 253, 30 * 86400)
    trigger = parse_trigger(b'{"namespace": "p", "workflow": {}, "attempt": 2147483648}')
    assert trigger.attempt == 2**31


@pytest.mark.parametrize("text", ["x" * 5000, "ä" * 5000, "\U0001f525" * 5000, "x" + "\U0001f525" * 300, "x" * 1024])
def test_texts_for_a_person_are_cut_between_two_characters(text: str) -> None:
    answer = response(correlation_id="x", code=400, error=text, detail=text, status=text)
    told = status(namespace="p", workflowId="w", status="Failed", message=text)
    for kept in (answer.error, answer.detail, answer.status, told.message):
        assert text.startswith(kept)
        assert 1024 - 4 < len(kept.encode()) <= 1024


@pytest.mark.parametrize(
    "members", [{"code": 200, "status": messages.STATUS_RECEIVED}, {"code": 400, "error": messages.STATUS_INVALID}]
)
def test_an_agents_answer_to_a_status_is_not_taken_for_the_engines(members: dict[str, object]) -> None:
    with pytest.raises(MessageError, match="answer to a status update"):
        response(b"9f2c", **members)


def test_a_foreign_text_in_an_error_is_short_and_on_one_line() -> None:
    with pytest.raises(MessageError) as caught:
        status(namespace="p", workflowId="w", status="\x1b]0;owned\n" + "x" * 100_000)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


@given(
    st.binary(max_size=60) | st.dictionaries(st.text(), st.none() | st.integers() | st.text()).map(msgspec.json.encode)
)
def test_any_bytes_are_a_message_or_a_message_error(payload: bytes) -> None:
    for parse in (parse_status, parse_status_query, parse_trigger, lambda data: parse_response(data, None)):
        with suppress(MessageError):
            parse(payload)


def test_a_status_query_names_an_agent_and_its_correlation_ids() -> None:
    query = parse_status_query(b'{"agent": "gw-1", "correlation_ids": ["9f2c", "A.b_c-1"], "reply_to": "t"}')
    assert (query.agent, query.correlation_ids, query.reply_to) == ("gw-1", ("9f2c", "A.b_c-1"), "t")
    assert parse_status_query(b'{"agent": "gw-1", "correlation_ids": ["a"]}').reply_to == ""


@pytest.mark.parametrize("text", ["", "a)", "a,b", "a b", "a\n", "-a", "a.", "ä", "a=b", "!a", "x" * 64])
def test_a_text_that_would_change_a_label_selector_is_refused(text: str) -> None:
    with pytest.raises(MessageError, match=r"^status query: correlation_ids"):
        parse_status_query(msgspec.json.encode({"agent": "gw-1", "correlation_ids": ["a", text]}))
    with pytest.raises(MessageError, match=r"^status query: agent"):
        parse_status_query(msgspec.json.encode({"agent": text, "correlation_ids": ["a"]}))


@pytest.mark.parametrize("ids", [[], ["a"] * (messages.MAX_QUERY_IDS + 1), "abc", None, [5]])
def test_a_query_for_nothing_or_for_too_much_is_refused(ids: object) -> None:
    with pytest.raises(MessageError, match=r"^status query: correlation_ids"):
        parse_status_query(msgspec.json.encode({"agent": "gw-1", "correlation_ids": ids}))


def test_a_bare_trigger_of_a_foreign_producer_is_one() -> None:
    trigger = parse_trigger(b'{"namespace": "plant", "workflow": {"spec": {}}}')
    assert (trigger.namespace, trigger.workflow) == ("plant", {"spec": {}})
    assert (trigger.correlation_id, trigger.agent, trigger.attempt, trigger.reply_to) == ("", "", None, "")


def test_messages_on_the_wire_have_the_names_of_the_contract() -> None:
    assert msgspec.to_builtins(Response("9f", 200, "ok", "w", "plant", duplicate=True)) == {
        "correlation_id": "9f",
        "code": 200,
        "status": "ok",
        "workflowId": "w",
        "namespace": "plant",
        "duplicate": True,
    }
    assert msgspec.to_builtins(Status("plant", "w", "Running", started_at="a", finished_at="b")) == {
        "namespace": "plant",
        "workflowId": "w",
        "status": "Running",
        "startedAt": "a",
        "finishedAt": "b",
    }
    assert msgspec.to_builtins(Trigger("plant", {}, attempt=0)) == {"namespace": "plant", "workflow": {}, "attempt": 0}


def test_a_report_has_all_members_always() -> None:
    report = Report("9f", "7", "boiler-1", "overheat", State.RUNNING, "2026-03-20T11:00:00.000Z")
    assert msgspec.to_builtins(report) == {
        "correlation_id": "9f",
        "id": "7",
        "source": "boiler-1",
        "rule": "overheat",
        "state": "running",
        "at": "2026-03-20T11:00:00.000Z",
        "workflowId": "",
        "namespace": "",
        "progress": "",
        "message": "",
        "error": "",
    }
    merged = msgspec.structs.replace(report, state=State.MERGED, into="8e")
    assert msgspec.json.decode(msgspec.json.encode(merged))["into"] == "8e"
