"""Dead letters that are full: nothing else stops for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeagent.errors import CommandFailed
from tests.fakes.engine import Engine
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.programs import Agent
from tests.waiting import DEADLINE_S

BATCHES, EVENTS = 11, 50
RULE = """
[[rule]]
name = "inspect"
namespace = "plant"
template = "inspect"
arguments = { temp = "body.temp" }
"""


def tables(when_full: str) -> dict[str, str]:
    """Some hundred dead letters fit."""
    keys = ('segment_bytes = "64KiB"', 'max_event_bytes = "16KiB"', 'dead_max_bytes = "128KiB"')
    return {"outbox": "\n".join([*keys, f'dead_when_full = "{when_full}"'])}


async def send_bad(agent: Agent) -> None:
    """Events that match and lack the rule's parameter."""
    for batch in range(BATCHES):
        events = [
            {"source": "boiler-1", "id": f"{batch}-{number}", "data": {"filler": "x" * 100}} for number in range(EVENTS)
        ]
        await agent.request("POST", "/v1/events", json.dumps(events).encode(), Content_Type="application/json")


async def full(agent: Agent) -> dict[str, Any]:
    """Wait until no dead letter has a place and everything else has gone its way; returns the statistics."""

    def is_full(stats: dict[str, Any]) -> bool:
        waiting = stats["account"]["triggers"]["pending"] - stats["outbox"]["parked"]
        return dead(stats)["full"] and not waiting and not stats["uplink"]["in_flight"]

    return await agent.stats(is_full, "full dead letters", deadline_s=3 * DEADLINE_S)


def dead(stats: dict[str, Any]) -> dict[str, Any]:
    """What is told of the dead letters."""
    told: dict[str, Any] = stats["outbox"]["dead"]
    return told


async def test_a_good_event_leaves_although_the_dead_letters_are_full_and_it_is_told(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with (
        Engine(broker.url) as engine,
        Agent(tmp_path / "agent", broker.url, rules=RULE, tables=tables("park")) as agent,
    ):
        await send_bad(agent)
        good = await agent.triggered("boiler-1", {"temp": 97})
        await agent.state(good, "triggered")
        stats = await full(agent)
        told, account = dead(stats), stats["account"]["triggers"]
        assert told["full"].startswith("dead letters take")
        assert told["used_bytes"] <= told["max_bytes"] == 128 << 10
        assert 0 < told["count"] == account["dead"] < BATCHES * EVENTS
        assert account["dead"] + account["pending"] == BATCHES * EVENTS
        assert stats["outbox"]["parked"] == account["pending"]
        with pytest.raises(CommandFailed, match="the dead letters are full"):
            await agent.get("/readyz")
        assert [trigger["correlation_id"] for trigger in engine.triggers] == [good], "what is final is never sent"
        assert "event=dead_letters_full" in agent.log
        _, out, _ = await agent.command("doctor")
        assert f"{told['count']:,} of at most 10,000" in out
        assert "there is no room for another one: dead letters take" in out
        code, out, err = await agent.command("dead", "discard", "--all", "--yes")
        assert code == 0, out + err
        await agent.account(discarded=told["count"], dead=account["pending"], pending=0)  # each has taken its place
        await agent.get("/readyz")
        assert len(engine.triggers) == 1


async def test_events_that_a_rule_wants_are_refused_while_dead_letters_are_full_if_that_is_the_policy(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with (
        Engine(broker.url),
        Agent(tmp_path / "agent", broker.url, rules=RULE, tables=tables("refuse")) as agent,
    ):
        await send_bad(agent)
        await full(agent)
        with pytest.raises(CommandFailed, match="the dead letters are full"):
            await agent.send("boiler-1", {"temp": 97})
        stats = await agent.get("/v1/stats")
        assert stats["account"]["events"]["refused"] == 1


async def test_an_event_without_a_parameter_is_a_bad_request_if_the_rule_says_so(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with Agent(tmp_path / "agent", broker.url, rules=RULE + 'on_missing = "refuse"\n') as agent:
        with pytest.raises(CommandFailed, match=r"rule inspect: parameter temp: the event has no body[.]temp"):
            await agent.send("boiler-1", {"unit": "C"})
        await agent.account(accepted=0, refused=1)
