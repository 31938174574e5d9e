from __future__ import annotations

import asyncio

import pytest

from edgeagent.dispatcher.cursor import cursor_payload, unix_s
from edgeagent.errors import EngineUnavailable
from edgeagent.ports.link import Message
from edgeagent.wire import topics
from tests.fakes.statuses_bench import NOON_S, QUICK, Engine, at, running
from tests.waiting import DEADLINE_S

pytestmark = pytest.mark.virtual_time


async def test_a_leader_publishes_each_change_of_a_workflow() -> None:
    engine = Engine()
    async with running(engine) as bench:
        bench.lead()
        await bench.until(lambda: engine.watches and bench.counted.lists, "followed")
        for phase in ("", "Running"):
            engine.put("w", phase)
        engine.put("w", "Succeeded", ended=at(1))
        expected = [("w", "Pending"), ("w", "Running"), ("w", "Succeeded")]
        await bench.published(*expected)
        assert bench.wire.statuses() == bench.wire.statuses("argo/workflows/status/gw-1") == expected


async def test_who_does_not_lead_publishes_nothing_until_the_leader_is_gone() -> None:
    engine = Engine()
    engine.put("running", "Running")
    async with running(engine, "b") as bench:
        bench.statuses.on_up()
        bench.hear(topics.presence_topic("g", "a"), b"x")
        bench.echo()
        await bench.until(lambda: bench.counted.active == {"running"}, "the standby knows what is unfinished")
        engine.put("done", "Succeeded", ended=at(1))
        await bench.until(lambda: bench.counted.lists, "a list")
        assert bench.wire.statuses() == []
        assert not bench.statuses.stats().leading
        bench.hear(topics.presence_topic("g", "a"), b"")
        await bench.published(("running", "Running"), ("done", "Succeeded"))


async def test_what_finished_while_every_dispatcher_was_down_is_published_from_the_cursor_on() -> None:
    engine = Engine()
    for name, second in (("told", 100), ("margin", 250), ("missed", 350)):
        engine.put(name, "Succeeded", ended=at(second))
    engine.archive["removed"] = engine.made("removed", "Failed", ended=at(400))
    engine.put("running", "Running")
    async with running(engine) as bench:
        bench.hear(topics.cursor_topic("g", "plant"), cursor_payload(NOON_S + 300))
        bench.lead()
        await bench.published(
            ("margin", "Succeeded"), ("missed", "Succeeded"), ("removed", "Failed"), ("running", "Running")
        )


async def test_without_a_cursor_everything_there_is_is_published_once() -> None:
    engine = Engine()
    names = [f"w{second}" for second in range(300)]
    for second, name in enumerate(names):
        engine.put(name, "Succeeded", ended=at(second))
    async with running(engine) as bench:
        bench.lead()
        await bench.published(*((name, "Succeeded") for name in names))
        await bench.until(lambda: bench.cursors()[-1:] == ["2026-03-20T12:04:59.000Z"], "a cursor at the newest")
        assert len(bench.wire.statuses()) == len(names)


async def test_an_empty_cursor_message_makes_the_next_leader_publish_everything() -> None:
    engine = Engine()
    engine.put("old", "Succeeded", ended=at(1))
    async with running(engine) as bench:
        bench.hear(topics.cursor_topic("g", "plant"), cursor_payload(NOON_S + 3000))
        bench.hear(topics.cursor_topic("g", "plant"), b"")
        bench.lead()
        await bench.published(("old", "Succeeded"))


async def test_a_cursor_that_cannot_be_read_counts_as_none(caplog: pytest.LogCaptureFixture) -> None:
    engine = Engine()
    engine.put("old", "Succeeded", ended=at(1))
    async with running(engine) as bench:
        bench.hear(topics.cursor_topic("g", "plant"), b"{}")
        bench.hear(topics.cursor_topic("g", "elsewhere"), b"{}")
        bench.lead()
        await bench.published(("old", "Succeeded"))
    assert [getattr(record, "event", "") for record in caplog.records].count("status_cursor_malformed") == 1


