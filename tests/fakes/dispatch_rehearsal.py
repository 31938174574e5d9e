"""A dispatcher with the dry-run engine at a real broker, in the test's own loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from edgeagent.common.units import Duration
from edgeagent.config.tables import Allow, Broker
from edgeagent.dispatcher.dispatcher import Dispatcher
from edgeagent.dispatcher.dryrun import DryRun
from edgeagent.dispatcher.engine import Engine, Order
from edgeagent.dispatcher.outcome import Created, Duplicate, Invalid, NameTaken
from edgeagent.dispatcher.policy import EVERYTHING, Policy
from edgeagent.links.session import keep_connected
from edgeagent.ports.link import Link, Subscription
from edgeagent.wire import topics
from tests.fakes.mosquitto import Mosquitto
from tests.waiting import DEADLINE_S


class CutEngine(DryRun):
    """A dry run that loses its connection just after it created the first workflow."""

    def __init__(self) -> None:
        super().__init__(step_s=0.01)
        self.link: Link | None = None
        self.creations = 0

    async def create(self, order: Order) -> Created | Duplicate | NameTaken | Invalid:
        """Create it, then cut the wire before anything can be answered."""
        outcome = await super().create(order)
        self.creations += 1
        if self.creations == 1:
            assert self.link is not None
            self.link.abort()  # type: ignore[attr-defined]  # the engine's own way to end without a word
        return outcome


class WatchedDispatcher(Dispatcher):
    """A dispatcher that can be waited for, and that shows its connection to a `CutEngine`."""

    def __init__(self, engine: Engine, policy: Policy, **options: Any) -> None:
        super().__init__(engine, policy, **options)
        self.cut_engine = engine if isinstance(engine, CutEngine) else None
        self.up = asyncio.Event()

    def on_up(self, link: Link, *, session_present: bool) -> None:
        """See `LinkOwner`."""
        if self.cut_engine is not None:
            self.cut_engine.link = link
        super().on_up(link, session_present=session_present)
        self.up.set()


@contextlib.asynccontextmanager
async def connected(
    dispatcher: WatchedDispatcher, broker: Mosquitto, client_id: str, *besides: Coroutine[Any, Any, None]
) -> AsyncIterator[None]:
    """A dispatcher of the group `edgeagent` at work, and other tasks.

    It ends as a killed one does, without a word to the broker but the end of the socket.
    """
    async with asyncio.TaskGroup() as group:
        link = keep_connected(
            Broker(url=broker.url, session_expiry=Duration(60)),
            dispatcher,
            client_id=client_id,
            subscriptions=[Subscription(topic_filter) for topic_filter in topics.trigger_filters("edgeagent")],
            base_s=0.02,
        )
        tasks = [group.create_task(part) for part in (link, *besides, dispatcher.run())]
        async with asyncio.timeout(DEADLINE_S):
            await dispatcher.up.wait()
        yield
        for task in reversed(tasks):
            task.cancel()


@contextlib.asynccontextmanager
async def dispatching(
    broker: Mosquitto,
    *allows: Allow,
    client_id: str = "dispatch-a",
    engine: DryRun | None = None,
    bind_agent: bool = True,
) -> AsyncIterator[Dispatcher]:
    """A dispatcher of the group `edgeagent`, connected."""
    engine = engine or DryRun(step_s=0.01)
    dispatcher = WatchedDispatcher(engine, Policy(allows or [EVERYTHING]), bind_agent=bind_agent)
    async with connected(dispatcher, broker, client_id, engine.run(dispatcher.report)):
        yield dispatcher
