from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest

from edgeagent.agent import watch as watch_module
from edgeagent.agent.clock import Clock
from edgeagent.agent.prepared import Prepared
from edgeagent.agent.recent_changes import MAX_CHANGES
from edgeagent.agent.watch import Subscriber, Watch
from edgeagent.events.event import Record
from edgeagent.ports.watch import StreamQuery, StreamUpdate
from edgeagent.rules.ruleset import RuleSet
from edgeagent.rules.spec import RuleSpec
from edgeagent.rules.trigger import correlation_id
from edgeagent.wire.messages import State
from tests.fakes.ledgers import life
from tests.waiting import turns, until

pytestmark = pytest.mark.virtual_time


class Scene:
    """A watch over figures that the test sets. `asked`: how often they were asked for."""

    def __init__(self) -> None:
        rules = [
            msgspec.convert({"name": name, "namespace": "plant", "template": "t", "track": track}, RuleSpec)
            for name, track in (("overheat", True), ("quiet", False))
        ]
        self.figures: dict[str, Any] = {"pending": 0}
        self.asked = 0
        self.woken = asyncio.Event()
        self.watch = Watch("gw-1", RuleSet(rules), Clock(), self._stats)

    def _stats(self) -> dict[str, Any]:
        self.asked += 1
        return dict(self.figures)

    def subscribe(self, source: str = "", after: int | None = None) -> Subscriber:
        """Somebody who watches."""
        return self.watch.subscribe(StreamQuery(source, after), self.woken.set)

    async def news(self, subscriber: Subscriber) -> list[StreamUpdate]:
        """Wait until there is something to take, and take it."""
        taken: list[StreamUpdate] = []

        def some() -> bool:
            taken.extend(subscriber.take())
            return bool(taken)

        await until(some)
        return taken


def kinds(news: list[StreamUpdate]) -> list[str]:
    return [one.kind for one in news]


def states(news: list[StreamUpdate]) -> list[str]:
    return [json.loads(one.data)["state"] for one in news if one.kind == "trigger"]


def prepared(event_id: str, *rules: str, is_stored: bool = True) -> Prepared:
    record = Record("gw-1", "boiler", event_id, "event", "now", b"{}", True, rules, 1, 1) if is_stored else None
    return Prepared(event_id, "boiler", rules, record, b"", b"", high=False, duplicate=not is_stored)


async def test_a_subscriber_gets_the_figures_at_once_and_then_each_change_in_order() -> None:
    scene = Scene()
    subscriber = scene.subscribe()
    assert kinds(await scene.news(subscriber)) == ["stats"]
    for state in (State.PUBLISHED, State.TRIGGERED, State.SUCCEEDED):
        scene.watch.changed(life("a", state))
    await scene.woken.wait()
    news = await scene.news(subscriber)
    assert states(news) == ["published", "triggered", "succeeded"]
    assert [one.number for one in news if one.kind == "trigger"] == [
        scene.watch.changes.newest - 2,
        scene.watch.changes.newest - 1,
        scene.watch.changes.newest,
    ]
    subscriber.close()


async def test_accepted_triggers_are_told_as_buffered_except_those_that_are_not_followed() -> None:
    scene = Scene()
    subscriber = scene.subscribe()
    await scene.news(subscriber)
    scene.watch.stored([prepared("e-1", "overheat", "quiet"), prepared("e-2", "overheat", is_stored=False)])
    [told] = [json.loads(one.data) for one in await scene.news(subscriber) if one.kind == "trigger"]
    assert told["correlation_id"] == correlation_id("gw-1", "boiler", "e-1", "overheat")
    assert (told["id"], told["state"], told["namespace"]) == ("e-1", "buffered", "plant")
    subscriber.close()


async def test_only_the_asked_source_is_told() -> None:
    scene = Scene()
    subscriber = scene.subscribe(source="pump")
    scene.watch.changed(life("a"))
    scene.watch.changed(life("b", source="pump"))
    told = [json.loads(one.data) for one in await scene.news(subscriber) if one.kind == "trigger"]
    assert [one["correlation_id"] for one in told] == ["b"]
    subscriber.close()


