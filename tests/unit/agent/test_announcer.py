from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

import edgeagent
from edgeagent.common.times import rfc3339
from edgeagent.ports.link import Abilities, Ack
from edgeagent.wire.agent_state import CONNECTION_LOST, STOPPED, AgentState, parse_agent_state
from tests.ending import end
from tests.fakes.announcing import Announcing, announcing
from tests.fakes.link import FakeLink
from tests.waiting import turns, until

pytestmark = pytest.mark.virtual_time

SHORT_S = 0.02
TRIGGER = 7


def said(link: FakeLink) -> list[AgentState]:
    return [parse_agent_state(publication.payload) for publication in link.published]


@asynccontextmanager
async def running(scene: Announcing) -> AsyncIterator[None]:
    task = asyncio.create_task(scene.announcer.run())
    try:
        yield
    finally:
        await end(task)


async def test_the_state_is_retained_at_qos_1_and_says_how_the_agent_is() -> None:
    scene = announcing()
    scene.outbox.pending, scene.outbox.oldest_ms, scene.outbox.hours = 12, scene.clock.ms - 60_000, 26.5
    link = FakeLink()
    async with running(scene):
        await until(lambda: scene.outbox.looks)
        scene.announcer.up(link)
    (publication,) = link.published
    assert (publication.topic, publication.qos, publication.retain) == ("edgeagent/state/gw-042", 1, True)
    assert said(link) == [
        AgentState(
            "online",
            edgeagent.__version__,
            scene.clock.now(),
            12,
            rfc3339(scene.clock.ms - 60_000),
            95_400.0,
            "",
            "0123456789abcdef",
        )
    ]


async def test_nothing_more_is_said_while_nothing_changes() -> None:
    scene, link = announcing(SHORT_S), FakeLink()
    scene.announcer.up(link)
    async with running(scene):
        await until(lambda: scene.outbox.looks >= 5)
    assert len(link.published) == 1


async def test_news_is_said_with_the_next_interval_and_since_stays() -> None:
    scene, link = announcing(SHORT_S), FakeLink()
    scene.announcer.up(link)
    connected_at = scene.clock.now()
    async with running(scene):
        scene.clock.ms += 3_600_000
        scene.trouble.unheard("argo/workflows/trigger")
        await until(lambda: len(link.published) == 2)
        scene.trouble.over()
        await until(lambda: len(link.published) == 3)
    assert [state.reason for state in said(link)] == ["", "nobody subscribes to argo/workflows/trigger", ""]
    assert {state.since for state in said(link)} == {connected_at}


async def test_news_right_after_a_connect_waits_for_the_interval() -> None:
    scene, link = announcing(3600.0), FakeLink()
    scene.announcer.up(link)
    scene.outbox.pending = 1000
    async with running(scene):
        await until(lambda: scene.outbox.looks)
        await turns(20)
    assert len(link.published) == 1


async def test_what_makes_the_outbox_refuse_is_the_reason_before_any_trouble_of_the_uplink() -> None:
    scene, link = announcing(), FakeLink()
    scene.trouble.unheard("t")
    scene.outbox.failure = "disk: No space left on device"
    scene.announcer.up(link)
    assert said(link)[0].reason == "disk: No space left on device"


async def test_leaving_says_offline_with_the_reason_and_waits_until_the_broker_has_it() -> None:
    scene, link = announcing(), FakeLink()
    scene.announcer.up(link)
    scene.outbox.pending = 3
    leaving = asyncio.create_task(scene.announcer.leave())
    await until(lambda: len(link.published) == 2)
    scene.announcer.acknowledged([Ack(TRIGGER)])
    await turns(5)
    assert not leaving.done()
    scene.announcer.acknowledged([Ack(link.published[-1].token)])
    await leaving
    last = said(link)[-1]
    assert (last.state, last.reason, last.pending, last.version) == ("offline", STOPPED, 3, edgeagent.__version__)
    assert len(link.published) == 2, "nothing is said after the farewell"


async def test_leaving_without_a_connection_waits_for_nothing() -> None:
    scene = announcing()
    await scene.announcer.leave()


async def test_the_will_has_the_shape_of_every_state_and_the_time_of_its_connection() -> None:
    scene = announcing()
    first = scene.announcer.will()
    scene.clock.ms += 86_400_000
    second = scene.announcer.will()
    assert (first.topic, first.qos, first.retain, first.delay_s) == ("edgeagent/state/gw-042", 1, True, 30)
    assert parse_agent_state(second.payload) == AgentState(
        "offline", edgeagent.__version__, scene.clock.now(), reason=CONNECTION_LOST, config="0123456789abcdef"
    )
    assert first.payload != second.payload


async def test_a_broker_without_retained_messages_is_told_all_the_same() -> None:
    scene, link = announcing(), FakeLink()
    link.abilities = Abilities(retains=False)
    scene.announcer.up(link)
    assert [publication.retain for publication in link.published] == [False]


async def test_a_connection_after_an_outage_tells_the_trigger_that_waits_since() -> None:
    scene, link = announcing(), FakeLink()
    async with running(scene):
        scene.announcer.up(FakeLink())
        await until(lambda: scene.outbox.looks)
        scene.announcer.down()
        await turns(20)
        scene.outbox.pending, scene.outbox.oldest_ms = 3, scene.clock.ms
        looks = scene.outbox.looks
        await until(lambda: scene.outbox.looks > looks)
        await turns(5)
        scene.announcer.up(link)
        await turns(20)
    assert [state.oldest for state in said(link)] == [rfc3339(scene.clock.ms)]


async def test_an_oldest_trigger_that_was_not_known_at_the_connect_is_told_at_once() -> None:
    scene, link = announcing(3600.0), FakeLink()
    async with running(scene):
        await until(lambda: scene.outbox.looks)
        scene.outbox.pending, scene.outbox.oldest_ms = 3, scene.clock.ms
        scene.announcer.up(link)
        await turns(20)
    assert [state.oldest for state in said(link)] == [None, rfc3339(scene.clock.ms)]


async def test_a_farewell_tells_the_oldest_trigger_as_it_is_then() -> None:
    scene, link = announcing(), FakeLink()
    scene.announcer.up(link)
    scene.outbox.pending, scene.outbox.oldest_ms = 1, scene.clock.ms
    leaving = asyncio.create_task(scene.announcer.leave())
    await until(lambda: len(link.published) == 2)
    scene.announcer.acknowledged([Ack(link.published[-1].token)])
    await leaving
    assert said(link)[-1].oldest == rfc3339(scene.clock.ms)
