from __future__ import annotations

import logging
from itertools import chain

import pytest

from edgeagent.outbox.cursor import Checkpoint, CursorFile, LogState
from edgeagent.outbox.frame import FrameKind, SegmentHeader, encode_blocks
from edgeagent.outbox.records import (
    DEAD,
    DEAD_WAY,
    DISCARDED,
    NORMAL,
    REPLAYED,
    SETTLED,
)
from edgeagent.outbox.segment import segment_path
from edgeagent.outbox.store import Store
from tests.fakes.crash_filesystem import CrashFilesystem, Fate
from tests.fakes.stores import (
    A_SEGMENT,
    DIRECTORY,
    SEGMENT_BYTES,
    balanced,
    blocks_of,
    disk,
    everything,
    filesystem_with,
    fill,
    group,
    ids,
    opened,
    read_all,
    record,
    segment_of,
)


@pytest.mark.slow
def test_the_last_commit_may_be_cut_anywhere_and_earlier_records_survive() -> None:
    filesystem = disk()
    store = opened(filesystem)
    store.append([group(NORMAL, record("a"), record("b"))])
    store.append([group(NORMAL, record("c"), record("d", data=b"1234567890" * 5))])
    path, data, frames = segment_of(filesystem, 1)
    last = blocks_of(data)[-1]
    for cut in range(last.start, last.end + 1):
        whole = [frame.seq for frame in frames if frame.kind is FrameKind.EVENT and frame.end <= cut]
        for torn in (data[:cut], data[:cut] + bytes(len(data) - cut)):
            survivor = filesystem_with(filesystem, path, torn)
            after = opened(survivor)
            assert [leased.seq for leased in everything(after)] == whole
            assert whole[:2] == [1, 2]
            goes_on(after, survivor)


@pytest.mark.slow
def test_any_wrong_byte_in_the_last_commit_costs_nothing_that_came_before_it() -> None:
    filesystem = disk()
    store = opened(filesystem)
    store.append([group(NORMAL, record("a"), record("b"))])
    store.append([group(NORMAL, record("c"))])
    path, data, frames = segment_of(filesystem, 1)
    index = range(blocks_of(data)[-1].start, blocks_of(data)[-1].start + 42)
    for position in chain(index, range(frames[-2].offset, frames[-1].end)):
        damaged = bytearray(data)
        damaged[position] ^= 0x41
        survivor = filesystem_with(filesystem, path, bytes(damaged))
        after = opened(survivor)
        assert ids(everything(after)) == ["a", "b"]
        assert after.account().damaged == 0, "it may have been a crash: nothing says that it was synced"
        goes_on(after, survivor)


def goes_on(store: Store, filesystem: CrashFilesystem) -> None:
    """Later appends work, and survive."""
    before = ids(everything(store))
    [seq] = store.append([group(NORMAL, record("later"))])
    assert isinstance(seq, int)
    assert ids(everything(store)) == [*before, "later"]
    assert ids(everything(opened(filesystem.crash(Fate.LOST)))) == [*before, "later"]
    assert balanced(store)


def test_damage_in_an_older_segment_is_lost_as_an_exact_range_counted_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    filesystem = disk()
    store = opened(filesystem)
    fill(store, 3 * A_SEGMENT)
    store.close()
    path, _, frames = segment_of(filesystem, 2)
    for frame in [frame for frame in frames if frame.seq in {7, 8} and frame.kind is FrameKind.EVENT]:
        filesystem.damage(path, frame.offset + 30, b"\xff\xff")
    after = opened(filesystem)
    with caplog.at_level(logging.ERROR):
        found = read_all(after)
    assert [leased.seq for leased in found] == [seq for seq in range(1, 13) if seq not in {7, 8}]
    told = [vars(entry) for entry in caplog.records]
    assert [(entry["event"], entry["first_seq"], entry["last_seq"], entry["lost"]) for entry in told] == [
        ("outbox_damaged", 7, 7, 1),
        ("outbox_damaged", 8, 8, 1),
    ]
    account = after.account()
    assert (account.accepted, account.pending, account.damaged) == (12, 10, 2)
    assert balanced(after)
    after.close()
    caplog.clear()
    again = opened(filesystem)
    assert len(read_all(again)) == 10
    assert again.account().damaged == 2
    assert not caplog.records, "it is told once"


