"""What the outbox keeps and hands out, and the names of its logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from edgeagent.core.dedupe import data_digest
from edgeagent.core.event import Draft, Record
from edgeagent.core.frame import Frame, Kind
from edgeagent.outbox.recent import Delivery

NORMAL, HIGH, DEAD = "normal", "high", "dead"
EVENT_LOGS = (HIGH, NORMAL)
LOGS = (NORMAL, HIGH, DEAD)

# The ways in which a seq of a log is released.
SETTLED, EXPIRED, DEAD_WAY, DISCARDED, REPLAYED, DAMAGED = (
    "settled",
    "expired",
    "dead",
    "discarded",
    "replayed",
    "damaged",
)
VOID = "void"  # a copy that is gone and counts nowhere: what it was copied from counts

_decode_record = msgspec.msgpack.Decoder(Record).decode


class Moved(msgspec.Struct, array_like=True, frozen=True):
    """One trigger in another log than the one that accepted it: `record.rules` has the one rule.

    `origin` and `origin_seq` say where it was before; `reason`, `code`, `attempts` and `at_ms` (wall clock) why and
    when it was moved. `boot`: the boot in which `record.uptime_ms` counts.
    """

    origin: str
    origin_seq: int
    record: Record
    reason: str
    code: int
    attempts: int
    at_ms: int
    boot: bytes


_decode_moved = msgspec.msgpack.Decoder(Moved).decode


def decode(frame: Frame) -> tuple[Record, Moved | None] | None:
    """What a frame of kind event or moved holds; None when its bytes are good and yet no record of ours."""
    try:
        moved = _decode_moved(frame.payload) if frame.kind is Kind.MOVED else None
        record = moved.record if moved is not None else _decode_record(frame.payload)
    except ValueError:  # msgspec's errors are ValueErrors
        return None
    return (record, moved) if len(record.rules) == frame.count else None


class Limits(NamedTuple):
    """How large the outbox may be, and its segments."""

    max_bytes: int
    segment_bytes: int
    dedupe_events: int


class Group(msgspec.Struct, frozen=True):
    """Records of one caller, stored all or none, in `log`. Each comes with its key and digest for deduplication."""

    log: str
    records: Sequence[Record]
    keys: Sequence[tuple[bytes, bytes]]


class Leased(msgspec.Struct, frozen=True, gc=False):
    """One trigger handed out: where it is, and what it is. `record.uptime_ms` counts in `boot`."""

    log: str
    seq: int
    rule: str
    record: Record
    boot: bytes
    moved: Moved | None = None


def digest_of(record: Draft | Record) -> bytes:
    """The digest by which a repetition of this record's event is told from a conflict."""
    return data_digest((record.topic or "").encode() + b"\0" + record.data if record.delivery else record.data)


def delivery_of(record: Record, digest: bytes) -> Delivery | None:
    """The MQTT delivery that brought a record, None when its event had an id of its own."""
    if record.delivery is None:
        return None
    session, packet_id = record.delivery
    return Delivery(session, packet_id, digest, record.id)
