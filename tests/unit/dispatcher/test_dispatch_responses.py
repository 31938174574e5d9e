from __future__ import annotations

import msgspec
import pytest

from edgeagent.dispatcher.outcome import (
    Created,
    Crowded,
    Duplicate,
    Forbidden,
    Invalid,
    NameTaken,
    Outcome,
    response_to,
)
from edgeagent.wire.messages import parse_response


@pytest.mark.parametrize(
    ("outcome", "code", "error", "detail"),
    [
        (NameTaken("a"), 409, "Workflow name is taken", "metadata.name 'a' is another workflow's"),
        (Invalid("spec.entrypoint is required"), 400, "Invalid workflow definition", "spec.entrypoint is required"),
        (Forbidden("namespace 'prod' is not allowed"), 403, "Not allowed", "namespace 'prod' is not allowed"),
    ],
)
def test_what_cannot_be_started_is_refused_for_good(outcome: Outcome, code: int, error: str, detail: str) -> None:
    response = response_to(outcome, correlation_id="c", namespace="plant", dry_run=False)
    assert msgspec.to_builtins(response) == {
        "correlation_id": "c",
        "code": code,
        "namespace": "plant",
        "error": error,
        "detail": detail,
        "retryable": False,
    }


@pytest.mark.parametrize(("outcome", "duplicate"), [(Created("a"), False), (Duplicate("a"), True)])
def test_a_workflow_that_runs_is_named(outcome: Outcome, duplicate: bool) -> None:
    response = response_to(outcome, correlation_id="c", namespace="plant", dry_run=False)
    assert (response.code, response.status) == (200, "Workflow triggered successfully")
    assert (response.workflow_id, response.namespace, response.duplicate) == ("a", "plant", duplicate)
    assert response.retryable is None


def test_who_has_too_many_waiting_is_told_to_come_again() -> None:
    response = response_to(Crowded("128 wait"), correlation_id="c", namespace="plant", dry_run=False)
    assert (response.code, response.retryable, response.retry_after_s) == (429, True, 30.0)


@pytest.mark.parametrize("outcome", [Created("a"), Duplicate("a"), NameTaken("a"), Invalid("x"), Forbidden("x")])
def test_every_response_of_a_dry_run_says_so(outcome: Outcome) -> None:
    response = response_to(outcome, correlation_id="c", namespace="plant", dry_run=True)
    assert parse_response(msgspec.json.encode(response), None).dry_run


def test_a_long_detail_is_cut() -> None:
    response = response_to(Invalid("x" * 10_000), correlation_id="c", namespace="plant", dry_run=False)
    assert len(response.detail) == 500
