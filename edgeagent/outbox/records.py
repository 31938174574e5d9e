"""The records that the outbox stores and hands out, and the names of its logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import msgspec

from edgeagent.common.digests import blake2b
from edgeagent.events.dedupe import KEY_BYTES, data_digest
from edgeagent.events.event import Draft, Record
from edgeagent.outbox.frame import Frame, FrameKind
from edgeagent.outbox.recent import Delivery

NORMAL, HIGH, DEAD, PARKED, WINDOWS, LIMITED = "normal", "high", "dead", "parked", "windows", "limited"
EVENT_LOGS = (HIGH, NORMAL)
# Logs of triggers that were moved there: copies, until the originals are released in their own logs.
COPY_LOGS = (DEAD, PARKED, WINDOWS, LIMITED)
LEASED_LOGS = (*EVENT_LOGS, PARKED, WINDOWS, LIMITED)
LOGS = (NORMAL, HIGH, DEAD, PARKED, WINDOWS, LIMITED)
SPOOL = "spool"  # the directory beside the logs with the data of artifacts
# Triggers from an export file were in no log of this outbox: their moved records name this, and their number in it.
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
# The ways of a window's triggers: the first became the window's trigger, the others were merged into it.
GATHERED, MERGED = "gathered", "merged"
# The way of a trigger that waits for the `rate` of its rule, in the log `limited`.
LIMITED_WAY = "limited"
# Why a trigger is parked that may still be answered. A trigger parked for another reason is final, and waits for room
# among the dead letters.
UNANSWERED = "nobody answered"
VOID = "void"  # a lost copy, counted nowhere: its original is counted

# Dead letters are listed in full; this many fit into the memory of a small gateway.
MAX_DEAD_LETTERS = 10_000

_decode_record = msgspec.msgpack.Decoder(Record).decode


class Moved(msgspec.Struct, array_like=True, frozen=True):
    """One trigger in another log than the one that accepted it: `record.rules` holds its one rule.

    `origin` and `origin_seq`: where it was before. `reason`, `code`, `attempts` and `at_ms` (wall clock): why and when
    it was moved. `boot`: the boot in which `record.uptime_ms` counts. With origin `import`, it came from an export
    file: `origin_seq` is its number in the file, `reason` the file's digest, and `boot` is empty. `merged`: log and seq
    of each other trigger that was merged into this one when a window closed.

    In the log `limited`, `code` is 1 for a trigger of high priority, and `reason` is `replayed` for one that is sent
    although a newer one may stand for it. One that was copied within that log (`outbox.limited`) has the log's end at
    that time as `attempts`.
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


