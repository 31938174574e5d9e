"""The outbox's writer beside a bare loop of pwrite and fdatasync, and beside SQLite (WAL, FULL)."""

from __future__ import annotations

import asyncio
import itertools
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from benchmarks.measure import Figure, measured, show
from edgeagent.core.event import Record
from edgeagent.outbox.files import OsFilesystem
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import NORMAL, Group, Limits
from edgeagent.outbox.store import Store

_SEGMENT_BYTES = 64 << 20
_LIMITS = Limits(max_bytes=1 << 30, segment_bytes=_SEGMENT_BYTES, dedupe_events=10_000)
_EVENTS_AT_BATCH = {1: 3_000, 10: 20_000, 100: 100_000, 1000: 200_000}
_ROUNDS = 5
_PAYLOAD_BYTES = 100  # with the other members about 200 bytes encoded
_KEY = (bytes(16), bytes(8))


def record(number: int) -> Record:
    """An event as a sensor sends it."""
    data = f'{{"temp":{number % 100},"filler":"{"x" * _PAYLOAD_BYTES}"}}'.encode()
    return Record(
        "gw-042", "boiler-1", f"{number:032x}", "event", "2026-03-20T11:00:00Z", data, True, ("r",), 1_000, 2_000
    )


def run() -> None:
    """Print a table for each batch size."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
        numbers = itertools.count()
        for batch, events in _EVENTS_AT_BATCH.items():
            reference = _raw(Path(directory), batch, events, numbers)
            others = [
                _store(Path(directory), batch, events, numbers),
                _asyncio(Path(directory), batch, events, numbers),
                _sqlite(Path(directory), batch, events, numbers),
            ]
            show(f"outbox, {batch} records a sync", reference, others)


def _batches(batch: int, events: int) -> Iterator[list[Record]]:
    """The same records for each contestant; encoding them is part of the work, making them is not."""
    records = [record(number) for number in range(batch)]
    for _ in range(events // batch):
        yield records


def _raw(directory: Path, batch: int, events: int, numbers: Iterator[int]) -> Figure:
    def work() -> None:
        path = directory / f"raw-{next(numbers)}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
        try:
            os.posix_fallocate(descriptor, 0, _SEGMENT_BYTES)
            os.fsync(descriptor)
            offset = 0
            for records in _batches(batch, events):
                data = b"".join(msgspec.msgpack.encode(entry) for entry in records)
                offset = offset if offset + len(data) < _SEGMENT_BYTES else 0
                offset += os.pwrite(descriptor, data, offset)
                os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
            path.unlink()

    return measured("bare pwrite + fdatasync", events, _ROUNDS, work)


@contextmanager
def _opened(directory: Path, number: int) -> Iterator[Callable[[], Store]]:
    root = directory / f"store-{number}"

    def make() -> Store:
        return Store(OsFilesystem(), root, _LIMITS, boot=bytes(16), new_salt=lambda: 1, now_ms=lambda: 1)

    yield make


def _store(directory: Path, batch: int, events: int, numbers: Iterator[int]) -> Figure:
    def work() -> None:
        with _opened(directory, next(numbers)) as make:
            store = make()
            for records in _batches(batch, events):
                outcome = store.append([Group(NORMAL, records, [_KEY] * len(records))])[0]
                if not isinstance(outcome, int):
                    raise outcome
            store.close()

    return measured("outbox store", events, _ROUNDS, work)


def _asyncio(directory: Path, batch: int, events: int, numbers: Iterator[int]) -> Figure:
    async def append_all() -> None:
        with _opened(directory, next(numbers)) as make:
            outbox = await Outbox.open(make, max_bytes=_LIMITS.max_bytes)
            running = asyncio.create_task(outbox.run())
            for records in _batches(batch, events):
                await outbox.append(Group(NORMAL, records, [_KEY] * len(records)))
            running.cancel()
            await asyncio.wait([running])
            await outbox.close()

    return measured("outbox through asyncio", events, _ROUNDS, lambda: asyncio.run(append_all()))


def _sqlite(directory: Path, batch: int, events: int, numbers: Iterator[int]) -> Figure:
    def work() -> None:
        database = sqlite3.connect(directory / f"sqlite-{next(numbers)}.db")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("CREATE TABLE record (seq INTEGER PRIMARY KEY, data BLOB NOT NULL)")
        for records in _batches(batch, events):
            with database:
                rows = [(msgspec.msgpack.encode(entry),) for entry in records]
                database.executemany("INSERT INTO record (data) VALUES (?)", rows)
        database.close()

    return measured("SQLite WAL, FULL", events, _ROUNDS, work)
