"""Answers that ask for triggers on the agent's own topic: followed from the base topic, and of no use to a stranger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeagent.mqtt.reason_codes import answer
from edgeagent.ports.link import Ack, Message
from edgeagent.wire.messages import State
from tests.fakes.answering import Scene, scene

pytestmark = pytest.mark.virtual_time

BASE = "argo/workflows/trigger"
OWN = f"{BASE}/gw-1"


def redirect(here: Scene, correlation_id: str, topic: str = OWN, **members: Any) -> Message:
    told = {"code": 403, "retryable": True, "error": "Not allowed on this topic", "trigger_topic": topic, **members}
    return here.response(correlation_id, **told)


def attempts(here: Scene, topic: str) -> list[int]:
    return [json.loads(publication.payload)["attempt"] for publication in here.of(topic)]


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [vars(entry).get("event", "") for entry in caplog.records]


async def test_all_that_were_out_on_the_base_topic_go_to_the_own_one_at_once_and_in_order(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with scene(tmp_path) as here:
        here.up()
        names = await here.published(3)
        await here.hear(*[redirect(here, name) for name in names])
        await here.until(lambda: len(here.of(OWN)) == 3, "the triggers, again")
        assert [publication.correlation_data.decode() for publication in here.of(OWN)] == names
        assert attempts(here, OWN) == [2, 2, 2]
        assert here.stats()["trigger_topic"] == OWN
        here.sender.acknowledged([Ack(publication.token) for publication in here.of(OWN)])
        await here.hear(*[here.response(name, code=200, workflowId=f"all-{name}") for name in names])
        assert here.outbox.health.account.settled == 3
        counts = here.answers.counts
        assert (counts.redirected, counts.redirects_ignored) == (3, 0)
    assert events(caplog).count("trigger_topic_learned") == 1
    assert "trigger_deferred" not in events(caplog)


async def test_what_a_stranger_provokes_in_its_name_costs_an_agent_on_its_own_topic_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        here.up()
        [name] = await here.published(1)
        await here.hear(redirect(here, name))
        await here.until(lambda: len(here.of(OWN)) == 1, "the trigger, again")
        here.sender.acknowledged([Ack(publication.token) for publication in here.of(OWN)])
        entry = here.triggers.find(name)
        assert entry is not None
        before = (entry.phase, entry.tries, entry.free, entry.deadline)
        await here.hear(*[redirect(here, name, dry_run=number % 2 == 0) for number in range(100)])
        assert (entry.phase, entry.tries, entry.free, entry.deadline) == before
        assert len(here.of(OWN)) == 1
        counts = here.answers.counts
        assert (counts.redirected, counts.redirects_ignored, counts.dry_run) == (101, 100, 0)
        await here.hear(here.response(name, code=200, workflowId="w"))
        assert (await here.report(name)).state is State.TRIGGERED


@pytest.mark.parametrize("topic", [f"{BASE}/gw-2", "plant/pumps/stop", BASE, f"{OWN}/x"])
async def test_another_topic_is_not_followed_and_the_trigger_waits_like_after_any_other_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, topic: str
) -> None:
    caplog.set_level("INFO")
    async with scene(tmp_path) as here:
        here.up()
        [name] = await here.published(1)
        await here.hear(redirect(here, name, topic))
        assert {publication.topic for publication in here.link.published} == {BASE}
        assert here.stats()["trigger_topic"] == BASE
        assert here.answers.counts.redirected == 0
    assert "trigger_deferred" in events(caplog)


async def test_a_topic_longer_than_any_is_one_bad_message(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        here.up()
        [name] = await here.published(1)
        await here.hear(redirect(here, name, f"{BASE}/" + "x" * 300))
        assert here.answers.counts.malformed == 1


async def test_where_the_broker_refuses_the_own_topic_triggers_go_back_and_none_is_a_dead_letter(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with scene(tmp_path) as here:
        here.up()
        names = await here.published(2)
        await here.hear(*[redirect(here, name) for name in names])
        await here.until(lambda: len(here.of(OWN)) == 2, "the triggers, again")
        here.sender.acknowledged([answer(publication.token, 0x87, "not authorized") for publication in here.of(OWN)])
        await here.until(lambda: len(here.of(BASE)) == 4, "the triggers on the base topic")
        await here.hear(*[redirect(here, name) for name in names])
        await here.chores.idle()
        assert len(here.of(OWN)) == 2, "not tried again at once"
        account = here.outbox.health.account
        assert (account.pending, account.dead) == (2, 0)
    assert "trigger_topic_refused" in events(caplog)


async def test_what_was_learned_stays_over_a_new_connection(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        here.up()
        [name] = await here.published(1)
        await here.hear(redirect(here, name))
        await here.until(lambda: len(here.of(OWN)) == 1, "the trigger, again")
        here.sender.acknowledged([Ack(publication.token) for publication in here.of(OWN)])
        here.queries.down()
        here.sender.down()
        here.up()
        assert here.stats()["trigger_topic"] == OWN
