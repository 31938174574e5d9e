"""From what a gateway is to do to the size of its outbox and the life of its flash. Without I/O.

The bytes of a record are those of the format (docs/format.md). What is written for an event is a model, made from
measurements (`python -m benchmarks wear`); a test compares it with the real outbox and the real ledger.
"""

from __future__ import annotations

from bisect import bisect
from typing import Final, NamedTuple

import msgspec

from edgeagent.events.event import Record
from edgeagent.outbox.frame import Batch, blocks_bytes

_DAY_S: Final = 86_400
_YEAR_DAYS: Final = 365.25
# A file system writes whole pages, so a commit of one small record rewrites the last page of its segment.
_PAGE_BYTES: Final = 4096
# What is released is kept every 5 s.
_CHECKPOINT_S: Final = 5.0
# From this rate on, events meet in commits.
_ALONE_PER_S: Final = 200.0
# The ledger: a trigger is told of three times, and a commit takes what came within 2 s.
_MESSAGES: Final = 3
_LEDGER_COMMIT_S: Final = 2.0
# Commits for each trigger, and what they make the ledger write for it, in bytes.
_LEDGER: Final = ((0.01, 1_180), (0.1, 3_190), (0.5, 7_670), (1.0, 10_820), (3.0, 21_280))
# The outbox is made this much larger than what waits, for more events than on average. Beside that, one segment is kept
# for dead letters, and one is written in advance.
_MORE: Final = 1.25
_SEGMENT_BYTES: Final = 8 << 20
_OTHER_SEGMENTS: Final = 2
_LEAST_SEGMENTS: Final = 4
_ID_CHARS: Final = 36  # a UUID
_AT_MS: Final = 1_800_000_000_000


class Load(NamedTuple):
    """What a gateway is to do.

    Attributes:
        events_per_day: on an average day.
        data_bytes: of one event's data, on average.
        offline_s: for how long the link may be away without an event being refused.
        rules: how many rules an event fires, on average; 1 or more.
        tracked: the states of triggers are kept (`track`).
    """

    events_per_day: float
    data_bytes: int
    offline_s: float
    rules: int = 1
    tracked: bool = True


class Flash(NamedTuple):
    """The flash it runs on: `endurance_bytes` may be written to it; for each byte it writes `amplification` itself."""

    endurance_bytes: float
    amplification: float


class Sizes(NamedTuple):
    """What comes of it. `flash_years` is infinite if nothing is written.

    Attributes:
        record_bytes: what one event takes while it waits.
        waiting_events, waiting_bytes: at the end of the longest time without a link.
        max_bytes: `outbox.max_bytes` for that, with a reserve.
        written_bytes_per_event, written_bytes_per_day: by the outbox and the ledger.
    """

    record_bytes: int
    waiting_events: int
    waiting_bytes: int
    max_bytes: int
    written_bytes_per_event: int
    written_bytes_per_day: int
    flash_years: float


def sizes(load: Load, flash: Flash) -> Sizes:
    """What a gateway with this load needs."""
    per_s = load.events_per_day / _DAY_S
    record = _record_bytes(load)
    events = round(per_s * load.offline_s)
    waiting = events * record
    written = _outbox_written(per_s, record)
    if load.tracked:
        written += _ledger_written(per_s * load.rules) * load.rules
    per_day = written * load.events_per_day
    segments = -(-round(waiting * _MORE) // _SEGMENT_BYTES) + _OTHER_SEGMENTS
    return Sizes(
        record,
        events,
        waiting,
        max(segments, _LEAST_SEGMENTS) * _SEGMENT_BYTES,
        round(written),
        round(per_day),
        flash.endurance_bytes / (per_day * flash.amplification) / _YEAR_DAYS if per_day else float("inf"),
    )


def _record_bytes(load: Load) -> int:
    """What an event takes on the disk when it is synced by itself: its frame, and that of its commit."""
    record = Record(
        "gateway-01",
        "machine-0001",
        "x" * _ID_CHARS,
        "event",
        "2027-01-15T08:00:00.000Z",
        bytes(load.data_bytes),
        is_json=True,
        rules=("a-rule-of-20-letters",) * load.rules,
        accepted_ms=_AT_MS,
        uptime_ms=_AT_MS,
        topic="events/machine-0001",
    )
    frames = (record, Batch(1 << 20, 1 << 20, 1 << 20, 1 << 20))
    return blocks_bytes(len(frames), sum(len(msgspec.msgpack.encode(frame)) for frame in frames))


def _outbox_written(per_s: float, record_bytes: int) -> float:
    commits = 1.0 / max(1.0, per_s / _ALONE_PER_S)
    checkpoints = 1.0 / max(1.0, per_s * _CHECKPOINT_S)
    return record_bytes + _PAGE_BYTES * (commits + checkpoints)


def _ledger_written(triggers_per_s: float) -> float:
    """For one trigger: between the measurements, in proportion."""
    commits = _MESSAGES if triggers_per_s == 0 else min(_MESSAGES, 1 / (_LEDGER_COMMIT_S * triggers_per_s))
    above = min(max(bisect(_LEDGER, (commits, 0)), 1), len(_LEDGER) - 1)
    (low, least), (high, most) = _LEDGER[above - 1], _LEDGER[above]
    share = min(max((commits - low) / (high - low), 0.0), 1.0)
    return least + share * (most - least)
