"""A request about a workflow over RabbitMQ: it takes the way of triggers, by AMQP at both ends."""

from __future__ import annotations

import json
from pathlib import Path

from edgeagent.wire.operations import OPERATIONS
from tests.fakes.argo_server import FakeArgo
from tests.fakes.dispatch_group import ArgoDispatcher
from tests.fakes.programs import Agent
from tests.fakes.rabbitmq import RabbitMq
from tests.waiting import until_answer


async def test_a_stop_goes_by_amqp_and_without_operations_nobody_hears_it(tmp_path: Path) -> None:
    allowed = f"operations = {json.dumps(OPERATIONS)}"
    tables = {"uplink": 'trigger_topic = "argo/workflows/trigger/{agent}"'}
    (tmp_path / "rabbitmq").mkdir()
    async with FakeArgo() as argo, RabbitMq(tmp_path / "rabbitmq") as broker:
        argo.templates.add(("plant", "inspect"))
        url = broker.url
        async with Agent(tmp_path / "agent", url, tables=tables) as agent:
            async with ArgoDispatcher(tmp_path / "d0", url, argo.url):
                correlation = await agent.triggered("boiler-1", {"temp": 97.1})
                await agent.state(correlation, "triggered")
                _, made, _ = await agent.command("workflow", "stop", correlation, "--json")
                request_id = json.loads(made)["request_id"]

                async def why() -> str:
                    return str((await agent.get(f"/v1/managed/{request_id}")).get("why", ""))

                await until_answer(why, lambda text: "nobody subscribes" in text, "the reason")
            async with ArgoDispatcher(tmp_path / "d0", url, argo.url, allow_keys=allowed):
                code, out, err = await agent.command("workflow", "terminate", correlation, "--wait")
                assert code == 0, out + err
                workflow = argo.workflow("plant", f"overheat-{correlation}")
                assert workflow is not None
                assert workflow["spec"]["shutdown"] == "Terminate"
