from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeagent.cli.client import AgentRefused
from edgeagent.ports.link import Subscription
from edgeagent.rules.trigger import correlation_id
from tests.fakes.engine import Engine, success
from tests.fakes.mosquitto import Mosquitto, MqttClient
from tests.fakes.programs import RULE, Agent, Dispatcher

HOT = {"temp": 97.1}
REPLIES = "argo/workflows/response/monitor"


async def test_an_event_by_http_starts_a_workflow_and_its_status_comes_back(broker: Mosquitto, tmp_path: Path) -> None:
    rehearsal = {"uplink": "accept_dry_run = true"}
    async with (
        Dispatcher(tmp_path / "d1", broker.url),
        Agent(tmp_path / "agent", broker.url, tables=rehearsal) as agent,
        MqttClient(broker.url, "observer", "argo/workflows/#") as observer,
    ):
        correlation = await agent.triggered("boiler-1", HOT, Idempotency_Key="reading-7")
        assert correlation == correlation_id("gw-1", "boiler-1", "reading-7", "overheat")
        report = await agent.state(correlation, "succeeded")
        assert report["workflowId"] == f"overheat-{correlation}"
        assert report["namespace"] == "plant"
        first = await observer.message("argo/workflows/trigger")
        assert json.loads(first.payload)["attempt"] == 1
        trigger = await observer.message("argo/workflows/trigger/gw-1")
        assert trigger.correlation_data == correlation.encode()
        assert trigger.response_topic == "argo/workflows/response/gw-1"
        message = json.loads(trigger.payload)
        assert message["attempt"] == 2, "the dispatcher binds agents to their own topics"
        assert message["workflow"]["spec"]["arguments"]["parameters"] == [
            {"name": "temp", "value": "97.1"},
            {"name": "device", "value": "boiler-1"},
        ]
        await agent.account(received=1, stored=1, accepted=1, settled=1, pending=0)


async def test_a_local_device_finds_the_report_of_its_newest_event_retained(broker: Mosquitto, tmp_path: Path) -> None:
    async with (
        Dispatcher(tmp_path / "d1", broker.url),
        Agent(tmp_path / "agent", broker.url, local=broker.url, tables={"uplink": "accept_dry_run = true"}) as agent,
        MqttClient(broker.url, "device", "edgeagent/status/boiler-1") as device,
    ):
        await agent.logged("link_up", 2)
        await device.publish("sensors/boiler-1/data", json.dumps(HOT).encode())
        states: list[str] = []
        while "succeeded" not in states:
            report = json.loads((await device.message()).payload)
            states.append(report["state"])
        assert states[-1] == "succeeded"
        assert "running" in states
        async with MqttClient(broker.url, "late", Subscription("edgeagent/status/#", retained=True)) as late:
            woken = await late.message()
            assert woken.retain
            assert json.loads(woken.payload)["state"] == "succeeded"


async def test_reports_survive_a_restart_of_the_agent(broker: Mosquitto, tmp_path: Path) -> None:
    async with Engine(broker.url):
        agent = Agent(tmp_path / "agent", broker.url)
        await agent.start()
        correlation = await agent.triggered("boiler-1", HOT)
        before = await agent.state(correlation, "triggered")
        assert await agent.stop() == 0
        await agent.start()
        assert await agent.get(f"/v1/triggers/{correlation}") == before
        listed = await agent.get("/v1/triggers?source=boiler-1&state=triggered")
        assert [report["correlation_id"] for report in listed["triggers"]] == [correlation]
        await agent.account(accepted=1, settled=1)
        assert await agent.stop() == 0


async def test_what_no_engine_takes_stays_buffered_and_is_listed(tmp_path: Path, free_port: int) -> None:
    async with Agent(tmp_path / "agent", f"mqtt://127.0.0.1:{free_port}") as agent:
        correlation = await agent.triggered("boiler-1", HOT)
        assert (await agent.get(f"/v1/triggers/{correlation}"))["state"] == "buffered"
        listed = await agent.get("/v1/triggers")
        assert [report["state"] for report in listed["triggers"]] == ["buffered"]
        with pytest.raises(AgentRefused) as refused:
            await agent.get("/v1/triggers/00000000000000000000000000000000")
        assert refused.value.status == 404


async def test_the_same_event_sent_twice_starts_one_workflow(broker: Mosquitto, tmp_path: Path) -> None:
    async with Engine(broker.url) as engine, Agent(tmp_path / "agent", broker.url) as agent:
        first = await agent.send("boiler-1", HOT, Idempotency_Key="k")
        second = await agent.send("boiler-1", HOT, Idempotency_Key="k")
        assert (first["duplicate"], second["duplicate"]) == (False, True)
        assert first["triggers"] == second["triggers"]
        with pytest.raises(AgentRefused) as conflict:
            await agent.send("boiler-1", {"temp": 98}, Idempotency_Key="k")
        assert conflict.value.status == 409
        await agent.account(received=3, stored=1, duplicate=1, conflict=1, settled=1)
        assert list(engine.started.values()) == [1]


async def test_events_that_no_rule_wants_are_acknowledged_and_counted(broker: Mosquitto, tmp_path: Path) -> None:
    async with Engine(broker.url), Agent(tmp_path / "agent", broker.url) as agent:
        assert (await agent.send("boiler-1", {"temp": 20}))["triggers"] == []
        assert (await agent.send("door-1", HOT))["triggers"] == []
        assert (await agent.send("boiler-1", {"pressure": 2}))["triggers"] == []  # no such value: told, not matched
        stats = await agent.account(received=3, filtered=3, accepted=0)
        assert stats["rules"]["overheat"]["errors"] == 1


