"""The dispatcher's webhooks, and the cursor that waits for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from edgeagent.common.elapsed import Instant
from edgeagent.common.units import Duration
from edgeagent.config.tables import DispatcherWebhook
from edgeagent.dispatcher.cursor import cursor_payload, unix_s
from edgeagent.dispatcher.webhooks import MAX_DELIVERIES, StatusWebhooks
from edgeagent.webhooks import deliveries
from edgeagent.wire import topics
from edgeagent.wire.messages import Status
from tests.ending import end
from tests.fakes.statuses_bench import NOON_S, Bench, Engine, at, running
from tests.fakes.webhook_receiver import HANG, WebhookEndpoint
from tests.waiting import turns, until


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short waits between tries; how long they are is tested without a clock."""
    for name in ("BASE_S", "CAP_S", "_DELIVERY_CAP_S"):
        monkeypatch.setattr(deliveries, name, 0.02)


def table(url: str, **keys: Any) -> DispatcherWebhook:
    return DispatcherWebhook(url=url, **keys)


def status(name: str, phase: Any = "Failed", **members: Any) -> Status:
    return Status("plant", name, phase, agent="gw-1", **members)


@asynccontextmanager
async def posting(*tables: DispatcherWebhook, now_ms: Callable[[], int] = lambda: 0) -> AsyncIterator[StatusWebhooks]:
    webhooks = StatusWebhooks(tables, "g", instant=lambda: Instant(now_ms(), now_ms(), b"process"))
    tasks = [asyncio.create_task(work) for work in webhooks.tasks().values()]
    try:
        yield webhooks
    finally:
        for task in tasks:
            assert not task.done()
            await end(task)


def cursor_s(bench: Bench) -> float | None:
    cursors = bench.cursors()
    return unix_s(cursors[-1]) if cursors else None


async def test_a_status_goes_to_who_wants_it_as_he_wants_it() -> None:
    async with WebhookEndpoint() as all_of_it, WebhookEndpoint() as chat:
        tables = (
            table(all_of_it.url),
            table(chat.url, states=("failed",), agent="gw-*", body='{"text": "{workflowId}: {state} {finishedAt}"}'),
        )
        async with posting(*tables) as webhooks:
            done = list[str]()
            webhooks.put(status("w-1", "Running"), lambda: done.append("running"))
            webhooks.put(status("w-1", "Failed", finished_at="2026-03-20T12:00:00Z"), lambda: done.append("failed"))
            await until(lambda: sorted(done) == ["failed", "running"], "both done")
        assert [request.content["status"] for request in all_of_it.requests] == ["Running", "Failed"]
        (request,) = chat.requests
        assert request.content == {"text": "w-1: failed 2026-03-20T12:00:00Z"}
        assert request.headers["ce-type"] == "io.edgeagent.workflow.failed"
        assert request.headers["ce-source"] == "/edgeagent/dispatchers/g"
        assert request.headers["ce-subject"] == "plant/w-1"
        assert request.headers["ce-time"] == "2026-03-20T12:00:00Z"


async def test_the_cursor_does_not_pass_a_final_status_before_it_is_posted() -> None:
    engine = Engine()
    engine.put("first", "Succeeded", ended=at(100))
    async with (
        WebhookEndpoint() as endpoint,
        posting(table(endpoint.url)) as webhooks,
        running(engine, webhooks=webhooks) as bench,
    ):
        bench.lead()
        await bench.until(lambda: cursor_s(bench) == NOON_S + 100, "a cursor")
        endpoint.answers = [503]
        engine.put("later", "Failed", ended=at(200))
        await endpoint.until(4)
        assert ("later", "Failed") in bench.wire.statuses()  # the statuses do not wait
        assert cursor_s(bench) == NOON_S + 100
        endpoint.answers = [200]
        await bench.until(lambda: cursor_s(bench) == NOON_S + 200, "the cursor passes it")


