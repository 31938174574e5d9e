"""What the outbox keeps and hands out, and the names of its logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from edgeagent.core.dedupe import data_digest
from edgeagent.core.event import Draft, Record
from edgeagent.outbox.recent import Delivery

NORMAL, HIGH, DEAD = "normal", "high", "dead"
EVENT_LOGS = (HIGH, NORMAL)
LOGS = (NORMAL, HIGH, DEAD)

SETTLED, EXPIRED, DEAD_WAY, DISCARDED, REPLAYED, DAMAGED = (
    "settled",
    "expired",
    "dead",
    "discarded",
    "replayed",
    "damaged",
)

decode_record = msgspec.msgpack.Decoder(Record).decode


class Moved(msgspec.Struct, array_like=True, frozen=True):
    """One trigger in another log than the one that accepted it: `record.rules` has the one rule.

    `origin` and `origin_seq` say where it was before; `reason`, `code`, `attempts` and `at_ms` (wall clock) why and
    when it was moved.
    """

    origin: str
    origin_seq: int
    record: Record
    reason: str
    code: int
    attempts: int
    at_ms: int


decode_moved = msgspec.msgpack.Decoder(Moved).decode


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
    """One trigger handed out: where it is, and what it is."""

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
