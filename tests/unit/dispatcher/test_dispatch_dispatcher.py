from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence

import pytest

from edgeagent.errors import Denied, Unavailable
from edgeagent.mqtt.reason_codes import NO_MATCHING_SUBSCRIBERS, publish_outcome
from edgeagent.ports.link import TAKEN, Message, PublishOutcome
from edgeagent.wire.messages import Status, parse_status
from tests.fakes.dispatching import DOWN, Stage, trigger
from tests.waiting import DEADLINE_S, turns, until

pytestmark = pytest.mark.virtual_time

NOT_AUTHORIZED = 0x87


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage(max_statuses=8)
    running = asyncio.create_task(stage.dispatcher.run())
    yield stage
    running.cancel()


def status(name: str) -> Status:
    return Status(namespace="plant", workflow_id=name, status="Running", agent="gw-1")


async def test_a_trigger_is_acknowledged_only_when_the_broker_has_the_response(stage: Stage) -> None:
    link = stage.connect()
    stage.dispatcher.on_messages([trigger("a", 7, correlation_data=b"\x00\x01")])
    await until(lambda: len(link.published) == 1)
    (response,) = link.published
    assert (response.topic, response.qos, response.retain) == ("argo/workflows/response/gw-1", 1, False)
    assert (response.content_type, response.correlation_data) == ("application/json", b"\x00\x01")
    assert link.acknowledged == []
    stage.answer(response)
    assert link.acknowledged == [7]
    assert stage.dispatcher.stats().answered == {200: 1}


@pytest.mark.parametrize(("agent", "topic"), [("gw-1", "argo/workflows/status/gw-1"), ("", "argo/workflows/status")])
async def test_who_is_told_that_it_is_a_duplicate_is_told_how_the_workflow_is_and_nobody_else(
    stage: Stage, agent: str, topic: str
) -> None:
    stage.engine.statuses["a"] = ended = Status("plant", "a", "Succeeded", agent=agent)
    link = stage.connect()
    stage.dispatcher.on_messages([trigger("a", 1), trigger("b", 2)])
    await until(lambda: len(link.published) == 2)
    stage.dispatcher.on_messages([trigger("a", 3, attempt=0), trigger("b", 4, attempt=0)])
    await until(lambda: len(link.published) == 5)
    assert [content.get("duplicate") for content in stage.contents()] == [False, False, True, True, None]
    told = link.published[-1]
    assert (told.topic, told.qos, told.retain) == (topic, 1, False)
    assert parse_status(told.payload) == ended


async def test_triggers_go_to_the_engine_in_order_of_arrival(stage: Stage) -> None:
    stage.connect()
    stage.dispatcher.on_messages([trigger("a", 1), trigger("b", 2)])
    stage.dispatcher.on_messages([trigger("c", 3)])
    await until(lambda: len(stage.link.published) == 3)
    assert [order.name for order in stage.engine.orders] == ["a", "b", "c"]
    assert stage.names() == ["a", "b", "c"]


async def test_no_more_is_published_than_the_link_has_room_for(stage: Stage) -> None:
    link = stage.connect(room=2)
    stage.dispatcher.on_messages([trigger(name, number) for number, name in enumerate("abc", 1)])
    await until(lambda: len(link.published) == 2)
    await turns()
    assert stage.names() == ["a", "b"]
    stage.answer(link.published[0])
    assert stage.names() == ["a", "b", "c"]
    link.room = 1
    stage.dispatcher.report([status("d")])
    assert stage.names() == ["a", "b", "c", "d"]
    link.room = 1
    stage.dispatcher.on_room()
    assert stage.names() == ["a", "b", "c", "d", "d"]


async def test_a_response_goes_before_statuses_that_wait(stage: Stage) -> None:
    link = stage.connect(room=0)
    stage.dispatcher.report([status("old")])
    stage.dispatcher.on_messages([trigger("a", 1)])
    await until(lambda: len(stage.engine.orders) == 1)
    await turns()
    link.room = 3
    stage.dispatcher.on_room()
    assert [publication.topic for publication in link.published] == [
        "argo/workflows/response/gw-1",
        "argo/workflows/status",
        "argo/workflows/status/gw-1",
    ]


