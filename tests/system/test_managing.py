"""Workflows managed from a gateway, over a real broker and through a real dispatcher, whatever dies in between."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edgeagent.cli.client import AgentRefused
from edgeagent.wire.operations import OPERATIONS
from tests.fakes.argo_server import FakeArgo, hang
from tests.fakes.dispatch_group import ArgoDispatcher
from tests.fakes.mosquitto import Mosquitto, MqttClient
from tests.fakes.programs import Agent
from tests.fakes.tcp_proxy import TcpProxy
from tests.waiting import until, until_answer

HOT = {"temp": 97.1}
ALL = f"operations = {json.dumps(OPERATIONS)}"
_BOUND = {"uplink": 'trigger_topic = "argo/workflows/trigger/{agent}"'}


class Plant:
    """An Argo Server with template inspect, and what its workflows were told."""

    def __init__(self, argo: FakeArgo) -> None:
        self.argo = argo

    def shutdown(self, name: str) -> str | None:
        """How the workflow is being ended, if it is."""
        workflow = self.argo.workflow("plant", name)
        assert workflow is not None
        how: str | None = workflow["spec"].get("shutdown")
        return how

    def changes(self) -> list[str]:
        """Every call that changes a workflow, in order."""
        return [request.segments[-1] for request in self.argo.requests if request.method == "PUT"]


@asynccontextmanager
async def plant() -> AsyncIterator[Plant]:
    async with FakeArgo() as argo:
        argo.templates.add(("plant", "inspect"))
        yield Plant(argo)


async def managed(agent: Agent, request_id: str) -> dict[str, Any]:
    """The request when it has ended."""

    async def look() -> dict[str, Any]:
        found: dict[str, Any] = await agent.get(f"/v1/managed/{request_id}")
        return found

    return await until_answer(look, lambda found: found["state"] != "waiting", "the end of the request")


async def asked(agent: Agent, *arguments: str) -> dict[str, Any]:
    """What a command of `edgeagent workflow` says it has asked."""
    _, out, err = await agent.command("workflow", *arguments, "--json")
    assert out, err
    made: dict[str, Any] = json.loads(out)
    return made


async def test_a_stop_made_while_the_uplink_is_away_arrives_when_it_is_back_through_a_crash(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with (
        plant() as here,
        TcpProxy(broker.port) as proxy,
        ArgoDispatcher(tmp_path / "d0", broker.url, here.argo.url, allow_keys=ALL),
        Agent(tmp_path / "agent", proxy.url, tables=_BOUND) as agent,
    ):
        correlation = await agent.triggered("boiler-1", HOT)
        await agent.state(correlation, "triggered")
        name = f"overheat-{correlation}"
        await proxy.cut()
        await agent.logged("link_down")
        made = await asked(agent, "stop", correlation[:8], "--message", "the valve was replaced")
        assert made["state"] == "waiting"
        await agent.kill()
        await agent.start()
        assert (await agent.get(f"/v1/managed/{made['request_id']}"))["state"] == "waiting"
        assert here.shutdown(name) is None
        await proxy.heal()
        ended = await managed(agent, made["request_id"])
        assert (ended["state"], ended["why"]) == ("done", "Workflow is stopped")
        assert ended["answer"]["workflow"]["workflowId"] == name
        assert here.shutdown(name) == "Stop"
        assert here.changes() == ["stop"]
        _, out, _ = await agent.command("where", correlation)
        assert "stop done: Workflow is stopped" in out
        await agent.account(accepted=1, settled=1, pending=0)


async def test_a_dispatcher_killed_before_its_answer_leaves_the_request_to_the_next(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with plant() as here, Agent(tmp_path / "agent", broker.url, tables=_BOUND) as agent:
        first = ArgoDispatcher(tmp_path / "d0", broker.url, here.argo.url, allow_keys=ALL)
        await first.start()
        correlation = await agent.triggered("boiler-1", HOT)
        await agent.state(correlation, "triggered")
        name = f"overheat-{correlation}"
        here.argo.advance("plant", name, phase="Failed")
        # Each lookup hangs, so that it dies with the request in its hands.
        here.argo.fail_next(*(hang() for _ in range(3)), path=f"/workflows/plant/{name}", method="GET")
        before = len(here.argo.requests)
        made = await asked(agent, "retry", correlation)
        await until(
            lambda: any(request.segments[-1] == name for request in here.argo.requests[before:]), "its first lookup"
        )
        await first.kill()
        async with ArgoDispatcher(tmp_path / "d0", broker.url, here.argo.url, allow_keys=ALL):
            ended = await managed(agent, made["request_id"])
            assert (ended["state"], here.changes()) == ("done", ["retry"])


async def test_a_gateway_cannot_touch_anothers_workflow(broker: Mosquitto, tmp_path: Path) -> None:
    async with (
        plant() as here,
        ArgoDispatcher(tmp_path / "d0", broker.url, here.argo.url, allow_keys=ALL),
        Agent(tmp_path / "agent", broker.url, tables=_BOUND) as agent,
    ):
        here.argo.put(
            {
                "metadata": {"name": "theirs", "namespace": "plant", "labels": {"edgeagent.io/agent": "gw-2"}},
                "spec": {"workflowTemplateRef": {"name": "inspect"}},
            }
        )
        code, out, _ = await agent.command("workflow", "stop", "theirs", "-n", "plant", "--wait", "90s")
        assert code == 1
        assert "refused: Not allowed: workflow 'theirs' is none of agent 'gw-1'" in out
        assert here.changes() == []


async def test_without_operations_nothing_is_managed_and_both_ends_say_why(broker: Mosquitto, tmp_path: Path) -> None:
    async with (
        plant() as here,
        ArgoDispatcher(tmp_path / "d0", broker.url, here.argo.url),
        Agent(tmp_path / "agent", broker.url, tables=_BOUND) as agent,
    ):
        correlation = await agent.triggered("boiler-1", HOT)
        await agent.state(correlation, "triggered")
        made = await asked(agent, "stop", correlation)

        async def why() -> str:
            found = await agent.get(f"/v1/managed/{made['request_id']}")
            return str(found.get("why", ""))

        await until_answer(why, lambda text: "nobody subscribes to argo/workflows/manage/gw-1" in text, "the reason")
        assert here.changes() == []


async def test_a_workflow_is_looked_at_listed_run_again_and_the_new_one_managed(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with (
        plant() as here,
        ArgoDispatcher(tmp_path / "d0", broker.url, here.argo.url, allow_keys=ALL),
        Agent(tmp_path / "agent", broker.url, tables=_BOUND) as agent,
    ):
        correlation = await agent.triggered("boiler-1", HOT)
        await agent.state(correlation, "triggered")
        name = f"overheat-{correlation}"
        here.argo.advance("plant", name, phase="Failed", message="out of memory")
        code, out, _ = await agent.command("workflow", "get", name)
        assert code == 0
        assert f"plant/{name}  Failed" in out
        assert "out of memory" in out
        again = await asked(agent, "resubmit", name, "--wait")
        new = again["answer"]["workflow"]["workflowId"]
        made = here.argo.workflow("plant", new)
        assert made is not None
        assert made["metadata"]["labels"]["edgeagent.io/resubmit-of"] == correlation
        listed = await asked(agent, "list", "plant")
        assert {status["workflowId"] for status in listed["answer"]["workflows"]} == {name, new}
        assert (await asked(agent, "terminate", new, "-n", "plant", "--wait"))["state"] == "done"
        assert here.shutdown(new) == "Terminate"
        code, out, _ = await agent.command("workflow", "requests")
        assert code == 0
        assert "terminate" in out


async def test_a_device_may_stop_a_workflow_only_where_that_is_configured(broker: Mosquitto, tmp_path: Path) -> None:
    async with plant() as here, ArgoDispatcher(tmp_path / "d0", broker.url, here.argo.url, allow_keys=ALL):
        async with Agent(tmp_path / "agent", broker.url, tables=_BOUND) as agent:
            correlation = await agent.triggered("boiler-1", HOT)
            await agent.state(correlation, "triggered")
            with pytest.raises(AgentRefused) as refused:
                await agent.request("POST", f"/v1/triggers/{correlation}/stop")
            assert refused.value.status == 405
        allowed = {**_BOUND, "http": "stop_triggers = true"}
        async with Agent(tmp_path / "agent", broker.url, tables=allowed) as agent:
            status, made = await agent.request("POST", f"/v1/triggers/{correlation}/stop")
            assert status == 202
            assert (await managed(agent, made["request_id"]))["state"] == "done"
            assert here.shutdown(f"overheat-{correlation}") == "Stop"
            for path in (f"/v1/triggers/{'0' * 32}/stop", f"/v1/triggers/{correlation}", "/v1/triggers/x/stop"):
                with pytest.raises(AgentRefused) as refused:
                    await agent.request("POST", path)
                assert refused.value.status == 404


async def test_a_foreign_producer_asks_on_the_base_topic_and_hears_on_its_own(
    broker: Mosquitto, tmp_path: Path
) -> None:
    named = 'operations = ["get"]\n[[allow]]\nagents = [""]\nnamespaces = ["plant"]\noperations = ["stop"]'
    async with (
        plant() as here,
        ArgoDispatcher(tmp_path / "d0", broker.url, here.argo.url, allow_keys=named),
        MqttClient(broker.url, "operator", "argo/workflows/response/#") as operator,
    ):
        here.argo.put({"metadata": {"name": "w", "namespace": "plant"}, "spec": {}})
        here.argo.advance("plant", "w", phase="Running")
        request = {"request_id": "r-1", "namespace": "plant", "workflowId": "w", "operation": "stop"}
        await operator.publish(
            "argo/workflows/manage", json.dumps({**request, "reply_to": "argo/workflows/response/room/7"}).encode()
        )
        answer = await operator.message("argo/workflows/response/room/7")
        assert json.loads(answer.payload)["code"] == 200
        await operator.publish("argo/workflows/manage", json.dumps({**request, "agent": "gw-9"}).encode())
        answer = await operator.message("argo/workflows/response/gw-9")
        assert json.loads(answer.payload)["code"] == 403
        assert here.changes() == ["stop"]
