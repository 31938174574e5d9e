"""The events that are measured with, and outboxes to put them in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgeagent.events.event import Record
from edgeagent.outbox.files import OsFilesystem
from edgeagent.outbox.records import NORMAL, Group, OutboxLimits
from edgeagent.outbox.store import Store

LIMITS = OutboxLimits(max_bytes=8 << 30, segment_bytes=8 << 20, dedupe_events=10_000)
BACKLOG_BATCH = 1000
_PAYLOAD_BYTES = 82  # 200 bytes with the other members
_KEY = (bytes(16), bytes(8))


def record(number: int) -> Record:
    """An event as a sensor sends it: 200 bytes encoded."""
    data = f'{{"temp":{number % 90 + 10},"filler":"{"x" * _PAYLOAD_BYTES}"}}'.encode()
    return Record(
        "gw-042", "boiler-1", f"{number:032x}", "event", "2026-03-20T11:00:00Z", data, True, ("r",), 1_000, 2_000
    )


def group(records: list[Record]) -> Group:
    """Records as one caller appends them."""
    return Group(NORMAL, records, [_KEY] * len(records))


def batches(batch: int, events: int) -> Iterator[list[Record]]:
    """The same records for each contestant: encoding them is part of the work, making them is not."""
    records = [record(number) for number in range(batch)]
    for _ in range(events // batch):
        yield records


def open_store(directory: Path, limits: OutboxLimits = LIMITS) -> Store:
    """An outbox on the real disk."""
    return Store(OsFilesystem(), directory, limits, boot=bytes(16), new_salt=lambda: 1, now_ms=lambda: 1)


def make_backlog(directory: Path, events: int) -> None:
    """An outbox that has so many events pending."""
    store = open_store(directory)
    for records in batches(BACKLOG_BATCH, events):
        outcome = store.append([group(records)])[0]
        if not isinstance(outcome, int):
            raise outcome
    store.close()
