"""The outbox's writer beside a raw log loop, SQLite (WAL, FULL) and persist-queue (goal G3)."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from pathlib import Path
from struct import Struct
from typing import Protocol
from zlib import crc32

import msgspec

from benchmarks.events import batches, group, open_store, record
from benchmarks.measure import Contestant, Figure, compared, show
from edgeagent.events.event import Record
from edgeagent.outbox.frame import Batch, FrameKind
from edgeagent.outbox.log import Entries, room_of
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import NORMAL, OutboxLimits
from edgeagent.outbox.store import Store

_FILE_BYTES = 64 << 20
_LIMITS = OutboxLimits(max_bytes=1 << 30, segment_bytes=_FILE_BYTES, dedupe_events=10_000)
_EVENTS_AT_BATCH = {1: 1_000, 10: 20_000, 100: 100_000, 1000: 200_000}
_ROUNDS = 5
_BATCH = Batch(1, 0)
_WRITER_RATIO = 0.9
_ASYNCIO_RATIO = 0.5
_WRITTEN_RATIO = 1.25


def run(*, long: bool) -> None:
    """Print a table for each batch size. `long`: more rounds."""
    rounds = _ROUNDS * 3 if long else _ROUNDS
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
        for batch, events in _EVENTS_AT_BATCH.items():
            figures = compared(events, rounds, _contestants(Path(directory), batch, events))
            show(f"outbox, {batch} records a sync", figures)
            _tell_goals(batch, {figure.name: figure for figure in figures})


def _contestants(directory: Path, batch: int, events: int) -> dict[str, Contestant]:
    numbers = itertools.count()

    def fresh(ready: _Ready) -> Contestant:
        @contextmanager
        def in_fresh_directory() -> Iterator[Callable[[], None]]:
            place = directory / f"{batch}-{next(numbers)}"
            place.mkdir()
            with ready(place, batch, events) as work:
                yield work
            shutil.rmtree(place)

        return in_fresh_directory

    alone: dict[str, Contestant] = {}
    if batch == 1:
        alone["pwrite + fdatasync of 200 bytes"] = fresh(_bare)
        alone["persist-queue SQLiteAckQueue, put + get + ack"] = fresh(_persist_queue)
    return {
        "raw log loop": fresh(_raw),
        **alone,
        "outbox log, the writer": fresh(_writer),
        "outbox store: log, account, duplicates": fresh(_store),
        "outbox through asyncio": fresh(_asyncio),
        "SQLite WAL, FULL, put": fresh(_sqlite_put),
        "SQLite WAL, FULL, put and drain": fresh(_sqlite_drain),
    }


def _tell_goals(batch: int, figures: dict[str, Figure]) -> None:
    writer, through = figures["outbox log, the writer"], figures["outbox through asyncio"]
    encoded = len(msgspec.msgpack.encode(record(0)))
    if batch == 1:
        _tell(f"through asyncio >= {_ASYNCIO_RATIO} x the raw log loop", through.ratio >= _ASYNCIO_RATIO)
    else:
        _tell(f"the writer >= {_WRITER_RATIO} x the raw log loop", writer.ratio >= _WRITER_RATIO)
    if batch == max(_EVENTS_AT_BATCH):
        ratio = figures["outbox store: log, account, duplicates"].bytes_per_event / encoded
        _tell(f"written {ratio:.2f} <= {_WRITTEN_RATIO} x the {encoded} encoded bytes", ratio <= _WRITTEN_RATIO)


def _tell(goal: str, reached: bool) -> None:
    print(f"  goal {goal}: {'reached' if reached else 'NOT REACHED'}")


@contextmanager
def _preallocated(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory / "raw", os.O_RDWR | os.O_CREAT)
    try:
        os.posix_fallocate(descriptor, 0, _FILE_BYTES)
        os.fsync(descriptor)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _raw(directory: Path, batch: int, events: int) -> Iterator[Callable[[], None]]:
    """The tightest loop that makes records which can be read again and checked: length, CRC-32, msgpack."""
    encode, pack = msgspec.msgpack.Encoder().encode, Struct("<II").pack

    def work() -> None:
        offset = 0
        for records in batches(batch, events):
            parts: list[bytes] = []
            for entry in records:
                payload = encode(entry)
                parts += (pack(len(payload), crc32(payload)), payload)
            data = b"".join(parts)
            offset = offset if offset + len(data) < _FILE_BYTES else 0
            offset += os.pwrite(descriptor, data, offset)
            os.fdatasync(descriptor)

    with _preallocated(directory) as descriptor:
        yield work


@contextmanager
def _bare(directory: Path, _batch: int, events: int) -> Iterator[Callable[[], None]]:
    data = msgspec.msgpack.encode(record(0))

    def work() -> None:
        for number in range(events):
            os.pwrite(descriptor, data, number * len(data))
            os.fdatasync(descriptor)

    with _preallocated(directory) as descriptor:
        yield work


@contextmanager
def _writer(directory: Path, batch: int, events: int) -> Iterator[Callable[[], None]]:
    """Records to synced blocks of a segment: what the raw loop does, in the outbox's format."""
    encode = msgspec.msgpack.Encoder().encode

    def work() -> None:
        for records in batches(batch, events):
            payloads = list(map(encode, records))
            counts = [len(entry.rules) for entry in records]
            log.append(
                Entries(
                    bytes((FrameKind.EVENT,)) * len(payloads),
                    counts,
                    payloads,
                    room_of(len(payloads), sum(map(len, payloads))),
                ),
                _BATCH,
            )

    store = open_store(directory / "outbox", _LIMITS)
    _append(store, [record(0)])
    log = store.log(NORMAL)
    yield work
    store.close()


