from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from edgeagent.dispatcher.outcome import CanaryHeard, Invalid, Unbound
from edgeagent.dispatcher.validate import check
from edgeagent.ports.link import Message
from edgeagent.wire.messages import Trigger
from tests.fakes.dispatching import Stage, trigger
from tests.waiting import until

pytestmark = pytest.mark.virtual_time

CORRELATION = "9f2c" * 8
OWN = "argo/workflows/trigger/gw-1"
CANARY = (
    b'{"namespace":"","workflow":{},"correlation_id":"%b","agent":"gw-1","attempt":1,'
    b'"reply_to":"argo/workflows/response/gw-1","canary":true}' % CORRELATION.encode()
)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    running = asyncio.create_task(stage.dispatcher.run())
    yield stage
    running.cancel()


def test_a_canary_is_written_as_it_always_was() -> None:
    sent = Trigger("", {}, CORRELATION, "gw-1", attempt=1, reply_to="argo/workflows/response/gw-1", canary=True)
    assert msgspec.json.encode(sent) == CANARY


async def test_it_is_answered_without_the_engine_and_acknowledged_after_that(stage: Stage) -> None:
    link = stage.connect()
    stage.dispatcher.on_messages([Message(OWN, CANARY, 7, 7)])
    await until(lambda: len(link.published) == 1)
    (answer,) = link.published
    assert answer.topic == "argo/workflows/response/gw-1"
    assert answer.payload == (
        b'{"correlation_id":"%b","code":200,"status":"Canary heard","canary":true}' % CORRELATION.encode()
    )
    stage.answer(answer)
    assert link.acknowledged == [7]
    stats = stage.dispatcher.stats()
    assert (stats.canaries, stats.answered) == (1, {})
    stage.dispatcher.on_messages([trigger("a", 8)])
    await until(lambda: len(link.published) == 2)
    assert stage.contents()[1]["workflowId"] == "a", "the engine had one order, and that was no canary"


def test_a_canary_with_a_workflow_starts_nothing_either() -> None:
    message = msgspec.json.decode(CANARY) | {"namespace": "plant", "workflow": {"metadata": {"name": "x"}}}
    assert check(Message(OWN, msgspec.json.encode(message)), bind_agent=True).result == CanaryHeard()


def test_where_agents_are_bound_a_canary_is_too() -> None:
    moved = check(Message("argo/workflows/trigger", CANARY), bind_agent=True).result
    assert isinstance(moved, Unbound)
    assert moved.trigger_topic == OWN
    stolen = check(Message("argo/workflows/trigger/gw-2", CANARY), bind_agent=True).result
    assert isinstance(stolen, Unbound)
    assert not stolen.trigger_topic


def test_without_the_member_it_is_a_trigger_that_can_never_be_started() -> None:
    """So a dispatcher of an earlier version, which ignores the member, starts nothing and says so for good."""
    message = msgspec.json.decode(CANARY)
    del message["canary"]
    assert isinstance(check(Message(OWN, msgspec.json.encode(message)), bind_agent=True).result, Invalid)