async def test_all_rules_that_match_fire_each_with_its_own_identity(broker: Mosquitto, tmp_path: Path) -> None:
    second = '\n[[rule]]\nname = "archive"\nnamespace = "plant"\ntemplate = "keep"\npriority = "high"\n'
    async with Engine(broker.url) as engine, Agent(tmp_path / "agent", broker.url, rules=RULE + second) as agent:
        accepted = await agent.send("boiler-1", HOT)
        assert [trigger["rule"] for trigger in accepted["triggers"]] == ["overheat", "archive"]
        await agent.account(stored=1, accepted=2, settled=2)
        assert {name.partition("-")[0] for name in engine.started} == {"overheat", "archive"}


async def test_settle_broker_is_final_at_the_brokers_acknowledgement(broker: Mosquitto, tmp_path: Path) -> None:
    def silent(_: dict[str, Any]) -> None:
        return None

    tables = {"uplink": 'settle = "broker"'}
    async with (
        Engine(broker.url, answer=silent),
        Agent(tmp_path / "agent", broker.url, tables=tables) as agent,
    ):
        correlation = await agent.triggered("boiler-1", HOT)
        report = await agent.get(f"/v1/triggers/{correlation}?wait=10")
        assert report["state"] == "published"
        await agent.account(accepted=1, settled=1)


async def test_a_retryable_answer_is_tried_again_with_a_rising_attempt(broker: Mosquitto, tmp_path: Path) -> None:
    def busy_at_first(trigger: dict[str, Any]) -> dict[str, Any]:
        if trigger["attempt"] < 3:
            return {"code": 503, "error": "busy", "retry_after_s": 0}
        return success(trigger)

    async with Engine(broker.url, answer=busy_at_first) as engine, Agent(tmp_path / "agent", broker.url) as agent:
        correlation = await agent.triggered("boiler-1", HOT)
        await agent.state(correlation, "triggered")
        assert [trigger["attempt"] for trigger in engine.triggers] == [1, 2, 3]


async def test_an_unanswered_trigger_is_sent_again_after_the_response_timeout(
    broker: Mosquitto, tmp_path: Path
) -> None:
    def deaf_at_first(trigger: dict[str, Any]) -> dict[str, Any] | None:
        return success(trigger) if trigger["attempt"] > 1 else None

    tables = {"uplink": 'response_timeout = "200ms"'}
    async with (
        Engine(broker.url, answer=deaf_at_first) as engine,
        Agent(tmp_path / "agent", broker.url, tables=tables) as agent,
    ):
        correlation = await agent.triggered("boiler-1", HOT)
        await agent.state(correlation, "triggered")
        attempts = [trigger["attempt"] for trigger in engine.triggers]
        assert attempts[:2] == [1, 2]
        assert attempts == list(range(1, len(attempts) + 1))  # where the answer took long, there was one more
        assert list(engine.started.values()) == [len(attempts)]  # the same name each time: the engine starts it once


async def test_a_rehearsal_never_swallows_a_real_event(broker: Mosquitto, tmp_path: Path) -> None:
    async with Agent(tmp_path / "agent", broker.url) as agent:
        async with Dispatcher(tmp_path / "d1", broker.url):
            correlation = await agent.triggered("boiler-1", HOT)
            await agent.logged("dry_run_ignored")
            await agent.state(correlation, "published")
            await agent.account(pending=1, settled=0)
        async with Engine(broker.url):
            await agent.state(correlation, "triggered")
            await agent.account(pending=0, settled=1)


async def test_it_is_told_that_nobody_subscribes_and_nothing_is_lost(broker: Mosquitto, tmp_path: Path) -> None:
    async with Agent(tmp_path / "agent", broker.url) as agent:
        correlation = await agent.triggered("boiler-1", HOT)
        await agent.logged("uplink_unheard")
        assert "nobody subscribes to argo/workflows/trigger:" in agent.log
        async with Engine(broker.url):
            await agent.state(correlation, "triggered")


async def test_malformed_answers_and_updates_lose_nothing_else(broker: Mosquitto, tmp_path: Path) -> None:
    def silent(_: dict[str, Any]) -> None:
        return None

    async with (
        Engine(broker.url, answer=silent) as engine,
        Agent(tmp_path / "agent", broker.url) as agent,
        MqttClient(broker.url, "monitor", f"{REPLIES}/#") as monitor,
    ):
        correlation = await agent.triggered("boiler-1", HOT)
        await engine.received(1)
        status = "argo/workflows/status/gw-1"
        for payload in (b"{", b"[]", b'{"code": "x"}', b"{}", b"\xff", b"[" * 5000):
            await engine.publish("argo/workflows/response/gw-1", payload)
            await engine.publish(status, payload, response_topic=f"{REPLIES}/bad")
        reply = await monitor.message(f"{REPLIES}/bad")
        assert json.loads(reply.payload) == {"code": 400, "error": "Invalid status update format"}
        name = f"overheat-{correlation}"
        good = {"namespace": "plant", "workflowId": name, "status": "Running", "correlation_id": correlation}
        await engine.publish(status, json.dumps(good).encode(), response_topic=f"{REPLIES}/good")
        reply = await monitor.message(f"{REPLIES}/good")
        assert json.loads(reply.payload) == {"code": 200, "status": "Status update received successfully"}
        assert (await agent.get(f"/v1/triggers/{correlation}"))["state"] == "running"
        # A status alone settles; later ones find the trigger by the workflow's name.
        await agent.account(pending=0, settled=1)
        await engine.publish(status, json.dumps({**good, "status": "Succeeded", "correlation_id": ""}).encode())
        await agent.state(correlation, "succeeded")
        assert (await agent.get("/v1/stats"))["uplink"]["malformed"] == 12
