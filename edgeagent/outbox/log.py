"""One log: a directory of segments, appended to at the end and removed from the front in whole segments.

Invariants
* Only synced frames are read, counted or acknowledged. A batch whose sync failed is written again, from memory, into
  a new segment whose header says where the previous one ends; if that fails too, the caller gets the error.
* A segment is removed only once a checkpoint with the release of its last record is synced (`remove_front` is called
  by the code that wrote the checkpoint).
* A process never appends to a segment that another process began: what a crash left is cut at its last good frame.
* A file that is not understood is left alone, and its number is never used again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec

from edgeagent.errors import StorageFailed
from edgeagent.outbox.cursor import LogState, distances
from edgeagent.outbox.files import Filesystem
from edgeagent.outbox.frame import (
    HEADER_BYTES,
    Batch,
    FrameKind,
    SegmentHeader,
    blocks_bytes,
    encode_blocks,
)
from edgeagent.outbox.reader import Damage
from edgeagent.outbox.released import Released
from edgeagent.outbox.segment import Segment, SegmentWriter, number_of
from edgeagent.outbox.segment_end import Ending, Recovered, ending_of, open_end

_BATCH_BYTES = 128  # an upper bound for a batch: ten integers of nine bytes
_BATCH_KIND = bytes((FrameKind.BATCH,))
_encode = msgspec.msgpack.Encoder().encode


class Entries(msgspec.Struct, frozen=True):
    """Frames to append: the kind, trigger count and payload of each; `room`: bytes for all of them (`room_of`)."""

    kinds: bytes
    counts: Sequence[int]
    payloads: Sequence[bytes]
    room: int


def room_of(frames: int, payload_bytes: int) -> int:
    """An upper bound, in bytes, for this many frames and the batch frame before them."""
    return blocks_bytes(frames + 1, payload_bytes + _BATCH_BYTES)


class Log:
    """Owns one log's segments and the record of what is released in it.

    Appended frames are synced before their seq is returned. It never removes a record that is not released, and never
    appends to a segment after a failed write or sync.
    """

    def __init__(
        self,
        filesystem: Filesystem,
        directory: Path,
        segment_bytes: int,
        new_header: Callable[[int, int, Segment | None], SegmentHeader],
        before_roll: Callable[[], None],
    ) -> None:
        """A log that must be opened by `recover` before anything else.

        `new_header` takes a segment's number, its first seq and its predecessor. `before_roll` is called before a
        segment is begun, to write down what only the earlier segments hold; it may raise `StorageFailed`.
        """
        self.filesystem = filesystem
        self.next_seq = 1
        self.released = Released(1)
        self.ways: dict[str, int] = {}
        self.moved_in = 0
        self.imported = 0  # how many of them came from export files; meaningful as the sum over all logs
        self.segments: list[Segment] = []
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._new_header = new_header
        self._before_roll = before_roll
        self._writer: SegmentWriter | None = None
        self.torn = False  # opening found bytes behind the last frame that nobody was promised
        self._doubtful: tuple[int, bytes] | None = None  # bytes read at this offset that may be only in the cache
        self._sealed = False
        self._next_number = 1  # never reused: segments are identified and ordered by their number

    @property
    def used_bytes(self) -> int:
        """The size of the segments on disk, in bytes."""
        return sum(segment.size for segment in self.segments)

    @property
    def bytes_per_trigger(self) -> float:
        """The average size of a trigger in the present segments, in bytes; 0 without any."""
        first_seq = self.segments[0].first_seq if self.segments else self.next_seq
        return sum(segment.valid_bytes for segment in self.segments) / max(self.next_seq - first_seq, 1)

    @property
    def spent(self) -> bool:
        """Whether the newest segment may be removed too: all its records are released and it is largely used."""
        used_up = self._writer is None or self._writer.room < self._segment_bytes // 2
        return bool(self.segments) and used_up and self.released.cursor == self.next_seq

    @property
    def active_number(self) -> int:
        """The number of the segment that holds records and may grow; 0 if there is none, or if it may be removed."""
        if self._writer is None or self._sealed or self.spent:
            return 0
        segment = self._writer.segment
        return segment.number if segment.valid_bytes > HEADER_BYTES else 0

    @property
    def pending(self) -> int:
        """How many seqs are not released."""
        return self.next_seq - 1 - self.released.count()

    def recover(self, state: LogState | None, *, gone_way: str) -> Recovered:
        """Open the log: read the headers, and scan the last segment. `secure_tail` must follow.

        `state`: what the checkpoint holds of this log. Without one, everything on disk is unreleased, and what is gone
        from the front counts as `gone_way`. Opening the same bytes again gives the same result (apart from the cut).

        Raises:
            StorageFailed: the directory or a segment cannot be read.
        """
        self.filesystem.make_directory(self._directory)
        foreign = self._load_segments(state)
        if state is not None:
            self.next_seq, self.released, self.ways = state.next_seq, state.to_released(), dict(state.released)
            self.moved_in = state.moved_in
            self._next_number = max(self._next_number, state.next_number)
        elif self.segments:
            self.next_seq = self.segments[0].first_seq
            self.release(1, self.next_seq - 1, gone_way)
        if self.segments:
            ending = self._read_last(state)
            more = open_end(state, self.segments[-1], ending)
            return Recovered(ending.frames, ending.damages, ending.torn_bytes, foreign, more)
        missing = self.next_seq > self.released.cursor
        damages = [Damage(self.released.cursor, self.next_seq, None, 0, 0)] if missing else []
        return Recovered([], damages, 0, foreign, open_end(state, None, None))

    def secure_tail(self) -> None:
        """Cut the torn bytes from the last segment and sync the rest; called once everything was read.

        The frames may be only in the cache, left there by a process that was killed before its sync or whose sync
        failed. From now on they count as stored, so what the checkpoint does not vouch for is written again.


        Raises:
            StorageFailed: the disk refuses.
        """
        if self._doubtful is None:
            return
        segment, (offset, data) = self.segments[-1], self._doubtful
        file = self.filesystem.open(segment.path)
        try:
            if data:
                file.write_at(offset, data)
                file.sync()
            if segment.valid_bytes < segment.size:  # only now: a shorter file ends with a good frame
                file.truncate(segment.valid_bytes)
                file.sync()
        finally:
            file.close()
        segment.size = segment.valid_bytes
        self._doubtful = None

    @property
    def capacity(self) -> int:
        """The largest `room` (`room_of`) that one call of `append` accepts."""
        return self._segment_bytes - HEADER_BYTES

    def fits(self, room: int) -> bool:
        """Whether this many bytes fit into the active segment, so that appending begins no new one."""
        return self._writer is not None and room <= self._writer.room

    def append(self, entries: Entries, batch: Batch) -> int:
        """Write entries (`room` at most `capacity`) and sync them; returns the seq of the first.

        `batch.synced_seq` is set here.

        Raises:
            StorageFailed: none of them is stored.
        """
        first_seq = self.next_seq
        if not self.fits(entries.room):
            self._roll()
        try:
            self._write(entries, batch)
        except StorageFailed:
            self._roll()  # after a failed write or sync the old file never receives records again
            self._write(entries, batch)
        self.next_seq += sum(entries.counts)
        self.moved_in += entries.kinds.count(FrameKind.MOVED)
        return first_seq

    def prepare(self) -> None:
        """Begin a segment unless one is active.

        Raises:
            StorageFailed: the disk refuses.
        """
        if self._writer is None:
            self._roll()

    def release(self, seq: int, count: int, way: str) -> int:
        """Release seqs; `way` says how they ended. Returns how many were not released before."""
        new = self.released.add(seq, count)
        if new:
            self.ways[way] = self.ways.get(way, 0) + new
        return new

    def recount(self, old_way: str, new_way: str) -> bool:
        """Count one released seq another way; False if none was released the old way."""
        if not self.ways.get(old_way, 0):
            return False
        self.ways[old_way] -= 1
        self.ways[new_way] = self.ways.get(new_way, 0) + 1
        return True

    def skip_to(self, seq: int, gone_way: str) -> None:
        """Never assign a seq below this one: they were assigned before; their lost records count as `gone_way`."""
        if seq > self.next_seq:
            self.release(self.next_seq, seq - self.next_seq, gone_way)
            self.next_seq = seq

    def boot_of(self, seq: int) -> bytes:
        """The boot in which the record with this seq was written; empty if its segment is gone."""
        header = self.header_of(seq)
        return header.boot if header is not None else b""

    def header_of(self, seq: int) -> SegmentHeader | None:
        """The header of the segment with the record of this seq; None if that is gone."""
        return next((segment.header for segment in reversed(self.segments) if segment.first_seq <= seq), None)

    def state(self) -> LogState:
        """The log's state as a checkpoint keeps it."""
        ranges = distances(self.released)
        ways = dict(self.ways)
        last_number = self.segments[-1].number if self.segments else 0
        numbers = self._next_number, last_number, self.active_number
        return LogState(self.next_seq, self.released.cursor, ranges, ways, self.moved_in, *numbers)

    def remove_front(self, may_forget: Callable[[], bool]) -> None:
        """Remove segments at the front all of whose records were released in the last checkpoint.

        The active segment is removed too if more than half of it is used, so that released records do not take space.
        `may_forget` is called before the newest segment is removed, because opening reads that one; False keeps it.

        Raises:
            StorageFailed: a file cannot be removed; the next call tries again.
        """
        while len(self.segments) > 1 and self.segments[1].first_seq <= self.released.cursor:
            self.filesystem.remove(self.segments[0].path)
            del self.segments[0]
        if self.spent and may_forget():
            self.close()
            self.filesystem.remove(self.segments[0].path)
            del self.segments[0]

    def remove_released(self) -> None:
        """Remove segments in the middle too, if all of their records were released in the last checkpoint.

        Raises:
            StorageFailed: a file cannot be removed; the next call tries again.
        """
        for segment, following in tuple(pairwise(self.segments)):
            if not self.released.missing(segment.first_seq, following.first_seq - segment.first_seq):
                self.filesystem.remove(segment.path)
                self.segments.remove(segment)

    def seal(self) -> None:
        """Declare that nothing more is appended: the next checkpoint is final about the log's end."""
        self._sealed = True

    def close(self) -> None:
        """Close the active segment."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _load_segments(self, state: LogState | None) -> list[Path]:
        """Read the headers; returns the files that are not segments of this log.

        A segment removed after its only sync failed may reappear after a crash: nothing in it was promised. The
        segment that follows identifies it, or, if it is the last one, the checkpoint does.
        """
        foreign: list[Path] = []
        found: list[Segment] = []
        for name in self.filesystem.list(self._directory):
            path = self._directory / name
            number = number_of(name)
            if number is None:
                foreign.append(path)
                continue
            self._next_number = max(self._next_number, number + 1)
            segment, empty = self._load(path, number)
            if segment is not None:
                found.append(segment)
            elif empty:
                self.filesystem.remove(path)
            else:
                foreign.append(path)
        found.sort(key=lambda segment: segment.number, reverse=True)
        self.segments = []
        for segment in found:
            following = self.segments[0].header if self.segments else None
            if following is not None and segment.number > following.previous_number:
                self.filesystem.remove(segment.path)
                continue
            if following is None and state is not None and state.last_number < segment.number < state.next_number:
                self.filesystem.remove(segment.path)
                continue
            if following is not None and segment.number == following.previous_number:
                segment.valid_bytes = min(segment.size, max(following.previous_bytes, HEADER_BYTES))
            self.segments.insert(0, segment)
        return foreign

    def _load(self, path: Path, number: int) -> tuple[Segment | None, bool]:
        """A segment file, None if its header is not good; and whether the file holds only zeros.

        A crash between the creation of a segment and the sync of its first frames leaves such zeros.
        """
        file = self.filesystem.open(path)
        try:
            size = file.size()
            header = SegmentHeader.decode(file.read_at(0, HEADER_BYTES))
            if header is not None and header.number == number:
                return Segment(path, header, size, size), False
            return None, not file.read_at(0, size).strip(b"\0")
        finally:
            file.close()

    def _read_last(self, state: LogState | None) -> Ending:
        """Read the last segment; `secure_tail` makes the changes."""
        segment = self.segments[-1]
        file = self.filesystem.open(segment.path)
        try:
            data = memoryview(file.read_at(0, segment.size))
        finally:
            file.close()
        ending = ending_of(data, segment, self.next_seq, state)
        if ending.vouched_end < segment.size:
            self._doubtful = (ending.vouched_end, bytes(data[ending.vouched_end : ending.end]))
        segment.valid_bytes, self.torn = ending.end, ending.torn_bytes > 0
        end_seqs = [damage.end_seq for damage in ending.damages]
        self.next_seq = max(self.next_seq, ending.tail_seq, *end_seqs)
        return ending

    def _write(self, entries: Entries, batch: Batch) -> None:
        assert self._writer is not None  # noqa: S101  rolling made it
        kinds, counts, payloads = entries.kinds, entries.counts, entries.payloads
        marked = _encode(msgspec.structs.replace(batch, synced_seq=self.next_seq - 1))
        blocks = encode_blocks(self._writer.salt, self.next_seq, _BATCH_KIND + kinds, (0, *counts), (marked, *payloads))
        try:
            self._writer.append(blocks)
        except StorageFailed:
            self.close()
            raise

    def _roll(self) -> None:
        self.close()
        self._before_roll()
        if self.segments and self.segments[-1].valid_bytes == HEADER_BYTES:  # left by a sync that failed
            self.filesystem.remove(self.segments[-1].path)
            del self.segments[-1]
        header = self._new_header(self._next_number, self.next_seq, self.segments[-1] if self.segments else None)
        self._next_number += 1  # even if creating it fails: a file may have been left
        self._writer = SegmentWriter.create(self.filesystem, self._directory, header, self._segment_bytes)
        self.segments.append(self._writer.segment)
