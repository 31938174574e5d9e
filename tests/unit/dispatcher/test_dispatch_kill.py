"""A dispatcher that ends, or loses its connection, at any moment: nothing is started twice, nothing is left out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec
import pytest

from edgeagent.dispatcher import starter
from edgeagent.dispatcher.engine import Order
from edgeagent.dispatcher.outcome import Created, Duplicate, NameTaken
from edgeagent.errors import EngineUnavailable
from edgeagent.ports.link import Message
from tests.ending import end
from tests.fakes.dispatching import DOWN, FakeEngine, Stage, trigger

pytestmark = pytest.mark.virtual_time

NAMES = ("a", "b", "c")
AWAY = EngineUnavailable("https://argo.example", "503")


class WaveringEngine(FakeEngine):
    """Does not answer the first two creations, of which the second is done all the same."""

    async def create(self, order: Order) -> Created | Duplicate | NameTaken:
        """See `Engine`."""
        if len(self.orders) == 0:
            self.orders.append(order)
            await asyncio.sleep(0)
            raise AWAY
        outcome = await super().create(order)
        if len(self.orders) == 2:
            raise AWAY
        return outcome


class Broker:
    """Answers what a dispatcher publishes, one turn later, and knows what it has acknowledged."""

    def __init__(self, messages: list[Message]) -> None:
        self.unacknowledged = {message.delivery_id: message for message in messages}
        self.answered: list[str] = []

    def deliver(self, stage: Stage, *, again: bool) -> None:
        """Everything that is not acknowledged."""
        stage.connect(room=2)
        stage.dispatcher.on_messages(
            [msgspec.structs.replace(message, duplicate=again) for message in self.unacknowledged.values()]
        )

    async def turn(self, stage: Stage) -> None:
        """One turn of the loop, in which the broker takes what has come."""
        waiting = list(stage.link.published)
        stage.link.published.clear()
        await asyncio.sleep(0)
        for publication in waiting:
            content = msgspec.json.decode(publication.payload)
            assert stage.engine.created[content["workflowId"]] == 1, "an answer to what was not done"
            assert content["code"] == 200
            self.answered.append(content["workflowId"])
            stage.answer(publication)
        for packet_id in stage.link.acknowledged:
            del self.unacknowledged[packet_id]
        stage.link.acknowledged.clear()

    async def settle(self, stage: Stage) -> int:
        """Until everything is acknowledged; how many turns that took."""
        turns = 0
        while self.unacknowledged:
            await self.turn(stage)
            turns += 1
            assert turns < 1000, f"{self.unacknowledged} are never answered"
        return turns


def messages() -> list[Message]:
    return [trigger(name, number) for number, name in enumerate(NAMES, 1)]


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other at once, so that each turn of the loop is a step."""
    monkeypatch.setattr(starter, "_fraction", lambda: 0.0)


@contextlib.asynccontextmanager
async def running(stage: Stage) -> AsyncIterator[None]:
    """The dispatcher runs; at the end it is cancelled, and gone."""
    task = asyncio.create_task(stage.dispatcher.run())
    try:
        yield
    finally:
        await end(task)


async def turns_needed(kind: type[FakeEngine]) -> int:
    stage, broker = Stage(kind(turns=2), max_concurrent=3), Broker(messages())
    async with running(stage):
        broker.deliver(stage, again=False)
        return await broker.settle(stage)


@pytest.mark.parametrize("kind", [FakeEngine, WaveringEngine])
@pytest.mark.parametrize("how", ["killed", "cancelled"])
async def test_a_dispatcher_that_ends_at_any_await_starts_nothing_twice_and_its_successor_answers_everything(
    kind: type[FakeEngine], how: str
) -> None:
    needed = await turns_needed(kind)
    assert needed > 8
    for ends_after in range(needed):
        first, broker = Stage(kind(turns=2), max_concurrent=3), Broker(messages())
        engine = first.engine
        async with running(first):
            broker.deliver(first, again=False)
            for _ in range(ends_after):
                await broker.turn(first)
            if how == "killed":  # what it does from here on, it does no more
                engine = engine.as_it_is()
        assert not first.link.acknowledged
        second = Stage(engine, max_concurrent=3)
        async with running(second):
            broker.deliver(second, again=True)
            await broker.settle(second)
        assert engine.created == dict.fromkeys(NAMES, 1), f"{how} after {ends_after} turns"
        assert set(broker.answered) == set(NAMES)


@pytest.mark.parametrize("kind", [FakeEngine, WaveringEngine])
async def test_a_connection_that_ends_at_any_await_doubles_nothing_and_loses_nothing(kind: type[FakeEngine]) -> None:
    for cut_after in range(await turns_needed(kind)):
        stage, broker = Stage(kind(turns=2), max_concurrent=3), Broker(messages())
        async with running(stage):
            broker.deliver(stage, again=False)
            for _ in range(cut_after):
                await broker.turn(stage)
            stage.dispatcher.on_down(DOWN)
            broker.deliver(stage, again=True)
            await broker.settle(stage)
        assert stage.engine.created == dict.fromkeys(NAMES, 1), f"cut after {cut_after} turns"
        assert set(broker.answered) == set(NAMES)
        assert stage.dispatcher.stats().waiting == 0
