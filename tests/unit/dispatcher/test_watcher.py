from __future__ import annotations

import asyncio
from typing import cast

import pytest

from edgeagent.argo.wire import ListMetadata, Workflow, WorkflowList
from edgeagent.dispatcher.cursor import cursor_payload
from edgeagent.dispatcher.watcher import OWN, UNFINISHED, Sink, Watcher
from edgeagent.errors import EngineRefused, EngineUnavailable, WatchExpired
from edgeagent.wire import topics
from tests.fakes.statuses_bench import NOON_S, TIMING, Engine, at, running
from tests.waiting import DEADLINE_S

pytestmark = pytest.mark.virtual_time


async def test_unfinished_workflows_are_counted_by_whoever_leads() -> None:
    engine = Engine()
    engine.put("a", "Running")
    async with running(engine) as bench:  # never connected
        await bench.until(lambda: bench.counted.active == {"a"}, "the first one")
        await bench.until(lambda: engine.watches, "a watch")
        engine.put("b")
        await bench.until(lambda: bench.counted.active == {"a", "b"}, "a new one")
        engine.put("a", "Failed", ended=at(1))
        await bench.until(lambda: bench.counted.active == {"b"}, "one has finished")
        assert bench.statuses.stats().unfinished == 1


async def test_a_workflow_that_a_list_misses_and_nobody_finds_was_deleted() -> None:
    engine = Engine()
    earlier = engine.made("replaced", "Succeeded", ended=at(1), uid="an earlier one")
    for name in ("lost", "ended", "replaced"):
        engine.put(name, "Running")
    async with running(engine, timing=TIMING._replace(list_s=0.02)) as bench:
        bench.lead()
        running_ones = [(name, "Running") for name in ("lost", "ended", "replaced")]
        await bench.published(*running_ones)
        del engine.workflows["lost"], engine.workflows["ended"], engine.workflows["replaced"]
        engine.archive["ended"] = engine.made("ended", "Succeeded", ended=at(1))
        engine.archive["replaced"] = earlier
        await bench.published(*running_ones, ("lost", "Error"), ("ended", "Succeeded"), ("replaced", "Error"))
        assert UNFINISHED in engine.lists
        assert bench.counted.active == set()


async def test_a_closed_watch_is_opened_again_without_listing_everything_again() -> None:
    engine = Engine()
    async with running(engine) as bench:
        bench.lead()
        await bench.until(lambda: engine.watches == 1 and bench.counted.lists, "followed")
        lists = len(engine.lists)
        engine.break_watch(None)
        await bench.until(lambda: engine.watches == 2, "opened again")
        engine.break_watch(WatchExpired("argo"))
        await bench.until(lambda: engine.watches == 3, "opened again")
        assert len(engine.lists) == lists


async def test_after_a_time_without_a_watch_everything_is_listed_again() -> None:
    engine = Engine()
    async with running(engine, timing=TIMING._replace(gap_s=0.0)) as bench:
        bench.lead()
        engine.put("x", "Running")
        await bench.published(("x", "Running"))
        await bench.until(lambda: engine.watches == 1 and bench.counted.lists, "followed")
        lists = engine.lists.count(OWN)
        engine.break_watch(EngineUnavailable("argo", "gone"))
        engine.archive["w"] = engine.made("w", "Succeeded", ended=at(1))
        await bench.published(("x", "Running"), ("w", "Succeeded"))
        assert engine.lists.count(OWN) > lists


@pytest.mark.parametrize(
    ("error", "level", "event", "says"),
    [
        (EngineUnavailable("argo", "gone"), "WARNING", "engine_watch_unavailable", "gone"),
        (EngineRefused("argo", 401, "token not valid"), "ERROR", "engine_watch_refused", "engine.token_file"),
        (EngineRefused("argo", 403, "forbidden"), "ERROR", "engine_watch_refused", "service account"),
    ],
)
async def test_an_engine_that_does_not_answer_is_told_once_and_tried_until_it_does(
    caplog: pytest.LogCaptureFixture, error: Exception, level: str, event: str, says: str
) -> None:
    engine = Engine()
    engine.fail = error
    async with running(engine) as bench:
        bench.lead()
        await bench.until(lambda: len(engine.lists) > 5, "tried again and again")
        engine.fail = None
        engine.put("w", "Running")
        await bench.published(("w", "Running"))
    told = [record for record in caplog.records if getattr(record, "event", "") == event]
    assert [record.levelname for record in told] == [level]
    assert says in told[0].getMessage()


