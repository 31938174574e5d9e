from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import msgspec
import pytest

from edgeagent.errors import StorageFailed
from edgeagent.ledger import database as database_module
from edgeagent.ledger.ledger import Ledger
from edgeagent.ledger.schema import TRIGGERS
from edgeagent.ports.device import Place, TriggerQuery
from edgeagent.wire.lifecycle import Life
from edgeagent.wire.messages import Report, State
from tests.fakes.ledgers import life, on_disk, running, to
from tests.waiting import DEADLINE_S

pytestmark = pytest.mark.virtual_time


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


async def names(ledger: Ledger, **query: object) -> list[str]:
    return [life.report.correlation_id for life in await ledger.find(TriggerQuery(**query))]  # type: ignore[arg-type]


def put(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def size_of(path: Path) -> int:
    return path.stat().st_size


def content_of(path: Path) -> bytes:
    return path.read_bytes()


async def test_states_survive_a_restart(path: Path) -> None:
    full = Life(
        Report("a", "7", "Kühler/2", "r", State.RUNNING, "2026", "w", "plant", "50%", "half\nway", "no"),
        99,
        "run-1",
        True,
    )
    merged = Life(Report("c", "8", "Kühler/2", "r", State.MERGED, "2026", into="a"), 100)
    ended = Life(Report("d", "9", "s", "r", State.SUCCEEDED, "2026", "w", outputs={"result": "ä\n", "none": ""}), 101)
    traced = Life(Report("e", "9", "s", "r", State.PUBLISHED, "2026", traceparent=f"00-{'a' * 32}-{'b' * 16}-01"), 102)
    async with running(path) as ledger:
        ledger.begin(full)
        ledger.begin(merged)
        ledger.begin(ended)
        ledger.begin(traced)
    async with running(path) as ledger:
        assert await ledger.get("a") == full
        assert await ledger.get("b") is None
        assert await ledger.get("c") == merged
        assert await ledger.get("d") == ended
        assert await ledger.get("e") == traced


@pytest.mark.parametrize("version", [1, 2, 3, 4])
async def test_a_ledger_of_an_earlier_version_keeps_its_states_and_cuts_its_texts(path: Path, version: int) -> None:
    schema = TRIGGERS
    since = {
        "    merged_into TEXT NOT NULL,\n": 2,
        ",\n    asks INTEGER NOT NULL DEFAULT 0": 3,
        ",\n    steps TEXT NOT NULL DEFAULT ''": 4,
        ",\n    relayed_ms INTEGER NOT NULL DEFAULT 0": 4,
    }
    for column in [column for column, first in since.items() if version < first]:
        assert column in schema
        schema = schema.replace(column, "")
    with closing(sqlite3.connect(path)) as database:
        database.executescript(schema + f"PRAGMA user_version = {version};")
        into = "'', " if version > 1 else ""
        more = (", 0" if version > 2 else "") + (", '', 0" if version > 3 else "")
        database.execute(
            f"INSERT INTO trigger VALUES ('a', '7', 's', 'r', 'running', '2026', 'w', 'n', '', ?, '', {into}99, '', 0, "  # noqa: S608
            f"1, 0{more})",
            ("ä" * (1_000_000 if version < 3 else 1024),),
        )
        database.commit()
    for _ in range(2):  # it is upgraded once
        async with running(path) as ledger:
            known = await ledger.get("a")
            assert known is not None
            assert (known.report.state, known.report.into, known.accepted_ms) == (State.RUNNING, msgspec.UNSET, 99)
            assert known.report.message == "ä" * 1024
            ledger.begin(Life(Report("c", "8", "s", "r", State.MERGED, "2026", into="a"), 100))


async def test_a_workflow_with_the_correlation_id_in_its_name_is_found_without_an_index(path: Path) -> None:
    async with running(path) as ledger:
        name = "9f2c" * 8
        known = life(name)
        report = msgspec.structs.replace(known.report, workflow_id=f"overheat-{name}")
        ledger.begin(msgspec.structs.replace(known, report=report))
        ledger.begin(life("b"))
        await ledger.committed()
        found = await ledger.by_workflow(f"overheat-{name}")
        assert found is not None
        assert found.report == report
        assert await ledger.by_workflow(f"another-{name}") is None
        assert await ledger.by_workflow("") is None


async def test_a_step_that_changes_nothing_leaves_everything_as_it_was(path: Path) -> None:
    async with running(path) as ledger:
        told: list[Life] = []
        ledger.listen(told.append)
        ledger.begin(life("a"))
        assert await ledger.change("a", lambda _: None) is None
        assert await ledger.change("nobody", lambda known: known) is None
        assert told == [life("a")]


async def test_a_trigger_is_found_by_its_workflow_before_and_after_the_commit(path: Path) -> None:
    async with running(path) as ledger:
        ledger.begin(life("a"))
        ledger.begin(life("b"))
        for _ in range(2):
            assert await ledger.by_workflow("w-b") == life("b")
            assert await ledger.by_workflow("w-c") is None
            await ledger.committed()


async def test_reports_are_listed_newest_event_first(path: Path) -> None:
    async with running(path) as ledger:
        for name, accepted_ms in (("b", 2), ("d", 4), ("a", 1)):
            ledger.begin(life(name, accepted_ms=accepted_ms))
        await ledger.committed()
        ledger.begin(life("c", accepted_ms=3))
        assert await names(ledger) == ["d", "c", "b", "a"]
        assert await names(ledger, limit=2) == ["d", "c"]


async def test_a_list_is_continued_after_any_of_its_triggers_without_a_gap_or_a_repetition(path: Path) -> None:
    everything = [f"{number:02}" for number in range(12)]
    async with running(path) as ledger:
        for name in everything:
            if name == "06":
                await ledger.committed()
            ledger.begin(life(name, accepted_ms=int(name) // 4))  # four events in each millisecond
        listed: list[str] = []
        after: Place | None = None
        while page := await ledger.find(TriggerQuery(limit=5, after=after)):
            listed += [one.report.correlation_id for one in page]
            after = Place.of(page[-1])
            ledger.begin(life(f"later-{len(listed)}", accepted_ms=99))
        assert listed == everything[::-1]


async def test_lists_are_restricted_by_source_rule_and_state(path: Path) -> None:
    async with running(path) as ledger:
        ledger.begin(life("a", State.RUNNING))
        ledger.begin(life("b", State.RUNNING, source="pump"))
        ledger.begin(life("c", State.FAILED, rule="leak"))
        for _ in range(2):
            assert sorted(await names(ledger, source="boiler")) == ["a", "c"]
            assert await names(ledger, rule="leak") == ["c"]
            assert sorted(await names(ledger, state=State.RUNNING)) == ["a", "b"]
            assert await names(ledger, source="pump", state=State.FAILED) == []
            assert await names(ledger, source="pump' OR '1'='1") == []
            await ledger.committed()


async def test_who_waits_for_a_trigger_is_woken_by_its_next_change(path: Path) -> None:
    async with running(path) as ledger:
        ledger.begin(life("a"))
        waiting = [asyncio.create_task(ledger.wait("a", 10)) for _ in range(2)]
        other = asyncio.create_task(ledger.wait("b", 10))
        await asyncio.sleep(0)
        await to(ledger, "a", State.RUNNING)
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*waiting)
        assert not other.done()
        other.cancel()
        await asyncio.wait([other])
        assert ledger._waiters == {}


async def test_who_waits_in_vain_waits_no_longer_than_asked_for(path: Path) -> None:
    async with running(path) as ledger:
        await ledger.wait("a", 0.01)
        assert ledger._waiters == {}


async def test_the_oldest_final_triggers_are_forgotten_and_unfinished_ones_never(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "_MAX_ROWS", 4)
    monkeypatch.setattr(database_module, "_PRUNE_EVERY_COMMITS", 2)
    async with running(path) as ledger:
        states = [State.RUNNING, State.SUCCEEDED, State.PUBLISHED, State.FAILED, State.REJECTED, State.SUCCEEDED]
        for number, state in enumerate(states):
            ledger.begin(life(f"{number}", state, accepted_ms=number))
            await ledger.committed()
        assert on_disk(path) == ["0", "2", "4", "5"]
        for number in range(6, 12):
            ledger.begin(life(f"x{number}", State.RUNNING, accepted_ms=number))
            await ledger.committed()
        assert set(on_disk(path)) >= {"0", "2", *(f"x{number}" for number in range(6, 12))}


@pytest.mark.parametrize(
    "content",
    [b"this is no database, and long enough to be read as a header" * 100, b"SQLite format 3\0" + b"\xff" * 4080],
)
async def test_a_damaged_database_is_put_aside_and_begun_anew(
    path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    put(path, content)
    async with running(path) as ledger:
        assert await ledger.get("a") is None
        ledger.begin(life("a"))
        await ledger.committed()
    assert path.with_name("ledger.db.damaged").read_bytes() == content
    assert [vars(entry)["event"] for entry in caplog.records if entry.name.startswith("edgeagent")] == [
        "ledger_damaged"
    ]


async def test_a_database_of_another_version_is_put_aside_and_not_called_damaged(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")
    async with running(path) as ledger:
        ledger.begin(life("a"))
    assert path.with_name("ledger.db.damaged").exists()
    assert on_disk(path) == ["a"]
    assert "the ledger is of version 99, of another edgeagent" in caplog.text


async def test_damage_that_shows_while_running_loses_no_change_that_is_not_on_disk_yet(path: Path) -> None:
    async with running(path) as ledger:
        for number in range(500):
            ledger.begin(life(f"{number:04}"))
        await ledger.committed()
        await ledger._on_thread(lambda: ledger._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
        await ledger._on_thread(lambda: ledger._database.execute("PRAGMA shrink_memory").fetchall())
        put(path, content_of(path)[:4096] + b"\xff" * 8192)
        ledger.begin(life("new"))
        with suppress(StorageFailed):
            await ledger.committed()
        with suppress(StorageFailed):
            await ledger.get("0001")
        await ledger.committed()
        assert await ledger.get("new") == life("new")
        assert await ledger.get("0001") is None, "what was on the damaged disk is forgotten"
    assert path.with_name("ledger.db.damaged").exists()


async def test_a_disk_that_refuses_keeps_the_changes_in_memory_and_tries_again(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(path) as ledger:
        ledger.begin(life("a"))
        await ledger.committed()
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            await ledger._on_thread(lambda: ledger._database.execute("PRAGMA busy_timeout = 0").fetchall())
            other.execute("BEGIN IMMEDIATE")
            ledger.begin(life("b"))
            ledger.relayed("a", 1)
            for _ in range(2):
                with pytest.raises(StorageFailed, match=r"ledger\.db"):
                    await ledger.committed()
            assert await ledger.get("b") == life("b")
            other.execute("ROLLBACK")
        await ledger.committed()
        assert on_disk(path) == ["a", "b"]
        assert [entry.report.correlation_id for entry in await ledger.unrelayed(10)] == ["b"]
    told = [vars(entry)["event"] for entry in caplog.records if entry.name.startswith("edgeagent")]
    assert told == ["ledger_failing"], "once, not at every try"


async def test_a_ledger_that_cannot_be_opened_is_opened_when_the_disk_allows_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "later" / "ledger.db"
    async with running(path) as ledger:
        ledger.begin(life("a"))
        with pytest.raises(StorageFailed):
            await ledger.committed()
        with pytest.raises(StorageFailed):
            await ledger.get("b")
        assert await ledger.get("a") == life("a")
        path.parent.mkdir()
        await ledger.committed()
        assert on_disk(path) == ["a"]
    told = [vars(entry)["event"] for entry in caplog.records if entry.name.startswith("edgeagent")]
    assert told == ["ledger_failing"], "once, not at every try"


async def test_reads_see_what_is_not_committed_yet(path: Path) -> None:
    async with running(path) as ledger:
        ledger.begin(life("a"))
        assert on_disk(path) == []
        assert await ledger.get("a") == life("a")
        assert await ledger.by_workflow("w-a") == life("a")
        assert await names(ledger) == ["a"]
        await to(ledger, "a", State.RUNNING)
        assert await names(ledger, state=State.PUBLISHED) == []
        await ledger.committed()
        assert on_disk(path) == ["a"]
        await to(ledger, "a", State.SUCCEEDED)
        assert await names(ledger, state=State.RUNNING) == [], "the disk still says running"
        assert await names(ledger, state=State.SUCCEEDED) == ["a"]


async def test_of_many_triggers_it_says_which_it_has_whether_committed_or_not(path: Path) -> None:
    async with running(path) as ledger:
        for number in range(2000):
            ledger.begin(life(f"c-{number}"))
        await ledger.committed()
        ledger.begin(life("new"))
        asked = [f"c-{number}" for number in range(1000, 3000)]
        assert await ledger.known([*asked, "new"]) == {*asked[:1000], "new"}
        assert await ledger.known(["c-3000"]) == set()


async def test_an_attempt_ends_when_the_changes_before_it_are_on_disk_and_at_once_without_any(path: Path) -> None:
    async with running(path) as ledger:
        told: list[list[str]] = []

        def tried() -> None:
            told.append(on_disk(path))

        ledger.attempt(tried)
        assert told == [[]]
        ledger.begin(life("a"))
        ledger.attempt(tried)
        assert told == [[]]
        await ledger.committed()
        assert told == [[], ["a"]]


async def test_an_attempt_ends_too_when_the_disk_refuses(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(path) as ledger:

        def refuse(*_: object, **__: object) -> None:
            raise StorageFailed("write", str(path), "refused")

        with monkeypatch.context() as failing:
            failing.setattr(ledger._database, "write", refuse)
            ledger.begin(life("a"))
            tried = asyncio.get_running_loop().create_future()
            ledger.attempt(lambda: tried.set_result(None))
            async with asyncio.timeout(DEADLINE_S):
                await tried
            assert on_disk(path) == []
        await ledger.committed()
        assert on_disk(path) == ["a"]


async def test_on_a_disk_that_turns_read_only_it_goes_on_in_memory_and_keeps_no_message_waiting(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(path) as ledger:
        ledger.begin(life("a"))
        await ledger.committed()
        read_only = os.statvfs_result((*os.statvfs(path.parent)[:8], os.ST_RDONLY, 255))
        monkeypatch.setattr("edgeagent.storage.database.os.statvfs", lambda _: read_only)
        await ledger._on_thread(lambda: ledger._database.execute("PRAGMA query_only = ON").fetchall())
        told: list[int] = []
        ledger.begin(life("b"))
        ledger.when_kept(1, lambda: told.append(1))
        await ledger.committed()
        assert told == [1]
        assert await ledger.get("b") is not None
        assert await ledger.get("a") is None, "what was on the disk is not seen any more"
        ledger.begin(life("c"))
        await ledger.committed()
    assert [vars(entry)["event"] for entry in caplog.records].count("ledger_in_memory") == 1
