"""A backlog that waited for a dispatcher flows when it is there, whatever the triggers' own waits are by then."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.fakes.mosquitto import Mosquitto
from tests.fakes.programs import Agent, Dispatcher, until

COUNT = 150
# By then the longest waits are 32 to 64 s: more than a test waits for the account.
TRIES = 5


async def test_a_late_dispatcher_is_given_the_whole_backlog_at_once(broker: Mosquitto, tmp_path: Path) -> None:
    tables = {"uplink": "accept_dry_run = true\nmax_unanswered = 200"}
    async with Agent(tmp_path / "agent", broker.url, tables=tables) as agent:
        for number in range(COUNT):
            await agent.send("boiler-1", {"temp": 95, "n": number})
        async with asyncio.timeout(120):
            while (await agent.get("/v1/stats"))["uplink"]["unheard"] < COUNT * TRIES:
                await agent.logged("uplink_unheard")
        async with Dispatcher(tmp_path / "dispatcher", broker.url):
            new = await agent.triggered("boiler-1", {"temp": 95, "n": COUNT})
            await agent.state(new, "triggered", "running", "succeeded")
            await agent.account(settled=COUNT + 1, pending=0)
        await until(lambda: "event=uplink_heard" in agent.log, "the return of the dispatcher", agent)
