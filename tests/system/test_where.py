"""`edgeagent where` beside a real agent and a real broker, through a restart at each step of a trigger's life."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.mosquitto import Mosquitto, MqttClient, free_port
from tests.fakes.programs import RULE, Agent, Dispatcher
from tests.waiting import until, until_answer

TRIGGER, RESPONSE, STATUS = "argo/workflows/trigger", "argo/workflows/response/gw-1", "argo/workflows/status/gw-1"
HOT = {"temp": 97}


def agent_of(directory: Path, broker: Mosquitto, rules: str = RULE, **tables: str) -> Agent:
    mqtt = f'listen = "127.0.0.1:{free_port()}"\n[[mqtt.subscribe]]\ntopic = "field/+"'
    return Agent(directory, broker.url, rules=rules, tables={"mqtt": mqtt, **tables})


async def where(agent: Agent, name: str) -> dict[str, Any]:
    """What the command says of a trigger that is known."""
    code, out, error = await agent.command("where", name, "--json")
    assert code == 0, error
    document: dict[str, Any] = json.loads(out)
    return document


async def told(agent: Agent, name: str, good: Callable[[dict[str, Any]], object], what: str) -> dict[str, Any]:
    """Wait until the agent says something of one trigger; returns its course."""

    async def course() -> dict[str, Any]:
        found: dict[str, Any] = (await agent.get(f"/v1/where/{name}"))["triggers"][0]
        return found

    return await until_answer(course, good, what, more=agent.tail)


def steps(course: dict[str, Any]) -> list[str]:
    return [step["step"] for step in course["steps"]]


def state_on_disk(agent: Agent) -> str:
    with closing(sqlite3.connect(agent.directory / "state" / "ledger.db")) as database:
        return "".join(state for (state,) in database.execute("SELECT state FROM trigger"))


def answer(client: MqttClient, name: str, **members: Any) -> Any:
    return client.publish(RESPONSE, json.dumps({"correlation_id": name, "code": 200, **members}).encode())


def status(client: MqttClient, name: str, state: str, **members: Any) -> Any:
    document = {"namespace": "plant", "workflowId": f"overheat-{name}", "status": state, "correlation_id": name}
    return client.publish(STATUS, json.dumps({**document, **members}).encode())


@pytest.mark.parametrize(
    ("step", "is_killed"),
    [
        *(("buffered", True), ("published", True), ("triggered", True), ("running", True), ("succeeded", True)),
        ("running", False),
    ],
)
async def test_a_life_is_told_while_the_agent_is_stopped_in_a_step_and_to_its_end_afterwards(
    broker: Mosquitto, tmp_path: Path, step: str, *, is_killed: bool
) -> None:
    agent = agent_of(tmp_path / "agent", broker)
    await agent.start()
    name = await agent.triggered("boiler-1", HOT)

    async def reached(state: str) -> None:
        """Wait for a step; in the one that is meant, stop the agent, ask its directory, and start it again."""
        await told(agent, name, lambda course: course["state"] == state, state)
        if state != step:
            return
        if is_killed and state != "buffered":  # the ledger is two seconds behind, and this engine answers only once
            await until(lambda: state_on_disk(agent) == state, f"{state} in the ledger", seen=agent.tail)
        await (agent.kill() if is_killed else agent.stop())
        stopped = (await where(agent, name))["triggers"][0]
        assert stopped["state"] == state
        text = stopped["hangs"]["text"] if stopped["hangs"] else ""  # the others hang too when they are old enough
        assert text.startswith("no agent runs: it is kept") == (state in {"buffered", "published"})
        await agent.start()

    await reached("buffered")
    async with MqttClient(broker.url, "engine", TRIGGER) as engine:
        await engine.message(TRIGGER)
        await reached("published")
        if step == "published":  # sent again, as the agent does not know whether the first one was answered
            await engine.message(TRIGGER)
        await answer(engine, name, workflowId=f"overheat-{name}", namespace="plant")
        await reached("triggered")
        await status(engine, name, "Running", progress="1/2", startedAt="2026-03-20T11:00:00Z")
        await reached("running")
        await status(engine, name, "Succeeded", progress="2/2", startedAt="2026-03-20T11:00:00Z")
        await reached("succeeded")
        done = await told(agent, name, lambda course: steps(course)[-1] == "relayed", "it relayed")
    assert steps(done) == ["accepted", "published", "triggered", "running", "succeeded", "relayed"]
    at = [step["at"] for step in done["steps"]]
    assert at == sorted(at)
    assert done["hangs"] is None
    for kind, text in (
        ("correlation_id", name[:9]),
        ("workflow", f"overheat-{name}"),
        ("source", "boiler-1"),
        ("event", done["id"]),
    ):
        found = await agent.get(f"/v1/where/{text}")
        assert (found["kind"], found["triggers"]) == (kind, [done])
    await agent.stop()


async def test_an_uplink_that_is_down_a_dead_letter_and_an_open_window_each_say_what_to_do(
    broker: Mosquitto, tmp_path: Path
) -> None:
    gathered = RULE.replace("overheat", "gathered").replace("boiler", "pump") + 'window = { time = "1h" }\n'
    agent = agent_of(tmp_path / "agent", broker, RULE + gathered)
    async with MqttClient(broker.url, "engine", TRIGGER) as engine, agent:
        dead = await agent.triggered("boiler-1", HOT)
        await engine.message(TRIGGER)
        refusal = {"code": 404, "error": "no template\x1b[2J", "retryable": False}
        await answer(engine, dead, **refusal)
        await told(agent, dead, lambda course: "dead replay" in str(course["hangs"]), "how to replay it")
        window = await agent.triggered("pump-1", HOT)
        open_ = await told(agent, window, lambda course: course["hangs"] is not None, "the window")
        assert "its window is open with 1 event, and closes in 59 min" in open_["hangs"]["text"]
        await broker.stop()
        late = await agent.triggered("boiler-2", HOT)
        down = await told(agent, late, lambda course: course["hangs"] is not None, "the uplink")
        assert "the uplink has been down" in down["hangs"]["text"]
        assert down["hangs"]["since"] is not None
        code, out, _ = await agent.command("where", dead)
        assert code == 0
        assert "no template\\x1b[2J" in out
        assert "\x1b" not in out
        await agent.kill()
        for name, words in ((dead, "it is a dead letter"), (window, "no agent runs"), (late, "no agent runs")):
            assert words in (await where(agent, name))["triggers"][0]["hangs"]["text"]


async def test_names_from_the_field_are_shown_as_text(broker: Mosquitto, tmp_path: Path) -> None:
    source = "<script>alert(1)<b> \u200bboiler"
    async with agent_of(tmp_path / "agent", broker, RULE.replace("boiler-*", "*")) as agent:
        code, _, error = await agent.command("where", "\x1b[2J\u202eevil")
        assert code == 1
        assert "\\x1b[2J\\u202eevil: no trigger, event, workflow or source of this name is known" in error
        hostile = source.replace("\u200b", "")
        accepted = await agent.send(hostile.replace("<", "%3C").replace(">", "%3E").replace(" ", "%20"), HOT)
        code, out, _ = await agent.command("where", hostile)
        assert code == 0
        assert f"source {hostile}" in out
        assert (await where(agent, accepted["id"]))["event"]["source"] == hostile


async def test_a_rule_that_is_not_followed_says_so_and_its_answered_triggers_are_unknown(
    broker: Mosquitto, tmp_path: Path
) -> None:
    agent = agent_of(tmp_path / "agent", broker, RULE + "track = false\n", uplink="accept_dry_run = true")
    async with MqttClient(broker.url, "engine", TRIGGER) as engine, agent:
        name = await agent.triggered("boiler-1", HOT)
        await engine.message(TRIGGER)
        course = await told(agent, name, lambda course: course["state"] == "published", "it published")
        assert "track = false" in course["steps"][-1]["detail"]
        await answer(engine, name, workflowId=f"overheat-{name}", namespace="plant")
        await agent.account(settled=1)
        code, _, error = await agent.command("where", name)
        assert code == 1
        assert "a rule with track = false is followed only until its trigger is answered" in error


async def test_without_an_agent_and_without_its_directory_where_says_so(broker: Mosquitto, tmp_path: Path) -> None:
    agent = agent_of(tmp_path / "agent", broker)
    code, _, error = await agent.command("where", "boiler-1")
    assert code == 1
    assert "no outbox is there, and no agent answers" in error
    async with agent:
        await agent.triggered("boiler-1", HOT)
    before = sorted((path.name, path.stat().st_size) for path in (agent.directory / "state").iterdir())
    code, out, _ = await agent.command("where", "boiler-1")
    assert code == 0
    assert "no agent runs" in out
    assert sorted((path.name, path.stat().st_size) for path in (agent.directory / "state").iterdir()) == before


async def test_a_real_dispatcher_makes_a_whole_life(broker: Mosquitto, tmp_path: Path) -> None:
    async with (
        Dispatcher(tmp_path / "dispatch", broker.url),
        agent_of(tmp_path / "agent", broker, uplink="accept_dry_run = true") as agent,
    ):
        name = await agent.triggered("boiler-1", HOT)
        await told(agent, name, lambda course: steps(course)[-1] == "relayed", "it relayed")
        code, out, _ = await agent.command("where", name)
        assert code == 0
        assert f"trigger {name} is succeeded" in out
