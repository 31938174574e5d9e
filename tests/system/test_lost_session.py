"""What becomes of a trigger whose workflow ends while nobody on the broker remembers its gateway."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgeagent.wire.messages import parse_status_query
from tests.fakes.argo_server import FakeArgo
from tests.fakes.dispatch_group import ArgoDispatcher
from tests.fakes.mosquitto import Mosquitto, MqttClient
from tests.fakes.programs import Agent
from tests.waiting import until

KEEPS_NOTHING = ("persistence false", "max_queued_messages 0")
QUERY = "argo/workflows/status/query"


@dataclass
class Field:
    """An agent, a broker that forgets everything when it ends, a dispatcher, an Argo Server."""

    broker: Mosquitto
    argo: FakeArgo
    dispatcher: ArgoDispatcher
    agent: Agent

    async def triggered(self) -> str:
        """Start a workflow that runs until the test ends it; returns the correlation id."""
        correlation_id = await self.agent.triggered("boiler-1", {"temp": 97.1})
        await self.agent.state(correlation_id, "triggered")
        return correlation_id

    def ends(self, correlation_id: str) -> None:
        """The workflow succeeds."""
        self.argo.advance("plant", f"overheat-{correlation_id}", phase="Succeeded")

    def told(self) -> int:
        """How many statuses the dispatcher has published for the agent, ever."""
        log = self.broker.log_file.read_text("utf-8")
        said = (line for line in log.splitlines() if "Received PUBLISH from edgeagent-dispatch-" in line)
        return sum("'argo/workflows/status/gw-1'" in line for line in said)

    async def another_told(self, told: int) -> None:
        """Wait until it has published more."""
        await until(lambda: self.told() > told, "a status", seen=self.dispatcher.tail)


@asynccontextmanager
async def field(directory: Path, relay: str = "") -> AsyncIterator[Field]:
    (directory / "mosquitto").mkdir()
    async with Mosquitto(directory / "mosquitto", config=KEEPS_NOTHING) as broker, FakeArgo() as argo:
        argo.templates.add(("plant", "inspect"))
        async with (
            ArgoDispatcher(directory / "d0", broker.url, argo.url) as dispatcher,
            Agent(directory / "agent", broker.url, tables={"relay": relay}) as agent,
        ):
            yield Field(broker, argo, dispatcher, agent)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
async def test_an_end_that_was_told_while_the_broker_had_lost_the_session_is_asked_for(
    tmp_path: Path, end: signal.Signals
) -> None:
    async with field(tmp_path) as here:
        name = await here.triggered()
        await here.agent.stop(end)
        told = here.told()
        here.ends(name)
        await here.another_told(told)
        told = here.told()
        await here.broker.kill()
        await here.broker.start()
        await here.another_told(told)  # by the leader, anew; nobody hears it
        await here.agent.start()
        report = await here.agent.state(name, "succeeded")
        assert report["workflowId"] == f"overheat-{name}"
        assert len(here.argo.workflows()) == 1


async def test_an_agent_that_lived_through_it_asks_as_well(tmp_path: Path) -> None:
    async with field(tmp_path) as here:
        name = await here.triggered()
        here.agent.send_signal(signal.SIGSTOP)  # it sleeps through all of it
        told = here.told()
        await here.broker.kill()
        here.ends(name)
        await here.broker.start()
        await here.another_told(told)
        here.agent.send_signal(signal.SIGCONT)
        await here.agent.state(name, "succeeded")


async def test_a_workflow_of_which_nothing_is_heard_is_asked_for_and_is_unknown_until_something_is(
    tmp_path: Path,
) -> None:
    async with (
        field(tmp_path, 'status_timeout = "1s"\ngive_up_after = "8s"') as here,
        MqttClient(here.broker.url, "monitor", QUERY) as monitor,
    ):
        name = await here.triggered()
        query = parse_status_query((await monitor.message()).payload)
        assert (query.agent, query.correlation_ids) == ("gw-1", (name,))
        for _ in range(10):  # longer than its patience: each is answered
            await monitor.message()
        await here.agent.state(name, "triggered")
        assert await here.dispatcher.stop() == 0
        report = await here.agent.state(name, "unknown")
        assert "nothing was heard of it" in report["error"]
        here.ends(name)
        await here.dispatcher.start()
        await here.agent.state(name, "succeeded")
        stats = await here.agent.get("/v1/stats")
        assert stats["uplink"]["unknown"] == 1
        assert stats["uplink"]["asked"] >= 6
        await here.agent.logged("status_unknown")
