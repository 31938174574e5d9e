"""A device learns what its workflow found, whoever dies in between."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgeagent.ports.link import Subscription
from edgeagent.wire import topics
from tests.fakes.argo_server import FakeArgo
from tests.fakes.dispatch_group import Group
from tests.fakes.mosquitto import Mosquitto, MqttClient
from tests.fakes.programs import RULE, Agent
from tests.waiting import until

OUTPUTS = {
    "parameters": [
        {"name": "result", "value": "leak"},
        {"name": "artifact-url", "value": "https://store.example/reports/9f2c.pdf"},
        {"name": "internal", "value": "not asked for"},
    ]
}
KNOWN = {"result": "leak", "artifact-url": "https://store.example/reports/9f2c.pdf"}


async def test_the_outputs_of_a_workflow_reach_its_device_by_every_way(
    broker: Mosquitto, tmp_path: Path, free_port: int
) -> None:
    rules = RULE + 'outputs = ["result", "artifact-url", "absent"]\n'
    tables = {
        "mqtt": f'listen = "127.0.0.1:{free_port}"',
        "uplink": f'trigger_topic = "{topics.AGENTS_TRIGGER}"',
    }
    agent = Agent(tmp_path / "agent", broker.url, rules=rules, tables=tables)
    async with FakeArgo() as argo:
        argo.templates.add(("plant", "inspect"))
        async with Group(tmp_path, broker, argo.url) as group, agent:
            correlation = await agent.triggered("boiler-1", {"temp": 97.1})
            await agent.state(correlation, "triggered")
            name = f"overheat-{correlation}"
            # Nobody who saw the trigger is left when the workflow ends: only the workflow knows what was asked for.
            for dispatcher in group.members:
                await dispatcher.kill()
            argo.advance("plant", name, phase="Running")
            argo.advance("plant", name, phase="Succeeded", outputs=OUTPUTS)
            await group[1].start()
            report = await agent.state(correlation, "succeeded")
            assert report["outputs"] == KNOWN
            await agent.kill()
            await agent.start()
            # From its disk; or from the broker, to which it had not acknowledged what was not on its disk.
            assert (await agent.state(correlation, "succeeded"))["outputs"] == KNOWN
            (listed,) = (await agent.get("/v1/triggers"))["triggers"]
            assert listed["outputs"] == KNOWN
            status = Subscription("edgeagent/status/boiler-1", retained=True)
            async with MqttClient(f"mqtt://127.0.0.1:{free_port}", "device", status) as device:

                def told() -> list[dict[str, Any]]:
                    return [json.loads(message.payload) for message in device.messages]

                await until(
                    lambda: any(each.get("outputs") == KNOWN for each in told()), "the device's report", seen=told
                )
            code, out, _ = await agent.command("where", correlation)
            assert code == 0
            assert "result: leak" in out
            assert "artifact-url: https://store.example/reports/9f2c.pdf" in out
            assert "not asked for" not in out
