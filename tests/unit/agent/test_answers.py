from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from edgeagent.agent.answers import PART_MESSAGES
from edgeagent.errors import StorageFailed
from edgeagent.outbox.records import DEAD
from edgeagent.outbox.search import find
from edgeagent.rules.trigger import correlation_id
from edgeagent.wire.lifecycle import Life
from edgeagent.wire.messages import State
from tests.fakes.answering import AGENT, RESPONSE, STATUS, Scene, scene

pytestmark = pytest.mark.virtual_time

BEYOND = 10**30


def replies(here: Scene) -> list[tuple[str, int, Any]]:
    """Topic, QoS and content of each answer to a status."""
    return [
        (publication.topic, publication.qos, json.loads(publication.payload))
        for publication in here.link.published
        if publication.token == 0
    ]


def size_of(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())


RECEIVED = {"code": 200, "status": "Status update received successfully"}


async def test_an_answer_with_a_number_beyond_every_machine_is_one_bad_message_and_the_next_one_counts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with scene(tmp_path) as here:
        here.up()
        [first, second] = await here.published(2)
        bad = {"code": BEYOND, "retryable": False, "error": "x"}
        await here.hear(here.response(first, **bad), here.response(second, code=400, retryable=False, error="no"))
        await here.until(lambda: here.outbox.health.account.dead == 1, "a dead letter")
        assert (await here.report(first)).state is State.PUBLISHED
        assert (await here.report(second)).state is State.REJECTED
        assert (here.answers.counts.malformed, here.answers.counts.responses) == (1, 1)
        [dead] = await find(here.outbox, DEAD, lambda _: True, 10)
        assert dead.moved is not None
        assert (dead.moved.code, dead.moved.reason) == (400, "no")
    assert [vars(entry)["event"] for entry in caplog.records].count("downlink_malformed") == 1


