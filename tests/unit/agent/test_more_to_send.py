"""The sender looks for more when an answer made room, and not when there is nothing that it may do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from edgeagent.agent.clock import Moment
from edgeagent.ports.link import Publication
from tests.fakes.answering import Scene, scene

pytestmark = pytest.mark.virtual_time


async def next_published(here: Scene, before: list[str]) -> str:
    """Wait for a trigger that was not published before, and let the broker take it; returns its correlation id."""
    await here.until(lambda: len(here.take()) > len(before), "another trigger")
    [name] = here.take() - {*before}
    before.append(name)
    return name


async def test_each_way_in_which_an_answer_ends_a_trigger_lets_the_next_one_go(tmp_path: Path) -> None:
    async with scene(tmp_path, max_unanswered=1) as here:
        here.up()
        promised = await here.accept(4)
        published: list[str] = []
        await here.hear(here.response(await next_published(here, published), code=200))
        await here.hear(here.response(await next_published(here, published), code=400, retryable=False, error="no"))
        await here.hear(here.status(await next_published(here, published)))
        await next_published(here, published)
        assert published == promised


async def test_a_trigger_that_the_engine_puts_off_is_sent_again_without_anything_else_happening(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as here:
        here.up()
        [name] = await here.published(1)
        here.link.published.clear()
        await here.hear(here.response(name, code=503, retryable=True, error="away"))
        await here.until(lambda: here.take() == {name}, "the same trigger")


async def test_answers_of_one_read_are_followed_by_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(tmp_path, max_unanswered=4) as here:
        here.up()
        first = await here.published(4)
        await here.accept(4)
        here.link.published.clear()
        writes: list[int] = []
        publish = here.link.publish

        def counted(publications: Sequence[Publication]) -> None:
            writes.append(len(publications))
            publish(publications)

        monkeypatch.setattr(here.link, "publish", counted)
        for name in first:
            entry = here.triggers.find(name)
            assert entry is not None
            here.triggers.settle(entry)
        await here.until(lambda: len(here.link.published) == 4, "the others")
        assert writes == [4]


async def test_a_sender_that_drains_does_not_turn_in_circles_over_a_parked_trigger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(tmp_path) as here:
        here.outbox.parked = 1
        await here.sender.drain()
        looks: list[Moment] = []
        moment = here.clock.moment

        def counted() -> Moment:
            looks.append(moment())
            return looks[-1]

        monkeypatch.setattr(here.clock, "moment", counted)
        here.up()
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(looks) == 1
