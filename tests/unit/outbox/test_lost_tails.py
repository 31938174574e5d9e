"""A disk that loses the end of a log, or all of it: what is lost is told, counted, and its seqs are not used again."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import pytest

from edgeagent.outbox.records import (
    DEAD,
    DEAD_WAY,
    HIGH,
    NORMAL,
    PARKED,
    PARKED_WAY,
    SETTLED,
    WINDOWS,
    OutboxLimits,
)
from edgeagent.outbox.segment import segment_path
from edgeagent.outbox.store import Store
from tests.fakes.crash_filesystem import CrashFilesystem
from tests.fakes.stores import (
    A_SEGMENT,
    DIRECTORY,
    SEGMENT_BYTES,
    balanced,
    blocks_of,
    closing,
    disk,
    everything,
    fill,
    ids,
    opened,
    read_all,
    segment_of,
)

HARM = ["removed", "emptied", "zeroed", "header damaged"]


def harm(filesystem: CrashFilesystem, path: Path, how: str) -> None:
    """Do something to a file behind the store's back."""
    size = len(filesystem.files()[path])
    if how == "removed":
        filesystem.remove(path)
    elif how == "emptied":
        filesystem.replace(path, b"")
    elif how == "zeroed":
        filesystem.replace(path, bytes(size))
    else:
        filesystem.damage(path, 20, b"\xff")


def cut(filesystem: CrashFilesystem, path: Path, size: int) -> None:
    filesystem.replace(path, filesystem.files()[path][:size])


def losses(store: Store) -> list[tuple[str, int, int | None, int]]:
    return [(loss.log, loss.first_seq, loss.last_seq, loss.count) for loss in store.losses.last]


def account(store: Store) -> tuple[int, int, int]:
    assert balanced(store)
    found = store.account()
    return found.accepted, found.pending, found.damaged


def goes_on_above(store: Store, filesystem: CrashFilesystem, seq: int) -> None:
    """The next seq is this one or a later one, is told only once, and all holds over another start."""
    damaged = store.account().damaged
    fill(store, 1, first=900)
    [last] = [leased.seq for leased in everything(store) if leased.record.id == "e900"]
    assert last >= seq
    store.close()
    again = opened(filesystem)
    assert losses(again) == []
    assert "e900" in ids(everything(again))
    assert (again.account().damaged, balanced(again)) == (damaged, True)


