"""What of the listener survives: real files, a real thread."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edgeagent.errors import StorageFailed
from edgeagent.listener import store as store_module
from edgeagent.listener.changes import Changes, StoredSession, WaitingParcels
from edgeagent.listener.packets import NEVER_EXPIRES, Publish, TopicSubscription
from edgeagent.listener.parcels import Kept, Parcel
from edgeagent.listener.store import ListenerStore, Stored
from edgeagent.outbox.disk import DiskThread
from edgeagent.storage.database import DatabaseFile
from tests.waiting import DEADLINE_S, until

pytestmark = pytest.mark.virtual_time

FULL = Publish(
    "t/ü",
    b"\x00\xff",
    2,
    retain=True,
    expiry_s=600,
    content_type="text/x",
    response_topic="r",
    correlation_data=b"c",
    user_properties=(("k", "v"), ("k", "w")),
    is_text=True,
)
SESSION = StoredSession("s", "alice", 4, NEVER_EXPIRES, ((TopicSubscription("t/#", 1, no_local=True), 7),))


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be written is tried again soon."""
    monkeypatch.setattr(store_module, "_RETRY_S", 0.02)


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[tuple[ListenerStore, Changes, Stored]]:
    """A store that runs; at the end it is closed with nothing that waits."""
    changes = Changes()
    store = ListenerStore(path, DiskThread("listener"), changes)
    stored = await store.load()
    running = asyncio.ensure_future(store.run())
    try:
        yield store, changes, stored
    finally:
        running.cancel()
        await store.close(())


async def kept(store: ListenerStore) -> None:
    """Return when everything is on disk."""
    done = asyncio.Event()
    store.when_kept(done.set)
    async with asyncio.timeout(DEADLINE_S):
        await done.wait()


def rows(path: Path) -> list[tuple[str]]:
    database = sqlite3.connect(path)
    try:
        return database.execute("SELECT topic FROM retained ORDER BY topic").fetchall()
    finally:
        database.close()


async def test_everything_of_a_message_and_a_session_survives(tmp_path: Path) -> None:
    path = tmp_path / "listener.db"
    async with opened(path) as (store, changes, stored):
        assert stored == Stored([], [], [])
        changes.message(Kept(FULL, asyncio.get_running_loop().time() + 600), is_new=True)
        changes.message(Kept(Publish("plain", b"1", retain=True), None), is_new=True)
        changes.session(SESSION, is_new=True)
        await kept(store)
    async with opened(path) as (store, changes, stored):
        (first, second) = sorted(stored.messages, key=lambda message: message.publish.topic)
        assert first == Kept(Publish("plain", b"1", retain=True), None)
        assert second.publish == FULL
        assert second.expires_at is not None
        assert 590 < second.expires_at - asyncio.get_running_loop().time() <= 600
        assert stored.sessions == [SESSION]
        changes.no_message("plain")
        changes.no_session("s")
        await kept(store)
    async with opened(path) as (_, _, stored):
        assert [message.publish.topic for message in stored.messages] == [FULL.topic]
        assert stored.sessions == []
    assert path.stat().st_mode & 0o777 == 0o640


async def test_what_waits_is_there_after_an_orderly_end_and_once_only(tmp_path: Path) -> None:
    path = tmp_path / "listener.db"
    store = ListenerStore(path, DiskThread("listener"), Changes())
    await store.load()
    past = asyncio.get_running_loop().time() - 1
    parcels = [Parcel(Publish("t", b"%d" % number), 1, False, (3, 4), None) for number in range(20)]
    over = Parcel(Publish("t", b"over", expiry_s=1), 1, False, (), past)
    await store.close([WaitingParcels("s", (*parcels, over)), WaitingParcels("r", (parcels[0],))])
    async with opened(path) as (_, _, stored):
        assert sorted(stored.waiting) == [WaitingParcels("r", (parcels[0],)), WaitingParcels("s", tuple(parcels))]
    async with opened(path) as (_, _, stored):
        assert stored.waiting == []


