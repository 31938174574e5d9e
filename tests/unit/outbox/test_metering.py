from __future__ import annotations

import errno
from pathlib import Path

import msgspec
import pytest

from edgeagent.agent.clock import Clock
from edgeagent.errors import StorageFailed
from edgeagent.outbox.files import OsFilesystem
from edgeagent.outbox.metering import DiskMeter, MeteredFilesystem
from edgeagent.outbox.oldest import oldest_ms
from edgeagent.outbox.records import HIGH, NORMAL, PARKED, PARKED_WAY, SETTLED, UNANSWERED
from edgeagent.outbox.store import Store
from tests.fakes.faulty_filesystem import FaultyFilesystem
from tests.fakes.stores import LIMITS, disk, group, opened, record


def test_bytes_that_are_written_are_counted_and_reserved_ones_are_not(tmp_path: Path) -> None:
    meter = DiskMeter()
    filesystem = MeteredFilesystem(OsFilesystem(), meter)
    file = filesystem.create(tmp_path / "segment", 1 << 20)
    assert meter.written_bytes == 0
    file.write_at(0, b"12345")
    file.close()
    filesystem.replace(tmp_path / "small", b"123")
    again = filesystem.open(tmp_path / "segment")
    again.write_at(5, b"67")
    again.close()
    assert meter.written_bytes == 10


def test_each_commit_of_an_outbox_is_one_sync(tmp_path: Path) -> None:
    meter = DiskMeter()
    clock = Clock()
    store = Store(
        MeteredFilesystem(OsFilesystem(), meter),
        tmp_path,
        LIMITS,
        boot=clock.boot,
        new_salt=lambda: 1,
        now_ms=clock.now_ms,
    )
    store.append([group(NORMAL, record("first"))])
    begun, written = sum(meter.syncs.counts), meter.written_bytes
    for number in range(5):
        store.append([group(NORMAL, record(f"e-{number}"), record(f"f-{number}"))])
    assert sum(meter.syncs.counts) - begun == 5
    assert meter.syncs.total > 0
    assert meter.written_bytes - written > 10 * len("boiler")
    store.close()


def test_a_sync_that_fails_is_not_counted(tmp_path: Path) -> None:
    meter, faulty = DiskMeter(), FaultyFilesystem()
    file = MeteredFilesystem(faulty, meter).create(tmp_path / "segment", 100)
    faulty.fail(errno.EIO, "sync")
    with pytest.raises(StorageFailed):
        file.sync()
    assert sum(meter.syncs.counts) == 0


def test_the_oldest_is_the_first_that_waits_in_any_log() -> None:
    store = opened(disk())
    assert oldest_ms(store) is None
    for log, event_id, at_ms in ((NORMAL, "a", 2000), (HIGH, "b", 3000), (NORMAL, "c", 4000)):
        store.append([group(log, msgspec.structs.replace(record(event_id), accepted_ms=at_ms))])
    assert oldest_ms(store) == 2000
    first, second = store.read(NORMAL)
    store.release(NORMAL, first.seq, SETTLED)
    assert oldest_ms(store) == 3000
    (high,) = store.read(HIGH)
    store.release(HIGH, high.seq, SETTLED)
    assert oldest_ms(store) == 4000
    store.move(second, PARKED, PARKED_WAY, reason=UNANSWERED, code=0, attempts=1)
    assert oldest_ms(store) == 4000, "a parked one waits too"
    store.release(PARKED, 1, SETTLED)
    assert oldest_ms(store) is None