@pytest.mark.parametrize("how", HARM)
def test_a_newest_segment_that_is_gone_is_a_loss_from_its_first_records_on(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    filesystem = disk()
    fill(opened(filesystem), 3 * A_SEGMENT)  # nothing is settled, and the process is killed
    after_cut = filesystem.crash()
    harm(after_cut, segment_path(DIRECTORY / NORMAL, 3), how)
    with caplog.at_level(logging.WARNING):
        after = opened(after_cut)
    assert ids(everything(after)) == [f"e{number}" for number in range(1, 2 * A_SEGMENT + 1)]
    assert losses(after) == [(NORMAL, 9, 9, 1), (NORMAL, 10, None, 0)]
    assert account(after) == (9, 8, 1)
    told = [(vars(entry)["event"], entry.levelname) for entry in caplog.records if entry.levelno > logging.WARNING]
    assert told == [("outbox_damaged", "ERROR"), ("outbox_end_lost", "ERROR")]
    assert "how much that was, if anything, is unknown" in caplog.text
    assert "was acknowledged" not in caplog.text
    goes_on_above(after, after_cut, 10)


@pytest.mark.parametrize("how", HARM)
def test_an_only_segment_that_is_gone_is_a_loss(how: str) -> None:
    filesystem = disk()
    fill(opened(filesystem), A_SEGMENT)
    after_cut = filesystem.crash()
    harm(after_cut, segment_path(DIRECTORY / NORMAL, 1), how)
    after = opened(after_cut)
    assert losses(after) == [(NORMAL, 1, 1, 1), (NORMAL, 2, None, 0)]
    assert account(after) == (1, 0, 1)
    goes_on_above(after, after_cut, 2)


def test_a_checkpoint_while_events_come_makes_the_range_exact() -> None:
    filesystem = disk()
    store = opened(filesystem)
    fill(store, A_SEGMENT - 1)
    [first, *_] = read_all(store)
    store.release(NORMAL, first.seq, SETTLED)
    store.checkpoint()
    after_cut = filesystem.crash()
    harm(after_cut, segment_path(DIRECTORY / NORMAL, 1), "removed")
    after = opened(after_cut)
    assert losses(after) == [(NORMAL, 2, 3, 2), (NORMAL, 4, None, 0)], "seq 1 was settled"
    assert account(after) == (3, 0, 2)
    assert after.account().settled == 1


def test_after_a_stop_in_order_the_loss_of_the_newest_segment_is_exact() -> None:
    filesystem = disk()
    store = opened(filesystem)
    fill(store, 2 * A_SEGMENT)
    store.close()
    harm(filesystem, segment_path(DIRECTORY / NORMAL, 2), "removed")
    after = opened(filesystem)
    assert losses(after) == [(NORMAL, 5, 8, 4)]
    assert account(after) == (8, 4, 4)
    goes_on_above(after, filesystem, 9)


def test_a_segment_that_was_cut_in_half_loses_what_an_index_still_names_and_more() -> None:
    filesystem = disk()
    fill(opened(filesystem), A_SEGMENT)
    after_cut = filesystem.crash()
    path, data, _ = segment_of(after_cut, 1)
    third = blocks_of(data)[2]
    cut(after_cut, path, third.offset + 100)
    after = opened(after_cut)
    assert ids(everything(after)) == ["e1", "e2"]
    assert losses(after) == [(NORMAL, 3, 3, 1), (NORMAL, 4, None, 0)]
    assert account(after) == (3, 2, 1)
    [copy] = [content for file, content in after_cut.files().items() if file.parent.name == "quarantine"]
    assert len(copy) > 50
    assert data[third.start : third.offset + 100].endswith(copy)
    goes_on_above(after, after_cut, 4)


def test_a_segment_that_was_cut_in_an_index_has_lost_its_end() -> None:
    filesystem = disk()
    fill(opened(filesystem), A_SEGMENT)
    after_cut = filesystem.crash()
    path, data, _ = segment_of(after_cut, 1)
    cut(after_cut, path, blocks_of(data)[2].start + 9)
    after = opened(after_cut)
    assert losses(after) == [(NORMAL, 3, None, 0)]
    assert account(after) == (2, 2, 0)


def test_a_segment_whose_end_reads_as_zeros_has_lost_what_a_checkpoint_knows() -> None:
    filesystem = disk()
    store = opened(filesystem)
    fill(store, A_SEGMENT - 1)
    [first, *_] = read_all(store)
    store.release(NORMAL, first.seq, SETTLED)
    store.checkpoint()
    fill(store, 1, first=A_SEGMENT)
    after_cut = filesystem.crash()
    path, data, _ = segment_of(after_cut, 1)
    start = blocks_of(data)[1].start
    after_cut.damage(path, start, bytes(len(data) - start))
    after = opened(after_cut)
    assert losses(after) == [(NORMAL, 2, 3, 2), (NORMAL, 4, None, 0)]
    assert account(after) == (3, 0, 2)


def test_what_a_power_cut_tears_from_the_last_commit_is_no_loss_and_the_words_claim_no_more_than_is_known(
    caplog: pytest.LogCaptureFixture,
) -> None:
    filesystem = disk()
    fill(opened(filesystem), 3)
    after_cut = filesystem.crash()
    path, data, _ = segment_of(after_cut, 1)
    last = blocks_of(data)[-1]
    after_cut.damage(path, last.offset + 40, bytes(len(data) - last.offset - 40))
    with caplog.at_level(logging.WARNING):
        after = opened(after_cut)
    assert (losses(after), account(after)) == ([], (2, 2, 0))
    [told] = caplog.records
    assert (vars(told)["event"], told.levelname) == ("outbox_tail_cut", "WARNING")
    assert "unless the disk lost data that it had synced, which cannot be detected" in told.getMessage()


def test_opening_twice_in_a_row_after_a_power_cut_is_no_loss() -> None:
    filesystem = disk()
    fill(opened(filesystem), A_SEGMENT + 2)
    for _ in range(3):
        filesystem = filesystem.crash()
        after = opened(filesystem)
        assert (losses(after), account(after)) == ([], (6, 6, 0))


@pytest.mark.parametrize("log", [NORMAL, HIGH])
def test_a_directory_without_segments_beside_a_cursor_file_is_a_loss_of_every_log_that_had_some(log: str) -> None:
    filesystem = disk()
    store = opened(filesystem)
    fill(store, A_SEGMENT, log=log)
    fill(store, 1, log=HIGH if log == NORMAL else NORMAL, first=50)
    after_cut = filesystem.crash()
    for path in [path for path in after_cut.files() if path.suffix == ".seg"]:
        after_cut.remove(path)
    after = opened(after_cut)
    # The second log's first segment brought a checkpoint that knows all of the first log.
    other = HIGH if log == NORMAL else NORMAL
    assert sorted(losses(after), key=str) == sorted(
        [(log, 1, 4, 4), (log, 5, None, 0), (other, 1, 1, 1), (other, 2, None, 0)], key=str
    )
    assert account(after) == (5, 0, 5)


def test_an_empty_outbox_whose_files_once_counted_commits_says_that_the_cursor_file_is_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    filesystem = disk()
    fill(opened(filesystem), A_SEGMENT + 1)
    after_cut = filesystem.crash()
    for path in [path for path in after_cut.files() if path.name != "recent"]:
        after_cut.remove(path)
    with caplog.at_level(logging.ERROR):
        opened(after_cut)
    assert [vars(entry)["event"] for entry in caplog.records] == ["outbox_cursor_lost"]


def test_a_dead_letter_that_is_lost_with_its_segment_is_counted_and_one_that_no_checkpoint_knows_is_pending() -> None:
    filesystem = disk()
    store = opened(filesystem)
    fill(store, 3)
    first, second, _ = read_all(store)
    store.move(first, DEAD, DEAD_WAY, reason="no", code=400, attempts=1)
    store.checkpoint()
    store.move(second, DEAD, DEAD_WAY, reason="no", code=400, attempts=1)
    after_cut = filesystem.crash()
    harm(after_cut, segment_path(DIRECTORY / DEAD, 1), "removed")
    after = opened(after_cut)
    assert losses(after) == [(DEAD, 1, 1, 1)], "exactly: the other one was never released where it was"
    assert ids(everything(after)) == ["e2", "e3"]
    assert account(after) == (3, 2, 1)


def test_parked_triggers_and_windows_that_are_lost_with_their_segments_are_counted() -> None:
    filesystem = disk()
    store = opened(filesystem)
    fill(store, A_SEGMENT)
    first, *members = read_all(store)
    store.move(first, PARKED, PARKED_WAY, reason="nobody answered", code=0, attempts=20)
    store.gather([closing(members[:2])])
    store.checkpoint()
    after_cut = filesystem.crash()
    for log in (PARKED, WINDOWS):
        harm(after_cut, segment_path(DIRECTORY / log, 1), "emptied")
    after = opened(after_cut)
    assert losses(after) == [(PARKED, 1, 1, 1), (WINDOWS, 1, 1, 1)]
    assert account(after) == (4, 1, 2)
    assert after.account().merged == 1


def test_the_origin_that_a_moved_record_names_tells_how_far_a_log_reached() -> None:
    filesystem = disk()
    store = opened(filesystem)
    fill(store, A_SEGMENT)
    *_, third, fourth = read_all(store)
    store.move(third, DEAD, DEAD_WAY, reason="no", code=400, attempts=1)
    store.move(fourth, PARKED, PARKED_WAY, reason="nobody answered", code=0, attempts=20)
    after_cut = filesystem.crash()
    harm(after_cut, segment_path(DIRECTORY / NORMAL, 1), "removed")
    after = opened(after_cut)
    assert losses(after) == [(NORMAL, 1, 1, 1), (NORMAL, 2, 2, 1), (NORMAL, 5, None, 0)]
    assert ids(everything(after, DEAD)) == ["e3"]
    assert ids(everything(after, PARKED)) == ["e4"]
    assert account(after) == (4, 1, 2)
    goes_on_above(after, after_cut, 5)


def test_a_newest_segment_that_went_because_all_of_it_was_settled_is_no_loss() -> None:
    filesystem = disk()
    store = opened(filesystem)
    for number in range(1, 6 * A_SEGMENT):
        fill(store, 1, first=number)
        for leased in store.read(NORMAL):
            store.release(NORMAL, leased.seq, SETTLED)
        store.checkpoint()
        after = opened(filesystem.survivor())
        assert (losses(after), account(after)) == ([], (number, 0, 0))


def test_evidence_costs_no_write_and_no_sync_more_than_the_checkpoint_of_each_new_segment() -> None:
    filesystem = disk()
    store = opened(filesystem, OutboxLimits(100 * SEGMENT_BYTES, SEGMENT_BYTES, 100))
    fill(store, 1)
    counts: Counter[str] = Counter()
    filesystem.fails = lambda _number, name: bool(counts.update([name]))
    fill(store, 8 * A_SEGMENT, first=2)
    # A commit is a write and a sync. A segment: its file, its header, `recent`, and one checkpoint.
    commits, segments = 8 * A_SEGMENT, 8
    assert counts == Counter(write=commits + 2 * segments, sync=commits + segments, create=segments, replace=segments)


def test_while_triggers_settle_evidence_costs_nothing_either() -> None:
    filesystem = disk()
    store = opened(filesystem, OutboxLimits(100 * SEGMENT_BYTES, SEGMENT_BYTES, 100))
    fill(store, 1)
    counts: Counter[str] = Counter()
    filesystem.fails = lambda _number, name: bool(counts.update([name]))
    for number in range(2, 8 * A_SEGMENT + 2):
        fill(store, 1, first=number)
        store.release(NORMAL, number - 1, SETTLED)
    commits, segments = 8 * A_SEGMENT, 8
    assert counts == Counter(write=commits + 2 * segments, sync=commits + segments, create=segments, replace=segments)


def test_a_checkpoint_that_fails_behind_the_first_records_keeps_them_acknowledged_and_is_made_up_for() -> None:
    filesystem = disk()
    store = opened(filesystem)
    fill(store, A_SEGMENT)
    cursor: list[str] = []

    def fails(_number: int, name: str) -> bool:
        cursor.append(name)
        return name == "write" and cursor.count("write") == 3  # the header, the records, the checkpoint

    filesystem.fails = fails
    fill(store, 1, first=5)
    assert "cursor" in store.failures
    filesystem.fails = lambda _number, _name: False
    store.probe()
    assert store.failures == {}
    after_cut = filesystem.crash()
    harm(after_cut, segment_path(DIRECTORY / NORMAL, 2), "removed")
    assert losses(opened(after_cut)) == [(NORMAL, 5, 5, 1), (NORMAL, 6, None, 0)]
