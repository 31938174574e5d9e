"""`resubmit` of whatever a workflow has become, and the limits that count what it starts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edgeagent.dispatcher.capacity import Capacity
from edgeagent.dispatcher.resubmission import resubmission
from edgeagent.dispatcher.workflow import workflow_problems
from edgeagent.wire.manage import ManageRequest, parse_manage_request
from tests.fakes.manage_desk import NAME, desk, put


async def test_what_is_resubmitted_counts_at_once_though_the_watcher_is_blind() -> None:
    capacity = Capacity({"plant/inspect": 2}, ["plant"], changed=lambda: None)
    async with desk(capacity=capacity) as here:
        put(here.argo, phase="Failed")
        assert [(await here.ask("resubmit")).code for _ in range(3)] == [200, 200, 429]
        assert len(here.argo.workflows()) == 3


@pytest.mark.parametrize("named", ["workflowId", "correlation_id"])
async def test_a_resubmission_that_was_done_stays_done_whatever_has_changed_meanwhile(named: str) -> None:
    capacity = Capacity({"plant/inspect": 1}, ["plant"], changed=lambda: None)
    members = {"request_id": "again-1", named: NAME if named == "workflowId" else NAME[-32:]}
    async with desk(capacity=capacity) as here:
        put(here.argo, phase="Failed")
        first = await here.ask("resubmit", **members)
        assert (first.code, len(here.argo.workflows())) == (200, 2)
        await here.ask("delete", workflowId=NAME)
        assert here.operations is not None
        request = parse_manage_request(here.encoded("resubmit", **members))
        again = await here.operations.perform(msgspec.structs.replace(request, agent="gw-1"))
        assert (again.code, again.workflow) == (200, first.workflow)
        another = msgspec.structs.replace(request, agent="gw-1", request_id="again-2")
        assert (await here.operations.perform(another)).code == 404
        assert len(here.argo.workflows()) == 1


async def test_a_workflow_that_no_trigger_could_start_is_not_run_again() -> None:
    async with desk() as here:
        put(here.argo, phase="Failed", arguments={"parameters": [{"name": "temp temp", "value": "1"}]})
        answer = await here.ask("resubmit")
        assert (answer.code, answer.retryable) == (400, False)
        assert "must be letters, digits" in answer.detail


@pytest.mark.parametrize(
    "spec",
    [
        {"workflowTemplateRef": {"name": 5}, "arguments": {"parameters": 5}},
        {"workflowTemplateRef": [], "arguments": True},
        {"entrypoint": "a", "templates": [{"name": "a", "container": {}}], "arguments": True},
        {},
        "text",
    ],
)
def test_whatever_the_engine_says_a_workflow_is_nothing_falls_over_it(spec: object) -> None:
    request = ManageRequest("resubmit", "r1", "plant", NAME, agent="gw-1")
    order = resubmission(request, {"metadata": {"name": 7, "labels": 7}, "spec": spec})
    assert list(workflow_problems(order.workflow, "plant"))


@pytest.mark.parametrize(("operation", "code"), [("get", 413), ("resubmit", 400)])
async def test_an_object_nested_without_end_is_refused(operation: str, code: int) -> None:
    nested: dict[str, Any] = {}
    for _ in range(150):
        nested = {"a": nested}
    async with desk() as here:
        templates = [{"name": "a", "plugin": {"p": nested}}]
        put(here.argo, phase="Failed", workflowTemplateRef=None, entrypoint="a", templates=templates)
        answer = await here.ask(operation, whole=operation == "get")
        assert (answer.code, answer.object) == (code, None)
        assert "nested deeper" in answer.detail
