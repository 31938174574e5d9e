"""Making room: the oldest triggers that were never leased go, in whole segments, because of their age or of new ones.

Leased triggers are never touched: the sender holds them, and they may be at the broker. Segments are the unit,
because only removing a whole one frees space; the newest segment of a log always stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

import msgspec

from edgeagent.common.elapsed import Instant, is_set
from edgeagent.outbox.frame import SegmentHeader
from edgeagent.outbox.log import Log
from edgeagent.outbox.reader import LogReader
from edgeagent.outbox.records import EXPIRED
from edgeagent.outbox.segment import Segment


class Cut(msgspec.Struct, frozen=True):
    """What was released: `released` of the seqs from `first_seq` to `end_seq` (excluded)."""

    first_seq: int
    end_seq: int
    released: int


def release_oldest(log: Log, reader: LogReader, way: str) -> Cut | None:
    """Release the never-leased triggers of the oldest segment that has any; None if there is none."""
    for segment, following in pairwise(log.segments):
        if following.first_seq > reader.seq:
            return _release(log, reader, segment, following, way)
    return None


def release_expired(
    logs: Mapping[str, Log], readers: Mapping[str, LogReader], now: Instant, max_age_ms: int
) -> Iterator[tuple[str, Cut]]:
    """Release what exceeds `max_age_ms` in the logs that have a reader; nothing while the clock is not set."""
    if is_set(now.wall_ms):
        for name, reader in readers.items():
            for cut in _release_older(logs[name], reader, now, max_age_ms, EXPIRED):
                yield name, cut


def least_age_ms(header: SegmentHeader, at_ms: int, now: Instant) -> int | None:
    """How old something in a segment is that its clock put at this time; None if a clock was not set.

    What was written in this boot is not older than its segment by the machine's own clock, whatever the other one says.
    """
    if not is_set(at_ms) or not is_set(now.wall_ms):
        return None
    age_ms = now.wall_ms - at_ms
    if header.boot == now.boot and now.uptime_ms:
        return min(age_ms, now.uptime_ms - header.created_uptime_ms)
    return age_ms


def _release_older(log: Log, reader: LogReader, now: Instant, max_age_ms: int, way: str) -> Iterator[Cut]:
    """Release never-leased triggers in segments all of whose records were accepted so long ago.

    A time from a clock that was not set is unknown: such a segment counts as young as the next with a known time.
    """
    for segment, following in tuple(pairwise(log.segments))[: _older(log, now, max_age_ms)]:
        if following.first_seq > reader.seq:
            yield _release(log, reader, segment, following, way)


def _older(log: Log, now: Instant, max_age_ms: int) -> int:
    """How many segments, from the oldest on, are followed by one that was begun longer ago than this."""
    count = 0
    for index, segment in enumerate(log.segments[1:], 1):
        age_ms = least_age_ms(segment.header, segment.header.created_ms, now)
        if age_ms is not None:
            if age_ms <= max_age_ms:
                break
            count = index
    return count


def _release(log: Log, reader: LogReader, segment: Segment, following: Segment, way: str) -> Cut:
    first_seq, end_seq = max(segment.first_seq, reader.seq), following.first_seq
    count = log.release(first_seq, end_seq - first_seq, way)
    reader.skip_to(end_seq)
    return Cut(first_seq, end_seq, count)
