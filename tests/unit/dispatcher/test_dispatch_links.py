"""A link of any protocol will do: what is MQTT's alone is never looked at."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from edgeagent.config.tables import Allow, DispatcherConfig, EngineTable
from edgeagent.dispatcher import service
from edgeagent.links.session import BACKOFF_CAP_S
from edgeagent.ports.link import UNHEARD, Ack, Message, PublishRefused
from edgeagent.wire.messages import Status
from tests.fakes.dispatching import FakeLink, Stage, trigger
from tests.waiting import until

pytestmark = pytest.mark.virtual_time


class ReceiptLink(FakeLink):
    """Names its messages by texts, as Pub/Sub does, and delivers without packet ids, as AMQP does."""

    def __init__(self) -> None:
        super().__init__()
        self.receipts: list[int | str | None] = []

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """See `Link`."""
        self.receipts += [message.receipt for message in messages]


async def test_a_trigger_is_acknowledged_by_whatever_receipt_its_link_gave_it() -> None:
    stage, link = Stage(), ReceiptLink()
    running = asyncio.create_task(stage.dispatcher.run())
    stage.dispatcher.on_up(link, session_present=False)
    names = ("a", "b", "c")
    stage.dispatcher.on_messages(
        [msgspec.structs.replace(trigger(name, 0), receipt=f"projects/p/{name}") for name in names]
    )
    await until(lambda: len(link.published) == len(names))
    taken, refused, unheard = (publication.token for publication in link.published)
    answers = [Ack(taken), Ack(refused, PublishRefused(404, "no such topic (404)")), Ack(unheard, UNHEARD)]
    stage.dispatcher.on_acks(answers)
    assert link.receipts == ["projects/p/a", "projects/p/b", "projects/p/c"]
    stats = stage.dispatcher.stats()
    assert (stats.answered, stats.refused, stats.unheard) == ({200: 2}, 1, 1)
    running.cancel()


async def test_a_status_of_a_dry_run_that_the_broker_refuses_for_now_is_published_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgeagent.dispatcher.dispatcher._REST_S", 0.01)
    stage = Stage()
    link = stage.connect()
    stage.dispatcher.report([Status("plant", "w", phase) for phase in ("Running", "Succeeded")])
    for publication in tuple(link.published):
        stage.answer(publication, 0x97)
    await until(lambda: len(link.published) == 4, "both again")
    assert [content["status"] for content in stage.contents()] == ["Running", "Succeeded"] * 2
    for publication in link.published[2:]:
        stage.answer(publication)
    stats = stage.dispatcher.stats()
    assert (stats.refused, stats.statuses_published) == (2, 2)


async def test_dispatchers_are_back_before_the_gateways_that_wait_up_to_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(service, "keep_connected", lambda *_, **given: asked.append(given))
    allow = Allow(namespaces=("plant",), templates=("inspect",), operations=("stop",))
    async with contextlib.AsyncExitStack() as stack:
        parts = await service._compose(DispatcherConfig(engine=EngineTable(kind="dry-run"), allow=[allow]), stack)
        for task in parts.tasks.values():
            if task is not None:  # a link's, which is none here
                task.close()
    assert [given["cap_s"] <= BACKOFF_CAP_S / 6 for given in asked] == [True, True]
