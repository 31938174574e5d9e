"""Traces from a device's event to the end of its workflow, in a real collector."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from edgeagent.wire import topics
from tests.fakes.argo_server import FakeArgo
from tests.fakes.dispatch_group import Group
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.programs import Agent
from tests.fakes.rotel import Rotel, TakenSpan
from tests.fakes.webhook_receiver import WebhookEndpoint

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
DEVICE_SPAN = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{DEVICE_SPAN}-01"
BOUND = f'trigger_topic = "{topics.AGENTS_TRIGGER}"'
SEND = f"send {topics.AGENTS_TRIGGER}"
PROCESS = f"process {topics.AGENTS_TRIGGER}"


def named(spans: Sequence[TakenSpan], name: str, service: str = "edgeagent") -> TakenSpan:
    """The only span of this name; told twice it would still be one."""
    found = {span.id: span for span in spans if (span.name, span.service) == (name, service)}
    assert len(found) == 1, (name, found)
    return next(iter(found.values()))


async def triggered(agent: Agent, number: int, traceparent: str = "") -> str:
    """Post an event; returns its trigger's correlation id."""
    headers = {"Content-Type": "application/json"} | ({"traceparent": traceparent} if traceparent else {})
    body = json.dumps({"source": "boiler-1", "id": f"e-{number}", "data": {"temp": 97.1}}).encode()
    status, answer = await agent.request("POST", "/v1/events", body, **headers)
    assert status == 202, answer
    return str(answer["accepted"][0]["triggers"][0]["correlation_id"])


async def test_a_trace_goes_from_the_device_to_the_end_of_its_workflow_and_back(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with Rotel(tmp_path) as collector, WebhookEndpoint() as endpoint:
        tracing = f'endpoint = "{collector.endpoint}"'
        tables = {"tracing": tracing, "uplink": BOUND, "relay": f'[[relay.webhook]]\nurl = "{endpoint.url}"'}
        async with FakeArgo() as argo, Agent(tmp_path / "agent", broker.url, tables=tables) as agent:
            argo.templates.add(("plant", "inspect"))
            async with Group(tmp_path, broker, argo.url, tables=f"[tracing]\n{tracing}"):
                correlation = await triggered(agent, 1, TRACEPARENT)
                await agent.state(correlation, "triggered")
                name = f"overheat-{correlation}"
                argo.advance("plant", name, phase="Running")
                argo.advance("plant", name, phase="Succeeded")
                report = await agent.state(correlation, "succeeded")
                (workflow,) = argo.workflows()
                annotations = workflow["metadata"]["annotations"]
                agents = "trigger overheat", SEND, "await answer", "await end"
                spans = await collector.until(*agents, PROCESS, "create workflow", "workflow")
        assert {span.trace for span in spans} == {TRACE}
        root, send = named(spans, "trigger overheat"), named(spans, SEND)
        process = named(spans, PROCESS, "edgeagent-dispatch")
        create = named(spans, "create workflow", "edgeagent-dispatch")
        run = named(spans, "workflow", "edgeagent-dispatch")
        parents = [span.parent for span in (root, send, named(spans, "await answer"), named(spans, "await end"))]
        assert parents == [DEVICE_SPAN, root.id, root.id, root.id]
        assert [process.parent, create.parent, run.parent] == [send.id, process.id, create.id]
        assert annotations["edgeagent.io/traceparent"] == f"00-{TRACE}-{create.id}-01"
        assert root.attributes["edgeagent.workflow"] == name
        # Who asked is told what trace it is.
        assert report["traceparent"] == TRACEPARENT
        assert endpoint.requests[-1].headers["traceparent"] == TRACEPARENT
        code, out, _ = await agent.command("where", correlation)
        assert code == 0
        assert TRACE in out
