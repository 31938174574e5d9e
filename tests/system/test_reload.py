"""New rules for a running agent: by SIGHUP and by `edgeagent reload`, under load, refused, and with rules gone."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any

from tests.fakes.engine import Engine
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.programs import RULE, Agent
from tests.waiting import until

BEFORE, DURING, AFTER = 150, 300, 150
BATCH = 5


def rules(*names: str) -> str:
    return "".join(RULE.replace("overheat", name) for name in names)


def rewrite(agent: Agent, text: str) -> None:
    """Write the rules of its configuration anew; the other tables stay."""
    tables, _, _ = agent.config_file.read_text("utf-8").partition("\n[[rule]]")
    agent.config_file.write_text(tables + "\n" + text, "utf-8")


async def feed(agent: Agent, numbers: range) -> list[dict[str, Any]]:
    """Post hot events in small batches; returns what was promised for each."""
    promised: list[dict[str, Any]] = []
    for start in range(numbers.start, numbers.stop, BATCH):
        events = [
            {"source": "boiler-1", "id": f"e-{number}", "data": {"temp": 95}}
            for number in range(start, min(start + BATCH, numbers.stop))
        ]
        _, answer = await agent.request(
            "POST", "/v1/events", json.dumps(events).encode(), Content_Type="application/json"
        )
        promised += answer["accepted"]
    return promised


def names(promised: list[dict[str, Any]]) -> list[str]:
    return [f"{each['rule']}-{each['correlation_id']}" for event in promised for each in event["triggers"]]


async def test_events_before_during_and_after_reloads_start_exactly_what_was_promised_for_each(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with (
        Engine(broker.url) as engine,
        Agent(tmp_path / "agent", broker.url, rules=rules("one")) as agent,
    ):
        promised = await feed(agent, range(BEFORE))
        feeding = asyncio.create_task(feed(agent, range(BEFORE, BEFORE + DURING)))
        rewrite(agent, rules("one", "two"))
        for count in range(1, 6):
            agent.send_signal(signal.SIGHUP)
            await agent.logged("rules_reloaded", count)
        assert (await agent.command("reload"))[0] == 0
        promised += await feeding
        promised += await feed(agent, range(BEFORE + DURING, BEFORE + DURING + AFTER))
        wanted = names(promised)
        assert {len(event["triggers"]) for event in promised[:BEFORE]} == {1}
        assert {len(event["triggers"]) for event in promised[-AFTER:]} == {2}
        stats = await agent.account(stored=len(promised), settled=len(wanted), pending=0, dead=0)
        assert engine.started == Counter(wanted), "each once, and no other"
        assert stats["rules"]["one"]["matched"] == len(promised), "what it counted survives"
        assert stats["rules"]["two"]["matched"] == len(wanted) - len(promised)
        assert agent.log.count("event=link_up") == 1, "the connection stays"


async def test_a_mistake_is_refused_with_all_its_problems_and_the_old_rules_go_on(
    tmp_path: Path, free_port: int
) -> None:
    async with Agent(tmp_path / "agent", f"mqtt://127.0.0.1:{free_port}", rules=rules("one")) as agent:
        rewrite(agent, rules("two").replace('"plant"', '"Not A Namespace"').replace('"number"', '"nubmer"'))
        code, out, err = await agent.command("reload")
        assert (code, out) == (78, "")
        assert "rule[0].filters.data[0].type" in err
        rewrite(agent, rules("two").replace('"plant"', '"Not A Namespace"').replace('">="', '"=>"'))
        code, out, err = await agent.command("reload")
        assert (code, out, err.count("\n")) == (78, "", 2)
        assert "rule[0].namespace" in err
        assert "rule[0].filters.data[0]" in err
        agent.send_signal(signal.SIGHUP)
        await agent.logged("reload_refused")
        assert "rule[0].namespace" in agent.log
        assert (await agent.send("boiler-1", {"temp": 95}))["triggers"][0]["rule"] == "one"


async def test_a_refusal_that_only_the_agent_sees_reaches_the_command_with_every_problem(
    tmp_path: Path, free_port: int
) -> None:
    async with Agent(tmp_path / "agent", f"mqtt://127.0.0.1:{free_port}", rules=rules("one")) as agent:
        other = tmp_path / "agent" / "other.toml"
        other.write_bytes(agent.config_file.read_bytes())
        rewrite(agent, rules("Two").replace('"plant"', '"Not A Namespace"'))
        wrong, agent.config_file = agent.config_file, other  # what the command is given is good
        code, out, err = await agent.command("reload")
        assert (code, out) == (78, "")
        name, namespace = err.splitlines()
        assert name.startswith(f"edgeagent: {wrong}: rule[0].name: must be")
        assert namespace.startswith(f"edgeagent: {wrong}: rule[0].namespace: must be a Kubernetes namespace")


async def test_sighup_while_the_file_is_missing_changes_nothing(tmp_path: Path, free_port: int) -> None:
    async with Agent(tmp_path / "agent", f"mqtt://127.0.0.1:{free_port}", rules=rules("one")) as agent:
        text = agent.config_file.read_text("utf-8")
        agent.config_file.unlink()
        agent.send_signal(signal.SIGHUP)
        await agent.logged("reload_refused")
        assert "no such file" in agent.log
        assert (await agent.send("boiler-1", {"temp": 95}))["triggers"][0]["rule"] == "one"
        agent.config_file.write_text(text.replace('"one"', '"two"'), "utf-8")
        agent.send_signal(signal.SIGHUP)
        await agent.logged("rules_reloaded")
        assert (await agent.send("boiler-1", {"temp": 95}))["triggers"][0]["rule"] == "two"


async def test_sighup_during_the_start_is_no_end(tmp_path: Path, free_port: int) -> None:
    """The process is signalled from its first moment of its own code on, and comes up all the same."""
    agent = Agent(tmp_path / "agent", f"mqtt://127.0.0.1:{free_port}", rules=rules("one"))
    agent.spawn()
    state = tmp_path / "agent" / "state"
    await until(state.exists, "the state directory", seen=agent.tail)
    agent.send_signal(signal.SIGHUP)
    await agent.ready()
    await agent.logged("rules_reloaded")
    assert await agent.stop() == 0


async def test_triggers_of_a_rule_that_is_gone_become_dead_letters_and_the_others_go(
    broker: Mosquitto, tmp_path: Path
) -> None:
    await broker.stop()
    async with Agent(tmp_path / "agent", broker.url, rules=rules("one", "two")) as agent:
        promised = await feed(agent, range(10))
        rewrite(agent, rules("two"))
        code, out, err = await agent.command("reload")
        assert (code, err) == (0, "")
        assert "rules from now on: 1" in out
        assert "removed  one: triggers of it that still wait become dead letters" in out
        await broker.start()
        async with Engine(broker.url) as engine:
            stats = await agent.account(stored=10, accepted=20, settled=10, dead=10, pending=0)
            assert sorted(engine.started) == sorted(name for name in names(promised) if name.startswith("two-"))
            assert (stats["rules"]["one"]["matched"], stats["rules"]["one"]["dead"]) == (10, 10)
        code, out, _ = await agent.command("dead", "ls", "--json")
        assert {json.loads(line)["reason"] for line in out.splitlines()} == {"rule removed"}
        rewrite(agent, rules("one", "two"))
        assert (await agent.command("reload"))[0] == 0
        assert (await agent.command("dead", "replay", "--all"))[0] == 0
        async with Engine(broker.url) as engine:
            await agent.account(settled=20, dead=0, pending=0)
            assert sorted(engine.started) == sorted(name for name in names(promised) if name.startswith("one-"))


async def test_other_tables_are_told_as_a_warning_and_json_tells_the_same(tmp_path: Path, free_port: int) -> None:
    async with Agent(tmp_path / "agent", f"mqtt://127.0.0.1:{free_port}", rules=rules("one")) as agent:
        text = agent.config_file.read_text("utf-8").replace("[uplink]\n", "[uplink]\nkeepalive = 60\n")
        agent.config_file.write_text(text, "utf-8")
        code, out, _ = await agent.command("reload")
        assert (code, out.splitlines()[-1]) == (0, "  warning: changed too, but needs a restart: [uplink]")
        await agent.logged("reload_needs_restart")
        code, out, _ = await agent.command("reload", "--json")
        assert json.loads(out) == {
            "file": str(agent.config_file),
            "rules": 1,
            "added": [],
            "changed": [],
            "removed": [],
            "restart": ["uplink"],
        }


async def test_reload_without_an_agent_exits_69(tmp_path: Path) -> None:
    agent = Agent(tmp_path / "agent", "mqtt://127.0.0.1:1", rules=rules("one"))
    code, out, err = await agent.command("reload")
    assert (code, out) == (69, "")
    assert "no agent answers" in err
