"""Everything between a device and Argo as it is in the field: an agent, a broker, two dispatchers, an Argo Server.

async with scene(tmp_path) as here:
    await here.feed(100)
    await here.group[0].kill()
    await here.all_is_done()
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from edgeagent.wire import topics
from tests.fakes.argo_server import FakeArgo
from tests.fakes.dispatch_group import Group, Monitor
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.programs import Agent
from tests.fakes.rabbitmq import RabbitMq
from tests.waiting import DEADLINE_S, until, until_answer

_BATCH = 20
_MID_STREAM = 60  # answers, before something is done to the stream
# Unanswered triggers, at most, while a stream goes on: however long what is done to it takes, it leaves no more.
_AHEAD = 400
# As in production: so each trigger is sent once, on the agent's own topic, unless something goes wrong.
_BOUND = f'trigger_topic = "{topics.AGENTS_TRIGGER}"'
_PAGE = 1000  # most triggers that one GET lists


@dataclass
class Scene:
    """What `scene` has started.

    Attributes:
        broker: loses nothing of what it keeps for a slow subscriber.
        argo: in the test's own loop; it has template inspect in namespace plant.
        group: two dispatchers.
        monitor: hears everything.
        agent: gw-1, with one rule.
        promised: the correlation ids that the agent has given out, in order.
    """

    broker: Mosquitto | RabbitMq
    argo: FakeArgo
    group: Group
    monitor: Monitor
    agent: Agent
    promised: list[str] = field(default_factory=list)

    @property
    def names(self) -> set[str]:
        """The workflows that there must be in the end."""
        return {f"overheat-{correlation_id}" for correlation_id in self.promised}

    async def feed(self, count: int) -> None:
        """Post so many events, in batches, each of which starts a workflow."""
        for begin in range(0, count, _BATCH):
            events = [
                {"source": f"boiler-{number % 7}", "data": {"temp": 97.1, "n": number}}
                for number in range(begin, min(begin + _BATCH, count))
            ]
            _, answer = await self.agent.request(
                "POST", "/v1/events", json.dumps(events).encode(), Content_Type="application/json"
            )
            self.promised += [accepted["triggers"][0]["correlation_id"] for accepted in answer["accepted"]]

    @asynccontextmanager
    async def feeding(self) -> AsyncIterator[None]:
        """Feed all the while: what is done inside happens in mid-stream, however fast the stream is."""
        over = asyncio.Event()

        def may_go_on() -> bool:
            return over.is_set() or len(self.promised) - len(self.monitor.responses) < _AHEAD

        async def feed() -> None:
            while not over.is_set():
                await self.feed(_BATCH)
                await until(may_go_on, "answers", seen=lambda: (len(self.promised), len(self.monitor.responses)))

        async with asyncio.TaskGroup() as group:
            group.create_task(feed())
            await self.answered(len(self.monitor.responses) + _MID_STREAM)
            yield
            over.set()

    async def answered(self, count: int) -> None:
        """Wait until so many triggers have been answered."""
        await self.monitor.until(lambda: len(self.monitor.responses) >= count, f"{count} answers")

    async def settled(self) -> None:
        """Wait until the agent has a good answer to everything that it has promised; nothing is a dead letter."""
        count = len(self.promised)
        await self.agent.account(accepted=count, settled=count, pending=0, dead=0)

    async def all_are_started(self, *, besides: Collection[str] = (), deadline_s: float = DEADLINE_S) -> None:
        """Every trigger has one workflow, and its agent knows; whoever heard what in between.

        Args:
            besides: names of workflows that nobody here asked for.
            deadline_s: how long the answers may take.
        """
        count = len(self.promised)
        await self.agent.stats(
            lambda stats: stats["account"]["triggers"]["settled"] == count, "all to be settled", deadline_s=deadline_s
        )
        await self.settled()
        created = [workflow["metadata"]["name"] for workflow in self.argo.workflows()]
        assert sorted(created) == sorted([*self.names, *besides])

    async def all_is_done(self, *, besides: Collection[str] = (), deadline_s: float = DEADLINE_S) -> None:
        """Every trigger has one workflow, and that it succeeded has come to its agent and to the monitor.

        Args:
            besides: names of workflows that nobody here asked for.
            deadline_s: how long the statuses may take.
        """
        await self.all_are_started(besides=besides)
        told = self.monitor.finals
        await until(
            lambda: all(self.monitor.last.get(name) == "Succeeded" for name in self.names),
            "the final statuses",
            seen=lambda: f"{len(self.names - told.keys())} of {len(self.names)} are not published",
            deadline_s=deadline_s,
        )
        assert told.keys() <= self.names.union(besides)
        assert {phase for name in self.names for phase in told[name]} == {"Succeeded"}
        done = dict.fromkeys(self.promised[-_PAGE:], "succeeded")
        await until_answer(self._states, lambda states: states == done, "the agent to say so", deadline_s=deadline_s)

    async def _states(self) -> dict[str, str]:
        listed = await self.agent.get(f"/v1/triggers?limit={_PAGE}")
        return {report["correlation_id"]: report["state"] for report in listed["triggers"]}


@asynccontextmanager
async def scene(
    directory: Path,
    argo: FakeArgo | None = None,
    *,
    uplink: str = "",
    broker_keys: str = "",
    engine_keys: str = "",
    rabbitmq: RabbitMq | None = None,
    uplink_url: str = "",
) -> AsyncIterator[Scene]:
    """Start everything and stop it again.

    Args:
        directory: where everything of it goes.
        argo: not started yet; the default takes each workflow to its end by itself.
        uplink: keys of the agent's `[uplink]`, as TOML.
        broker_keys: keys of the dispatchers' `[broker]`, as TOML.
        engine_keys: keys of the dispatchers' `[engine]`, as TOML.
        rabbitmq: the broker, if it is not to be a Mosquitto of its own.
        uplink_url: how the agent reaches the broker, if not as the dispatchers do.
    """
    (directory / "mosquitto").mkdir()
    async with (
        # By itself Mosquitto drops what is beyond 1,000 messages for a subscriber that takes them slowly.
        nullcontext(rabbitmq)
        if rabbitmq is not None
        else Mosquitto(directory / "mosquitto", config=("max_queued_messages 0",)) as broker,
        argo or FakeArgo(auto=True) as engine,
        Monitor(broker.url) as monitor,
    ):
        engine.templates.add(("plant", "inspect"))
        async with (
            Group(directory, broker, engine.url, broker_keys=broker_keys, engine_keys=engine_keys) as group,
            Agent(directory / "agent", uplink_url or broker.url, tables={"uplink": f"{_BOUND}\n{uplink}"}) as agent,
        ):
            yield Scene(broker, engine, group, monitor, agent)
