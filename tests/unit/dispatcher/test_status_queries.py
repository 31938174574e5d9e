from __future__ import annotations

import asyncio

import msgspec
import pytest

from edgeagent.argo.wire import Workflow
from edgeagent.dispatcher.cursor import cursor_payload
from edgeagent.dispatcher.queries import CHUNK_IDS, MAX_WAITING_IDS
from edgeagent.errors import EngineRefused, EngineUnavailable
from edgeagent.wire import topics
from tests.fakes.statuses_bench import NOON_S, Engine, at, running

pytestmark = pytest.mark.virtual_time


def query(*ids: str, agent: str = "gw-1") -> bytes:
    return msgspec.json.encode({"agent": agent, "correlation_ids": ids, "reply_to": "anywhere"})


async def test_a_gateway_that_asks_is_told_the_present_statuses_again() -> None:
    engine = Engine()
    engine.put("running", "Running")
    engine.archive["done"] = engine.made("done", "Failed", ended=at(1))
    async with running(engine) as bench:
        bench.hear(topics.cursor_topic("g", "plant"), cursor_payload(NOON_S + 3600))
        bench.lead()
        await bench.published(("running", "Running"))
        bench.hear(topics.STATUS_QUERY, query("c-running", "c-done", "c-unknown"))
        await bench.published(("running", "Running"), ("running", "Running"), ("done", "Failed"))
        assert {item.topic for item in bench.wire.taken if b"workflowId" in item.payload} == {
            "argo/workflows/status",
            "argo/workflows/status/gw-1",
        }
        await bench.until(lambda: bench.statuses.stats().queries_answered == 1, "counted")


class Careless(Engine):
    """Answers with more than it was asked for."""

    async def list(self, namespace: str, *, labels: str, limit: int = 500) -> tuple[list[Workflow], str]:
        """See `Workflows`."""
        await super().list(namespace, labels=labels, limit=limit)
        return [*self.workflows.values()], ""


@pytest.mark.parametrize("kind", [Engine, Careless])
async def test_a_gateway_is_told_nothing_of_another_ones_workflows(kind: type[Engine]) -> None:
    engine = kind()
    engine.put("w", "Running", agent="gw-2")
    async with running(engine) as bench:
        bench.lead()
        await bench.published(("w", "Running"))
        bench.hear(topics.STATUS_QUERY, query("c-w", agent="gw-1"))
        await bench.until(lambda: bench.statuses.stats().queries_answered == 1, "answered")
        assert len(bench.wire.statuses()) == 1


async def test_a_long_query_is_looked_up_in_chunks() -> None:
    engine = Engine()
    async with running(engine) as bench:
        bench.lead()
        bench.hear(topics.STATUS_QUERY, query(*(f"{number:032x}" for number in range(250))))
        await bench.until(lambda: bench.statuses.stats().queries_answered == 1, "answered")
        asked = [labels for labels in engine.lists if " in (" in labels]
        assert [labels.count(",") for labels in asked] == [100, 100, 50]
        assert max(map(len, asked)) < 4000


async def test_a_query_that_cannot_be_read_is_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    async with running(Engine()) as bench:
        bench.lead()
        bench.hear(topics.STATUS_QUERY, query("a) or (b"))
        assert bench.statuses.stats().queries_dropped == 1
    assert "status_query_malformed" in [getattr(record, "event", "") for record in caplog.records]


async def test_a_query_waits_for_an_engine_that_is_away_and_a_refused_one_does_not_hold_the_others() -> None:
    engine = Engine()
    engine.put("w", "Running")
    async with running(engine) as bench:
        bench.lead()
        await bench.published(("w", "Running"))
        engine.fail = EngineUnavailable("argo", "gone")
        bench.hear(topics.STATUS_QUERY, query("c-w"))
        await bench.until(lambda: " in (" in engine.lists[-1], "looked up in vain")
        assert bench.statuses.stats().queries_answered == 0
        engine.fail = EngineRefused("argo", 403, "no")
        await bench.until(lambda: bench.statuses.stats().queries_answered == 1, "given up")


async def test_queries_are_left_to_the_leader() -> None:
    engine = Engine()
    async with running(engine, "b") as bench:
        bench.statuses.on_up()
        bench.echo()
        bench.hear(topics.presence_topic("g", "a"), b"{}")  # lower than ours
        bench.hear(topics.STATUS_QUERY, query("c-w"))
        await bench.until(lambda: bench.counted.lists, "a list")
        assert not any(" in (" in labels for labels in engine.lists)