async def test_statuses_the_broker_has_not_taken_are_sent_again_in_order(stage: Stage) -> None:
    first = stage.connect(room=3)
    stage.dispatcher.report([status("a"), status("b")])
    assert stage.names() == ["a", "a", "b"]
    stage.answer(first.published[0])
    assert stage.names() == ["a", "a", "b", "b"]
    stage.dispatcher.on_down(DOWN)
    second = stage.connect()
    assert stage.names() == ["a", "b", "b"]
    assert second.published[0].topic == "argo/workflows/status/gw-1"
    for publication in list(second.published):
        stage.answer(publication)
    assert stage.dispatcher.stats().statuses_published == 4


async def test_a_trigger_of_an_ended_connection_is_left_to_the_broker() -> None:
    stage = Stage(max_concurrent=1)
    running = asyncio.create_task(stage.dispatcher.run())
    first = stage.connect()
    stage.engine.gate.clear()
    stage.dispatcher.on_messages([trigger("a", 1), trigger("b", 2)])
    await until(lambda: len(stage.engine.orders) == 1)
    stage.dispatcher.on_down(DOWN)
    second = stage.connect()
    stage.engine.gate.set()
    await turns()
    assert [order.name for order in stage.engine.orders] == ["a"], "b comes again, it must not be started twice"
    assert first.published == second.published == []
    assert first.acknowledged == second.acknowledged == []
    running.cancel()


async def test_while_many_statuses_wait_no_trigger_is_taken(stage: Stage) -> None:
    link = stage.connect(room=0)
    stage.dispatcher.report([status("a"), status("b")])  # two topics each: half of max_statuses
    stage.dispatcher.on_messages([trigger("c", 1)])
    await turns()
    assert stage.engine.orders == []
    link.room = 1
    stage.dispatcher.on_room()
    stage.answer(link.published[0])
    await until(lambda: len(stage.engine.orders) == 1)


