"""The canary on the real way: agent, broker, dispatcher and back. Nothing of it is stored or counted as an event."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.fakes.engine import Engine
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.programs import Agent, Dispatcher
from tests.fakes.tcp_proxy import TcpProxy

EVERY = {"uplink": 'canary_interval = "10s"\nresponse_timeout = "1s"'}


def refuse(_: dict[str, Any]) -> dict[str, Any]:
    """As a dispatcher of an earlier version, because there is no namespace and no workflow."""
    return {"code": 400, "error": "Invalid workflow definition", "retryable": False}


def canary(stats: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = stats["uplink"]["canary"]
    return found


async def answered(agent: Agent) -> dict[str, Any]:
    return await agent.stats(lambda stats: canary(stats)["answered"], "an answer to the canary")


async def untouched(agent: Agent) -> None:
    """Nothing was stored, and nothing counted."""
    account = (await agent.get("/v1/stats"))["account"]
    assert not any(account["events"].values())
    assert not any(account["triggers"].values())
    assert (await agent.get("/v1/triggers"))["triggers"] == []


async def test_the_dispatcher_answers_and_starts_nothing(broker: Mosquitto, tmp_path: Path) -> None:
    async with Dispatcher(tmp_path / "one", broker.url), Agent(tmp_path / "agent", broker.url, tables=EVERY) as agent:
        found = canary(await answered(agent))
        assert found["round_trip_s"] > 0
        assert found["dry_run"]
        assert found["problem"] == ""
        ready = await agent.get("/readyz")
        assert ready["status"] == "ready"
        assert ready["canary"]["answered"]
        _, out, _ = await agent.command("doctor")
        assert "warn  canary: a dry-run dispatcher answers" in out
        await untouched(agent)


async def test_a_dispatcher_that_binds_agents_moves_the_canary_to_the_agents_own_topic(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with Dispatcher(tmp_path / "one", broker.url), Agent(tmp_path / "agent", broker.url, tables=EVERY) as agent:
        stats = await answered(agent)
        assert stats["uplink"]["trigger_topic"] == "argo/workflows/trigger/gw-1"
        await agent.logged("trigger_topic_learned")


async def test_an_engine_that_knows_no_canaries_answers_it_and_starts_nothing(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with Engine(broker.url, answer=refuse), Agent(tmp_path / "agent", broker.url, tables=EVERY) as agent:
        assert canary(await answered(agent))["problem"] == ""
        await untouched(agent)
        assert "dead_letter" not in agent.log


async def test_no_dispatcher_is_told_by_the_canary_before_any_event(broker: Mosquitto, tmp_path: Path) -> None:
    async with Agent(tmp_path / "agent", broker.url, tables=EVERY) as agent:
        await agent.stats(lambda stats: "nobody subscribes" in canary(stats)["problem"], "the problem")
        code, out, _ = await agent.command("doctor")
        assert "warn  canary: nobody subscribes to argo/workflows/trigger" in out
        assert (await agent.get("/readyz"))["status"] == "ready", "events are accepted all the same"
        assert code == 0
        await untouched(agent)


async def test_a_silent_engine_and_a_cut_line_are_told_and_nothing_is_stored(broker: Mosquitto, tmp_path: Path) -> None:
    def silent(_: dict[str, Any]) -> None:
        return None

    async with (
        TcpProxy(broker.port) as proxy,
        Engine(broker.url, answer=silent) as engine,
        Agent(tmp_path / "agent", proxy.url, tables=EVERY) as agent,
    ):
        await agent.stats(lambda stats: "no answer came within 1 s" in canary(stats)["problem"], "the silence")
        await proxy.cut()
        ended = "the connection ended before an answer came"
        await agent.stats(lambda stats: canary(stats)["problem"] == ended, "the end of the connection")
        engine.answer = refuse
        await proxy.heal()
        await answered(agent)
        await untouched(agent)
