from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.errors import StorageFailed
from edgeagent.outbox.cursor import SLOT_BYTES, Checkpoint, CursorFile, LogState, distances
from edgeagent.outbox.frame import Batch
from edgeagent.outbox.released import Released
from tests.fakes.crash_filesystem import CrashFilesystem, Fate

PATH = Path("/outbox/cursor")


def checkpoint(generation: int, ranges: list[int] | None = None) -> Checkpoint:
    return Checkpoint(
        generation, {"normal": LogState(9, 3, ranges or [], {"settled": 2}, 0, 2, 1)}, Batch(generation, 0)
    )


def disk(seed: int = 0) -> CrashFilesystem:
    return CrashFilesystem(Random(seed))  # noqa: S311  chance for tests


def test_a_new_file_holds_nothing() -> None:
    _, found = CursorFile.open(disk(), PATH)
    assert found is None


def test_the_newest_checkpoint_is_found_again_whichever_slot_it_is_in() -> None:
    filesystem = disk()
    file, _ = CursorFile.open(filesystem, PATH)
    for generation in range(1, 6):
        file.write(checkpoint(generation))
        file, found = CursorFile.open(filesystem, PATH)
        assert found == checkpoint(generation)


@pytest.mark.parametrize("seed", range(40))
def test_a_power_cut_while_writing_leaves_the_new_checkpoint_or_the_one_before(seed: int) -> None:
    filesystem = disk(seed)
    file, _ = CursorFile.open(filesystem, PATH)
    for generation in (1, 2, 3):
        file.write(checkpoint(generation))
    filesystem.fails = lambda _number, name: name == "sync"
    with pytest.raises(StorageFailed):
        file.write(checkpoint(4))
    _, found = CursorFile.open(filesystem.crash(Fate.TORN), PATH)
    assert found in (checkpoint(3), checkpoint(4))


def test_after_a_failed_write_the_same_slot_is_written_and_the_good_one_stays() -> None:
    filesystem = disk()
    file, _ = CursorFile.open(filesystem, PATH)
    file.write(checkpoint(1))
    for _ in range(5):
        filesystem.fails = lambda _number, name: name in {"write", "sync"}
        with pytest.raises(StorageFailed):
            file.write(checkpoint(2))
    filesystem.fails = lambda _number, _name: False
    file.write(checkpoint(2))
    _, found = CursorFile.open(filesystem.crash(Fate.LOST), PATH)
    assert found == checkpoint(2)


@pytest.mark.parametrize("seed", range(20))
def test_a_checkpoint_that_was_in_the_cache_only_is_synced_when_it_is_read(seed: int) -> None:
    filesystem = disk(seed)
    file, _ = CursorFile.open(filesystem, PATH)
    file.write(checkpoint(1))
    filesystem.fails = lambda _number, name: name == "sync"
    with pytest.raises(StorageFailed):
        file.write(checkpoint(2))
    filesystem.fails = lambda _number, _name: False
    restarted, found = CursorFile.open(filesystem, PATH)
    assert found is not None
    filesystem.fails = lambda _number, name: name == "sync"
    with pytest.raises(StorageFailed):
        restarted.write(checkpoint(3))
    _, survivor = CursorFile.open(filesystem.crash(Fate.TORN), PATH)
    assert survivor in (found, checkpoint(3))


@pytest.mark.parametrize("size", [0, 10, 16, SLOT_BYTES, SLOT_BYTES + 3])
def test_a_file_of_any_length_is_opened_and_used(size: int) -> None:
    filesystem = disk()
    filesystem.create(PATH, size)
    file, found = CursorFile.open(filesystem, PATH)
    assert found is None
    file.write(checkpoint(1))
    file.write(checkpoint(2))
    assert CursorFile.open(filesystem, PATH)[1] == checkpoint(2)


@given(st.binary(max_size=60), st.integers(0, 30))
def test_any_bytes_in_a_slot_are_a_checkpoint_or_none(data: bytes, offset: int) -> None:
    filesystem = disk()
    file, _ = CursorFile.open(filesystem, PATH)
    file.write(checkpoint(1))
    file.write(checkpoint(2))
    filesystem.damage(PATH, SLOT_BYTES + offset, data)
    _, found = CursorFile.open(filesystem, PATH)
    assert found in (checkpoint(1), checkpoint(2))


def test_a_checkpoint_that_is_too_large_is_refused_and_the_last_one_stays() -> None:
    filesystem = disk()
    file, _ = CursorFile.open(filesystem, PATH)
    file.write(checkpoint(1))
    with pytest.raises(StorageFailed, match="does not fit its slot"):
        file.write(checkpoint(2, [1000, 1000] * 30_000))
    assert CursorFile.open(filesystem, PATH)[1] == checkpoint(1)


def test_what_a_thousand_triggers_settled_out_of_order_leave_fits_a_slot_by_far() -> None:
    released = Released(1)
    for seq in range(2, 20_002, 2):
        released.add(seq, 1)
    file, _ = CursorFile.open(disk(), PATH)
    file.write(Checkpoint(1, {"normal": LogState(30_000, 1, distances(released), {}, 0, 1, 0)}, Batch(1, 0)))


@given(st.integers(1, 50), st.lists(st.tuples(st.integers(1, 200), st.integers(1, 5)), max_size=20))
def test_distances_stand_for_the_set_that_they_were_made_of(cursor: int, added: list[tuple[int, int]]) -> None:
    released = Released(cursor)
    for start, count in added:
        released.add(start, count)
    state = LogState(300, released.cursor, distances(released), {}, 0, 1, 0)
    assert all(number > 0 for number in state.ranges)
    again = state.to_released()
    assert (again.cursor, again.ranges) == (released.cursor, released.ranges)
