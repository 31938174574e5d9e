from __future__ import annotations

import fcntl
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgeagent.errors import OutboxLocked
from edgeagent.outbox.files import Filesystem, OsFilesystem
from edgeagent.outbox.lock import reading_lock, state_lock
from edgeagent.outbox.overlay import Overlay
from edgeagent.outbox.records import DEAD, DEAD_WAY, HIGH, LOGS, NORMAL, SETTLED
from edgeagent.outbox.segment import segment_path
from edgeagent.outbox.store import Store
from edgeagent.outbox.verify import overview, verify_part
from edgeagent.ports.verification import DamagedRange, Overview
from tests.fakes.stores import A_SEGMENT, BOOT, LIMITS, fill, group, read_all, record


def opened(directory: Path, filesystem: Filesystem | None = None) -> Store:
    salts = itertools.count(7)
    return Store(
        filesystem or OsFilesystem(), directory, LIMITS, boot=BOOT, new_salt=lambda: next(salts), now_ms=lambda: 1_000
    )


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    """An outbox of three segments and a bit, some of it settled, with a dead letter."""
    directory = tmp_path / "outbox"
    store = opened(directory)
    fill(store, 3 * A_SEGMENT + 2)
    first, *_, last = read_all(store)
    store.release(NORMAL, first.seq, SETTLED)
    store.move(last, DEAD, DEAD_WAY, reason="no", code=400, attempts=1)
    store.append([group(HIGH, record("h1"))])
    store.close()
    return directory


def verified(store: Store) -> tuple[int, list[DamagedRange]]:
    """Good triggers and damage, over all logs."""
    triggers = 0
    damaged: list[DamagedRange] = []
    for name in LOGS:
        seq: int | None = 0
        while seq is not None:
            part = verify_part(store, name, seq)
            triggers += part.triggers
            damaged += part.damaged
            seq = part.next_seq
    return triggers, damaged


@contextmanager
def looked_at(directory: Path) -> Iterator[tuple[Store, Overview]]:
    overlay = Overlay()
    store = opened(directory, overlay)
    yield store, overview(store, overlay, directory)
    store.close()


