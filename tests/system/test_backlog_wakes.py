"""A backlog that waited for a dispatcher flows when it is there, whatever the triggers' own waits are by then."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.fakes.engine import Engine, success
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.programs import RULE, Agent, Dispatcher
from tests.waiting import until, until_answer

COUNT = 150
# What is done before the shortest wait is over, a minute, is done because something woke it.
WOKEN_S = 50.0


class PatientAgent(Agent):
    """See `tests.fakes.patient_program`."""

    module = "tests.fakes.patient_program"


async def test_a_late_dispatcher_is_given_the_whole_backlog_at_once(broker: Mosquitto, tmp_path: Path) -> None:
    tables = {"uplink": "accept_dry_run = true\nmax_unanswered = 200"}
    async with PatientAgent(tmp_path / "agent", broker.url, tables=tables) as agent:
        for number in range(COUNT):
            await agent.send("boiler-1", {"temp": 95, "n": number})
        await agent.stats(lambda stats: stats["uplink"]["unheard"] >= COUNT, "a try of each in vain")
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
        await agent.stats(lambda stats: stats["uplink"]["responses"] >= 2 * 20, "40 refusals")
        engine.answer = granted
        await agent.triggered("boiler-1", {"temp": 95, "n": 20})
        await agent.account(settled=21, pending=20)  # far sooner than after five minutes
        assert len(engine.triggers) == 40 + 21


def all_rest(found: dict[str, Any]) -> bool:
    """Whether each of a source's triggers waits because nobody answered."""
    return all("no answer in time" in (trigger["hangs"] or {}).get("text", "") for trigger in found["triggers"])


async def test_an_answer_wakes_those_that_nobody_answered(broker: Mosquitto, tmp_path: Path) -> None:
    tables = {"uplink": 'response_timeout = "200ms"'}
    async with (
        Engine(broker.url, answer=lambda _: None) as engine,
        PatientAgent(tmp_path / "agent", broker.url, tables=tables) as agent,
    ):
        for number in range(20):
            await agent.send("boiler-1", {"temp": 95, "n": number})
        await until_answer(lambda: agent.get("/v1/where/boiler-1"), all_rest, "a try of each in vain", more=agent.tail)
        engine.answer = success
        await agent.triggered("boiler-1", {"temp": 95, "n": 20})
        async with asyncio.timeout(WOKEN_S):
            await agent.account(settled=21, pending=0)
