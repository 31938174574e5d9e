from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from edgeagent.cli.client import AgentRefused
from edgeagent.wire.agent_state import parse_agent_state
from tests.fakes.engine import Engine, success
from tests.fakes.mosquitto import Mosquitto, MqttClient
from tests.fakes.programs import Agent, Dispatcher
from tests.fakes.tcp_proxy import TcpProxy

HOT = {"temp": 97.1}
EVENTS = 300


async def _send_some(agent: Agent, count: int, first: int = 0) -> set[str]:
    """Post events one after the other; the correlation ids that were acknowledged."""
    return {await agent.triggered("boiler-1", {**HOT, "n": n}) for n in range(first, first + count)}


async def test_a_broker_restart_in_mid_stream_loses_nothing_and_starts_nothing_twice(
    broker: Mosquitto, tmp_path: Path
) -> None:
    # What a killed broker forgets of triggers and answers is sent again after the response time-out.
    tables = {"uplink": 'response_timeout = "1s"'}
    async with (
        Engine(broker.url, session_expiry_s=60) as engine,
        Agent(tmp_path / "agent", broker.url, tables=tables) as agent,
    ):
        promised = await _send_some(agent, EVENTS // 3)
        sending = asyncio.create_task(_send_some(agent, EVENTS // 3, 1000))
        await broker.restart()
        promised |= await sending
        await broker.kill()
        promised |= await _send_some(agent, EVENTS // 3, 2000)
        await broker.start()
        await agent.account(stored=EVENTS, settled=EVENTS, pending=0)
        assert set(engine.started) == {f"overheat-{correlation}" for correlation in promised}


async def test_events_are_kept_through_a_cut_uplink_and_a_restart(broker: Mosquitto, tmp_path: Path) -> None:
    async with TcpProxy(broker.port) as proxy, Engine(broker.url) as engine:
        agent = Agent(tmp_path / "agent", proxy.url)
        await agent.start()
        promised = await _send_some(agent, 5)
        await agent.account(settled=5)
        await proxy.cut()
        promised |= await _send_some(agent, 20, 100)
        await agent.stats(lambda stats: stats["account"]["triggers"]["pending"] >= 20, "20 that wait")
        assert await agent.stop() == 0
        await agent.start()
        await proxy.heal()
        await agent.account(accepted=25, settled=25)
        assert set(engine.started) == {f"overheat-{correlation}" for correlation in promised}
        # What may have been sent by the process before is sent with attempt 0; nothing settled before comes again.
        assert {trigger["attempt"] for trigger in engine.triggers[5:]} == {0}
        assert len(engine.triggers) == 25
        assert await agent.stop() == 0


async def test_an_absent_broker_is_no_error_of_the_agent(tmp_path: Path, free_port: int) -> None:
    directory = tmp_path / "mosquitto"
    directory.mkdir()
    async with Agent(tmp_path / "agent", f"mqtt://127.0.0.1:{free_port}") as agent:
        await agent.logged("link_down")
        assert "events are kept on disk, retrying" in agent.log
        correlation = await agent.triggered("boiler-1", HOT)
        async with Mosquitto(directory, port=free_port) as late, Engine(late.url):
            await agent.state(correlation, "triggered")
        assert agent.log.count("event=link_down") <= 3  # told once for each reason, not at every attempt


async def test_a_refused_password_never_ends_the_agent_and_a_corrected_one_is_taken(tmp_path: Path) -> None:
    directory = tmp_path / "mosquitto"
    directory.mkdir()
    users = directory / "users"
    users.touch(mode=0o600)
    process = await asyncio.create_subprocess_exec("mosquitto_passwd", "-b", str(users), "gw", "right")
    assert await process.wait() == 0
    password = tmp_path / "password"
    password.write_text("wrong\n")
    tables = {"uplink": f'username = "gw"\npassword_file = "{password}"'}
    async with (
        Mosquitto(directory, listener=(f"password_file {users}", "allow_anonymous false")) as broker,
        Agent(tmp_path / "agent", broker.url, tables=tables) as agent,
    ):
        correlation = await agent.triggered("boiler-1", HOT)
        await agent.logged("link_down")
        assert "user name, password" in agent.log
        password.write_text("right\n")
        await agent.logged("link_up")
        assert (await agent.get(f"/v1/triggers/{correlation}"))["state"] in {"buffered", "published"}
        assert "right" not in agent.log


async def test_sigterm_drains_and_leaves_the_rest_on_disk(broker: Mosquitto, tmp_path: Path) -> None:
    def silent(_: dict[str, Any]) -> None:
        return None

    async with Engine(broker.url, answer=silent) as engine:
        agent = Agent(tmp_path / "agent", broker.url)
        await agent.start()
        await _send_some(agent, 3)
        await engine.received(3)
        assert await agent.stop() == 0
        assert not agent.socket.exists()
        engine.answer = success
        await agent.start()
        await agent.account(accepted=3, settled=3)
        assert await agent.stop() == 0


async def test_the_agents_state_is_retained_online_and_offline(broker: Mosquitto, tmp_path: Path) -> None:
    async with MqttClient(broker.url, "observer", "edgeagent/state/#") as observer:
        agent = Agent(tmp_path / "agent", broker.url)
        await agent.start()
        online = parse_agent_state((await observer.message()).payload)
        assert (online.state, online.pending, online.reason) == ("online", 0, "")
        assert await agent.stop() == 0
        offline = parse_agent_state((await observer.message()).payload)
        assert (offline.state, offline.reason) == ("offline", "the agent was stopped")


async def test_a_full_outbox_refuses_with_503_and_holds_local_messages_until_there_is_room(
    broker: Mosquitto, tmp_path: Path, free_port: int
) -> None:
    directory = tmp_path / "mosquitto-up"
    directory.mkdir()
    tables = {"outbox": 'max_bytes = "512KiB"\nsegment_bytes = "64KiB"\nmax_event_bytes = "16KiB"'}
    big = {**HOT, "filler": "x" * 8000}
    agent = Agent(tmp_path / "agent", f"mqtt://127.0.0.1:{free_port}", local=broker.url, tables=tables)
    await agent.start()
    await agent.logged("link_up")
    accepted = 0
    refused: AgentRefused | None = None
    for data in (big, HOT):
        refused = None
        while refused is None:
            try:
                await agent.send("boiler-1", data)
                accepted += 1
            except AgentRefused as exc:
                refused = exc
    assert refused is not None
    assert refused.status == 503
    assert refused.retry_after_s > 0
    assert accepted > 20
    with pytest.raises(AgentRefused) as not_ready:
        await agent.get("/readyz")
    assert not_ready.value.status == 503
    async with MqttClient(broker.url, "device") as device:
        await device.publish("sensors/boiler-1/data", json.dumps(big).encode())
        await agent.logged("local_held")
        async with Mosquitto(directory, port=free_port) as uplink, Engine(uplink.url) as engine:
            await agent.account(settled=accepted + 1, pending=0)
            assert len(engine.started) == accepted + 1
            await agent.send("boiler-1", big)
            await agent.account(settled=accepted + 2)
    assert await agent.stop() == 0


async def test_a_refused_trigger_is_a_dead_letter_that_can_be_replayed(broker: Mosquitto, tmp_path: Path) -> None:
    forbidden = '[[allow]]\nnamespaces = ["other"]\ntemplates = ["*"]'
    allowed = '[[allow]]\nnamespaces = ["plant"]\ntemplates = ["*"]'
    async with Agent(tmp_path / "agent", broker.url, tables={"uplink": "accept_dry_run = true"}) as agent:
        async with Dispatcher(tmp_path / "d1", broker.url, forbidden):
            correlation = await agent.triggered("boiler-1", HOT)
            report = await agent.state(correlation, "rejected")
        assert "plant" in report["error"]
        await agent.account(accepted=1, pending=0, dead=1)
        code, listed, _ = await agent.command("dead", "ls")
        assert code == 0
        assert correlation[:12] in listed
        assert "plant" in listed
        code, shown, _ = await agent.command("dead", "show", correlation[:8], "--json")
        letter = json.loads(shown)
        assert letter["data"] == json.dumps(HOT)
        assert letter["code"] == 403
        async with Dispatcher(tmp_path / "d1", broker.url, allowed):
            code, _, err = await agent.command("dead", "replay", correlation)
            assert (code, err) == (0, "")
            await agent.state(correlation, "succeeded")
        await agent.account(accepted=1, settled=1, dead=0)
        code, _, err = await agent.command("dead", "replay", correlation)
        assert code == 1
        assert "names 0 dead letters" in err


async def test_dead_letters_are_kept_across_a_crash_and_replayed_on_a_stopped_agent(
    broker: Mosquitto, tmp_path: Path
) -> None:
    def refuse(_: dict[str, Any]) -> dict[str, Any]:
        return {"code": 400, "error": "Invalid workflow definition", "detail": "spec.entrypoint is required"}

    async with Engine(broker.url, answer=refuse) as engine:
        agent = Agent(tmp_path / "agent", broker.url)
        await agent.start()
        correlation = await agent.triggered("boiler-1", HOT)
        await agent.state(correlation, "rejected")
        await agent.kill()
        code, listed, _ = await agent.command("dead", "ls", "--json")
        assert code == 0
        assert json.loads(listed)["reason"] == "Invalid workflow definition: spec.entrypoint is required"
        code, _, err = await agent.command("dead", "replay", "--all")
        assert (code, err) == (0, "")
        engine.answer = success
        await agent.start()
        await agent.state(correlation, "triggered")
        await agent.account(accepted=1, settled=1, dead=0, pending=0)
        assert await agent.stop() == 0


async def test_a_late_answer_takes_a_dead_letter_back(broker: Mosquitto, tmp_path: Path) -> None:
    def refuse(_: dict[str, Any]) -> dict[str, Any]:
        return {"code": 400, "error": "no"}

    async with Engine(broker.url, answer=refuse) as engine, Agent(tmp_path / "agent", broker.url) as agent:
        correlation = await agent.triggered("boiler-1", HOT)
        await agent.state(correlation, "rejected")
        late = {"correlation_id": correlation, **success(engine.triggers[0])}
        await engine.publish("argo/workflows/response/gw-1", json.dumps(late).encode())
        await agent.state(correlation, "triggered")
        await agent.account(settled=1, dead=0)


async def test_a_trigger_past_its_ttl_expires_and_is_told(tmp_path: Path, broker: Mosquitto) -> None:
    rules = '[[rule]]\nname = "brief"\nnamespace = "plant"\ntemplate = "t"\nttl = "300ms"\n'
    async with Agent(tmp_path / "agent", broker.url, rules=rules) as agent:  # nobody subscribes
        correlation = await agent.triggered("boiler-1", HOT)
        report = await agent.state(correlation, "expired")
        assert "ttl" in report["error"]
        await agent.logged("trigger_expired")
        await agent.account(accepted=1, expired=1, pending=0)
        late = {"correlation_id": correlation, "code": 200, "workflowId": "w"}
        async with MqttClient(broker.url, "engine") as engine:
            await engine.publish("argo/workflows/response/gw-1", json.dumps(late).encode())
            await agent.account(settled=1, expired=0)
