"""A backlog that waited for a dispatcher flows when it is there, whatever the triggers' own waits are by then."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.fakes.engine import Engine, success
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.programs import RULE, Agent, Dispatcher
from tests.waiting import DEADLINE_S, until

COUNT = 150
# By then each waits 16 to 32 s: what is done before is done because something woke it.
TRIES = 4
WOKEN_S = 15.0


async def test_a_late_dispatcher_is_given_the_whole_backlog_at_once(broker: Mosquitto, tmp_path: Path) -> None:
    tables = {"uplink": "accept_dry_run = true\nmax_unanswered = 200"}
    async with Agent(tmp_path / "agent", broker.url, tables=tables) as agent:
        for number in range(COUNT):
            await agent.send("boiler-1", {"temp": 95, "n": number})
        await agent.stats(
            lambda stats: stats["uplink"]["unheard"] >= COUNT * TRIES, "so many tries in vain", deadline_s=120
        )
        async with Dispatcher(tmp_path / "dispatcher", broker.url):
            new = await agent.triggered("boiler-1", {"temp": 95, "n": COUNT})
            await agent.state(new, "triggered", "running", "succeeded")
            async with asyncio.timeout(WOKEN_S):
                await agent.account(settled=COUNT + 1, pending=0)
        await until(lambda: "event=uplink_heard" in agent.log, "the return of the dispatcher", seen=agent.tail)


async def test_a_permission_that_is_granted_wakes_its_namespace_and_no_other(broker: Mosquitto, tmp_path: Path) -> None:
    def forbidden(_: dict[str, Any]) -> dict[str, Any]:
        return {"code": 403, "error": "Forbidden by the engine", "retryable": True, "retry_after_s": 300}

    def granted(trigger: dict[str, Any]) -> dict[str, Any]:
        return success(trigger) if trigger["namespace"] == "plant" else forbidden(trigger)

    mill = RULE.replace('"overheat"', '"grind"').replace('"plant"', '"mill"').replace("boiler-*", "mill-*")
    async with (
        Engine(broker.url, answer=forbidden) as engine,
        Agent(tmp_path / "agent", broker.url, rules=RULE + mill) as agent,
    ):
        for number in range(20):
            await agent.send("boiler-1", {"temp": 95, "n": number})
            await agent.send("mill-1", {"temp": 95, "n": number})
        await agent.stats(lambda stats: stats["uplink"]["responses"] >= 2 * 20, "40 refusals", deadline_s=60)
        engine.answer = granted
        await agent.triggered("boiler-1", {"temp": 95, "n": 20})
        await agent.account(settled=21, pending=20)  # far sooner than after five minutes
        assert len(engine.triggers) == 40 + 21


async def test_an_answer_wakes_those_that_nobody_answered(broker: Mosquitto, tmp_path: Path) -> None:
    tables = {"uplink": 'response_timeout = "200ms"'}
    async with (
        Engine(broker.url, answer=lambda _: None) as engine,
        Agent(tmp_path / "agent", broker.url, tables=tables) as agent,
    ):
        for number in range(20):
            await agent.send("boiler-1", {"temp": 95, "n": number})
        await until(
            lambda: len(engine.triggers) >= 20 * TRIES, "tries in vain", seen=agent.tail, deadline_s=3 * DEADLINE_S
        )
        engine.answer = success
        await agent.triggered("boiler-1", {"temp": 95, "n": 20})
        async with asyncio.timeout(WOKEN_S):
            await agent.account(settled=21, pending=0)
