"""Traces from a device's event to the end of its workflow, in a real collector."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from edgeagent.common.trace_context import span_id
from edgeagent.ports.link import Subscription
from edgeagent.wire import topics
from tests.fakes.argo_server import FakeArgo
from tests.fakes.dispatch_group import Group
from tests.fakes.engine import Engine
from tests.fakes.mosquitto import Mosquitto, MqttClient
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
            async with Group(tmp_path, broker, argo.url, size=1, tables=f"[tracing]\n{tracing}"):
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


async def test_a_collector_that_is_away_delays_nothing_and_an_agent_that_was_killed_goes_on_with_the_same_ids(
    broker: Mosquitto, tmp_path: Path
) -> None:
    collector = Rotel(tmp_path)
    tables = {"tracing": f'endpoint = "{collector.endpoint}"', "uplink": BOUND}
    agent = Agent(tmp_path / "agent", broker.url, tables=tables)
    async with Engine(broker.url) as engine, agent:
        correlation = await triggered(agent, 1)
        await agent.state(correlation, "triggered")
        await agent.logged("spans_wait")
        (sent,) = [message for message in engine.messages if message.correlation_data == correlation.encode()]
        assert sent.traceparent == f"00-{correlation}-{span_id(correlation, 'publish')}-01"
        await agent.kill()
        await agent.start()
        async with collector:
            status = {"namespace": "plant", "workflowId": f"overheat-{correlation}", "status": "Succeeded"}
            await engine.publish("argo/workflows/status/gw-1", json.dumps(status).encode())
            await agent.state(correlation, "succeeded")
            assert await agent.stop() == 0  # a stop tells what is left
            root = named(await collector.until("trigger overheat", "await end"), "trigger overheat")
        assert (root.trace, root.id, root.parent) == (correlation, correlation[:16], "")
        await agent.start()


async def test_without_tracing_a_devices_trace_is_passed_on_and_no_other_is_told_of(
    broker: Mosquitto, tmp_path: Path, free_port: int
) -> None:
    tables = {"mqtt": f'listen = "127.0.0.1:{free_port}"', "uplink": BOUND}
    agent = Agent(tmp_path / "agent", broker.url, tables=tables)
    reports = Subscription("edgeagent/status/#", retained=True)
    async with Engine(broker.url) as engine, agent, MqttClient(f"mqtt://127.0.0.1:{free_port}", "d", reports) as device:
        properties = (("other", "1"), ("traceparent", TRACEPARENT), ("traceparent", "second"))
        await device.publish("events/boiler-1", b'{"temp": 97.1}', user_properties=properties)
        await device.publish("events/boiler-2", b'{"temp": 97.1}', user_properties=(("traceparent", "00-bad"),))
        await engine.received(2)
        sent = {json.loads(message.payload)["correlation_id"]: message.traceparent for message in engine.messages}
        (own,) = [correlation for correlation, traceparent in sent.items() if traceparent == TRACEPARENT]
        (other,) = sent.keys() - {own}
        assert sent[other] == f"00-{other}-{other[:16]}-01"
        assert (await agent.state(own, "triggered"))["traceparent"] == TRACEPARENT
        assert "traceparent" not in await agent.state(other, "triggered")
        report = await device.message("edgeagent/status/boiler-1")
        assert report.traceparent == json.loads(report.payload)["traceparent"] == TRACEPARENT
        assert "tracing" not in await agent.get("/v1/stats")
