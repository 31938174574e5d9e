"""`edgeagent report` of a running agent, of a killed one, and over HTTP."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from tests.fakes.engine import Engine
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.programs import Agent
from tests.waiting import until_answer

HOT, COLD = {"temp": 97.1}, {"temp": 4}


async def test_a_running_agent_and_the_directory_of_a_killed_one_report_the_same(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with Engine(broker.url):
        agent = Agent(tmp_path / "agent", broker.url)
        await agent.start()
        for number in range(3):
            await agent.triggered("boiler-1", {**HOT, "n": number})
        await agent.triggered("boiler-2", HOT)
        await agent.send("boiler-2", COLD)
        await agent.account(settled=4, received=5)
        code, out, _ = await agent.command("report", "--json")
        assert code == 0
        live = json.loads(out)
        assert (live["agent"], live["by"], len(live["lines"])) == ("gw-1", "day", 1)
        total = live["total"]
        assert (total["events"], total["filtered"], total["accepted"]) == (5, 1, 4)
        assert total["online_s"] >= 0

        async def triggers() -> int:
            return int((await agent.get("/v1/report?since=1d&by=source"))["total"]["triggers"])

        await until_answer(triggers, lambda count: count == 4, "the ledger's next commit", more=agent.tail)
        by_source = await agent.get("/v1/report?since=1d&by=source")
        assert [(line["name"], line["triggers"]) for line in by_source["lines"]] == [("boiler-1", 3), ("boiler-2", 1)]
        assert by_source["total"]["answer_p95_s"] > 0
        await agent.kill()
    code, out, err = await agent.command("report", "--by", "rule")
    assert (code, err) == (0, "")
    assert [line.split()[:3] for line in out.splitlines()[2:4]] == [["overheat", "-", "4"], ["total", "5", "4"]]
    code, out, _ = await agent.command("report", "--by", "source", "--csv")
    heading, *rows = csv.reader(io.StringIO(out))
    assert [(row[0], row[heading.index("triggers")]) for row in rows] == [("boiler-1", "3"), ("boiler-2", "1")]
    # The next start goes on where the killed one was.
    await agent.start()
    await agent.triggered("boiler-1", {**HOT, "n": 9})
    await agent.account(accepted=5)  # while a commit runs, the account of before is told for a moment
    assert (await agent.get("/v1/report"))["total"]["accepted"] == 5
    assert await agent.stop() == 0


async def test_what_is_no_time_is_told_in_one_line(broker: Mosquitto, tmp_path: Path) -> None:
    async with Agent(tmp_path / "agent", broker.url) as agent:
        for since in ("yesterday", "2026-13-01"):
            code, out, err = await agent.command("report", "--since", since)
            assert (code != 0, out, err.count("\n")) == (True, "", 1), err
