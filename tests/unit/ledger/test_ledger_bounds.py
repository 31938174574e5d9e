"""What the ledger knows of unfinished triggers, and how it stays small."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edgeagent.ledger import database as database_module
from edgeagent.ledger import ledger as ledger_module
from edgeagent.ledger.ledger import Ledger
from edgeagent.wire.messages import State
from tests.fakes.ledgers import life, on_disk, running, to

pytestmark = pytest.mark.virtual_time


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def size_of(path: Path) -> int:
    return path.stat().st_size


async def unfinished(ledger: Ledger) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    place: tuple[int, int] | None = (0, 0)
    while place is not None:
        page = await ledger.unfinished(place)
        found += page.triggers
        place = page.next_place
    return found


async def test_unfinished_triggers_are_found_in_parts_in_the_order_of_their_events(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "_PAGE_ROWS", 2)
    async with running(path) as ledger:
        assert await unfinished(ledger) == []
        for name, state in (("a", State.RUNNING), ("b", State.SUCCEEDED), ("c", State.PUBLISHED), ("d", State.UNKNOWN)):
            ledger.begin(life(name, state, accepted_ms=5))  # all in one millisecond
        ledger.begin(life("first", State.TRIGGERED, accepted_ms=4))
        ledger.begin(msgspec.structs.replace(life("broker's"), ends_published=True))
        await ledger.committed()
        assert await unfinished(ledger) == [("first", 0), ("a", 0), ("c", 0)]


async def test_how_often_a_trigger_was_asked_for_survives_a_restart_and_ends_with_the_next_change(path: Path) -> None:
    async with running(path) as ledger:
        ledger.begin(life("a", State.RUNNING))
        ledger.begin(life("b", State.RUNNING))
        await ledger.committed()
        ledger.asked({"a": 3, "b": 4})
    async with running(path) as ledger:
        assert await unfinished(ledger) == [("a", 3), ("b", 4)]
        ledger.asked({"a": 5})
        await to(ledger, "a", State.TRIGGERED)
        await ledger.committed()
        assert await unfinished(ledger) == [("a", 0), ("b", 4)]
        told = await ledger.unrelayed(10)
        assert [(entry.report.correlation_id, entry.version) for entry in told] == [("a", 2), ("b", 1)], "no new report"


async def test_texts_are_cut_and_what_the_rows_take_is_bounded_final_ones_first(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "MAX_BYTES", 1 << 20)
    async with running(path) as ledger:
        for number in range(64):
            ledger.begin(life(f"open-{number}", State.RUNNING, accepted_ms=number, message="x" * 100_000))
        for number in range(2_000):
            ledger.begin(life(f"{number:04}", State.FAILED, accepted_ms=100 + number, message="x" * 100_000))
            if number % 100 == 0:
                await ledger.committed()
        await ledger.committed()
        assert 0 < ledger.stats().used_bytes <= 1 << 20
        assert ledger.stats().forgotten == 0
        kept = on_disk(path)
        assert len([name for name in kept if name.startswith("open")]) == 64
        assert "1999" in kept
        assert "0000" not in kept
        assert 400 < len(kept) < 900
        known = await ledger.get("open-1")
        assert known is not None
        assert len(known.report.message) == 1024
    assert size_of(path) < 3 << 20


async def test_when_only_unfinished_ones_are_left_the_oldest_give_way_and_are_counted(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(database_module, "MAX_BYTES", 1 << 18)
    async with running(path) as ledger:
        for number in range(500):
            ledger.begin(life(f"{number:03}", State.RUNNING, accepted_ms=number, message="x" * 1024))
            if number % 50 == 0:
                await ledger.committed()
        await ledger.committed()
        stats = ledger.stats()
        kept = on_disk(path)
        assert stats.used_bytes <= 1 << 18
        assert stats.forgotten == 500 - len(kept) > 0
        assert kept == [f"{number:03}" for number in range(500 - len(kept), 500)]
    assert {vars(entry)["event"] for entry in caplog.records if entry.levelname == "WARNING"} == {"ledger_full"}


async def test_a_life_that_no_database_holds_costs_nobody_else_anything(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(path) as ledger:
        ledger.begin(life("a"))
        ledger.begin(life("b", accepted_ms=10**30))
        ledger.begin(life("c", source="\ud800"))
        ledger.begin(life("d"))
        told: list[int] = []
        ledger.when_kept(1, lambda: told.append(1))
        await ledger.committed()
        assert told == [1]
        assert on_disk(path) == ["a", "d"]
    events = [vars(entry)["event"] for entry in caplog.records if entry.levelname == "ERROR"]
    assert events == ["ledger_unwritable"] * 2