async def test_the_first_403_after_a_success_is_no_alarm_and_is_asked_again_soon(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = Engine()
    async with running(engine, timing=TIMING._replace(refused_s=3600.0)) as bench:
        bench.lead()
        engine.put("w", "Running")
        await bench.published(("w", "Running"))
        engine.break_watch(EngineRefused("argo", 403, "forbidden"))
        engine.put("w", "Succeeded")
        await bench.published(("w", "Running"), ("w", "Succeeded"))
    events = [record.__dict__["event"] for record in caplog.records if record.levelname in {"WARNING", "ERROR"}]
    assert events == ["engine_watch_refused_once"]


async def test_an_archive_too_large_to_list_does_not_stop_the_statuses(caplog: pytest.LogCaptureFixture) -> None:
    class Huge(Engine):
        async def list(self, namespace: str, *, labels: str, limit: int = 500) -> tuple[list[Workflow], str]:
            if labels == OWN:
                raise EngineUnavailable("argo", "the list has more than 400 pages")
            return await super().list(namespace, labels=labels, limit=limit)

    engine = Huge()
    async with running(engine) as bench:
        bench.lead()
        engine.put("w", "Succeeded", ended=at(1))
        await bench.until(bench.cursors, "the cursor moves all the same")
    told = [record for record in caplog.records if getattr(record, "event", "") == "status_list_failed"]
    assert [record.levelname for record in told] == ["ERROR"]


async def test_more_workflows_than_one_list_may_hold_are_followed_page_by_page() -> None:
    # 10,000 gateways that start ten workflows a day leave 700,000 in the archive within a week.
    pages = 1000

    class Long(Engine):
        async def list(self, namespace: str, *, labels: str, limit: int = 500) -> tuple[list[Workflow], str]:
            if labels == OWN:
                raise EngineUnavailable("argo", "the list has more than 400 pages")
            return await super().list(namespace, labels=labels, limit=limit)

        async def page(self, namespace: str, *, labels: str, limit: int, continue_: str) -> WorkflowList:
            if labels != OWN:
                return await super().page(namespace, labels=labels, limit=limit, continue_=continue_)
            number = int(continue_ or 1)
            if number < pages:
                return WorkflowList(ListMetadata(continue_=str(number + 1)))
            return WorkflowList(items=[*self.archive.values()])

    engine = Long()
    engine.archive["last"] = engine.made("last", "Succeeded", ended=at(1))
    async with running(engine) as bench:
        bench.hear(topics.cursor_topic("g", "plant"), cursor_payload(NOON_S))
        bench.lead()
        await bench.published(("last", "Succeeded"))


async def test_a_list_during_which_another_was_wanted_does_not_count_as_everything() -> None:
    class Leader:
        """Takes the lead in the middle of the first list."""

        def __init__(self) -> None:
            self.looks: list[bool] = []
            self.done = asyncio.Event()
            self.watcher: Watcher

        def seen(self, _: Workflow) -> None:
            if not self.looks:
                self.watcher.list_everything()

        def unfinished(self) -> dict[str, str]:
            return {}

        def interrupted(self) -> None:
            pass

        def listed(self, *, everything: bool) -> None:
            self.looks.append(everything)
            if len(self.looks) == 2:
                self.done.set()

    engine, sink = Engine(), Leader()
    engine.put("w", "Running")
    sink.watcher = Watcher(engine, "plant", cast(Sink, sink), TIMING)
    task = asyncio.create_task(sink.watcher._list())
    async with asyncio.timeout(DEADLINE_S):
        await sink.done.wait()
    task.cancel()
    assert sink.looks == [False, True]
