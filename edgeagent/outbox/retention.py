"""Making room: the oldest triggers that were never leased go, in whole segments, because of their age or of new ones.

Leased triggers are never touched: the sender holds them, and they may be at the broker. Segments are the unit,
because only removing a whole one frees space; the newest segment of a log always stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

from edgeagent.common.elapsed import is_set
from edgeagent.outbox.log import Log
from edgeagent.outbox.reader import LogReader
from edgeagent.outbox.records import EXPIRED
from edgeagent.outbox.segment import Segment


class Cut(NamedTuple):
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
    logs: Mapping[str, Log], readers: Mapping[str, LogReader], now_ms: int, max_age_ms: int
) -> Iterator[tuple[str, Cut]]:
    """Release what exceeds `max_age_ms` in the logs that have a reader; nothing while the clock is not set."""
    if is_set(now_ms):
        for name, reader in readers.items():
            for cut in _release_older(logs[name], reader, now_ms - max_age_ms, EXPIRED):
                yield name, cut


def _release_older(log: Log, reader: LogReader, before_ms: int, way: str) -> Iterator[Cut]:
    """Release never-leased triggers in segments all of whose records were accepted before a time (wall clock).

    A time from a clock that was not set is unknown: such a segment counts as young as the next with a known time.
    """
    for segment, following in tuple(pairwise(log.segments))[: _older(log, before_ms)]:
        if following.first_seq > reader.seq:
            yield _release(log, reader, segment, following, way)


def _older(log: Log, before_ms: int) -> int:
    """How many segments, from the oldest on, are followed by one that was begun before this time."""
    count = 0
    for index, segment in enumerate(log.segments[1:], 1):
        if is_set(segment.header.created_ms):
            if segment.header.created_ms >= before_ms:
                break
            count = index
    return count


def _release(log: Log, reader: LogReader, segment: Segment, following: Segment, way: str) -> Cut:
    first_seq, end_seq = max(segment.first_seq, reader.seq), following.first_seq
    count = log.release(first_seq, end_seq - first_seq, way)
    reader.skip_to(end_seq)
    return Cut(first_seq, end_seq, count)
