"""`edgeagent check --replay recent`: an agent's own last events, running and stopped, settled and waiting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.fakes.engine import Engine
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.programs import RULE, Agent

HIGH = RULE.replace('"overheat"', '"alarm"').replace('["90"]', '["120"]') + 'priority = "high"\n'


async def recent(agent: Agent, *arguments: str) -> dict[str, Any]:
    code, out, err = await agent.command("check", "--replay", "recent", "--json", *arguments)
    assert (code, err) == (0, "")
    replay: dict[str, Any] = json.loads(out)["replay"]
    return replay


async def test_the_last_events_are_judged_although_all_of_them_are_settled(broker: Mosquitto, tmp_path: Path) -> None:
    async with (
        Engine(broker.url),
        Agent(tmp_path / "agent", broker.url, rules=RULE + HIGH) as agent,
    ):
        for temp in (95, 20, 99, 130):
            await agent.send("boiler-1", {"temp": temp})
        await agent.account(settled=4, pending=0)
        replay = await recent(agent)
        assert replay["events"] == 3, "one was wanted by no rule, and is not kept"
        assert {rule["rule"]: rule["triggered"] for rule in replay["rules"]} == {"overheat": 3, "alarm": 1}
        new = tmp_path / "new.toml"
        new.write_text(agent.config_file.read_text("utf-8").replace('["90"]', '["97"]'), "utf-8")
        old, agent.config_file = agent.config_file, new
        (changed,) = (await recent(agent, "--against", str(old)))["rules"]
        assert (changed["rule"], changed["changed"]) == ("overheat", {"trigger -> no trigger": 1})
        assert [json.loads(seen["data"]) for seen in changed["examples"]["trigger -> no trigger"]] == [{"temp": 95}]


async def test_a_stopped_agents_directory_is_read_and_stays_as_it_is(tmp_path: Path, free_port: int) -> None:
    async with Agent(tmp_path / "agent", f"mqtt://127.0.0.1:{free_port}", rules=RULE + HIGH) as agent:
        events = [{"source": "boiler-1", "data": {"temp": 95 + number % 2 * 30}} for number in range(500)]
        for _ in range(5):  # more than a page
            await agent.request("POST", "/v1/events", json.dumps(events).encode(), Content_Type="application/json")
        running = await recent(agent)
        await agent.stop()
        files = {
            path: path.read_bytes() for path in (tmp_path / "agent" / "state" / "outbox").rglob("*") if path.is_file()
        }
        stopped = await recent(agent)
        assert running == stopped
        assert stopped["events"] == 2500
        assert {rule["rule"]: rule["triggered"] for rule in stopped["rules"]} == {"overheat": 2500, "alarm": 1250}
        assert stopped["duplicates"] == stopped["unusable"] == 0
        for path, content in files.items():
            assert path.read_bytes() == content


async def test_an_agent_without_events_says_so(tmp_path: Path, free_port: int) -> None:
    async with Agent(tmp_path / "agent", f"mqtt://127.0.0.1:{free_port}") as agent:
        code, out, err = await agent.command("check", "--replay", "recent")
        assert (code, out) == (1, "")
        assert err == "edgeagent: recent: there is no event in it\n"