async def test_who_leads_next_posts_again_what_was_not_delivered() -> None:
    engine = Engine()
    async with WebhookEndpoint() as endpoint:
        endpoint.answers = [HANG]
        async with posting(table(endpoint.url)) as webhooks, running(engine, webhooks=webhooks) as bench:
            bench.lead()
            await bench.until(lambda: engine.watches and bench.counted.lists, "followed")
            for number in range(10):
                engine.put(f"w-{number}", "Succeeded", ended=at(100 + number))
            await until(lambda: endpoint.open == deliveries.AT_ONCE, "under way")
            kept = cursor_s(bench)
            assert kept is None or kept <= NOON_S + 100
        begun = {request.headers["webhook-id"] for request in endpoint.requests}
        endpoint.requests.clear()
        endpoint.answers = [200]
        async with posting(table(endpoint.url)) as webhooks, running(engine, "b", webhooks=webhooks) as bench:
            if kept is not None:
                bench.hear(topics.cursor_topic("g", "plant"), cursor_payload(kept))
            bench.lead()
            await bench.until(lambda: cursor_s(bench) == NOON_S + 109, "everything done")
        arrived = {request.content["workflowId"] for request in endpoint.requests}
        assert arrived == {f"w-{number}" for number in range(10)}
        assert begun <= {request.headers["webhook-id"] for request in endpoint.requests}


async def test_a_receiver_that_never_answers_holds_the_cursor_only_for_so_long(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine, now_ms = Engine(), 0
    async with WebhookEndpoint() as endpoint:
        endpoint.answers = [500]
        keys = {"give_up_after": Duration(60)}
        async with (
            posting(table(endpoint.url, **keys), now_ms=lambda: now_ms) as webhooks,
            running(engine, webhooks=webhooks) as bench,
        ):
            bench.lead()
            await bench.until(lambda: engine.watches and bench.counted.lists, "followed")
            engine.put("w", "Succeeded", ended=at(100))
            await endpoint.until(5)
            assert cursor_s(bench) is None
            now_ms = 60_000
            await bench.until(lambda: cursor_s(bench) == NOON_S + 100, "the cursor passes it")
            assert webhooks.outcomes["given_up"] == 1
    assert "webhook_given_up" in {record.__dict__.get("event") for record in caplog.records}


async def test_what_one_term_left_is_neither_posted_nor_told_in_the_next() -> None:
    async with WebhookEndpoint() as endpoint, posting(table(endpoint.url)) as webhooks:
        endpoint.answers = [HANG]
        done = list[str]()
        for number in range(10):
            webhooks.put(status(f"old-{number}"), lambda: done.append("old"))
        await until(lambda: endpoint.open == deliveries.AT_ONCE, "under way")
        webhooks.clear()
        assert webhooks.pending == 0
        endpoint.answers = [200]
        webhooks.put(status("new"), lambda: done.append("new"))
        assert webhooks.pending == 1
        await turns()
        assert done == []


async def test_what_waits_is_bounded_and_the_oldest_is_lost_and_told(caplog: pytest.LogCaptureFixture) -> None:
    webhooks = StatusWebhooks([table("http://127.0.0.1:9/"), table("http://127.0.0.1:9/", agent="other")], "g")
    done = list[int]()
    for number in range(MAX_DELIVERIES // 2 + 3):
        webhooks.put(status(f"w-{number}"), lambda number=number: done.append(number))  # type: ignore[misc]
    assert webhooks.pending == MAX_DELIVERIES // 2
    assert done == [0, 1, 2]
    assert webhooks.outcomes["dropped"] == 3
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 3


async def test_a_later_status_of_the_same_state_takes_the_place_of_one_that_waits() -> None:
    webhooks = StatusWebhooks([table("http://127.0.0.1:9/")], "g")
    done = list[str]()
    for progress in ("10%", "20%", "30%"):
        webhooks.put(status("w", "Running", progress=progress), lambda progress=progress: done.append(progress))  # type: ignore[misc]
    assert (webhooks.pending, done) == (1, ["10%", "20%"])
    (kept,) = await webhooks._deliveries.deliveries(webhooks._wanted[0].receiver, 0, 10)
    assert b"30%" in kept.payload


async def test_what_nobody_wants_is_done_at_once() -> None:
    webhooks = StatusWebhooks([table("http://127.0.0.1:9/", states=("failed",))], "g")
    done = list[str]()
    webhooks.put(status("w", "Running"), lambda: done.append("running"))
    assert (done, webhooks.pending) == (["running"], 0)