@pytest.mark.slow
async def test_statuses_with_a_megabyte_of_text_leave_the_state_directory_small(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        here.up()
        names = await here.published(100)
        messages = [here.status(name, "Failed") for name in names]
        long = [
            here.message(message.topic, {**json.loads(message.payload), "message": "x" * 200_000})
            for message in messages
        ]
        refused = [
            here.message(message.topic, {**json.loads(message.payload), "message": "x" * 1_024_000})
            for message in messages
        ]
        await here.hear(*long)
        await here.hear(*refused)
        assert here.answers.counts.malformed == len(refused)
        assert (await here.report(names[0])).message == "x" * 1024
    assert size_of(tmp_path) < 3 << 20


async def test_an_answer_is_given_below_the_prefix_once_at_qos_0_after_the_acknowledgement(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        here.up()
        [name] = await here.published(1)
        here.link.published.clear()
        asking: dict[str, Any] = {"response_topic": "argo/workflows/response/monitor", "correlation_data": b"7"}
        told = here.status(name, "Running", **asking)
        here.answers.received(here.link, [told])
        await here.chores.idle()
        assert replies(here) == [], "it is not acknowledged yet"
        await here.ledger.committed()
        assert here.link.acknowledged == [told]
        assert replies(here) == [("argo/workflows/response/monitor", 0, RECEIVED)]
        assert here.link.published[0].correlation_data == b"7"
        await here.hear(here.status(name, "Running", duplicate=True, **asking))
        assert len(replies(here)) == 1
        assert here.answers.counts.replies_refused == 0


@pytest.mark.parametrize(
    "topic",
    [
        "$SYS/x",
        "somewhere/else",
        "argo/workflows/response",
        "argo/workflows/response/",
        "argo/workflows/responses/x",
        "argo/workflows/response/x/",
        "argo/workflows/response//x",
        "argo/workflows/response/+",
        "argo/workflows/response/#",
        "argo/workflows/response/a\x00b",
        "argo/workflows/response/a\x1bb",
        "argo/workflows/response/" + "x" * 300,
        "argo/workflows/response/" + "/".join("x" * 200),
        "argo/workflows/trigger",
        RESPONSE,
    ],
)
async def test_no_other_topic_is_obeyed_and_that_is_counted_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, topic: str
) -> None:
    async with scene(tmp_path) as here:
        here.up()
        [name] = await here.published(1)
        for status in ("Running", "Succeeded", "nonsense"):
            await here.hear(here.status(name, status, response_topic=topic))
        assert replies(here) == []
        assert here.answers.counts.replies_refused == 3
        assert (await here.report(name)).state is State.SUCCEEDED
    assert [vars(entry)["event"] for entry in caplog.records].count("reply_refused") == 1


async def test_on_a_shared_topic_only_statuses_of_ours_are_answered(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        here.up()
        [name] = await here.published(1)
        topic = "argo/workflows/response/monitor"
        for told in (here.status(name), here.status("another"), here.message(STATUS, b"nonsense")):
            shared = here.message("argo/workflows/status", told.payload, response_topic=topic)
            await here.hear(shared)
        assert replies(here) == [(topic, 0, RECEIVED)]
        await here.hear(here.message(STATUS, b"nonsense", response_topic=topic))
        assert replies(here)[1:] == [(topic, 0, {"code": 400, "error": "Invalid status update format"})]


async def test_an_agents_answer_to_a_status_that_comes_to_another_agent_ends_nothing_there(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        here.up()
        [name] = await here.published(1)
        for content in (RECEIVED, {"code": 400, "error": "Invalid status update format"}):
            await here.hear(here.message(RESPONSE, content, correlation_data=name.encode()))
        assert here.answers.counts.malformed == 2
        assert (await here.report(name)).state is State.PUBLISHED
        assert here.outbox.health.account.pending == 1


async def test_when_the_link_has_no_room_an_answer_is_left_out(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        link = here.up()
        [name] = await here.published(1)
        link.published.clear()
        link.room = 0
        await here.hear(here.status(name, response_topic="argo/workflows/response/monitor"))
        assert link.published == []


async def test_while_the_ledger_fails_there_is_one_retry_however_many_answers_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(tmp_path) as here:
        here.up()
        names = await here.published(4)
        retries: list[asyncio.TimerHandle] = []
        loop = asyncio.get_running_loop()
        call_later = loop.call_later

        def noted(delay_s: float, *call: Any) -> asyncio.TimerHandle:
            retries.append(call_later(delay_s, *call))
            return retries[-1]

        async def refuse(_: str) -> None:
            raise StorageFailed("read", "ledger.db", "no answer")

        with monkeypatch.context() as failing:
            failing.setattr(loop, "call_later", noted)
            failing.setattr(here.ledger, "get", refuse)
            for name in names:
                here.answers.received(here.link, [here.response(name, code=200)])
                await here.chores.idle()
        assert len([retry for retry in retries if not retry.cancelled()]) == 1
        await here.until(lambda: len(here.link.acknowledged) == 4, "all of them, when it works again")


async def test_what_is_kept_is_acknowledged_before_all_that_one_read_brought_is_processed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(tmp_path) as here:
        here.up()
        messages = [here.response(name, code=200) for name in await here.published(PART_MESSAGES)]
        last = here.status("0" * 32, "Running")  # of an earlier trigger; the ledger is asked
        known = here.ledger.get

        async def refuse_last(name: str) -> Any:
            if name == "0" * 32:
                raise StorageFailed("read", "ledger.db", "no answer")
            return await known(name)

        with monkeypatch.context() as failing:
            failing.setattr(here.ledger, "get", refuse_last)
            here.answers.received(here.link, [*messages, last])
            await here.chores.idle()
            await here.ledger.committed()
            assert here.link.acknowledged == messages
        await here.until(lambda: len(here.link.acknowledged) > PART_MESSAGES, "the last, when it works again")


async def test_a_trigger_that_left_while_the_ledger_failed_has_its_state_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(tmp_path) as here:
        here.up()
        [answered, started] = await here.published(2)
        # Nothing is known of them but that they are in flight, as after a start.
        here.ledger._changed.clear()

        async def refuse(_: str) -> None:
            raise StorageFailed("read", "ledger.db", "no answer")

        with monkeypatch.context() as failing:
            failing.setattr(here.ledger, "get", refuse)
            here.answers.received(here.link, [here.response(answered, code=200), here.status(started, "Running")])
            await here.until(lambda: here.outbox.health.account.settled == 2, "both to leave")
        await here.until(lambda: len(here.link.acknowledged) == 2, "both, when it works again")
        assert (await here.report(answered)).state is State.TRIGGERED
        assert (await here.report(started)).state is State.RUNNING


async def test_an_answer_that_comes_before_its_trigger_is_taken_up_again_settles_it_with_its_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a crash: the session brings the answer at once, and the ledger is read while the outbox is."""
    async with scene(tmp_path) as here:
        here.up()
        early = correlation_id(AGENT, "boiler-1", "e-1", "all")
        asked, read, get = asyncio.Event(), asyncio.Event(), here.ledger.get

        async def slow(name: str) -> Life | None:
            asked.set()
            await read.wait()
            return await get(name)

        monkeypatch.setattr(here.ledger, "get", slow)
        hearing = asyncio.create_task(here.hear(here.response(early, code=200, workflowId="w", namespace="plant")))
        await asked.wait()
        monkeypatch.setattr(here.ledger, "get", get)
        assert await here.accept(1) == [early]
        await here.until(lambda: bool(here.of("argo/workflows/trigger")), "the trigger")
        read.set()
        await hearing
        await here.until(lambda: here.outbox.health.account.settled == 1, "its end")
        assert (await here.report(early)).state is State.TRIGGERED
