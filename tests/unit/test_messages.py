from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.core import messages
from edgeagent.core.messages import (
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
from edgeagent.errors import MessageError


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
    told = status(namespace="p", workflowId="w", status="Failed", startedAt=None, finishedAt="t", nodes={"a": 1})
    assert (told.started_at, told.finished_at) == (None, "t")


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


def test_a_message_larger_than_any_workflow_is_not_even_decoded() -> None:
    payload = b'{"namespace": "' + b"x" * messages.MAX_MESSAGE_BYTES + b'"}'
    with pytest.raises(MessageError, match="at most 1048576 are read"):
        parse_trigger(payload)


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
