"""Windows in the store: many triggers that become one."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from edgeagent.errors import RecordTooLarge, StorageFailed
from edgeagent.outbox.records import (
    DEAD,
    DEAD_WAY,
    HIGH,
    LOGS,
    NORMAL,
    PARKED,
    PARKED_WAY,
    REPLAYED,
    SETTLED,
    WINDOWS,
    Leased,
)
from edgeagent.outbox.segment import segment_path
from edgeagent.outbox.store import Store
from edgeagent.outbox.transfer import release_exported, take_in, waiting_page
from tests.fakes.crash_filesystem import CrashFilesystem, Fate
from tests.fakes.stores import (
    A_SEGMENT,
    BOOT,
    DATA,
    DIRECTORY,
    SEGMENT_BYTES,
    balanced,
    closing,
    disk,
    everything,
    fill,
    group,
    ids,
    opened,
    read_all,
    record,
    segment_of,
)


def stored(filesystem: CrashFilesystem, count: int) -> tuple[Store, list[Leased]]:
    """A store with so many leased triggers."""
    store = opened(filesystem)
    store.append([group(NORMAL, *(record(f"e{number}", data=b"%d" % number) for number in range(1, count + 1)))])
    return store, store.read(NORMAL)


def places(store: Store) -> dict[str, list[str]]:
    """The ids of the events whose triggers are not released, by log."""
    return {log: found for log in LOGS if (found := ids(everything(store, log)))}


def gathered_disk(count: int) -> CrashFilesystem:
    """A disk on which so many triggers are one window, which no checkpoint knows."""
    filesystem = disk()
    store, leased = stored(filesystem, count)
    store.checkpoint()
    store.gather([closing(leased)])
    return filesystem


def test_a_window_is_one_trigger_that_stands_for_all_of_its_events() -> None:
    filesystem = disk()
    store, leased = stored(filesystem, 3)
    store.gather([closing(leased)])
    for after in (store, opened(filesystem.survivor(Fate.LOST))):
        [window] = everything(after, WINDOWS)
        assert (window.record.id, window.rule, window.boot) == ("e1", "r", BOOT)
        assert window.record.events == ("e1", "e2", "e3")
        assert msgspec.json.decode(window.record.data) == [1, 2, 3]
        assert places(after) == {WINDOWS: ["e1"]}
        account = after.account()
        assert (account.accepted, account.pending, account.merged, account.settled) == (3, 1, 2, 0)
        assert balanced(after)
    assert ids(store.read(WINDOWS)) == ["e1"], "it is leased like any other"
    assert store.read(WINDOWS) == []
    assert store.release(WINDOWS, 1, SETTLED)
    assert (store.account().settled, store.account().merged) == (1, 2)


def test_windows_that_close_together_share_a_sync() -> None:
    filesystem = disk()
    store, leased = stored(filesystem, 6)
    store.gather([closing(leased[:1])])
    syncs = filesystem.syncs
    store.gather([closing(leased[1:3]), closing(leased[3:])])
    assert filesystem.syncs == syncs + 1
    assert [window.record.events for window in everything(store, WINDOWS)] == [
        ("e1",),
        ("e2", "e3"),
        ("e4", "e5", "e6"),
    ]
    assert (store.account().pending, store.account().merged) == (3, 3)


def park(store: Store, window: Leased) -> None:
    store.move(window, PARKED, PARKED_WAY, reason="nobody answered", code=0, attempts=20)


def bury_and_replay(store: Store, window: Leased) -> None:
    store.move(window, DEAD, DEAD_WAY, reason="no", code=400, attempts=1)
    [letter] = everything(store, DEAD)
    store.move(letter, NORMAL, REPLAYED, reason="", code=0, attempts=0)


def export_and_import(store: Store, _window: Leased) -> None:
    [waiting] = waiting_page(store, WINDOWS, 0, 10).triggers
    assert waiting.trigger.log == WINDOWS
    assert release_exported(store, {WINDOWS: [(waiting.seq, waiting.seq + 1)]}) == 1
    take_in(store, "ab" * 32, 1, [waiting.trigger], 1_000)


@pytest.mark.parametrize(
    ("move", "log"),
    [(park, PARKED), (bury_and_replay, NORMAL), (export_and_import, NORMAL)],
    ids=["park", "bury", "export"],
)
def test_a_window_keeps_its_events_wherever_it_goes(move: Callable[[Store, Leased], None], log: str) -> None:
    filesystem = gathered_disk(3)
    store = opened(filesystem)
    [window] = everything(store, WINDOWS)
    move(store, window)
    for after in (store, opened(filesystem.survivor(Fate.LOST))):
        assert places(after) == {log: ["e1"]}
        [moved] = everything(after, log)
        assert moved.record.events == ("e1", "e2", "e3")
        assert balanced(after)
        assert (after.account().pending, after.account().merged) == (1, 2)


def test_what_is_released_already_is_in_no_window_and_nothing_is_in_two() -> None:
    filesystem = disk()
    store, leased = stored(filesystem, 4)
    store.release(NORMAL, 1, SETTLED)
    store.checkpoint()
    store.gather([closing(leased[:3]), closing(leased[2:]), closing(leased[:1])])
    [first, second] = everything(store, WINDOWS)
    assert first.moved is not None
    assert (first.moved.origin, first.moved.origin_seq, first.moved.merged) == (NORMAL, 2, [(NORMAL, 3)])
    assert second.moved is not None
    assert (second.moved.origin_seq, second.moved.merged) == (4, [])
    store.gather([closing(leased)])
    for after in (store, opened(filesystem.survivor(Fate.LOST))):
        account = after.account()
        assert (account.accepted, account.settled, account.merged, account.pending) == (4, 1, 1, 2)
        assert balanced(after)


def test_a_window_that_fits_no_segment_is_refused_before_anything_is_done() -> None:
    store = opened(disk())
    fill(store, 2 * A_SEGMENT + 1)
    leased = read_all(store)
    with pytest.raises(RecordTooLarge):
        store.gather([closing(leased[:1]), closing(leased[1:])])
    assert everything(store, WINDOWS) == []
    assert store.account().pending == len(leased)


def test_after_a_failure_the_same_call_does_the_rest() -> None:
    filesystem = disk()
    store = opened(filesystem)
    fill(store, 2 * A_SEGMENT)
    leased = read_all(store)
    windows = [closing(leased[:A_SEGMENT]), closing(leased[A_SEGMENT:])]
    assert sum(len(window.record.data) for window in windows) > SEGMENT_BYTES
    creates = 0

    def fails(_number: int, name: str) -> bool:
        nonlocal creates
        creates += name == "create"
        return name == "create" and creates > 1

    filesystem.fails = fails
    with pytest.raises(StorageFailed):
        store.gather(windows)
    assert ids(everything(store, WINDOWS)) == ["e1"]
    assert store.account().merged == A_SEGMENT - 1
    filesystem.fails = lambda _number, _name: False
    store.gather(windows)
    assert places(store) == {WINDOWS: ["e1", f"e{A_SEGMENT + 1}"]}
    assert balanced(store)


def test_windows_close_when_the_outbox_is_full() -> None:
    store = opened(disk())
    number = 0
    while isinstance(store.append([group(HIGH, record(f"e{number}", data=DATA))])[0], int):
        number += 1
    leased = store.read(HIGH)
    store.gather([closing(leased[:3])])
    assert ids(everything(store, WINDOWS)) == ["e0"]


def test_a_damaged_window_that_no_checkpoint_knows_leaves_its_events_pending() -> None:
    filesystem = disk()
    store, leased = stored(filesystem, 4)
    store.checkpoint()
    store.gather([closing(leased[:3])])
    store.gather([closing(leased[3:])])
    path, _, frames = segment_of(filesystem, 1, WINDOWS)
    frame = next(frame for frame in frames if frame.count)
    filesystem.damage(path, frame.offset + 20, b"\xff\xff")
    after = opened(filesystem.survivor(Fate.LOST))
    assert places(after) == {NORMAL: ["e1", "e2", "e3"], WINDOWS: ["e4"]}
    assert (after.account().damaged, after.account().merged, after.account().pending) == (0, 0, 4)
    assert balanced(after)
    after.gather([closing(read_all(after))])
    assert places(after) == {WINDOWS: ["e4", "e1"]}


def test_a_damaged_window_that_was_kept_is_one_loss() -> None:
    filesystem = gathered_disk(3)
    opened(filesystem).close()
    path, _, frames = segment_of(filesystem, 1, WINDOWS)
    [frame] = [frame for frame in frames if frame.count]
    filesystem.damage(path, frame.offset + 20, b"\xff\xff")
    after = opened(filesystem)
    read_all(after, WINDOWS)
    assert places(after) == {}
    assert (after.account().damaged, after.account().merged, after.account().pending) == (1, 2, 0)
    assert balanced(after)


def test_without_the_cursor_file_the_events_of_a_window_are_in_it_and_nowhere_else() -> None:
    filesystem = gathered_disk(3)
    store = opened(filesystem)
    store.append([group(NORMAL, record("later"))])
    store.close()
    filesystem.remove(DIRECTORY / "cursor")
    after = opened(filesystem)
    assert places(after) == {NORMAL: ["later"], WINDOWS: ["e1"]}
    assert (after.account().pending, after.account().merged) == (2, 2)
    assert balanced(after)


@pytest.mark.parametrize("dead", [False, True])
def test_without_the_cursor_file_a_window_counts_though_its_events_are_gone(dead: bool) -> None:
    filesystem = gathered_disk(3)
    store = opened(filesystem)
    if dead:
        [window] = everything(store, WINDOWS)
        store.move(window, DEAD, DEAD_WAY, reason="no", code=400, attempts=1)
    store.close()
    opened(filesystem).close()
    left = {path.parent.name for path in filesystem.files() if path.suffix == ".seg"}
    assert left == ({DEAD} if dead else {WINDOWS})
    filesystem.remove(DIRECTORY / "cursor")
    after = opened(filesystem)
    assert places(after) == ({DEAD: ["e1"]} if dead else {WINDOWS: ["e1"]})
    assert balanced(after)
    fill(after, 2)
    assert balanced(after)


def put(filesystem: CrashFilesystem, other: CrashFilesystem, log: str) -> None:
    """Put the first segment of a log where it is found, as bytes that a failing disk wrote all the same."""
    path = segment_path(DIRECTORY / log, 1)
    filesystem.replace(path, other.files()[path])


def test_a_window_that_was_refused_does_not_come_back_over_what_became_of_its_events() -> None:
    filesystem = disk()
    store, leased = stored(filesystem, 3)
    store.release(NORMAL, 2, SETTLED)
    store.checkpoint()
    put(filesystem, gathered_disk(3), WINDOWS)
    after = opened(filesystem)
    assert places(after) == {NORMAL: ["e1", "e3"]}
    assert (after.account().settled, after.account().merged, after.account().pending) == (1, 0, 2)
    assert balanced(after)
    after.gather([closing([leased[0], leased[2]])])
    assert [window.record.events for window in everything(opened(filesystem), WINDOWS)] == [("e1", "e3")]


def test_of_two_moves_of_one_trigger_the_later_one_was_promised() -> None:
    refused = disk()
    store, leased = stored(refused, 2)
    store.checkpoint()
    store.move(leased[0], DEAD, DEAD_WAY, reason="no", code=400, attempts=1)
    filesystem = disk()
    store, leased = stored(filesystem, 2)
    store.checkpoint()
    store.append([group(NORMAL, record("later"))])
    store.gather([closing(leased)])
    put(filesystem, refused, DEAD)
    after = opened(filesystem)
    assert places(after) == {NORMAL: ["later"], WINDOWS: ["e1"]}
    assert balanced(after)
