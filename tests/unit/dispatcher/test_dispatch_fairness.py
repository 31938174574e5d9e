"""How many gateways share one dispatcher: none keeps the others out."""

from __future__ import annotations

import asyncio

import pytest

from edgeagent.common.names import is_agent_id
from edgeagent.dispatcher.dispatcher import WAITING_SHARE
from edgeagent.dispatcher.validate import sender
from edgeagent.ports.link import PREFETCH, Message
from tests.fakes.dispatching import Stage, trigger
from tests.waiting import turns, until

MAX_WAITING_OF_ONE = PREFETCH // WAITING_SHARE

pytestmark = pytest.mark.virtual_time


async def test_a_gateway_with_many_triggers_takes_turns_with_one_that_has_few() -> None:
    stage = Stage(max_concurrent=1)
    running = asyncio.create_task(stage.dispatcher.run())
    stage.connect(room=200)
    flood = [trigger(f"a{number}", number) for number in range(1, 101)]
    stage.dispatcher.on_messages([*flood, *(trigger(f"b{number}", 100 + number, agent="gw-2") for number in (1, 2))])
    await until(lambda: len(stage.link.published) == 102)
    names = [order.name for order in stage.engine.orders]
    assert names[:4] == ["a1", "b1", "a2", "b2"]
    assert [name for name in names if name[0] == "a"] == [f"a{number}" for number in range(1, 101)]
    running.cancel()


async def test_one_gateway_waiting_for_room_leaves_the_broker_room_for_others() -> None:
    stage = Stage(max_active=1, watched=["plant"])
    running = asyncio.create_task(stage.dispatcher.run())
    stage.connect()
    stage.dispatcher.on_messages([trigger(f"a{number}", number) for number in range(1, MAX_WAITING_OF_ONE + 4)])
    await until(lambda: len(stage.link.published) == 3)
    answers = stage.contents()
    assert sorted(answer["code"] for answer in answers) == [200, 429, 429]
    assert all(answer["retryable"] and answer["retry_after_s"] for answer in answers if answer["code"] != 200)
    assert stage.dispatcher.stats().waiting == MAX_WAITING_OF_ONE
    stage.dispatcher.on_messages([trigger("b", 200, agent="gw-2")])
    await turns()
    assert stage.dispatcher.stats().waiting == MAX_WAITING_OF_ONE + 1
    stage.dispatcher.capacity.finished("plant", "a1")
    await until(lambda: len(stage.link.published) == 4)
    stage.dispatcher.capacity.finished("plant", "a2")
    await until(lambda: len(stage.link.published) == 5)
    assert "b" in {answer.get("workflowId") for answer in stage.contents()[-2:]}, "not behind all of the first one's"
    running.cancel()


def test_an_order_of_turns_needs_only_to_know_who_seems_to_send() -> None:
    own = trigger("a", 1, agent="gw-2")
    assert sender(own, bind_agent=True) == sender(own, bind_agent=False) == "gw-2"
    base = Message("argo/workflows/trigger", own.payload, 1, 1)
    assert (sender(base, bind_agent=True), sender(base, bind_agent=False)) == ("", "gw-2")
    for payload in (b"", b"no json", b'{"agent": 5}', b'{"agent": "' + b"x" * 100_000 + b'"}'):
        found = sender(Message("argo/workflows/trigger", payload, 1, 1), bind_agent=False)
        assert found == "" or is_agent_id(found)