async def test_a_query_that_comes_before_it_is_known_who_leads_waits_for_that() -> None:
    engine = Engine()
    engine.put("w", "Running")
    async with running(engine) as bench:
        bench.statuses.on_up()
        bench.hear(topics.STATUS_QUERY, query("c-w"))
        await bench.until(lambda: bench.counted.lists, "a list")
        assert not any(" in (" in labels for labels in engine.lists)
        bench.echo()
        await bench.until(lambda: bench.statuses.stats().queries_answered == 1, "answered")


async def test_a_query_that_came_before_somebody_else_was_known_to_lead_is_his() -> None:
    engine = Engine()
    async with running(engine, "b") as bench:
        bench.statuses.on_up()
        bench.hear(topics.STATUS_QUERY, query("c-w"))
        bench.hear(topics.presence_topic("g", "a"), b"{}")
        bench.echo()
        await bench.until(lambda: not bench.statuses._queries.waiting, "forgotten")
        assert bench.statuses.stats().queries_answered == 0


async def test_gateways_that_ask_together_are_looked_up_together() -> None:
    # A broker that lost its sessions makes a whole fleet ask, while lists of a large namespace are dear.
    engine = Engine()
    gateways = 2000
    for number in range(0, gateways, 500):
        engine.put(f"w-{number}", "Running", agent=f"gw-{number}")
    async with running(engine) as bench:
        bench.lead()
        for number in range(gateways):
            bench.hear(topics.STATUS_QUERY, query(f"c-w-{number}", agent=f"gw-{number}"))
        await bench.until(lambda: bench.statuses.stats().queries_answered == gateways, "answered")
        assert bench.statuses.stats().queries_dropped == 0
        asked = [labels for labels in engine.lists if " in (" in labels]
        assert len(asked) <= gateways / 100 + 1
        assert max(map(len, asked)) < 4000
        told = [item for item in bench.wire.taken if item.topic == "argo/workflows/status/gw-1500"]
        assert len(told) == 2, "once as it was seen, once as it was asked for"


async def test_gateways_that_ask_one_after_another_are_looked_up_together() -> None:
    # They come back over half a minute, and an engine that goes through a large namespace for each starts no workflow.
    engine = Engine()
    gateways, every_s = 300, 0.02
    async with running(engine) as bench:
        bench.lead()
        for number in range(gateways):
            bench.hear(topics.STATUS_QUERY, query(f"c-w-{number}", agent=f"gw-{number}"))
            await asyncio.sleep(every_s)
        await bench.until(lambda: bench.statuses.stats().queries_answered == gateways, "answered")
        assert sum(" in (" in labels for labels in engine.lists) <= gateways * every_s + 2


async def test_the_first_question_is_looked_up_at_once_and_a_full_list_does_not_wait_for_more() -> None:
    engine = Engine()
    loop = asyncio.get_running_loop()
    async with running(engine) as bench:
        bench.lead()
        began_s = loop.time()
        bench.hear(topics.STATUS_QUERY, query("c-first"))
        await bench.until(lambda: bench.statuses.stats().queries_answered == 1, "the first one answered")
        for number in range(CHUNK_IDS):
            bench.hear(topics.STATUS_QUERY, query(f"c-w-{number}", agent=f"gw-{number}"))
        await bench.until(lambda: bench.statuses.stats().queries_answered == 1 + CHUNK_IDS, "all answered")
        assert loop.time() - began_s < 1


async def test_a_lookup_for_gateways_with_long_names_stays_short() -> None:
    engine = Engine()
    async with running(engine) as bench:
        bench.lead()
        for number in range(200):
            bench.hear(topics.STATUS_QUERY, query(f"{number:032x}", agent=f"{number:063d}"))
        await bench.until(lambda: bench.statuses.stats().queries_answered == 200, "answered")
        assert max(map(len, engine.lists)) < 6500


async def test_a_question_that_is_repeated_before_its_turn_is_looked_up_once() -> None:
    engine = Engine()
    engine.put("w", "Running")
    async with running(engine) as bench:
        for _ in range(3):
            bench.hear(topics.STATUS_QUERY, query("c-w"))
        bench.lead()
        await bench.until(lambda: bench.statuses.stats().queries_answered == 1, "answered")
        assert bench.statuses.stats().queries_dropped == 0
        assert sum(" in (" in labels for labels in engine.lists) == 1


async def test_ids_beyond_the_limit_are_dropped_and_told(caplog: pytest.LogCaptureFixture) -> None:
    async with running(Engine()) as bench:
        for number in range(MAX_WAITING_IDS // 500 + 1):
            bench.hear(topics.STATUS_QUERY, query(*(f"{number}-{each}" for each in range(500))))
        assert bench.statuses.stats().queries_dropped == 1
    assert "status_query_dropped" in [getattr(record, "event", "") for record in caplog.records]