def test_damage_in_the_last_segment_is_told_when_later_commits_show_that_it_was_synced() -> None:
    filesystem = disk()
    store = opened(filesystem)
    fill(store, 3)
    path, _, frames = segment_of(filesystem, 1)
    filesystem.damage(path, frames[1].offset + 30, b"\xff\xff")
    after = opened(filesystem.crash(Fate.LOST))
    assert [leased.seq for leased in everything(after)] == [2, 3]
    assert after.account().damaged == 1
    assert balanced(after)


def test_after_a_stop_in_order_damage_in_the_very_last_commit_costs_only_what_it_hits() -> None:
    filesystem = disk()
    store = opened(filesystem)
    store.append([group(NORMAL, *(record(f"e{number}") for number in range(4)))])
    store.close()
    path, _, frames = segment_of(filesystem, 1)
    filesystem.damage(path, frames[2].offset + 30, b"\xff\xff")
    after = opened(filesystem)
    assert [leased.seq for leased in everything(after)] == [1, 3, 4]
    assert (after.account().damaged, after.account().accepted) == (1, 4)
    assert balanced(after)


def test_a_segment_that_is_gone_is_lost_as_an_exact_range_and_the_others_survive() -> None:
    filesystem = disk()
    store = opened(filesystem)
    fill(store, 3 * A_SEGMENT)
    store.close()
    filesystem.remove(segment_path(DIRECTORY / NORMAL, 2))
    after = opened(filesystem)
    assert [leased.seq for leased in read_all(after)] == [1, 2, 3, 4, 9, 10, 11, 12]
    assert after.account().damaged == A_SEGMENT
    assert balanced(after)


@pytest.mark.parametrize("number", [1, 3])
def test_a_segment_with_a_damaged_header_is_left_alone_and_its_records_are_counted(number: int) -> None:
    filesystem = disk()
    store = opened(filesystem)
    fill(store, 3 * A_SEGMENT)
    store.close()
    path = segment_path(DIRECTORY / NORMAL, number)
    filesystem.damage(path, 20, b"\xff")
    after = opened(filesystem)
    first = 1 + (number - 1) * A_SEGMENT
    assert [leased.seq for leased in read_all(after)] == [
        seq for seq in range(1, 13) if not first <= seq < first + A_SEGMENT
    ]
    assert after.account().damaged == A_SEGMENT
    assert balanced(after)
    fill(after, 3 * A_SEGMENT)
    assert path in filesystem.files()
    assert [leased.seq for leased in read_all(after)] == list(range(13, 25))


def test_a_record_that_is_no_record_of_ours_is_damage_and_nothing_falls_over() -> None:
    filesystem = disk()
    store = opened(filesystem)
    fill(store, 3)
    store.close()
    path, data, frames = segment_of(filesystem, 1)
    header = SegmentHeader.decode(data)
    assert header is not None
    block = blocks_of(data)[1]
    batch, event = [frame for frame in frames if block.start <= frame.offset < block.end]
    nonsense = bytes([0x91, 0x05]) + bytes(len(event.payload) - 2)
    kinds, contents = bytes((batch.kind, event.kind)), (batch.payload, nonsense)
    filesystem.damage(path, block.start, encode_blocks(header.salt, event.seq, kinds, (0, 1), contents))
    after = opened(filesystem)
    assert [leased.seq for leased in read_all(after)] == [1, 3]
    assert after.account().damaged == 1
    assert balanced(after)


def test_files_that_are_not_ours_are_left_alone() -> None:
    filesystem = disk()
    store = opened(filesystem)
    fill(store, 1)
    store.close()
    foreign = {DIRECTORY / NORMAL / name for name in ("notes.txt", "5.seg", f"{9:020d}.seg", f"{9:020d}.seg.bak")}
    for path in foreign:
        filesystem.replace(path, b"mine")
    after = opened(filesystem)
    fill(after, 2 * A_SEGMENT, first=2)
    assert len(everything(after)) == 1 + 2 * A_SEGMENT
    assert foreign <= filesystem.files().keys()


def test_a_segment_that_a_power_cut_left_empty_is_removed_and_its_number_not_missed() -> None:
    filesystem = disk()
    store = opened(filesystem)
    fill(store, 1)
    store.close()
    empty = segment_path(DIRECTORY / NORMAL, 2)
    filesystem.create(empty, SEGMENT_BYTES)
    after = opened(filesystem)
    assert empty not in filesystem.files()
    fill(after, 1, first=2)
    assert ids(everything(after)) == ["e1", "e2"]


