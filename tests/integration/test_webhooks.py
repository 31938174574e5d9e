"""Deliveries from the ledger to receivers on real sockets."""

from __future__ import annotations

import logging
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeagent.config.tables import RelayWebhook
from edgeagent.errors import StorageFailed
from edgeagent.ledger import schema
from edgeagent.ledger.database import Database
from edgeagent.ledger.deliveries import MAX_DELIVERIES, LedgerDeliveries
from edgeagent.webhooks import courier, deliveries
from edgeagent.wire.messages import State
from edgeagent.wire.webhook import receiver_names
from tests.fakes.mosquitto import free_port
from tests.fakes.webhook_ledger import NOON_MS, life, webhooks
from tests.fakes.webhook_receiver import CLOSE, ENDLESS, HANG, WebhookEndpoint
from tests.waiting import until


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short waits between tries; how long they are is tested without a clock."""
    monkeypatch.setattr(deliveries, "BASE_S", 0.01)
    monkeypatch.setattr(deliveries, "CAP_S", 0.05)
    monkeypatch.setattr(deliveries, "_DELIVERY_CAP_S", 0.05)
    monkeypatch.setattr("edgeagent.ledger.ledger._COMMIT_DELAY_S", 0.01)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def table(url: str, **keys: object) -> RelayWebhook:
    return RelayWebhook(url=url, **keys)  # type: ignore[arg-type]


def stored(path: Path) -> list[tuple[str, str]]:
    """What is on disk, to be delivered."""
    with closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT key, state FROM delivery ORDER BY seq").fetchall()


def size_bytes(path: Path) -> int:
    """The size of a file."""
    return path.stat().st_size


async def test_every_state_of_a_trigger_is_posted_in_order_and_then_forgotten(path: Path) -> None:
    async with WebhookEndpoint() as endpoint, webhooks(path, table(endpoint.url)) as scene:
        for state in (State.PUBLISHED, State.TRIGGERED, State.RUNNING, State.SUCCEEDED):
            await scene.ledger.change("c-1", lambda _, state=state: life(1, state))  # type: ignore[misc]
        await endpoint.until(4)
        assert endpoint.states() == ["published", "triggered", "running", "succeeded"]
        await until(lambda: not stored(path), "forgotten")
        assert scene.outcomes == {"delivered": 4}


async def test_a_receiver_gets_what_its_table_asks_for(path: Path) -> None:
    async with WebhookEndpoint() as one, WebhookEndpoint() as other:
        tables = (
            table(one.url, source="boiler-*", states=("failed",)),
            table(other.url, rule="leak", body='{"text": "{state} {source}"}'),
        )
        async with webhooks(path, *tables) as scene:
            scene.ledger.begin(life(1, State.RUNNING))
            scene.ledger.begin(life(2, State.FAILED))
            scene.ledger.begin(life(3, State.FAILED, source="pump-1"))
            scene.ledger.begin(life(4, State.FAILED, source="pump-1", rule="leak"))
            await one.until(1)
            await other.until(1)
            await until(lambda: scene.outcomes == {"delivered": 2}, "both", seen=lambda: scene.outcomes)
        assert one.told() == ["c-2"]
        assert [request.content for request in other.requests] == [{"text": "failed pump-1"}]


@pytest.mark.parametrize("fault", [500, 503, 408, 425, 429, 302, CLOSE])
async def test_what_may_pass_is_tried_again_until_it_arrives(
    path: Path, fault: int | str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with WebhookEndpoint() as endpoint, webhooks(path, table(endpoint.url)) as scene:
        endpoint.answers = [fault, fault, 200]
        scene.ledger.begin(life(1))
        await until(lambda: scene.outcomes.get("delivered"), "delivered", seen=lambda: endpoint.requests)
        assert scene.outcomes == {"delivered": 1, "retried": 2}
        assert len({request.headers["webhook-id"] for request in endpoint.requests}) == 1
        (receiver,) = scene.receivers
        assert (receiver["failures"], receiver["failing_since"], receiver["last_error"]) == (0, None, "")
    told = [record.__dict__["event"] for record in caplog.records if record.levelno >= logging.INFO]
    assert [event for event in told if event.startswith("webhook")] == ["webhook_failing", "webhook_recovered"]
    assert "geheim" not in caplog.text


async def test_a_report_that_is_refused_is_lost_and_told_and_the_next_one_goes(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with WebhookEndpoint() as endpoint, webhooks(path, table(endpoint.url)) as scene:
        endpoint.answers = [422, 200]
        scene.ledger.begin(life(1))
        await endpoint.until(1)
        scene.ledger.begin(life(2))
        await until(lambda: scene.outcomes == {"refused": 1, "delivered": 1}, "both", seen=lambda: scene.outcomes)
        await until(lambda: not stored(path), "forgotten")
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "c-1, failed: it answered 422: a receiver's words" in record.getMessage()
    (lost,) = scene.webhooks.lost("c-1")
    assert (lost.webhook, lost.state, lost.at) == ("relay.webhook[0]", "failed", "2026-03-20T12:00:00.000Z")
    assert lost.why.startswith("it answered 422: a receiver's words")
    assert scene.webhooks.lost("c-2") == ()


async def test_a_receiver_that_refuses_all_is_told_of_once_and_then_together_each_loss_counted(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with WebhookEndpoint() as endpoint, webhooks(path, table(endpoint.url)) as scene:
        endpoint.answers = [401]
        for number in range(1, 21):
            scene.ledger.begin(life(number))
        await until(lambda: scene.outcomes.get("refused") == 20, "all refused", seen=lambda: scene.outcomes)
        (receiver,) = scene.receivers
        assert receiver["lost"] == 20
        assert "secret_file" in receiver["last_error"]
    first, others = (record for record in caplog.records if record.levelname == "ERROR")
    assert "refuses the delivery of correlation id c-" in first.getMessage()
    assert first.__dict__["about"].startswith("correlation id c-")
    assert first.__dict__["correlation_id"].startswith("c-")
    assert "refused 19 deliveries more" in others.getMessage()
    assert others.__dict__["count"] == 19


async def test_a_receiver_that_is_gone_is_left_alone_until_the_next_start(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with WebhookEndpoint() as gone, WebhookEndpoint() as there:
        gone.answers = [500, 410]
        tables = (table(gone.url), table(there.url))
        async with webhooks(path, *tables) as scene:
            for number in range(20):
                scene.ledger.begin(life(number))
            await there.until(20)
            await until(lambda: scene.receivers[0]["gone"], "gone", seen=lambda: scene.receivers)
            scene.ledger.begin(life(99))
            await there.until(21)
            await until(lambda: not stored(path), "nothing kept for it")
            assert scene.outcomes["gone"] == 21
            assert scene.outcomes["delivered"] == 21
        assert "c-99" not in gone.told()
        assert len(gone.requests) <= 1 + deliveries.AT_ONCE, "those that were under way"
        assert "is gone (410): 20 deliveries are dropped" in caplog.text
        gone.answers = [200]
        async with webhooks(path, *tables) as scene:
            scene.ledger.begin(life(100))
            await until(lambda: "c-100" in gone.told(), "the next report", seen=gone.told)


@pytest.mark.parametrize("fault", [HANG, 500, None])
async def test_a_dead_receiver_does_not_delay_a_living_one(
    path: Path, fault: int | str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wait in ("BASE_S", "CAP_S", "_DELIVERY_CAP_S"):
        monkeypatch.setattr(deliveries, wait, 0.5)  # eight that are tried again and again keep a slow machine busy
    async with WebhookEndpoint() as dead, WebhookEndpoint() as there:
        dead.answers = [fault or 200]
        url = dead.url if fault else f"http://127.0.0.1:{free_port()}/"
        async with webhooks(path, *(table(url) for _ in range(8)), table(there.url)) as scene:
            for number in range(100):
                scene.ledger.begin(life(number))
            await there.until(100)
            await until(lambda: scene.outcomes.get("delivered") == 100, "all", seen=lambda: scene.outcomes)
            assert dead.most_open <= 8 * deliveries.AT_ONCE


async def test_of_many_requests_only_a_few_run_at_once(path: Path) -> None:
    async with WebhookEndpoint() as endpoint, webhooks(path, table(endpoint.url)) as scene:
        endpoint.answers = [HANG]
        for number in range(50):
            scene.ledger.begin(life(number))
        await until(lambda: endpoint.open == deliveries.AT_ONCE, "as many as may")
        await until(lambda: len(stored(path)) == 50, "all kept")
        assert endpoint.most_open == deliveries.AT_ONCE


async def test_what_was_not_delivered_is_delivered_after_a_restart(path: Path) -> None:
    async with WebhookEndpoint() as endpoint:
        endpoint.answers = [HANG]
        async with webhooks(path, table(endpoint.url)) as scene:
            for number in range(10):
                scene.ledger.begin(life(number))
            await until(lambda: endpoint.open == deliveries.AT_ONCE, "under way")
            await until(lambda: len(stored(path)) == 10, "kept", seen=lambda: stored(path))
        begun = len(endpoint.requests)
        endpoint.answers = [200]
        async with webhooks(path, table(endpoint.url)) as scene:
            await until(lambda: scene.outcomes.get("delivered") == 10, "all", seen=lambda: scene.outcomes)
        assert sorted(endpoint.told()[begun:]) == [f"c-{number}" for number in range(10)]
        ids = {request.headers["webhook-id"] for request in endpoint.requests}
        assert len(ids) == 10  # those that came twice can be told by their id


async def test_what_is_too_old_is_given_up_with_its_range(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with WebhookEndpoint() as endpoint:
        endpoint.answers = [503]
        async with webhooks(path, table(endpoint.url), give_up_after=60) as scene:
            for number in range(200):
                scene.now_ms += 1
                scene.ledger.begin(life(number))
            await until(lambda: len(stored(path)) == 200, "kept")
            assert "given_up" not in scene.outcomes
            scene.now_ms += 60_000
            await until(lambda: scene.outcomes.get("given_up") == 200, "given up", seen=lambda: scene.outcomes)
            await until(lambda: not stored(path), "forgotten")
            assert [lost.why.partition(":")[0] for lost in scene.webhooks.lost("c-7")] == ["given up"]
    lines = [record for record in caplog.records if record.__dict__["event"] == "webhook_given_up"]
    assert {record.levelname for record in lines} == {"ERROR"}
    assert sum(record.__dict__["count"] for record in lines) == 200
    told = sorted(re.findall(r"from (\S+Z) to (\S+Z)", " ".join(record.getMessage() for record in lines)))
    assert (told[0][0], told[-1][1]) == ("2026-03-20T12:00:00.001Z", "2026-03-20T12:00:00.200Z")


async def test_ten_thousand_wait_at_most_and_the_oldest_are_lost_with_their_range(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with webhooks(path, table("http://127.0.0.1:9/"), running=False) as scene:
        for number in range(MAX_DELIVERIES + 100):
            scene.now_ms = NOON_MS + number
            scene.ledger.begin(life(number))
        await scene.ledger.committed()
        (receiver,) = scene.receivers
        assert receiver["pending"] == len(stored(path)) == MAX_DELIVERIES
        assert stored(path)[0] == ("c-100", "failed")
        assert scene.outcomes == {"dropped": 100}
        assert [lost.why for lost in scene.webhooks.lost("c-99")] == ["as many waited as may"]
        assert scene.webhooks.lost("c-100") == ()
    lines = [record for record in caplog.records if record.levelname == "ERROR"]
    assert sum(record.__dict__["count"] for record in lines) == 100
    assert "from 2026-03-20T12:00:00.000Z to" in lines[0].getMessage()
    assert size_bytes(path) < 16 << 20


async def test_each_receiver_has_a_share_so_that_none_crowds_out_another(path: Path) -> None:
    tables = [table(f"http://127.0.0.{number}:9/", source="noisy" if number == 1 else "quiet") for number in (1, 2)]
    async with webhooks(path, *tables, running=False) as scene:
        scene.ledger.begin(life(0, source="quiet"))
        for number in range(MAX_DELIVERIES // 2 + 10):
            scene.ledger.begin(life(number, source="noisy"))
        await scene.ledger.committed()
        assert [receiver["pending"] for receiver in scene.receivers] == [MAX_DELIVERIES // 2, 1]


async def test_a_later_report_of_the_same_state_takes_the_place_of_one_that_waits(path: Path) -> None:
    async with webhooks(path, table("http://127.0.0.1:9/"), running=False) as scene:
        for state in (State.FAILED, State.RUNNING, State.RUNNING, State.FAILED):
            scene.ledger.begin(life(1, state))
        await scene.ledger.committed()
        assert stored(path) == [("c-1", "running"), ("c-1", "failed")]


async def test_what_waits_for_a_table_that_was_taken_out_is_forgotten_and_told(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with webhooks(path, table("http://127.0.0.1:9/"), running=False) as scene:
        scene.ledger.begin(life(1))
        await scene.ledger.committed()
    async with WebhookEndpoint() as endpoint, webhooks(path, table(endpoint.url)) as scene:
        assert "1 deliveries are forgotten" in caplog.text
        scene.ledger.begin(life(2))
        await endpoint.until(1)
        assert endpoint.requests[0].content["correlation_id"] == "c-2"


async def test_an_endless_answer_counts_and_costs_nothing(path: Path) -> None:
    async with WebhookEndpoint() as endpoint, webhooks(path, table(endpoint.url)) as scene:
        endpoint.answers = [ENDLESS]
        scene.ledger.begin(life(1))
        await until(lambda: scene.outcomes == {"delivered": 1}, "delivered")
        await until(lambda: not endpoint.open, "closed by us")


def test_the_outcomes_are_all_there_from_the_start() -> None:
    assert list(courier.WebhookCounts().outcomes) == list(courier.OUTCOMES)


@pytest.mark.parametrize("step", ["kept", "sent", "answered"])
async def test_wherever_it_is_killed_the_report_arrives_and_can_be_told_from_a_new_one(
    path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with WebhookEndpoint() as endpoint:
        endpoint.answers = [HANG if step == "sent" else 200]
        async with webhooks(path, table(endpoint.url), running=step != "kept") as scene:
            if step == "answered":
                monkeypatch.setattr(LedgerDeliveries, "delivered", lambda *_: None)  # the next commit never comes
            scene.ledger.begin(life(1))
            await scene.ledger.committed()
            if step == "sent":
                await endpoint.until(1)
            elif step == "answered":
                await until(lambda: scene.outcomes == {"delivered": 1}, "answered")
        monkeypatch.undo()
        assert stored(path) == [("c-1", "failed")]
        before = len(endpoint.requests)
        endpoint.answers = [200]
        async with webhooks(path, table(endpoint.url)) as scene:
            await endpoint.until(before + 1)
            await scene.ledger.committed()
        assert len({request.headers["webhook-id"] for request in endpoint.requests}) == 1


async def test_while_the_disk_fails_what_is_new_is_kept_and_written_afterwards(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with WebhookEndpoint() as endpoint, webhooks(path, table(endpoint.url)) as scene:
        broken = True
        write = Database.write

        def failing(*arguments: Any, **named: Any) -> None:
            if broken:
                raise sqlite3.OperationalError("disk I/O error")
            write(*arguments, **named)

        monkeypatch.setattr(Database, "write", failing)
        for number in range(5):
            scene.ledger.begin(life(number))
        with pytest.raises(StorageFailed):
            await scene.ledger.committed()
        assert endpoint.requests == []
        broken = False
        await endpoint.until(5)
        assert sorted(endpoint.told()) == [f"c-{number}" for number in range(5)]


async def test_a_ledger_that_is_begun_anew_goes_on_to_deliver(path: Path) -> None:
    async with WebhookEndpoint() as endpoint, webhooks(path, table(endpoint.url)) as scene:
        scene.ledger.begin(life(1))
        await endpoint.until(1)
        await scene.ledger.use(lambda database: database.execute("DELETE FROM delivery").rowcount)
        scene.now_ms -= 86_400_000  # and the clock is set back
        scene.ledger.begin(life(2))
        await endpoint.until(2)


async def test_what_an_earlier_version_had_to_deliver_is_delivered(path: Path) -> None:
    async with WebhookEndpoint() as endpoint:
        (name,) = receiver_names([endpoint.url])
        with closing(sqlite3.connect(path)) as database:
            database.executescript(schema.TRIGGERS + schema._DELIVERIES + schema._DAILY + "PRAGMA user_version = 6;")
            payload = msgspec.json.encode(life(1).report)
            database.execute("INSERT INTO delivery VALUES (7, ?, 'c-1', 'failed', 0, ?)", (name, payload))
            database.commit()
        async with webhooks(path, table(endpoint.url)) as scene:
            await until(lambda: scene.outcomes == {"delivered": 1}, "delivered")
