"""Google Pub/Sub instead of a broker: the real commands, over a server by another hand and over one that has faults."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.drongo import Drongo
from tests.fakes.programs import Agent, Dispatcher
from tests.fakes.pubsub import PROJECT, Asked, FakePubSub, Fault
from tests.waiting import until

URL = f"pubsub://{PROJECT}/triggers"
ENGINE = 'subscription = "edgeagent-{agent}"\naccept_dry_run = true\nresponse_timeout = "2s"'
BROKER = f'{URL}"\nsubscription = "dispatch"\nanswer_topic = "answers'


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakePubSub]:
    with FakePubSub() as found:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", found.host)
        found.subscription("dispatch", "triggers")
        found.subscription("edgeagent-gw-1", "answers", agent="gw-1")
        found.subscription("edgeagent-gw-2", "answers", agent="gw-2")
        yield found


async def test_a_trigger_goes_to_the_dispatcher_and_its_answer_and_statuses_come_back(
    server: FakePubSub, tmp_path: Path
) -> None:
    agent = Agent(tmp_path / "agent", URL, tables={"uplink": ENGINE})
    async with Dispatcher(tmp_path / "dispatch", BROKER), agent:
        correlation = await agent.triggered("boiler-1", {"temp": 97.1})
        await agent.state(correlation, "succeeded")
        await agent.account(settled=1, pending=0)
        await until(lambda: server.unacknowledged("edgeagent-gw-1") == 0)
        await until(lambda: server.unacknowledged("dispatch") == 0)
    assert server.unacknowledged("edgeagent-gw-2") == 0
    attributes = server.published[f"projects/{PROJECT}/topics/triggers"][0]["attributes"]
    assert attributes["correlation_id"] == correlation
    assert (attributes["agent"], attributes["source"]) == ("gw-1", "boiler-1")


async def test_settled_by_pubsub_when_nobody_ever_answers(server: FakePubSub, tmp_path: Path) -> None:
    async with Agent(tmp_path / "agent", URL, tables={"uplink": 'settle = "broker"'}) as agent:
        correlation = await agent.triggered("boiler-1", {"temp": 97.1})
        await agent.state(correlation, "published")
        await agent.account(settled=1, pending=0)
    (message,) = server.published[f"projects/{PROJECT}/topics/triggers"]
    assert json.loads(base64.b64decode(message["data"]))["correlation_id"] == correlation
    assert "pull" not in server.verbs()


async def test_nothing_is_lost_while_agent_and_dispatcher_are_killed_and_the_service_fails(
    server: FakePubSub, tmp_path: Path
) -> None:
    calls = 0

    def judge(asked: Asked) -> None:
        nonlocal calls
        calls += 1
        if asked.verb in {"publish", "pull", "acknowledge"} and calls % 7 == 0:
            raise Fault(503 if calls % 2 else 429, "not now")

    server.judge = judge
    server.subscription("dispatch", "triggers", deadline_s=5.0)
    server.subscription("edgeagent-gw-1", "answers", agent="gw-1", deadline_s=5.0)
    agent = Agent(tmp_path / "agent", URL, tables={"uplink": ENGINE})
    dispatcher = Dispatcher(tmp_path / "dispatch", BROKER)
    correlations: list[str] = []
    for victim in ("agent", "dispatcher", "agent", "both"):
        async with dispatcher, agent:
            for number in range(15):
                correlations.append(await agent.triggered(f"boiler-{number}", {"temp": 97.1, "n": len(correlations)}))
            if victim in {"dispatcher", "both"}:
                await dispatcher.kill()
            if victim in {"agent", "both"}:
                await agent.kill()
    async with dispatcher, agent:
        await agent.account(settled=len(correlations), pending=0)
        for correlation in correlations:
            await agent.state(correlation, "succeeded", "triggered", "running")
    assert len(set(correlations)) == 60


async def test_the_outage_of_the_service_is_told_and_what_came_meanwhile_goes_afterwards(
    server: FakePubSub, tmp_path: Path
) -> None:
    def refuse(_: Asked) -> None:
        raise Fault(403, "User not authorized to perform this action.")

    server.judge = refuse
    async with Agent(tmp_path / "agent", URL, tables={"uplink": 'settle = "broker"'}) as agent:
        await agent.triggered("boiler-1", {"temp": 97.1})
        await agent.logged("link_down")
        assert "User not authorized" in agent.log
        code, _, _ = await agent.command("doctor")
        assert code != 0
        server.judge = lambda _: None
        await agent.account(settled=1, pending=0)


async def test_the_doctor_says_what_is_missing_and_what_works(server: FakePubSub, tmp_path: Path) -> None:
    agent = Agent(tmp_path / "agent", URL, tables={"uplink": ENGINE})
    _, out, _ = await agent.command("doctor")
    assert "topics/triggers may be published to" in out
    assert "may be pulled from" in out
    server.subscription("edgeagent-gw-1", "answers")
    server.permissions = {"pubsub.subscriptions.consume"}
    code, out, _ = await agent.command("doctor")
    assert code != 0
    assert "pubsub.topics.publish" in out
    assert "it brings the answers of other gateways" in out
    assert {"publish", "pull"}.isdisjoint(server.verbs())


async def test_an_agent_and_a_dispatcher_meet_at_a_server_by_another_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, dispatcher = Agent(tmp_path / "agent", URL, tables={"uplink": ENGINE}), Dispatcher(tmp_path / "d", BROKER)
    async with Drongo() as server:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.host)
        await server.subscription("dispatch", "triggers")
        await server.subscription("edgeagent-gw-1", "answers")
        async with dispatcher, agent:
            correlations = [await agent.triggered(f"boiler-{number}", {"temp": 97.1}) for number in range(20)]
            for correlation in correlations:
                await agent.state(correlation, "succeeded")
            await agent.account(settled=20, pending=0)
            code, out, _ = await agent.command("doctor")
            assert "this server tells nothing of permissions" in out
            assert code == 0, out