@pytest.mark.parametrize("loss", ["removed", "damaged"])
def test_without_the_cursor_file_everything_on_disk_is_pending_again(
    loss: str, caplog: pytest.LogCaptureFixture
) -> None:
    filesystem = disk()
    store = opened(filesystem)
    fill(store, 2 * A_SEGMENT + 2)
    leased = read_all(store)
    for entry in leased[: A_SEGMENT + 2]:
        store.release(NORMAL, entry.seq, SETTLED)
    store.move(leased[-1], DEAD, DEAD_WAY, reason="no", code=400, attempts=1)
    store.close()
    if loss == "removed":
        filesystem.remove(DIRECTORY / "cursor")
    else:
        for slot in (0, 128 << 10):
            filesystem.damage(DIRECTORY / "cursor", slot + 20, b"\xff\xff\xff")
    with caplog.at_level(logging.ERROR):
        after = opened(filesystem)
    assert [vars(entry)["event"] for entry in caplog.records] == ["outbox_cursor_lost"]
    assert [entry.seq for entry in read_all(after)] == [5, 6, 7, 8, 9], "the first segment was settled and removed"
    assert ids(everything(after, DEAD)) == ["e10"]
    assert balanced(after)
    fill(after, 2, first=11)
    assert [entry.seq for entry in read_all(after)] == [11, 12]
    assert balanced(after)


def test_without_the_cursor_file_no_seq_is_used_again_that_a_dead_letter_names() -> None:
    filesystem = disk()
    store = opened(filesystem)
    fill(store, 3)
    for leased in store.read(NORMAL):
        store.move(leased, DEAD, DEAD_WAY, reason="no", code=400, attempts=1)
    store.close()
    opened(filesystem).close()
    assert not [path for path in filesystem.files() if path.parent.name == NORMAL], "nothing is left but dead letters"
    filesystem.remove(DIRECTORY / "cursor")
    after = opened(filesystem)
    fill(after, 3, first=4)
    assert [leased.record.id for leased in read_all(after)] == ["e4", "e5", "e6"]
    assert (after.account().dead, after.account().pending) == (3, 3)
    assert balanced(after)


def test_without_the_cursor_file_replayed_dead_letters_are_not_doubled() -> None:
    filesystem = disk()
    store = opened(filesystem)
    fill(store, 4)
    for leased in store.read(NORMAL):
        store.move(leased, DEAD, DEAD_WAY, reason="no", code=400, attempts=1)
    first, second, *_ = everything(store, DEAD)
    store.move(first, NORMAL, REPLAYED, reason="", code=0, attempts=0)
    store.release(DEAD, second.seq, DISCARDED)
    store.close()
    filesystem.remove(DIRECTORY / "cursor")
    after = opened(filesystem)
    assert ids(everything(after, DEAD)) == ["e2", "e3", "e4"], "a discard is forgotten with the cursor file"
    assert ids(read_all(after)) == ["e1"]
    assert balanced(after)


def test_a_log_of_a_later_version_is_kept_for_it_and_its_triggers_are_pending(
    caplog: pytest.LogCaptureFixture,
) -> None:
    filesystem = disk()
    store = opened(filesystem)
    store.append([group(NORMAL, record("a"), record("b"), record("c"))])
    store.release(NORMAL, 1, SETTLED)
    store.release(NORMAL, 2, "copied", 2)  # a way of that version, into a log of its own
    store.close()
    cursor, checkpoint = CursorFile.open(filesystem, DIRECTORY / "cursor")
    assert checkpoint is not None
    later = LogState(5, 2, [1, 1], {SETTLED: 1, "copied": 1}, 2, 3, 2)
    cursor.write(Checkpoint(checkpoint.generation + 1, {**checkpoint.logs, "later": later}, checkpoint.events))
    cursor.close()

    store = opened(filesystem)
    assert "2 triggers wait there" in caplog.text
    assert (store.account().pending, store.account().settled) == (2, 2)
    store.append([group(NORMAL, record("d"))])
    store.release(NORMAL, 4, SETTLED)
    store.close()
    _, checkpoint = CursorFile.open(filesystem, DIRECTORY / "cursor")
    assert checkpoint is not None
    assert checkpoint.logs["later"] == later
