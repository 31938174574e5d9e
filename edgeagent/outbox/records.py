"""What the outbox keeps and hands out, and the names of its logs."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Literal, NamedTuple, cast

import msgspec

from edgeagent.events.dedupe import KEY_BYTES, data_digest
from edgeagent.events.event import Draft, Record
from edgeagent.outbox.frame import Frame, FrameKind
from edgeagent.outbox.recent import Delivery

NORMAL, HIGH, DEAD, PARKED, WINDOWS = "normal", "high", "dead", "parked", "windows"
EVENT_LOGS = (HIGH, NORMAL)
# Logs of triggers that were moved there: copies, until they are released where they came from.
COPY_LOGS = (DEAD, PARKED, WINDOWS)
LEASED_LOGS = (*EVENT_LOGS, PARKED, WINDOWS)
LOGS = (NORMAL, HIGH, DEAD, PARKED, WINDOWS)
# What came in an export file was in no log of ours: its moved record names this, and its number in the file.
IMPORT = "import"

# The ways in which a seq of a log is released.
SETTLED, EXPIRED, DEAD_WAY, DISCARDED, REPLAYED, DAMAGED = (
    "settled",
    "expired",
    "dead",
    "discarded",
    "replayed",
    "damaged",
)
DROPPED, PARKED_WAY, EXPORTED, IMPORTED = "dropped", "parked", "exported", "imported"
# Of a window: its first trigger became the window's, the others ended in it.
GATHERED, MERGED = "gathered", "merged"
# Why a trigger is parked that somebody may still answer. One that is parked for another reason is final, and waits for
# a place among the dead letters.
UNANSWERED = "nobody answered"
VOID = "void"  # a copy that is gone and counts nowhere: what it was copied from counts

# Dead letters are listed whole; so many fit the memory of a small gateway.
MAX_DEAD_LETTERS = 10_000

_decode_record = msgspec.msgpack.Decoder(Record).decode


class Moved(msgspec.Struct, array_like=True, frozen=True):
    """One trigger in another log than the one that accepted it: `record.rules` has the one rule.

    `origin` and `origin_seq` say where it was before; `reason`, `code`, `attempts` and `at_ms` (wall clock) why and
    when it was moved. `boot`: the boot in which `record.uptime_ms` counts. With origin `import` it came in an export
    file: `origin_seq` is its number in it, `reason` the file's digest, and no boot counts. `merged`: log and seq of
    each trigger that ended in this one, because a window closed over them.
    """

    origin: str
    origin_seq: int
    record: Record
    reason: str
    code: int
    attempts: int
    at_ms: int
    boot: bytes
    merged: list[tuple[str, int]] = []


class Armed(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An event of `source` met the `rearm` filters of these rules: they may fire for it again."""

    source: str
    rules: tuple[str, ...]


_decode_moved = msgspec.msgpack.Decoder(Moved).decode
_decode_armed = msgspec.msgpack.Decoder(Armed).decode


def decode(frame: Frame) -> tuple[Record, Moved | None] | None:
    """What a frame of kind event or moved holds; None when its bytes are good and yet no record of ours."""
    try:
        moved = _decode_moved(frame.payload) if frame.kind is FrameKind.MOVED else None
        record = moved.record if moved is not None else _decode_record(frame.payload)
    except ValueError:  # msgspec's errors are ValueErrors
        return None
    return (record, moved) if len(record.rules) == frame.count else None


def decode_armed(frame: Frame) -> Armed | None:
    """What a frame of kind armed holds; None when its bytes are good and yet nothing of ours."""
    try:
        return _decode_armed(frame.payload)
    except ValueError:  # msgspec's errors are ValueErrors
        return None


class DeadLimits(NamedTuple):
    """The bounds of the dead letters.

    `when_full`: the oldest make room (`drop_oldest`), or none is taken, and the agent sees to what follows.
    """

    max_bytes: int = 64 << 20
    max_age_ms: int = 90 * 86_400_000
    when_full: Literal["park", "refuse", "drop_oldest"] = "park"
    max_count: int = MAX_DEAD_LETTERS


class OutboxLimits(NamedTuple):
    """How large and how old the outbox may become, and its segments.

    `drop_oldest`: when it is full, the oldest triggers make room instead of new ones being refused.
    """

    max_bytes: int
    segment_bytes: int
    dedupe_events: int
    max_age_ms: int = 30 * 86_400_000
    drop_oldest: bool = False
    dead: DeadLimits = DeadLimits()


class Group(msgspec.Struct, frozen=True):
    """What one caller stores, all or none, in `log`: events, and what armed rules, in the order in which it happened.

    `keys`: of each event its key and digest for deduplication. `remembered`: the rules whose firings are kept; what is
    in `records` counts for those.
    """

    log: str
    records: Sequence[Record | Armed]
    keys: Sequence[tuple[bytes, bytes]]
    remembered: frozenset[str] = frozenset()

    @property
    def events(self) -> Sequence[Record]:
        """The records that are events."""
        if len(self.keys) == len(self.records):  # nearly always
            return cast("Sequence[Record]", self.records)
        return [entry for entry in self.records if isinstance(entry, Record)]


class Loss(msgspec.Struct, frozen=True):
    """Triggers that are lost: `first_seq` to `last_seq` of a log, why, and when (wall clock, Unix milliseconds).

    `last_seq` is None where nothing tells how many there were, if any: what was stored from `first_seq` on. `count` is
    0 then, and the account does not have them.
    """

    log: str
    first_seq: int
    last_seq: int | None
    count: int
    reason: str
    at_ms: int


class Leased(msgspec.Struct, frozen=True, gc=False):
    """One trigger handed out: where it is, and what it is. `record.uptime_ms` counts in `boot`."""

    log: str
    seq: int
    rule: str
    record: Record
    boot: bytes
    moved: Moved | None = None

    @property
    def is_doomed(self) -> bool:
        """Whether it is parked because there was no place among the dead letters; never to be sent again."""
        return self.log == PARKED and self.moved is not None and self.moved.reason != UNANSWERED


class Closing(NamedTuple):
    """A rule's window that closed over `members`, at least one; `record` stands for all of them."""

    rule: str
    members: Sequence[Leased]
    record: Record


def digest_of(record: Draft | Record) -> bytes:
    """The digest by which a repetition of this record's event is told from a conflict."""
    if record.delivery is None:
        return data_digest(record.data)
    return data_digest(record.data, record.topic or "")


def delivery_of(record: Record, digest: bytes) -> Delivery | None:
    """The MQTT delivery that brought a record, None when its event had an id of its own."""
    if record.delivery is None:
        return None
    session, packet_id = record.delivery
    return Delivery(session, packet_id, digest, record.id)


def deliveries_of(group: Group) -> list[Delivery]:
    """The deliveries that brought a group's records, as far as their events had no id of their own."""
    return [
        Delivery(*record.delivery, group.keys[place][1], record.id)
        for place, record in enumerate(group.events)
        if record.delivery is not None
    ]


def import_key(digest: str, number: int) -> bytes:
    """The identity of a place in an export file: a trigger that went out and came back in another file is new."""
    return blake2b(f"{IMPORT}\0{digest}\0{number}".encode(), digest_size=KEY_BYTES).digest()


def import_marks(moved: Moved) -> tuple[bytes, bytes]:
    """Key and digest by which an imported trigger is recognised when the same file comes again."""
    return import_key(moved.reason, moved.origin_seq), data_digest(moved.record.data)