@contextmanager
def _store(directory: Path, batch: int, events: int) -> Iterator[Callable[[], None]]:
    def work() -> None:
        for records in batches(batch, events):
            _append(store, records)

    store = open_store(directory / "outbox", _LIMITS)
    _append(store, [record(0)])  # begins the segment, as the others have their file
    yield work
    store.close()


def _append(store: Store, records: list[Record]) -> None:
    outcome = store.append([group(records)])[0]
    if not isinstance(outcome, int):
        raise outcome


@contextmanager
def _asyncio(directory: Path, batch: int, events: int) -> Iterator[Callable[[], None]]:
    async def open_outbox() -> tuple[Outbox, asyncio.Task[None]]:
        outbox = await Outbox.open(lambda: open_store(directory / "outbox", _LIMITS))
        running = asyncio.create_task(outbox.run())
        await outbox.append(group([record(0)]))
        return outbox, running

    async def append_all() -> None:
        for records in batches(batch, events):
            await outbox.append(group(records))

    async def close() -> None:
        running.cancel()
        await asyncio.wait([running])
        await outbox.close()

    with asyncio.Runner() as runner:
        outbox, running = runner.run(open_outbox())
        yield lambda: runner.run(append_all())
        runner.run(close())


@contextmanager
def _sqlite_put(directory: Path, batch: int, events: int) -> Iterator[Callable[[], None]]:
    with _database(directory) as database:
        yield lambda: _put(database, batch, events)


@contextmanager
def _sqlite_drain(directory: Path, batch: int, events: int) -> Iterator[Callable[[], None]]:
    def work() -> None:
        _put(database, batch, events)
        while rows := _oldest(database, batch):
            with database:
                database.execute("DELETE FROM record WHERE seq <= ?", (rows[-1][0],))

    with _database(directory) as database:
        yield work


@contextmanager
def _database(directory: Path) -> Iterator[sqlite3.Connection]:
    database = sqlite3.connect(directory / "queue.db")
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE record (seq INTEGER PRIMARY KEY, data BLOB NOT NULL)")
    yield database
    database.close()


def _put(database: sqlite3.Connection, batch: int, events: int) -> None:
    encode = msgspec.msgpack.Encoder().encode
    for records in batches(batch, events):
        with database:
            database.executemany("INSERT INTO record (data) VALUES (?)", [(encode(entry),) for entry in records])


def _oldest(database: sqlite3.Connection, limit: int) -> list[tuple[int, bytes]]:
    return database.execute("SELECT seq, data FROM record ORDER BY seq LIMIT ?", (limit,)).fetchall()


@contextmanager
def _persist_queue(directory: Path, _batch: int, events: int) -> Iterator[Callable[[], None]]:
    try:
        persistqueue = import_module("persistqueue")  # only this contestant needs it
    except ImportError:
        sys.exit("benchmarks outbox_writer needs persist-queue: pip install persist-queue")
    queue = persistqueue.SQLiteAckQueue(str(directory / "queue"), auto_commit=True)
    payload = msgspec.msgpack.encode(record(0))

    def work() -> None:
        for _ in range(events):
            queue.put(payload)
        for _ in range(events):
            queue.ack(queue.get())

    yield work
    queue.close()


class _Ready(Protocol):
    def __call__(self, directory: Path, batch: int, events: int, /) -> AbstractContextManager[Callable[[], None]]: ...
