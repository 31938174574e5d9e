"""What somebody else on the broker, or a device, can make of a gateway's triggers: nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes.mosquitto import Mosquitto, MqttClient
from tests.fakes.programs import Agent, Dispatcher

HOT = {"temp": 97.1}
OWN = "argo/workflows/response/gw-1"
NOTE = """
[[rule]]
name = "note"
namespace = "plant"
template = "inspect"
arguments = { text = "body.text" }
"""


@pytest.mark.parametrize("bind_agent", ["true", "false"])
@pytest.mark.parametrize("workflow", [{}, {"metadata": {"name": "x"}, "spec": {"workflowTemplateRef": {"name": "x"}}}])
async def test_a_stranger_neither_ends_nor_settles_a_gateways_trigger(
    broker: Mosquitto, tmp_path: Path, bind_agent: str, workflow: dict[str, object]
) -> None:
    async with (
        Agent(tmp_path / "agent", broker.url, tables={"uplink": "accept_dry_run = true"}) as agent,
        MqttClient(broker.url, "silent", "argo/workflows/trigger") as silent,
        MqttClient(broker.url, "stranger", "argo/workflows/response") as stranger,
    ):
        correlation = await agent.triggered("boiler-1", HOT)
        await silent.message()  # it is out, and nobody answers it
        async with Dispatcher(tmp_path / "d1", broker.url, f"bind_agent = {bind_agent}"):
            forged = {"namespace": "plant", "correlation_id": correlation, "workflow": workflow}
            await stranger.publish(
                "argo/workflows/trigger",
                json.dumps(forged).encode(),
                response_topic=OWN,
                correlation_data=correlation.encode(),
            )
            answer = json.loads((await stranger.message()).payload)
            assert answer["correlation_id"] == correlation
            assert answer["code"] == (200 if workflow else 400)
            # Whatever had gone to the gateway before this would be there with it.
            await stranger.publish(OWN, b"{}")
            await agent.stats(lambda stats: stats["uplink"]["malformed"], "the malformed message")
            assert (await agent.get(f"/v1/triggers/{correlation}"))["state"] == "published"
            await agent.account(pending=1, settled=0, dead=0)


async def test_a_reading_that_argo_would_replace_is_a_dead_letter_that_names_its_parameter(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with (
        Dispatcher(tmp_path / "d1", broker.url),
        Agent(tmp_path / "agent", broker.url, rules=NOTE, tables={"uplink": "accept_dry_run = true"}) as agent,
    ):
        correlation = await agent.triggered("panel-1", {"text": "{{workflow.serviceAccountName}}"})
        report = await agent.state(correlation, "rejected")
        assert "spec.arguments.parameters[0] 'text'" in report["error"]
        assert "expressions = true" in report["error"]