@pytest.mark.parametrize("is_new", [True, False])
async def test_changes_are_written_together_and_in_time(
    is_new: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_DELAYS_S", dict.fromkeys(store_module._DELAYS_S, 0.05))
    path = tmp_path / "listener.db"
    commits: list[int] = []
    write = ListenerStore._write

    def counted(store: ListenerStore, batch: object, *more: object) -> None:
        commits.append(1)
        write(store, batch, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(ListenerStore, "_write", counted)
    async with opened(path) as (store, changes, _):
        for number in range(50):
            changes.message(Kept(Publish(f"t/{number}", b"1"), None), is_new=is_new)
            store.look()
        await until(lambda: len(rows(path)) == 50, "50 rows")
        assert len(commits) == 1


async def test_who_waits_is_told_at_once_when_there_is_nothing_to_write(tmp_path: Path) -> None:
    async with opened(tmp_path / "listener.db") as (store, changes, _):
        told: list[int] = []
        store.when_kept(lambda: told.append(1))
        assert told == [1]
        changes.message(Kept(Publish("t", b"1"), None), is_new=True)
        store.when_kept(lambda: told.append(2))
        assert told == [1]
        await kept(store)
        assert told == [1, 2]


async def test_while_the_disk_refuses_all_is_kept_and_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    use, failures = DatabaseFile.use, [1] * 5

    def refusing(database: DatabaseFile, work: Callable[[], object]) -> object:
        if failures:
            failures.pop()
            raise StorageFailed("use", "listener.db", "no space")
        return use(database, work)

    path = tmp_path / "listener.db"
    async with opened(path) as (store, changes, _):
        monkeypatch.setattr(DatabaseFile, "use", refusing)
        changes.message(Kept(Publish("t", b"1"), None), is_new=True)
        await kept(store)
        assert rows(path) == [("t",)]
    assert [getattr(record, "event", "") for record in caplog.records] == ["mqtt_store_failing"]


async def test_a_damaged_file_is_put_aside_and_told_and_it_goes_on_empty(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "listener.db"
    path.write_bytes(b"no database at all" * 1000)
    async with opened(path) as (store, changes, stored):
        assert stored == Stored([], [], [])
        changes.message(Kept(Publish("t", b"1"), None), is_new=True)
        await kept(store)
    assert (tmp_path / "listener.db.damaged").exists()
    (record,) = [record for record in caplog.records if getattr(record, "event", "") == "mqtt_store_damaged"]
    assert "retained messages and the sessions of devices are gone" in record.getMessage()
    async with opened(path) as (_, _, stored):
        assert len(stored.messages) == 1


async def test_a_row_that_cannot_be_read_costs_nothing_but_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "listener.db"
    async with opened(path) as (store, changes, _):
        for topic in ("a", "b"):
            changes.message(Kept(Publish(topic, b"1"), None), is_new=True)
        await kept(store)
    database = sqlite3.connect(path)
    with database:
        database.execute("UPDATE retained SET message = x'c1' WHERE topic = 'a'")
        database.execute("INSERT INTO session VALUES ('s', x'80')")
    database.close()
    async with opened(path) as (_, _, stored):
        assert [message.publish.topic for message in stored.messages] == ["b"]
        assert stored.sessions == []
    told = [record.getMessage() for record in caplog.records if getattr(record, "event", "") == "mqtt_store_unreadable"]
    assert told == [
        "the retained message of 'a' cannot be read from the disk, and is gone",
        "the session of 's' cannot be read from the disk, and is gone",
    ]


@pytest.mark.parametrize(("turned_s", "lives"), [(-10 * 365 * 86_400, True), (50, True), (3600, False)])
async def test_a_clock_that_was_turned_makes_nothing_live_longer(
    turned_s: float, lives: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "listener.db"
    async with opened(path) as (store, changes, _):
        expires_at = asyncio.get_running_loop().time() + 100
        changes.message(Kept(Publish("t", b"1", expiry_s=100), expires_at), is_new=True)
        await kept(store)
    now = time.time
    monkeypatch.setattr("edgeagent.listener.store.time.time", lambda: now() + turned_s)
    async with opened(path) as (_, _, stored):
        left = [message.expires_at for message in stored.messages]
        assert len(left) == lives
        assert all(at is not None and at <= asyncio.get_running_loop().time() + 100 for at in left)
    assert bool(rows(path)) == lives
