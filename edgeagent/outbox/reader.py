"""Reading a log in order, segment by segment, past damage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from edgeagent.core.frame import HEADER_BYTES, Frame, Kind, decode_frame, scan
from edgeagent.errors import StorageFailed
from edgeagent.outbox.files import File, Filesystem
from edgeagent.outbox.segment import Segment

# One read brings about a thousand records of 200 bytes; the buffer is all that reading costs in memory.
_CHUNK_BYTES = 256 << 10


class Damage(NamedTuple):
    """Records that cannot be read: seqs `first_seq .. end_seq` (excluded), bytes `offset .. end` of a segment.

    `segment` is None when a whole segment is missing.
    """

    first_seq: int
    end_seq: int
    segment: Segment | None
    offset: int
    end: int


class _Source(Protocol):
    """The log that is read."""

    filesystem: Filesystem
    next_seq: int

    @property
    def segments(self) -> Sequence[Segment]:
        """The segments, oldest first; the last one's `valid_bytes` is what is synced."""


class Reader:
    """A place in a log that moves forward. Only what is synced is seen. `seq` is the next one expected."""

    def __init__(self, log: _Source, seq: int) -> None:
        """Begin at the first record that holds `seq` or comes after it."""
        self._log = log
        self.seq = seq
        self._segment: Segment | None = None
        self._file: File | None = None
        self._offset = 0
        self._chunk = memoryview(b"")
        self._chunk_offset = 0

    def read(self, max_frames: int, max_bytes: int) -> list[Frame | Damage]:
        """The next records, at most so many and about so many bytes; empty when there are no more for now.

        Batch frames are left out.

        Raises:
            StorageFailed: the disk refused; the place is kept. What was read before it is returned first.
        """
        result: list[Frame | Damage] = []
        size = 0
        while len(result) < max_frames and size < max_bytes:
            try:
                item = self._next()
            except StorageFailed:
                if result:
                    break
                raise
            if item is None:
                break
            if isinstance(item, Damage):
                self.seq = item.end_seq
                result.append(item)
            elif item.kind is not Kind.BATCH and item.seq + item.count > self.seq:
                if item.seq > self.seq:
                    result.append(Damage(self.seq, item.seq, self._segment, item.offset, item.offset))
                result.append(item)
                size += len(item.payload)
                self.seq = item.seq + item.count
        return result

    def skip_to(self, seq: int) -> None:
        """Go on at `seq`."""
        self.close()
        self.seq = max(self.seq, seq)

    def close(self) -> None:
        """Let go of the open file; reading may go on."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._segment = None
        self._chunk = memoryview(b"")

    def _next(self) -> Frame | Damage | None:
        while self.seq < self._log.next_seq:  # else there may be an empty segment, or one that is half removed
            segment = self._segment
            if segment is None:
                damage = self._enter(self._segment_of(self.seq))
                if self._segment is None or damage is not None:
                    return damage
                continue
            if self._offset < segment.valid_bytes:
                return self._decode(segment)
            following = next((other for other in self._log.segments if other.number > segment.number), None)
            if following is None:
                return None
            self.close()
            damage = self._enter(following)
            if damage is not None:
                return damage
        return None

    def _segment_of(self, seq: int) -> Segment | None:
        """The segment to begin in: the last one whose first seq is not above the wanted one, else the first."""
        segments = self._log.segments
        candidates = [segment for segment in segments if segment.first_seq <= seq]
        return candidates[-1] if candidates else next(iter(segments), None)

    def _enter(self, segment: Segment | None) -> Damage | None:
        if segment is None:
            return None
        filesystem = self._log.filesystem
        try:
            self._file = filesystem.open(segment.path)
        except StorageFailed:
            if segment.path.name in filesystem.list(segment.path.parent):  # refused too while the directory is away
                raise
            return Damage(self.seq, self._seq_after(segment), None, 0, 0)
        self._segment, self._offset = segment, HEADER_BYTES
        if segment.first_seq > self.seq:
            return Damage(self.seq, segment.first_seq, None, 0, 0)
        return None

    def _decode(self, segment: Segment) -> Frame | Damage:
        frame = self._cached(segment)
        if frame is None:
            self._fill(segment, _CHUNK_BYTES)
            frame = self._cached(segment)
        if frame is None:
            self._fill(segment, segment.valid_bytes)
            frame = self._cached(segment)
        if frame is None:
            return self._damage(segment)
        self._offset = frame.end
        return frame

    def _cached(self, segment: Segment) -> Frame | None:
        position = self._offset - self._chunk_offset
        if not 0 <= position < len(self._chunk):
            return None
        frame = decode_frame(self._chunk, position, segment.header.salt)
        if frame is None:
            return None
        return Frame(self._offset, self._chunk_offset + frame.end, frame.seq, frame.count, frame.kind, frame.payload)

    def _fill(self, segment: Segment, size: int) -> None:
        assert self._file is not None  # noqa: S101  a segment is entered with its file
        size = min(size, segment.valid_bytes - self._offset)
        self._chunk = memoryview(self._file.read_at(self._offset, size))
        self._chunk_offset = self._offset

    def _damage(self, segment: Segment) -> Damage:
        """What is lost from here to the next good frame of this segment, or to the next segment."""
        assert self._file is not None  # noqa: S101  a segment is entered with its file
        data = memoryview(self._file.read_at(0, segment.valid_bytes))
        offset, end, end_seq = self._offset, segment.valid_bytes, self._seq_after(segment)
        for item in scan(data, segment.header.salt, self.seq, offset):
            if isinstance(item, Frame):
                end, end_seq = item.offset, item.seq
                break
        self._offset = end
        self._chunk = memoryview(b"")
        return Damage(self.seq, end_seq, segment, offset, end)

    def _seq_after(self, segment: Segment) -> int:
        following = [other for other in self._log.segments if other.number > segment.number]
        return following[0].first_seq if following else self._log.next_seq