async def test_statuses_beyond_the_limit_drop_the_oldest_and_say_so(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.dispatcher.report([status(name) for name in "abcde"])
    assert stage.dispatcher.stats().statuses_dropped == 2
    stage.connect()
    assert stage.names() == [name for name in "bcde" for _ in range(2)]
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "2 status messages were lost" in record.getMessage()


async def test_a_refused_response_is_reported_once_and_its_trigger_acknowledged(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    link = stage.connect()
    stage.dispatcher.on_messages([trigger("a", 1), trigger("b", 2)])
    await until(lambda: len(link.published) == 2)
    for publication in list(link.published):
        stage.answer(publication, NOT_AUTHORIZED)
    assert link.acknowledged == [1, 2]
    assert stage.dispatcher.stats().refused == 2
    assert stage.dispatcher.stats().answered == {}
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.__dict__["topic"] == "argo/workflows/response/gw-1"
    assert record.__dict__["reason_code"] == "0x87"


async def test_an_unheard_response_is_a_warning_until_somebody_hears_again(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    link = stage.connect()
    codes = [NO_MATCHING_SUBSCRIBERS, NO_MATCHING_SUBSCRIBERS, 0, NO_MATCHING_SUBSCRIBERS]
    for number, code in enumerate(codes, 1):
        stage.dispatcher.on_messages([trigger(f"w{number}", number)])
        await until(lambda: len(link.published) == number)  # noqa: B023  waited for at once
        stage.answer(link.published[-1], code)
    assert link.acknowledged == [1, 2, 3, 4]
    assert stage.dispatcher.stats().unheard == 3
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 2


async def test_a_status_that_nobody_hears_is_normal(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    link = stage.connect()
    stage.dispatcher.report([status("a")])
    for publication in list(link.published):
        stage.answer(publication, NO_MATCHING_SUBSCRIBERS)
    assert stage.dispatcher.stats().statuses_published == 2
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_message_that_nobody_can_be_told_about_is_logged_and_acknowledged(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    link = stage.connect()
    stage.dispatcher.on_messages([Message("argo/workflows/trigger", b"no json", 9, 9)])
    await until(lambda: link.acknowledged == [9])
    assert link.published == []
    assert stage.dispatcher.stats().unanswerable == 1
    assert "trigger_unanswerable" in [record.__dict__.get("event") for record in caplog.records]


async def test_an_unreachable_broker_is_told_once_and_again_after_a_connection(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(3):
        stage.dispatcher.on_down(DOWN)
    stage.connect()
    for _ in range(3):
        stage.dispatcher.on_down(DOWN)
    events = [record.__dict__["event"] for record in caplog.records]
    assert events == ["broker_unreachable", "broker_connected", "broker_disconnected", "broker_unreachable"]


async def test_another_reason_why_the_broker_is_unreachable_is_told(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    for reason in ("refused", "refused", "no answer", "no answer"):
        stage.dispatcher.on_down(Unavailable("mqtt://broker.example", reason))
    assert [line.rpartition(": ")[2] for line in caplog.messages] == ["refused", "no answer"]


async def test_each_address_is_told_once_though_they_take_turns(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(6):
        stage.dispatcher.on_down(Unavailable(f"mqtt://broker-{number % 2}.example", "refused"))
    assert [line.split(": ")[1] for line in caplog.messages] == ["mqtt://broker-0.example", "mqtt://broker-1.example"]


async def test_a_broker_that_refuses_us_is_an_error(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.dispatcher.on_down(Denied("mqtt://broker.example", "user name or password is wrong"))
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_the_drain_answers_what_was_received_and_takes_nothing_more(stage: Stage) -> None:
    link = stage.connect()
    stage.engine.gate.clear()
    stage.dispatcher.on_messages([trigger("a", 1)])
    stage.dispatcher.report([status("old")])
    draining = asyncio.create_task(stage.dispatcher.drain())
    await turns()
    stage.dispatcher.on_messages([trigger("b", 2)])
    stage.engine.gate.set()
    await until(lambda: len(link.published) == 3)
    for publication in list(link.published):
        await turns()
        assert not draining.done()
        stage.answer(publication)
    await asyncio.wait_for(draining, DEADLINE_S)
    assert link.acknowledged == [1]
    assert [order.name for order in stage.engine.orders] == ["a"]


async def test_the_drain_does_not_wait_for_a_broker_that_is_gone(stage: Stage) -> None:
    stage.connect(room=0)
    stage.dispatcher.report([status("a")])
    draining = asyncio.create_task(stage.dispatcher.drain())
    await turns()
    stage.dispatcher.on_down(DOWN)
    await asyncio.wait_for(draining, DEADLINE_S)


async def test_triggers_are_taken_to_the_engine_side_by_side_up_to_the_limit() -> None:
    stage = Stage(max_concurrent=3)
    running = asyncio.create_task(stage.dispatcher.run())
    stage.connect()
    stage.engine.gate.clear()
    stage.dispatcher.on_messages([trigger(name, number) for number, name in enumerate("abcd", 1)])
    await until(lambda: len(stage.engine.orders) == 2)
    await turns()
    assert len(stage.engine.orders) == 2, "the last place is for another gateway"
    stage.dispatcher.on_messages([trigger(name, number, agent="gw-2") for number, name in enumerate("ef", 5)])
    await until(lambda: len(stage.engine.orders) == 3)
    await turns()
    assert [order.name for order in stage.engine.orders] == ["a", "b", "e"]
    stage.engine.gate.set()
    await until(lambda: len(stage.link.published) == 6)
    running.cancel()


async def test_a_message_delivered_again_is_no_first_attempt_whatever_it_says(stage: Stage) -> None:
    stage.connect()
    stage.dispatcher.on_messages([trigger("a", 1), trigger("b", 2, duplicate=True)])
    await until(lambda: len(stage.engine.orders) == 2)
    assert [order.attempt for order in stage.engine.orders] == [1, 0]


# What is sent beside responses.


async def test_a_message_is_sent_behind_the_responses_and_told_when_the_broker_has_it(stage: Stage) -> None:
    link = stage.connect(room=0)
    taken: list[PublishOutcome] = []
    stage.dispatcher.send("edgeagent/dispatch/edgeagent/a", b"{}", retain=True, on_taken=taken.append)
    stage.dispatcher.on_messages([trigger("a", 1)])
    await until(lambda: len(stage.engine.orders) == 1)
    await turns()
    link.room = 2
    stage.dispatcher.on_room()
    response, message = link.published
    assert response.topic == "argo/workflows/response/gw-1"
    assert (message.topic, message.payload, message.retain, message.qos) == (
        "edgeagent/dispatch/edgeagent/a",
        b"{}",
        True,
        1,
    )
    assert taken == []
    stage.answer(message, NOT_AUTHORIZED)
    assert taken == [publish_outcome(NOT_AUTHORIZED)]
    assert link.acknowledged == []


async def test_a_message_is_sent_again_until_a_broker_has_answered_it(stage: Stage) -> None:
    taken: list[PublishOutcome] = []
    for number in range(3):
        stage.dispatcher.send(f"topic/{number}", b"{}", on_taken=taken.append)
    first = stage.connect(room=2)
    stage.answer(first.published[0])
    stage.dispatcher.on_down(DOWN)
    second = stage.connect()
    assert [publication.topic for publication in second.published] == ["topic/1", "topic/2"]
    for publication in list(second.published):
        stage.answer(publication)
    assert taken == [TAKEN] * 3


async def test_the_drain_waits_for_messages_that_the_broker_has_not_answered(stage: Stage) -> None:
    link = stage.connect()
    stage.dispatcher.send("topic", b"")
    draining = asyncio.create_task(stage.dispatcher.drain())
    await turns()
    assert not draining.done()
    stage.answer(link.published[0])
    await asyncio.wait_for(draining, DEADLINE_S)


class Listener:
    """Takes what is on `edgeagent/`, and has one more thing to tell at the end."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.told: list[object] = []

    def on_up(self) -> None:
        """See `dispatcher.Listener`."""
        self.told.append("up")
        self.stage.dispatcher.send("edgeagent/dispatch/edgeagent/a", b"{}", retain=True)

    def on_down(self) -> None:
        """See `dispatcher.Listener`."""
        self.told.append("down")

    def on_messages(self, messages: Sequence[Message]) -> Sequence[Message]:
        """See `dispatcher.Listener`."""
        self.told += [message.topic for message in messages if message.topic.startswith("edgeagent/")]
        return [message for message in messages if not message.topic.startswith("edgeagent/")]

    async def drain(self) -> None:
        """See `dispatcher.Listener`."""
        self.stage.dispatcher.send("edgeagent/dispatch/edgeagent/a", b"", retain=True)


async def test_who_shares_the_connection_gets_its_messages_and_has_the_last_word(stage: Stage) -> None:
    listener = Listener(stage)
    stage.dispatcher.share_with(listener)
    link = stage.connect()
    stage.dispatcher.on_messages([trigger("a", 1), Message("edgeagent/x", b""), trigger("b", 3)])
    await until(lambda: len(link.published) == 3)
    draining = asyncio.create_task(stage.dispatcher.drain())
    for publication in list(link.published):
        stage.answer(publication)
    await until(lambda: len(link.published) == 4)
    assert link.published[-1].payload == b""
    assert not draining.done()
    stage.answer(link.published[-1])
    await asyncio.wait_for(draining, DEADLINE_S)
    stage.dispatcher.on_messages([Message("edgeagent/y", b"")])
    stage.dispatcher.on_down(DOWN)
    assert listener.told == ["up", "edgeagent/x", "edgeagent/y", "down"]
    assert link.acknowledged == [1, 3]
    assert stage.dispatcher.stats().received == 2
