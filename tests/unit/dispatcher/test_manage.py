"""Requests about workflows at an Argo Server: each operation, each refusal, and that repeating one changes nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from edgeagent.config.tables import Allow
from edgeagent.dispatcher.capacity import Capacity
from edgeagent.dispatcher.operations import MAX_OBJECT_BYTES
from edgeagent.ports.link import Message
from edgeagent.wire.manage import parse_manage_request
from edgeagent.wire.operations import OPERATIONS
from tests.fakes.argo_server import refused
from tests.fakes.manage_desk import BASE, EVERYTHING, NAME, OWN, desk, put
from tests.waiting import DEADLINE_S, until

FOUND = {"workflowId": NAME}


async def test_a_running_workflow_is_stopped_and_the_answer_has_its_status() -> None:
    async with desk() as here:
        put(here.argo)
        answer = await here.ask("stop", message="the operator said so")
        assert (answer.code, answer.status, answer.error) == (200, "Workflow is stopped", "")
        assert answer.workflow is not None
        assert (answer.workflow.workflow_id, answer.workflow.status, answer.workflow.progress) == (
            NAME,
            "Running",
            "50%",
        )
        assert (answer.workflow.agent, answer.workflow.correlation_id) == ("gw-1", "a" * 32)
        kept = here.argo.workflow("plant", NAME)
        assert kept is not None
        assert kept["spec"]["shutdown"] == "Stop"
        assert kept["status"]["message"] == "the operator said so"
        assert here.answers[-1].topic == "argo/workflows/response/gw-1"
        assert "object" not in here.answers[-1].json


@pytest.mark.parametrize(
    ("operation", "member", "value"),
    [("terminate", "shutdown", "Terminate"), ("suspend", "suspend", True), ("resume", "suspend", None)],
)
async def test_an_operation_changes_the_workflow_as_argos_own_call_does(
    operation: str, member: str, value: object
) -> None:
    async with desk() as here:
        put(here.argo, suspend=operation == "resume")
        answer = await here.ask(operation, workflowId="", correlation_id="a" * 32)
        assert answer.code == 200
        kept = here.argo.workflow("plant", NAME)
        assert kept is not None
        assert kept["spec"].get(member) == value
        assert here.puts() == [f"PUT {operation}"]


async def test_a_failed_workflow_is_retried_once_and_a_running_one_is_left_alone() -> None:
    async with desk() as here:
        put(here.argo, phase="Failed")
        first, again = await here.ask("retry"), await here.ask("retry")
        assert (first.status, again.status) == ("Workflow is retried", "Workflow runs already")
        assert first.workflow is not None
        assert first.workflow.status == "Running"
        assert here.puts() == ["PUT retry"]


@pytest.mark.parametrize("operation", ["stop", "terminate", "resume"])
async def test_what_has_ended_already_needs_no_stop_and_argo_is_not_asked(operation: str) -> None:
    async with desk() as here:
        put(here.argo, phase="Failed")
        answer = await here.ask(operation)
        assert (answer.code, answer.status) == (200, "Workflow had ended already")
        assert here.puts() == []


@pytest.mark.parametrize("operation", ["suspend", "retry"])
async def test_what_a_finished_workflow_cannot_do_is_refused_for_good(operation: str) -> None:
    async with desk() as here:
        put(here.argo, phase="Succeeded")
        answer = await here.ask(operation)
        assert (answer.code, answer.retryable) == (409, False)
        assert "is Succeeded" in answer.detail
        assert answer.workflow is not None
        assert here.puts() == []


async def test_a_deleted_workflow_is_gone_however_often_it_is_asked_for() -> None:
    async with desk() as here:
        put(here.argo)
        first, again = await here.ask("delete"), await here.ask("delete")
        assert (first.code, first.status) == (200, "Workflow is deleted")
        assert (again.code, again.status) == (200, "Workflow is gone already")
        assert here.argo.workflows() == []


async def test_get_answers_with_status_members_and_with_the_object_only_if_asked() -> None:
    async with desk() as here:
        put(here.argo)
        found = await here.ask("get")
        assert found.object is None
        assert here.answers[-1].json.keys() == {"request_id", "code", "status", "workflow"}
        whole = await here.ask("get", whole=True)
        assert whole.object is not None
        assert whole.object["spec"]["workflowTemplateRef"] == {"name": "inspect"}


async def test_an_object_that_fits_into_no_message_is_refused() -> None:
    async with desk() as here:
        put(here.argo, arguments={"parameters": [{"name": "long", "value": "x" * MAX_OBJECT_BYTES}]})
        answer = await here.ask("get", whole=True)
        assert (answer.code, answer.object) == (413, None)
        assert answer.workflow is not None


async def test_list_answers_in_pages_with_the_agents_own_workflows() -> None:
    async with desk() as here:
        for number in range(5):
            put(here.argo, f"overheat-{number:032x}")
        put(here.argo, f"overheat-{9:032x}", agent="gw-2")
        first = await here.ask("list", limit=3)
        rest = await here.ask("list", limit=3, **{"continue": first.continue_})
        assert first.workflows is not None
        assert rest.workflows is not None
        assert (len(first.workflows), len(rest.workflows), rest.continue_) == (3, 2, "")
        assert {status.agent for status in (*first.workflows, *rest.workflows)} == {"gw-1"}


async def test_a_resubmitted_workflow_keeps_the_chain_and_is_started_once() -> None:
    async with desk() as here:
        put(here.argo, phase="Failed", shutdown="Stop")
        request = (
            b'{"request_id":"again-1","operation":"resubmit","namespace":"plant","workflowId":"%b"}' % NAME.encode()
        )
        first = await here.send(request)
        assert first.response.code == 200
        assert first.response.workflow is not None
        made = here.argo.workflow("plant", first.response.workflow.workflow_id)
        assert made is not None
        labels = made["metadata"]["labels"]
        assert labels["edgeagent.io/resubmit-of"] == "a" * 32
        assert labels["edgeagent.io/agent"] == "gw-1"
        assert labels["edgeagent.io/correlation-id"] == first.response.workflow.correlation_id != "a" * 32
        assert made["metadata"]["annotations"] == {"edgeagent.io/source": "boiler-1"}
        assert made["spec"]["workflowTemplateRef"] == {"name": "inspect"}
        assert made["spec"]["arguments"]["parameters"] == [{"name": "temp", "value": "97.1"}]
        assert "shutdown" not in made["spec"]
        # Another dispatcher, or this one after a restart, remembers nothing.
        assert here.operations is not None
        named = msgspec.structs.replace(parse_manage_request(request), agent="gw-1")
        again = await here.operations.perform(named)
        assert again.workflow is not None
        assert again.workflow.workflow_id == first.response.workflow.workflow_id
        assert len(here.argo.workflows()) == 2


async def test_a_resubmission_passes_the_policy_of_triggers() -> None:
    allowed = Allow(namespaces=("plant",), templates=("other",), operations=("resubmit",))
    async with desk(allowed) as here:
        put(here.argo, phase="Failed")
        answer = await here.ask("resubmit")
        assert (answer.code, answer.retryable) == (403, False)
        assert "template 'inspect' is not allowed" in answer.detail
        assert len(here.argo.workflows()) == 1


async def test_a_full_namespace_takes_a_resubmission_later() -> None:
    capacity = Capacity({"plant/inspect": 1}, ["plant"], changed=lambda: None)
    async with desk(capacity=capacity) as here:
        put(here.argo, phase="Failed")
        capacity.started("plant", "another", "inspect")
        answer = await here.ask("resubmit")
        assert (answer.code, answer.retryable) == (429, True)
        assert answer.retry_after_s > 0
        assert "plant/inspect" in answer.detail
        capacity.finished("plant", "another")
        assert (await here.ask("resubmit", request_id="later")).code == 200


async def test_another_agents_workflow_is_refused_for_every_operation() -> None:
    async with desk() as here:
        put(here.argo, agent="gw-2")
        for operation in OPERATIONS:
            if operation == "list":
                continue
            answer = await here.ask(operation)
            assert (answer.code, answer.error, answer.workflow) == (403, "Not allowed", None), operation
        by_id = await here.ask("stop", workflowId="", correlation_id="a" * 32)
        assert by_id.code == 404, "it does not even learn that there is one"
        assert here.puts() == []


async def test_a_copy_that_argo_resubmitted_is_none_of_the_agents_own() -> None:
    async with desk() as here:
        put(here.argo)
        copy = here.argo.resubmit("plant", NAME)
        assert (await here.ask("stop", workflowId=copy)).code == 403
        by_id = await here.ask("get", workflowId="", correlation_id="a" * 32)
        assert by_id.workflow is not None
        assert by_id.workflow.workflow_id == NAME


async def test_nothing_is_allowed_that_the_policy_does_not_name() -> None:
    async with desk(
        Allow(namespaces=("plant",), templates=("*",)), Allow(namespaces=("other",), operations=("stop",))
    ) as here:
        put(here.argo)
        answer = await here.ask("stop")
        assert (answer.code, answer.retryable) == (403, False)
        assert "operation 'stop' is not allowed for agent 'gw-1' in namespace 'plant'" in answer.detail
        assert here.argo.requests == []


async def test_a_message_without_an_agent_needs_an_entry_that_names_it() -> None:
    async with desk(EVERYTHING) as here:
        put(here.argo)
        assert (await here.ask("stop", BASE)).code == 403
    async with desk() as here:
        put(here.argo)
        answer = await here.ask("stop", BASE, reply_to="argo/workflows/response/control/room")
        assert answer.code == 200
        assert here.answers[-1].topic == "argo/workflows/response/control/room"
        assert (await here.ask("delete", BASE)).code == 403
        await here.ask("get", BASE, reply_to="argo/workflows/response/gw-1")
        assert here.answers[-1].topic == "argo/workflows/response", "never on a topic that belongs to an agent"


async def test_an_agent_is_heard_on_its_own_topic_only() -> None:
    async with desk() as here:
        put(here.argo)
        on_base = await here.ask("stop", BASE, agent="gw-1")
        assert on_base.code == 403
        assert "argo/workflows/manage/gw-1" in on_base.detail
        assert here.answers[-1].topic == "argo/workflows/response/gw-1"
        as_another = await here.ask("stop", "argo/workflows/manage/gw-2", agent="gw-1")
        assert as_another.code == 403
        assert here.answers[-1].topic == "argo/workflows/response/gw-2"
        assert here.argo.requests == []
    async with desk(bind_agent=False) as here:
        put(here.argo)
        assert (await here.ask("stop", BASE, agent="gw-1")).code == 200


async def test_a_repeated_request_gets_the_same_answer_and_is_done_once() -> None:
    async with desk() as here:
        put(here.argo, phase="Failed")
        request = b'{"request_id":"r","operation":"retry","namespace":"plant","workflowId":"%b"}' % NAME.encode()
        first = await here.send(request)
        here.argo.advance("plant", NAME, phase="Failed")
        again = await here.send(request)
        assert again.json == first.json
        assert here.puts() == ["PUT retry"]
        other = await here.send(request.replace(b"retry", b"delete"))
        assert (other.response.code, other.response.error) == (409, "Request id is taken")
        assert here.argo.workflow("plant", NAME) is not None


async def test_a_missing_workflow_is_told() -> None:
    async with desk() as here:
        answer = await here.ask("stop")
        assert (answer.code, answer.retryable) == (404, False)
        assert NAME in answer.detail
        by_trigger = await here.ask("stop", workflowId="", correlation_id="b" * 32)
        assert by_trigger.detail == f"there is no workflow of trigger '{'b' * 32}' in namespace 'plant'"


async def test_argos_refusal_comes_in_words() -> None:
    async with desk() as here:
        put(here.argo)
        said = 'workflows.argoproj.io "x" is forbidden: User "edge" cannot update resource "workflows"'
        here.argo.fail_next(refused(403, 7, said), method="PUT")
        answer = await here.ask("stop")
        assert (answer.code, answer.error) == (403, "Forbidden by the engine")
        assert said in answer.detail
        here.argo.fail_next(refused(400, 3, "no such node"), method="PUT")
        answer = await here.ask("stop")
        assert (answer.code, answer.retryable) == (400, False)
        assert "no such node" in answer.detail


async def test_while_the_engine_is_away_a_request_is_to_be_tried_again() -> None:
    async with desk(hold_s=0.0) as here:
        put(here.argo)
        here.argo.fail_next(refused(503, 14, "no leader"))
        answer = await here.ask("stop")
        assert (answer.code, answer.retryable) == (503, True)
        assert answer.retry_after_s > 0
        assert (await here.ask("stop")).code == 200, "a refusal for now is not remembered"


@pytest.mark.slow
async def test_a_short_outage_is_not_noticed() -> None:
    async with desk() as here:
        put(here.argo)
        here.argo.fail_next(refused(503, 14, "no leader"))
        assert (await here.ask("stop")).code == 200


async def test_refused_credentials_are_no_answer_to_the_request() -> None:
    async with desk() as here:
        put(here.argo)
        here.argo.fail_next(refused(401, 16, "token not valid"))
        answer = await here.ask("stop")
        assert (answer.code, answer.retryable) == (503, True)


async def test_a_dry_run_manages_nothing_and_says_so() -> None:
    async with desk(dry_run=True) as here:
        answer = await here.ask("stop")
        assert (answer.code, answer.retryable, answer.dry_run) == (501, False, True)


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ({"operation": "explode"}, "operation"),
        ({"namespace": "Plant!"}, "namespace"),
        ({"workflowId": "../../secrets"}, "workflowId"),
        ({"workflowId": ""}, "workflowId"),
        ({"workflowId": "", "correlation_id": "a,b in (c)"}, "correlation_id"),
        ({"agent": "gw/1"}, "agent"),
        ({"limit": 101}, "limit"),
        ({"limit": -1}, "limit"),
        ({"continue": "x" * 5000}, "continue"),
    ],
)
async def test_a_request_out_of_bounds_is_refused_by_name(members: dict[str, Any], named: str) -> None:
    request = {"request_id": "r", "operation": "stop", "namespace": "plant", "workflowId": NAME, **members}
    async with desk() as here:
        answer = await here.send(msgspec.json.encode(request))
        assert answer.response.code == 400
        assert named in answer.response.detail
        assert here.argo.requests == []


@pytest.mark.parametrize(
    "payload", [b"", b"\xff", b"[]", b"{" * 5000, b'{"operation":"stop"}', b'{"request_id":"\\u0000"}', b" " * 300_000]
)
async def test_a_message_that_names_no_request_is_acknowledged_and_not_answered(payload: bytes) -> None:
    async with desk() as here:
        message = Message(OWN, payload, receipt=1)
        here.manager.on_messages([message])
        await until(lambda: here.acknowledged == [message], "its acknowledgement")
        assert here.answers == []


async def test_other_messages_are_left_to_others() -> None:
    async with desk() as here:
        trigger = Message("argo/workflows/trigger/gw-1", b"{}", receipt=1)
        assert here.manager.on_messages([trigger]) == [trigger]


async def test_what_a_lost_connection_brought_is_answered_when_it_comes_again() -> None:
    async with desk() as here:
        put(here.argo)
        payload = b'{"request_id":"r","operation":"stop","namespace":"plant","workflowId":"%b"}' % NAME.encode()
        here.manager.on_messages([Message(OWN, payload, receipt=1)])
        here.manager.on_down()
        here.manager.on_up()
        answer = await here.send(payload, correlation_data=b"r")
        assert answer.response.code == 200
        assert answer.correlation_data == b"r"
        assert len(here.answers) == 1
        async with asyncio.timeout(DEADLINE_S):
            await here.manager.drain()


async def test_requests_are_counted_by_operation_and_by_how_they_were_answered() -> None:
    async with desk(hold_s=0) as here:
        put(here.argo)
        for _ in range(2):
            await here.send(msgspec.json.encode({"operation": "get", "request_id": "g", "namespace": "plant"} | FOUND))
        await here.ask("get", workflowId="of-nobody")
        await here.ask("get", namespace="office")
        await here.send(b'{"request_id": "x", "operation": "paint"}')
        here.argo.fail_next(refused(503, 14, "away"))
        await here.ask("suspend")
        here.manager.on_messages([Message(OWN, b"rubbish", 1)])
        await until(lambda: ("unknown", "unanswerable") in here.manager.counts, "the last one")
        assert here.manager.counts == {
            ("get", "done"): 1,
            ("get", "repeated"): 1,
            ("get", "refused"): 2,
            ("suspend", "later"): 1,
            ("unknown", "refused"): 1,
            ("unknown", "unanswerable"): 1,
        }
