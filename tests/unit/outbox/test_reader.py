from __future__ import annotations

import pytest

from edgeagent.errors import StorageFailed
from edgeagent.outbox import reader as reader_module
from edgeagent.outbox.frame import Frame, FrameKind
from edgeagent.outbox.log import Log
from edgeagent.outbox.reader import Damage, LogReader
from edgeagent.outbox.records import NORMAL
from edgeagent.outbox.store import Store
from tests.fakes.stores import A_SEGMENT, DATA, disk, fill, group, opened, record, segment_of


def log_of(store: Store) -> Log:
    return store._logs[NORMAL]


def seqs(items: list[Frame | Damage]) -> list[int]:
    return [item.seq for item in items if isinstance(item, Frame)]


def test_a_part_has_no_more_records_and_hardly_more_bytes_than_were_asked_for() -> None:
    store = opened(disk())
    fill(store, 3 * A_SEGMENT)
    reader = LogReader(log_of(store), 1)
    assert seqs(reader.read(2, 1 << 20)) == [1, 2]
    assert seqs(reader.read(100, 1)) == [3]
    assert seqs(reader.read(100, 1 << 20)) == list(range(4, 13))
    assert reader.read(100, 1 << 20) == []
    assert reader.seq == 13


def test_reading_goes_on_when_more_is_appended() -> None:
    store = opened(disk())
    reader = LogReader(log_of(store), 1)
    assert reader.read(10, 1 << 20) == []
    for number in range(1, 3 * A_SEGMENT):
        fill(store, 1, first=number)
        assert seqs(reader.read(10, 1 << 20)) == [number]


def test_reading_may_begin_in_the_middle_of_a_record() -> None:
    store = opened(disk())
    store.append([group(NORMAL, record("a", ["r1", "r2", "r3"]), record("b"))])
    items = LogReader(log_of(store), 2).read(10, 1 << 20)
    assert [(item.seq, item.count) for item in items if isinstance(item, Frame)] == [(1, 3), (4, 1)]


def test_marks_of_commits_are_left_out() -> None:
    store = opened(disk())
    fill(store, 3)
    items = LogReader(log_of(store), 1).read(10, 1 << 20)
    assert {item.kind for item in items if isinstance(item, Frame)} == {FrameKind.EVENT}


def test_records_larger_than_what_is_read_at_once_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "_CHUNK_BYTES", 64)
    store = opened(disk())
    fill(store, 3 * A_SEGMENT)
    items = LogReader(log_of(store), 1).read(100, 1 << 20)
    assert seqs(items) == list(range(1, 13))
    assert {len(item.payload) > len(DATA) for item in items if isinstance(item, Frame)} == {True}


def test_closing_in_between_changes_nothing() -> None:
    store = opened(disk())
    fill(store, 2 * A_SEGMENT)
    reader = LogReader(log_of(store), 1)
    found: list[int] = []
    while items := reader.read(1, 1 << 20):
        found += seqs(items)
        reader.close()
    assert found == list(range(1, 9))


def test_a_reader_goes_on_after_the_segment_it_is_in_was_removed() -> None:
    store = opened(disk())
    fill(store, 3 * A_SEGMENT)
    reader = LogReader(log_of(store), 1)
    assert seqs(reader.read(A_SEGMENT, 1 << 20)) == [1, 2, 3, 4]
    log_of(store).release(1, 2 * A_SEGMENT, "settled")
    store.checkpoint()
    items = reader.read(100, 1 << 20)
    assert [(item.first_seq, item.end_seq) for item in items if isinstance(item, Damage)] == [(5, 9)], (
        "released before: counts as nothing"
    )
    assert seqs(items) == [9, 10, 11, 12]


def test_damage_is_told_once_between_the_records_around_it() -> None:
    filesystem = disk()
    store = opened(filesystem)
    store.append([group(NORMAL, *(record(f"e{number}") for number in range(5)))])
    path, _, frames = segment_of(filesystem, 1)
    filesystem.damage(path, frames[2].offset + 4, b"\xff" * 80)
    reader = LogReader(log_of(store), 1)
    first, damage, *rest = reader.read(100, 1 << 20)
    assert isinstance(damage, Damage)
    assert (damage.first_seq, damage.end_seq, damage.offset) == (2, 4, frames[2].offset)
    assert damage.segment is log_of(store).segments[0]
    assert seqs([first, *rest]) == [1, 4, 5]


def test_when_the_disk_refuses_what_was_read_before_is_returned_and_the_place_is_kept() -> None:
    filesystem = disk()
    store = opened(filesystem)
    fill(store, 2 * A_SEGMENT)
    reader = LogReader(log_of(store), 1)
    first = segment_of(filesystem, 1)[0]
    assert seqs(reader.read(1, 1 << 20)) == [1]
    filesystem.fails = lambda _number, name: name == "open"
    assert seqs(reader.read(100, 1 << 20)) == [2, 3, 4], f"{first} is open already"
    for _ in range(2):
        with pytest.raises(StorageFailed):
            reader.read(100, 1 << 20)
    filesystem.fails = lambda _number, _name: False
    assert seqs(reader.read(100, 1 << 20)) == [5, 6, 7, 8]