async def test_the_cursor_waits_for_the_broker() -> None:
    engine = Engine()
    async with running(engine) as bench:
        bench.lead()
        await bench.until(lambda: bench.wire.taken, "the presence is taken")
        bench.wire.automatic = None
        engine.put("w", "Succeeded", ended=at(1))
        await bench.until(lambda: len(bench.wire.waiting) == 2, "the status is out")
        bench.wire.answer()
        await asyncio.sleep(0)
        assert bench.cursors() == []
        bench.wire.answer()
        await bench.until(lambda: bench.cursors() == ["2026-03-20T12:00:01.000Z"], "the cursor")
        engine.put("x", "Succeeded", ended=at(2))
        await bench.until(lambda: len(bench.wire.waiting) == 3, "the next status is out")
        bench.wire.waiting.append(bench.wire.waiting.pop(0))  # its answer comes before that of the cursor
        bench.wire.answer()
        bench.wire.answer()
        bench.statuses._namespaces["plant"].keep_cursor()
        assert len(bench.cursors()) == 1  # one at a time
        bench.wire.answer()
        await bench.until(lambda: len(bench.cursors()) == 2, "the next cursor")


async def test_the_cursor_stands_still_until_a_new_watch_has_brought_everything() -> None:
    engine = Engine()
    async with running(engine, pace=QUICK._replace(hold_s=1e6)) as bench:
        bench.lead()
        engine.put("w", "Succeeded", ended=at(1))
        await bench.published(("w", "Succeeded"))
        await bench.until(lambda: not bench.statuses.stats().pending and bench.counted.lists, "all is taken")
        await bench.statuses.drain()
        assert bench.cursors() == []


async def test_a_lost_connection_forgets_what_was_not_sent_and_the_next_lead_publishes_it() -> None:
    engine = Engine()
    async with running(engine) as bench:
        bench.lead()
        bench.statuses.on_down()
        assert not bench.statuses.stats().leading
        engine.put("w", "Succeeded", ended=at(1))
        await bench.until(lambda: engine.lists and engine.watches, "it follows all the same")
        assert bench.wire.statuses() == []
        bench.lead()
        await bench.published(("w", "Succeeded"))


async def test_who_has_lost_the_lead_publishes_nothing_more_of_what_waited() -> None:
    engine = Engine()
    for number in range(150):
        engine.put(f"w{number}", "Running")
    async with running(engine) as bench:
        await bench.until(lambda: len(bench.counted.active) == 150, "all are known")
        bench.lead()
        bench.wire.automatic = None
        await bench.until(lambda: len(bench.wire.waiting) >= 200, "all that may be unanswered")
        bench.hear(topics.presence_topic("g", "0"), b"x")
        while bench.wire.waiting:
            bench.wire.answer()
        assert len(bench.wire.statuses()) == 100


async def test_a_clean_stop_brings_out_what_is_pending_then_the_cursor_then_hands_over() -> None:
    engine = Engine()
    async with running(engine, pace=QUICK._replace(cursor_s=1e6)) as bench:
        bench.lead()
        await bench.until(lambda: bench.counted.lists, "a list")
        await bench.until(lambda: bench.wire.taken, "the presence is taken")
        bench.wire.automatic = None
        engine.put("w", "Succeeded", ended=at(1))
        await bench.until(lambda: len(bench.wire.waiting) == 2, "the status is out")
        drained = asyncio.create_task(bench.statuses.drain())
        await asyncio.sleep(0)
        engine.put("late", "Running")
        bench.wire.automatic = 0
        bench.wire.answer()
        bench.wire.answer()
        async with asyncio.timeout(DEADLINE_S):
            await drained
        last = bench.wire.taken[-2:]
        assert [item.topic for item in last] == [topics.cursor_topic("g", "plant"), topics.presence_topic("g", "a")]
        assert last[1].payload == b""
        assert last[1].retain
        assert bench.wire.statuses() == [("w", "Succeeded")]
        bench.hear(topics.presence_topic("g", "a"), b"")  # our own, which is no late will
        assert bench.wire.waiting == []


async def test_a_stop_without_a_connection_does_not_wait() -> None:
    async with running(Engine()) as bench:
        bench.lead()
        bench.wire.automatic = None
        bench.statuses.on_down()
        async with asyncio.timeout(DEADLINE_S):
            await bench.statuses.drain()