class Completed(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """MQTT deliveries at QoS 2 that are complete: their packet ids stand for other messages from now on.

    `packet_ids`: as in `Delivery`.
    """

    session: str
    packet_ids: tuple[int, ...]


_decode_moved = msgspec.msgpack.Decoder(Moved).decode
_decode_armed = msgspec.msgpack.Decoder(Armed).decode
_decode_completed = msgspec.msgpack.Decoder(Completed).decode


def decode(frame: Frame) -> tuple[Record, Moved | None] | None:
    """The content of an event or moved frame; None if its bytes are good but hold no record of this format."""
    try:
        moved = _decode_moved(frame.payload) if frame.kind is FrameKind.MOVED else None
        record = moved.record if moved is not None else _decode_record(frame.payload)
    except ValueError:  # msgspec's errors are ValueErrors
        return None
    return (record, moved) if len(record.rules) == frame.count else None


def decode_armed(frame: Frame) -> Armed | None:
    """The content of an armed frame; None if its bytes are good but hold no record of this format."""
    try:
        return _decode_armed(frame.payload)
    except ValueError:  # msgspec's errors are ValueErrors
        return None


def decode_completed(frame: Frame) -> Completed | None:
    """The content of a completed frame; None if its bytes are good but hold no record of this format."""
    try:
        return _decode_completed(frame.payload)
    except ValueError:  # msgspec's errors are ValueErrors
        return None


class DeadLimits(msgspec.Struct, frozen=True):
    """The limits on dead letters.

    `when_full`: whether the oldest make room (`drop_oldest`), or none is accepted and the agent parks or refuses.
    """

    max_bytes: int = 64 << 20
    max_age_ms: int = 90 * 86_400_000
    when_full: Literal["park", "refuse", "drop_oldest"] = "park"
    max_count: int = MAX_DEAD_LETTERS


class OutboxLimits(msgspec.Struct, frozen=True):
    """The limits on the size and age of the outbox and on its segments.

    `drop_oldest`: if it is full, the oldest triggers make room, instead of new ones being refused. `spool`: whether
    events may have artifacts, for which the spool is opened, even if there is none yet.
    """

    max_bytes: int
    segment_bytes: int
    dedupe_events: int
    max_age_ms: int = 30 * 86_400_000
    drop_oldest: bool = False
    dead: DeadLimits = DeadLimits()
    spool: bool = False


class Group(msgspec.Struct, frozen=True):
    """The records that one caller stores in `log`, all or none: events and re-armings of rules, in order.

    `keys`: the key and digest of each event, for deduplication. `remembered`: the rules for which `records` count as
    firings to be kept. `completed`: is stored behind the records. `has_artifacts`: whether data of theirs is in the
    spool.
    """

    log: str
    records: Sequence[Record | Armed]
    keys: Sequence[tuple[bytes, bytes]]
    remembered: frozenset[str] = frozenset()
    completed: Sequence[Completed] = ()
    has_artifacts: bool = False

    @property
    def frames(self) -> int:
        """How many frames they are."""
        return len(self.records) + len(self.completed)

    @property
    def events(self) -> Sequence[Record]:
        """The records that are events."""
        if len(self.keys) == len(self.records):  # nearly always
            return cast("Sequence[Record]", self.records)
        return [entry for entry in self.records if isinstance(entry, Record)]


class Loss(msgspec.Struct, frozen=True):
    """Triggers that are lost: `first_seq` to `last_seq` of a log, the reason, and when (wall clock, Unix milliseconds).

    `last_seq` is None if the extent is unknown: then everything stored from `first_seq` on is lost, if there was any,
    `count` is 0, and the account does not include it.
    """

    log: str
    first_seq: int
    last_seq: int | None
    count: int
    reason: str
    at_ms: int


class Leased(msgspec.Struct, frozen=True, gc=False):
    """One trigger that was handed out: its position and its content. `record.uptime_ms` counts in `boot`."""

    log: str
    seq: int
    rule: str
    record: Record
    boot: bytes
    moved: Moved | None = None

    @property
    def is_doomed(self) -> bool:
        """Whether it is parked because the dead letters had no room for it; it is never sent again."""
        return self.log == PARKED and self.moved is not None and self.moved.reason != UNANSWERED

    @property
    def is_high(self) -> bool:
        """Whether it has high priority, in the log `limited`."""
        return self.moved is not None and self.moved.code == 1

    @property
    def is_replayed(self) -> bool:
        """Whether it is sent although a newer one may stand for it: an operator wants that, or it was parked."""
        return self.moved is not None and (self.log != LIMITED or self.moved.reason == REPLAYED)


class Closing(msgspec.Struct, frozen=True):
    """A rule's window that closed over `members`, at least one; `record` stands for all of them."""

    rule: str
    members: Sequence[Leased]
    record: Record


def digest_of(record: Draft | Record) -> bytes:
    """The digest that distinguishes a repetition of this record's event from a conflict."""
    if record.delivery is None:
        return data_digest(record.data)
    return data_digest(record.data, record.topic or "")


def delivery_of(record: Record, digest: bytes) -> Delivery | None:
    """The MQTT delivery that brought a record, None if its event had an id of its own."""
    if record.delivery is None:
        return None
    session, packet_id = record.delivery
    return Delivery(session, packet_id, digest, record.id)


def deliveries_of(group: Group) -> list[Delivery]:
    """The deliveries that brought those of a group's records whose events had no id of their own."""
    return [
        Delivery(*record.delivery, group.keys[index][1], record.id)
        for index, record in enumerate(group.events)
        if record.delivery is not None
    ]


def import_key(digest: str, number: int) -> bytes:
    """The key of a line in an export file. A trigger exported and returned in another file has a new one."""
    return blake2b(f"{IMPORT}\0{digest}\0{number}".encode(), digest_size=KEY_BYTES).digest()


def import_marks(moved: Moved) -> tuple[bytes, bytes]:
    """The key and digest by which an imported trigger is recognised if the same file is imported again."""
    return import_key(moved.reason, moved.origin_seq), data_digest(moved.record.data)
