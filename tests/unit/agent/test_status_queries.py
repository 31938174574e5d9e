from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeagent.agent import status_queries
from edgeagent.mqtt.reason_codes import NO_MATCHING_SUBSCRIBERS, answer
from edgeagent.wire.messages import State, parse_status_query
from tests.fakes.answering import Scene, scene
from tests.fakes.ledgers import life

pytestmark = pytest.mark.virtual_time

QUERY = "argo/workflows/status/query"
NOT_AUTHORIZED = 0x87


async def triggered(here: Scene, count: int) -> list[str]:
    """Triggers that the engine took and of which nothing more was heard."""
    names = await here.published(count)
    await here.hear(*(here.response(name, code=200, workflowId=f"all-{name}", namespace="plant") for name in names))
    return names


async def test_after_a_lost_session_the_unfinished_ones_are_asked_for_at_once(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        here.up()
        open_, done = await triggered(here, 2)
        await here.hear(here.status(done, "Succeeded"))
        assert here.asked() == []
        here.queries.down()
        here.up(session_present=False)
        await here.until(lambda: here.asked() == [[open_]], "a query")
        [query] = here.of(QUERY)
        assert (query.qos, query.retain) == (1, False)
        assert parse_status_query(query.payload).agent == "gw-1"
        assert parse_status_query(query.payload).reply_to == "argo/workflows/status/gw-1"
        assert here.queries.counts.asked == 1


async def test_what_was_out_before_a_restart_is_asked_for_when_the_broker_has_no_session(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        here.up()
        [name] = await triggered(here, 1)
    async with scene(tmp_path) as here:
        here.up(session_present=False)
        await here.until(lambda: here.asked() == [[name]], "a query")
        await here.hear(here.status(name, "Succeeded"))
        assert (await here.report(name)).state is State.SUCCEEDED


async def test_a_session_that_was_kept_and_an_agent_without_triggers_ask_for_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        here.up(session_present=False)
        await triggered(here, 1)
        here.queries.down()
        here.up(session_present=True)
        await triggered(here, 1)
        assert here.asked() == []


async def test_who_is_silent_is_asked_for_and_becomes_unknown_and_a_late_status_moves_it_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with scene(tmp_path, status_timeout_s=0.1, give_up_after_s=0.25) as here:
        here.up()
        [name] = await triggered(here, 1)
        await here.until(lambda: here.queries.counts.unknown == 1, "its end")
        assert here.asked() == [[name]] * 3
        report = await here.report(name)
        assert (report.state, report.error[:40]) == (State.UNKNOWN, "nothing was heard of it, although it was")
        await here.hear(here.status(name, "Succeeded"))
        report = await here.report(name)
        assert (report.state, report.error) == (State.SUCCEEDED, "")
        assert here.outbox.health.account.settled == 1
    assert [vars(entry)["event"] for entry in caplog.records].count("status_unknown") == 1


async def test_an_answer_that_changes_nothing_keeps_it_alive(tmp_path: Path) -> None:
    async with scene(tmp_path, status_timeout_s=0.1, give_up_after_s=0.2) as here:
        here.up()
        [name] = await triggered(here, 1)
        for number in range(1, 6):
            await here.until(lambda number=number: len(here.asked()) >= number, "a query")  # type: ignore[misc]
            await here.hear(here.status(name, "Running"))
        assert (await here.report(name)).state is State.RUNNING
        assert here.queries.counts.unknown == 0


async def test_what_the_outbox_still_sends_is_asked_for_but_never_unknown(tmp_path: Path) -> None:
    async with scene(tmp_path, status_timeout_s=0.05, give_up_after_s=0.1) as here:
        here.up()
        [name] = await here.published(1)
        await here.until(lambda: len(here.asked()) > 4, "queries")
        assert (await here.report(name)).state is State.PUBLISHED
        here.clock.ms += int(1e12) + 1  # older than any outbox keeps
        await here.until(lambda: here.queries.counts.unknown == 1, "its end")
        assert (await here.report(name)).state is State.UNKNOWN


async def test_how_often_was_asked_survives_a_restart_so_that_restarts_put_off_no_end(tmp_path: Path) -> None:
    async with scene(tmp_path, status_timeout_s=0.2, give_up_after_s=2.0) as here:
        here.up()
        [name] = await triggered(here, 1)
        await here.until(lambda: len(here.asked()) >= 2, "queries")
    async with scene(tmp_path, status_timeout_s=0.2, give_up_after_s=2.0) as here:
        page = await here.ledger.unfinished((0, 0))
        assert [(correlation_id, asks >= 2) for correlation_id, asks in page.triggers] == [(name, True)]
        here.up()
        await here.until(lambda: here.queries.counts.unknown == 1, "its end")
        assert len(here.asked()) <= 8


async def test_without_a_connection_nothing_is_asked_and_nothing_given_up(tmp_path: Path) -> None:
    timeout_s = 0.5  # long enough for a busy machine to get as far as `down`
    async with scene(tmp_path, status_timeout_s=timeout_s, give_up_after_s=timeout_s) as here:
        here.up()
        [name] = await triggered(here, 1)
        here.queries.down()
        published = len(here.of(QUERY))
        for _ in range(30):
            await here.ledger.wait("nobody", timeout_s / 10)
        assert len(here.of(QUERY)) == published
        assert (await here.report(name)).state is State.TRIGGERED


async def test_who_may_not_ask_is_told_once_and_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with scene(tmp_path, status_timeout_s=0.05) as here:
        here.up()
        await triggered(here, 1)
        await here.until(lambda: len(here.asked()) >= 2, "queries")
        for code in (NOT_AUTHORIZED, NOT_AUTHORIZED, NO_MATCHING_SUBSCRIBERS, 0):
            here.queries.acknowledged([answer(status_queries.TOKEN, code, "not you"), answer(1, NOT_AUTHORIZED)])
    assert [vars(entry)["event"] for entry in caplog.records].count("status_query_refused") == 1


@pytest.mark.slow
async def test_ten_thousand_from_before_are_read_in_parts_and_asked_for_in_parts(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        for number in range(10_000):
            here.ledger.begin(life(f"{number:032x}", State.RUNNING, accepted_ms=number))
        await here.ledger.committed()
    async with scene(tmp_path) as here:
        here.up(session_present=False)
        await here.until(lambda: len(here.asked()) == 4, "four queries")
        asked = [name for names in here.asked() for name in names]
        assert asked == [f"{number:032x}" for number in range(2000)]
        assert max(len(json.dumps(names)) for names in here.asked()) < 20_000


async def test_what_found_no_room_is_followed_when_others_have_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeagent.agent.query_schedule.MAX_FOLLOWED", 4)
    async with scene(tmp_path, status_timeout_s=0.3) as here:
        here.up()
        names = await triggered(here, 6)
        await here.hear(*(here.status(name, "Succeeded") for name in names[:4]))
        await here.until(lambda: {name for asked in here.asked() for name in asked} >= set(names[4:]), "queries")