def content(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x10
    path.write_bytes(data)


def offset_of(path: Path, event_id: str) -> int:
    return path.read_bytes().index(event_id.encode() + b"\xa5event")


def test_a_sound_outbox_has_no_faults_and_all_records_are_counted(outbox: Path) -> None:
    with looked_at(outbox) as (store, found):
        assert list(found.faults()) == []
        assert verified(store) == (3 * A_SEGMENT + 2 + 1 + 1, [])
        assert found.cursor_good
        assert (found.account.accepted, found.account.dead, found.account.settled) == (15, 1, 1)


def test_a_flipped_bit_is_named_by_its_seq_file_and_place(outbox: Path) -> None:
    path = segment_path(outbox / NORMAL, 2)
    flip(path, offset_of(path, "e6") + 100)
    with looked_at(outbox) as (store, _):
        triggers, [damage] = verified(store)
    assert (damage.log, damage.first_seq, damage.last_seq, damage.pending) == (NORMAL, 6, 6, 1)
    assert damage.file == str(path)
    assert damage.offset < offset_of(path, "e6") < damage.end
    assert triggers == 3 * A_SEGMENT + 2 + 1


def test_a_flipped_bit_in_what_is_settled_is_damage_too(outbox: Path) -> None:
    path = segment_path(outbox / NORMAL, 1)
    flip(path, offset_of(path, "e1"))
    with looked_at(outbox) as (store, found):
        [damage] = verified(store)[1]
    assert (damage.first_seq, damage.last_seq, damage.pending) == (1, 1, 0)
    assert list(found.problems) == []


def test_a_segment_that_is_missing_is_named_by_its_seqs(outbox: Path) -> None:
    segment_path(outbox / NORMAL, 2).unlink()
    with looked_at(outbox) as (store, _):
        assert verified(store)[1] == [DamagedRange(NORMAL, A_SEGMENT + 1, 2 * A_SEGMENT, A_SEGMENT, "", 0, 0)]


def test_an_end_that_is_missing_is_a_loss(outbox: Path) -> None:
    segment_path(outbox / NORMAL, 4).unlink()
    with looked_at(outbox) as (_, found):
        assert any("seq 13 to" in fault for fault in found.faults())


def test_an_end_that_is_missing_after_a_crash_is_a_loss_that_nobody_can_count(tmp_path: Path) -> None:
    directory = tmp_path / "outbox"
    fill(opened(directory), 2 * A_SEGMENT)  # and killed
    segment_path(directory / NORMAL, 2).unlink()
    with looked_at(directory) as (_, found):
        exact, more = found.faults()
    assert "log normal: 1 trigger is lost, seq 5 to 5" in exact
    assert "log normal: everything stored from seq 6 on is lost; how much that was, if anything, is unknown" in more


def test_a_segment_that_was_cut_is_a_loss_and_no_torn_tail(tmp_path: Path) -> None:
    directory = tmp_path / "outbox"
    fill(opened(directory), A_SEGMENT)  # and killed
    path = segment_path(directory / NORMAL, 1)
    path.write_bytes(path.read_bytes()[: offset_of(path, "e3") + 90])
    with looked_at(directory) as (_, found):
        exact, more = found.faults()
        assert found.torn == ()
    assert "seq 3 to 3" in exact
    assert "was cut short" in more


def test_foreign_files_and_torn_tails_are_told_and_only_the_former_are_faults(outbox: Path) -> None:
    foreign = outbox / NORMAL / "notes.txt"
    foreign.write_text("hello")
    path = segment_path(outbox / HIGH, 1)
    path.write_bytes(path.read_bytes().rstrip(b"\0") + b"torn" * 4)
    with looked_at(outbox) as (_, found):
        assert found.foreign == (str(foreign),)
        [torn] = found.torn
        assert torn.file == str(path)
        assert 8 < torn.bytes <= 16
        [fault] = found.faults()
        assert str(foreign) in fault


def test_a_lost_cursor_file_is_a_fault(outbox: Path) -> None:
    (outbox / "cursor").write_bytes(bytes(100))
    with looked_at(outbox) as (_, found):
        assert not found.cursor_good
        assert any("cursor" in fault for fault in found.faults())


def test_looking_changes_nothing_whatever_is_wrong(outbox: Path) -> None:
    path = segment_path(outbox / NORMAL, 2)
    flip(path, offset_of(path, "e6"))
    last = segment_path(outbox / NORMAL, 4)
    last.write_bytes(last.read_bytes() + b"torn")
    (outbox / HIGH / f"{9:020d}.seg").write_bytes(bytes(96))
    before = content(outbox)
    with looked_at(outbox) as (store, _):
        verified(store)
        assert len(read_all(store)) == 3 * A_SEGMENT - 1
    assert content(outbox) == before


def test_a_running_store_is_verified_while_it_works(tmp_path: Path) -> None:
    directory = tmp_path / "outbox"
    store = opened(directory)
    fill(store, A_SEGMENT + 1)
    assert verified(store) == (A_SEGMENT + 1, [])
    assert list(overview(store, OsFilesystem(), directory).faults()) == []
    fill(store, 1, first=A_SEGMENT + 2)
    assert len(read_all(store)) == A_SEGMENT + 2
    store.close()


def test_whoever_looks_keeps_an_agent_out_and_writes_nothing(tmp_path: Path) -> None:
    with reading_lock(tmp_path):  # nobody was ever here
        assert list(tmp_path.iterdir()) == []
    with state_lock(tmp_path):
        before = content(tmp_path)
        with pytest.raises(OutboxLocked, match="process"), reading_lock(tmp_path):
            raise AssertionError
    with reading_lock(tmp_path), reading_lock(tmp_path):
        with pytest.raises(OutboxLocked), state_lock(tmp_path):
            raise AssertionError
        assert content(tmp_path) == before
    with (tmp_path / "lock").open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)  # given back