async def test_nothing_is_made_while_nobody_subscribes() -> None:
    scene = Scene()
    loop = asyncio.get_running_loop()
    before = len(loop._scheduled)  # type: ignore[attr-defined]
    for number in range(10):
        scene.watch.changed(life(str(number)))
        scene.watch.stored([prepared(str(number), "overheat")])
        scene.watch.link_changed()
    assert scene.asked == 0
    assert len(loop._scheduled) == before, "not even a timer"  # type: ignore[attr-defined]
    assert scene.watch.changes._kept == {}
    scene.subscribe().close()
    assert [timer for timer in loop._scheduled[before:] if not timer.cancelled()] == []  # type: ignore[attr-defined]


async def test_one_who_comes_back_gets_what_he_missed() -> None:
    scene = Scene()
    first = scene.subscribe()
    scene.watch.changed(life("a"))
    number = (await scene.news(first))[-1].number
    first.close()
    scene.watch.changed(life("b"))
    scene.watch.changed(life("c"))
    again = scene.subscribe(after=number)
    news = await scene.news(again)
    assert "gap" not in kinds(news)
    assert [json.loads(one.data)["correlation_id"] for one in news if one.kind == "trigger"] == ["b", "c"]
    again.close()


async def test_one_who_comes_back_too_late_is_told_that_there_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "_REMEMBER_S", -1.0)
    scene = Scene()
    first = scene.subscribe()
    scene.watch.changed(life("a"))
    number = (await scene.news(first))[-1].number
    first.close()
    scene.watch.changed(life("b"))
    again = scene.subscribe(after=number)
    scene.watch.changed(life("c"))
    news = await scene.news(again)
    assert kinds(news)[:2] == ["gap", "trigger"]
    assert json.loads(news[0].data) == {"after": number, "resumed": number + 1}
    again.close()


@pytest.mark.real_time
async def test_a_number_of_an_earlier_process_is_a_gap_and_not_a_place() -> None:
    before = Scene()
    first = before.subscribe()
    number = (await before.news(first))[-1].number
    first.close()
    await asyncio.sleep(0.002)  # a later process starts later
    after = Scene()
    subscriber = after.subscribe(after=number)
    news = await after.news(subscriber)
    assert news[0].kind == "gap"
    assert news[0].number > number
    subscriber.close()


async def test_one_who_reads_too_slowly_costs_nothing_and_is_told_of_the_gap() -> None:
    scene = Scene()
    slow = scene.subscribe()
    await scene.news(slow)
    for number in range(MAX_CHANGES + 100):
        scene.watch.changed(life(str(number)))
    assert len(scene.watch.changes._kept) == MAX_CHANGES
    news = list(await scene.news(slow))
    assert news[0].kind == "gap"
    while part := slow.take():
        news += part
    assert len(states(news)) == MAX_CHANGES
    slow.close()


async def test_figures_are_told_when_they_changed_and_no_more_often_than_each_second() -> None:
    scene = Scene()
    subscriber = scene.subscribe()
    await scene.news(subscriber)
    scene.figures["pending"] = 1
    scene.watch.changed(life("a"))
    assert kinds(await scene.news(subscriber)) == ["trigger"], "a second has not passed"
    assert kinds(await scene.news(subscriber)) == ["stats"]
    assert scene.asked == 2
    scene.watch.link_changed()
    scene.woken.clear()
    await scene.woken.wait()
    assert subscriber.take() == [], "they are as they were"
    subscriber.close()


async def test_a_change_of_the_link_is_told_at_once() -> None:
    scene = Scene()
    subscriber = scene.subscribe()
    await scene.news(subscriber)
    scene.figures["connected"] = False
    scene.woken.clear()
    scene.watch.link_changed()
    await turns(5)
    assert scene.woken.is_set()
    assert kinds(list(subscriber.take())) == ["stats"]
    subscriber.close()