async def test_messages_of_others_are_given_back_in_order() -> None:
    async with running(Engine()) as bench:
        mine = [topics.presence_topic("g", "b"), topics.cursor_topic("g", "plant"), topics.STATUS_QUERY]
        others = [topics.TRIGGER, topics.presence_topic("other-group", "b"), f"{topics.TRIGGER}/gw-1"]
        mixed = [Message(topic, b"{}", 1, 1) for pair in zip(mine, others, strict=True) for topic in pair]
        assert [message.topic for message in bench.statuses.on_messages(mixed)] == others


async def test_presence_is_announced_with_a_will_that_takes_it_back() -> None:
    async with running(Engine()) as bench:
        bench.statuses.on_up()
        (announced,) = bench.wire.waiting
        will = bench.statuses.will
        assert announced.topic == will.topic == "edgeagent/dispatch/g/a"
        assert (announced.retain, will.retain, will.payload, will.delay_s) == (True, True, b"", 0)
        assert announced.payload
        assert {item.topic_filter: item.retained for item in bench.statuses.subscriptions} == {
            "edgeagent/dispatch/g/+": True,
            "edgeagent/dispatch/g/cursor/+": True,
            "argo/workflows/status/query": False,
        }


async def test_a_leader_that_cannot_see_the_engine_hands_over_and_is_present_again_when_it_can(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = Engine()
    presence = topics.presence_topic("g", "a")
    async with running(engine, pace=QUICK._replace(blind_s=0.02)) as bench:
        bench.lead()
        await bench.until(lambda: bench.counted.lists, "a list")
        engine.fail = EngineUnavailable("http://argo", "no route")
        engine.break_watch(engine.fail)
        await bench.until(lambda: [s.payload for s in bench.wire.taken if s.topic == presence][-1] == b"", "gone")
        assert not bench.statuses.stats().leading
        engine.fail = None
        await bench.until(lambda: [s.payload for s in bench.wire.taken if s.topic == presence][-1] != b"", "present")
        bench.echo()
        assert bench.statuses.stats().leading
        engine.put("w", "Running")
        await bench.published(("w", "Running"))
    told = [vars(entry)["event"] for entry in caplog.records if vars(entry).get("event") == "status_blind"]
    assert told == ["status_blind"]


async def test_a_final_status_that_the_broker_refuses_for_now_is_published_again_before_the_cursor_passes_it() -> None:
    engine = Engine()
    engine.put("done", "Succeeded", ended=at(100))
    async with running(engine) as bench:
        bench.lead()
        await bench.published(("done", "Succeeded"))
        await bench.until(bench.cursors, "a cursor")
        bench.wire.automatic = 0x97
        engine.put("later", "Failed", ended=at(200))
        await bench.until(lambda: bench.statuses.stats().refused == 2, "refused on both topics")
        await bench.until_later(lambda: bench.wire.statuses().count(("later", "Failed")) >= 2, "published again")
        assert bench.statuses.stats().pending == 1
        assert unix_s(bench.cursors()[-1]) == NOON_S + 100
        bench.wire.automatic = 0x00
        await bench.until_later(lambda: not bench.statuses.stats().pending, "taken")
        await bench.until(lambda: unix_s(bench.cursors()[-1]) == NOON_S + 200, "the cursor passes it")


async def test_a_cursor_that_the_broker_refuses_for_now_is_published_again() -> None:
    engine = Engine()
    engine.put("done", "Succeeded", ended=at(100))
    async with running(engine) as bench:
        bench.lead()
        bench.wire.automatic = 0x97
        await bench.until(lambda: bench.statuses.stats().refused >= 2, "refused")
        bench.wire.answered_topics = {topics.STATUS: 0, "argo/workflows/status/gw-1": 0}
        await bench.until_later(lambda: len(bench.cursors()) >= 3, "published again")


async def test_a_status_that_the_broker_refuses_for_an_hour_is_lost_and_told(caplog: pytest.LogCaptureFixture) -> None:
    engine = Engine()
    async with running(engine) as bench:
        bench.lead()
        await bench.until(lambda: engine.watches and bench.counted.lists, "followed")
        bench.wire.automatic = 0x97
        engine.put("\x1bw", "Failed", ended=at(200))
        await bench.until_later(lambda: bench.statuses.stats().lost, "given up")
        assert bench.statuses.stats().refused > 20
    (record,) = [each for each in caplog.records if each.levelname == "ERROR" and "is lost" in each.getMessage()]
    assert "\x1b" not in record.getMessage()
