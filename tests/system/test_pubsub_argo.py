"""Google Pub/Sub between a gateway and dispatchers on an Argo Server: each workflow once, statuses, kills, managing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.argo_server import FakeArgo
from tests.fakes.dispatch_group import ArgoDispatcher
from tests.fakes.programs import Agent
from tests.fakes.pubsub import PROJECT, FakePubSub
from tests.waiting import until

URL = f"pubsub://{PROJECT}/triggers"
BROKER = 'subscription = "dispatch"\nanswer_topic = "answers"'
UPLINK = 'subscription = "edgeagent-{agent}"\nresponse_timeout = "3s"'


async def test_two_dispatchers_that_are_killed_start_each_workflow_once_and_its_end_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = Agent(tmp_path / "agent", URL, tables={"uplink": UPLINK})
    with FakePubSub() as server:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.host)
        server.subscription("dispatch", "triggers", deadline_s=5.0)
        server.subscription("edgeagent-gw-1", "answers", agent="gw-1")
        async with FakeArgo(auto=True) as argo:
            argo.templates.add(("plant", "inspect"))
            one, two = (
                ArgoDispatcher(tmp_path / name, URL, argo.url, broker_keys=BROKER, allow_keys='operations = ["get"]')
                for name in ("one", "two")
            )
            async with one, two, agent:
                promised: list[str] = []
                for victim in (one, two):
                    data = {"temp": 97.1, "before": victim.instance}
                    promised += [await agent.triggered(f"boiler-{number}", data) for number in range(20)]
                    await victim.kill()
                    await victim.start()
                await agent.account(settled=len(promised), pending=0, dead=0)
                for correlation in promised:
                    await agent.state(correlation, "succeeded")
                names = sorted(workflow["metadata"]["name"] for workflow in argo.workflows())
                assert names == sorted(f"overheat-{correlation}" for correlation in promised)
                await until(lambda: server.unacknowledged("dispatch") == 0)
                assert "event=status_leader" in one.log
                code, out, err = await agent.command("workflow", "get", promised[0])
                assert code == 0, err
                assert "Succeeded" in out
