from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.dispatcher.engine import Order
from edgeagent.dispatcher.outcome import (
    SLOW_S,
    EngineForbade,
    Invalid,
    Missing,
    Outcome,
    Overloaded,
    TooLarge,
    response_to,
)
from edgeagent.dispatcher.verdict import RETRY_AFTER_S, verdict
from edgeagent.errors import EngineRefused, EngineUnavailable

URL = "https://argo.example:2746"
ORDER = Order("plant", "a", "", "gw-1", "c", 1, "inspect", {})
CLUSTER = Order("plant", "a", "", "gw-1", "c", 1, "inspect", {}, cluster_scope=True)
INLINE = Order("plant", "a", "", "gw-1", "c", 1, "", {})


def refused(status: int, message: str, order: Order = ORDER) -> Outcome | None:
    return verdict(EngineRefused(URL, status, message), order)


def unavailable(reason: str, retry_after_s: float | None = None) -> Outcome | None:
    return verdict(EngineUnavailable(URL, reason, retry_after_s), ORDER)


def answer(outcome: Outcome | None) -> tuple[int, bool | None, float]:
    assert outcome is not None
    response = response_to(outcome, correlation_id="c", namespace="plant", dry_run=False)
    return response.code, response.retryable, response.retry_after_s


def test_an_invalid_workflow_is_refused_for_good_in_argos_own_words() -> None:
    outcome = refused(400, "templates.main: failed to resolve\n {{inputs.parameters.x}}")
    assert outcome == Invalid("templates.main: failed to resolve {{inputs.parameters.x}}")
    assert answer(outcome) == (400, False, 0)


@pytest.mark.parametrize(
    ("status", "message", "order", "advice"),
    [
        (
            404,
            'workflowtemplates.argoproj.io "inspect" not found',
            ORDER,
            "WorkflowTemplate 'inspect' is not in namespace 'plant': create it, the trigger is to be tried again",
        ),
        (
            404,
            'clusterworkflowtemplates.argoproj.io "inspect" not found',
            CLUSTER,
            "ClusterWorkflowTemplate 'inspect' does not exist: create it",
        ),
        (404, 'namespaces "plant" not found', ORDER, "namespace 'plant' does not exist: create it"),
        (
            400,
            "templates.main.steps[0]: template reference other.main not found",
            INLINE,
            "something that the workflow",
        ),
        (400, "template reference inspect-steps.main not found", ORDER, "something that the workflow refers to"),
    ],
)
def test_what_is_missing_may_be_created_so_the_trigger_is_tried_again_slowly(
    status: int, message: str, order: Order, advice: str
) -> None:
    outcome = refused(status, message, order)
    assert isinstance(outcome, Missing)
    assert outcome.detail.startswith(advice)
    assert outcome.detail.endswith(f"The engine said: {message}")
    assert answer(outcome) == (404, True, SLOW_S)


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ('workflows "a" is forbidden: exceeded quota: q, used: 50', "the quota of namespace 'plant' is used up"),
        (
            'workflows.argoproj.io is forbidden: User "x" cannot create resource "workflows" in API group "a"',
            "the dispatcher's account lacks rights on workflows in namespace 'plant'",
        ),
        ("admission webhook denied the request", "a rule of the cluster forbids this in namespace 'plant'"),
    ],
)
def test_what_the_cluster_forbids_it_may_allow_later(message: str, advice: str) -> None:
    outcome = refused(403, message)
    assert isinstance(outcome, EngineForbade)
    assert outcome.detail.startswith(advice)
    assert answer(outcome) == (403, True, SLOW_S)


@pytest.mark.parametrize(
    "outcome",
    [
        refused(413, "Request Entity Too Large"),
        refused(400, "Request entity too large: limit is 3145728"),
        unavailable("500: etcdserver: request is too large"),
    ],
)
def test_a_workflow_too_large_is_final_under_whatever_status_it_comes(outcome: Outcome | None) -> None:
    assert isinstance(outcome, TooLarge)
    assert answer(outcome) == (413, False, 0)


def test_an_engine_that_is_away_is_tried_again_when_it_says_so_or_soon() -> None:
    assert answer(unavailable("503: upstream connect error")) == (503, True, RETRY_AFTER_S)
    assert answer(unavailable("429: Too Many Requests", 7)) == (503, True, 7)


def test_a_status_that_no_argo_server_gives_leaves_the_trigger_for_later() -> None:
    outcome = refused(405, "Method Not Allowed")
    assert isinstance(outcome, Overloaded)
    assert "engine.url" in outcome.detail
    assert "405: Method Not Allowed" in outcome.detail


def test_a_refused_token_is_no_answer_to_anybody() -> None:
    assert refused(401, "token not valid") is None


@given(st.integers(300, 599), st.text(), st.sampled_from([ORDER, CLUSTER, INLINE]))
def test_every_error_has_a_verdict_that_becomes_a_response(status: int, message: str, order: Order) -> None:
    errors: list[Any] = [EngineRefused(URL, status, message), EngineUnavailable(URL, message)]
    for error in errors:
        outcome = verdict(error, order)
        if outcome is None:
            assert status == 401
        else:
            response = response_to(outcome, correlation_id="c", namespace="plant", dry_run=False)
            assert response.code >= 400
            assert len(response.detail) <= 500
            assert (response.retry_after_s > 0) == response.retryable
