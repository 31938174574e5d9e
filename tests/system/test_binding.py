"""A default agent and a default dispatcher, which binds agents to their own topics, on a real broker."""

from __future__ import annotations

import json
from pathlib import Path

from tests.fakes.argo_server import FakeArgo, refused
from tests.fakes.dispatch_group import ArgoDispatcher
from tests.fakes.mosquitto import Mosquitto, MqttClient
from tests.fakes.programs import Agent, Dispatcher

ROOT = Path(__file__).parents[2]
BASE = "argo/workflows/trigger"
OWN = f"{BASE}/gw-1"
# The gateway may use the base topic, and not its own below it.
BASE_ONLY = (
    "user gw-1\ntopic readwrite argo/workflows/#\ntopic deny argo/workflows/trigger/+\ntopic write edgeagent/#\n"
)
OTHERS = "topic readwrite #\n"


def example(name: str, **changes: str) -> str:
    """An example file; each change is the text of a line's beginning, and the line in its place."""
    text = (ROOT / name).read_text("utf-8")
    for begin, line in changes.items():
        assert f"\n{begin} = " in text or f"\n# {begin} = " in text, begin
        lines = text.splitlines()
        at = next(n for n, old in enumerate(lines) if old.removeprefix("# ").startswith(f"{begin} = "))
        lines[at] = line
        text = "\n".join(lines)
    return text


async def test_the_two_example_files_work_together_as_they_are(broker: Mosquitto, tmp_path: Path) -> None:
    url = f'url = "{broker.url}"'
    agent = Agent(tmp_path / "agent", broker.url)
    agent.config_file.write_text(
        example(
            "config.example.toml",
            url=url,
            id='id = "gw-1"',
            state_dir=f'state_dir = "{tmp_path}/agent/state"',
            accept_dry_run="accept_dry_run = true",
            listen='listen = ""',
        ),
        "utf-8",
    )
    dispatcher = Dispatcher(tmp_path / "d1", broker.url)
    dispatcher.config_file.write_text(example("dispatch.example.toml", url=url), "utf-8")
    async with agent, dispatcher:
        code, out, err = await agent.command("emit", "boiler-1", '{"temp": 97.1}', "--wait=90s")
        assert (code, err) == (0, ""), out
        stats = await agent.account(settled=1, pending=0)
        assert stats["uplink"]["trigger_topic"] == OWN
        assert (stats["uplink"]["redirected"], stats["uplink"]["redirects_ignored"]) == (1, 0)
        assert agent.log.count("event=trigger_topic_learned") == 1
        code, out, err = await agent.command("emit", "boiler-1", '{"temp": 98}', "--wait=90s")
        assert (code, err) == (0, ""), out
        assert (await agent.get("/v1/stats"))["uplink"]["redirected"] == 1
    assert dispatcher.log.count("WARNING") == dispatcher.log.count("event=dry_run_engine") == 1
    assert dispatcher.log.count("event=trigger_unbound") == 1


async def test_a_flood_in_a_gateways_name_costs_it_nothing(broker: Mosquitto, tmp_path: Path) -> None:
    away = refused(503, 14, "the server is not available")
    async with (
        FakeArgo() as argo,
        ArgoDispatcher(tmp_path / "d1", broker.url, argo.url) as dispatcher,
        Agent(tmp_path / "agent", broker.url, tables={"outbox": "park_after = 2"}) as agent,
        MqttClient(broker.url, "stranger") as stranger,
    ):
        argo.templates.add(("plant", "inspect"))
        before = await agent.triggered("boiler-1", {"temp": 97.1})
        await agent.state(before, "triggered", "running", "succeeded")
        argo.fail_next(*[away] * 6, path="/workflows/plant")
        names = [await agent.triggered("boiler-1", {"temp": 100 + number}) for number in range(10)]
        forged = [
            json.dumps(
                {
                    "namespace": "plant",
                    "agent": "gw-1",
                    "correlation_id": name,
                    "workflow": {"metadata": {"name": "x"}, "spec": {"workflowTemplateRef": {"name": "inspect"}}},
                }
            ).encode()
            for name in names
        ]
        for _ in range(20):
            for payload in forged:
                await stranger.publish(BASE, payload)
        for name in names:
            await agent.state(name, "triggered", "running", "succeeded")
        await agent.account(settled=11, pending=0, dead=0)
        stats = await agent.stats(lambda stats: stats["uplink"]["redirects_ignored"] >= 200, "200 ignored redirects")
        assert stats["uplink"]["parked"] == 0
        assert stats["outbox"]["parked"] == 0
        assert len(argo.workflows()) == 11, "nothing was started for the stranger"
        assert "event=trigger_parked" not in agent.log
        assert dispatcher.log.count("event=trigger_unbound") == 1


async def test_where_the_broker_refuses_the_own_topic_triggers_wait_and_go_when_it_may_be_used(tmp_path: Path) -> None:
    acl = tmp_path / "acl"
    acl.write_text(OTHERS + BASE_ONLY, "utf-8")
    async with (
        Mosquitto(tmp_path, config=[f"acl_file {acl}"]) as broker,
        Dispatcher(tmp_path / "d1", broker.url) as dispatcher,
        Agent(
            tmp_path / "agent",
            broker.url,
            tables={"uplink": 'username = "gw-1"\nclient_id = "gw-1"\naccept_dry_run = true'},
        ) as agent,
    ):
        correlation = await agent.triggered("boiler-1", {"temp": 97.1})
        await agent.logged("trigger_topic_refused")
        await agent.logged("trigger_deferred")
        stats = await agent.account(pending=1, dead=0)
        assert stats["uplink"]["trigger_topic"] == BASE
        acl.write_text(f"{OTHERS}user gw-1\n{OTHERS}", "utf-8")
        await agent.stop()
        await broker.restart()
        await dispatcher.logged("broker_connected", 2)
        await agent.start()  # it learns the topic anew
        await agent.state(correlation, "succeeded")
        await agent.account(settled=1, pending=0, dead=0)
