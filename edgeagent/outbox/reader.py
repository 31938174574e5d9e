"""Reading a log in order, segment by segment, past damage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Protocol

import msgspec

from edgeagent.errors import StorageFailed
from edgeagent.outbox.files import File, Filesystem
from edgeagent.outbox.frame import (
    HEADER_BYTES,
    Block,
    Frame,
    FrameKind,
    NoFrame,
    decode_batch,
    find_block,
    frames_of,
    read_block,
)
from edgeagent.outbox.segment import Segment

# A read takes in at least one block, unless a large frame exceeds it. The buffer is all the memory that reading needs.
_CHUNK_BYTES = 384 << 10


class Damage(msgspec.Struct, frozen=True):
    """Records that cannot be read: seqs `first_seq .. end_seq` (excluded), bytes `offset .. end` of a segment.

    `segment` is None when a whole segment is missing. `reason`: what else is wrong with records that can be read.
    """

    first_seq: int
    end_seq: int
    segment: Segment | None
    offset: int
    end: int
    reason: str = ""


def numbered(items: Iterable[Frame | Damage]) -> Iterator[tuple[int, Frame | Damage]]:
    """Each item with the number of its group commit; 0 if batch frames are left out."""
    number = 0
    for item in items:
        if isinstance(item, Frame) and item.kind is FrameKind.BATCH:
            batch = decode_batch(item)
            number = batch.number if batch is not None else number
        yield number, item


class _Source(Protocol):
    """The operations that a reader needs of its log."""

    filesystem: Filesystem
    next_seq: int

    @property
    def segments(self) -> Sequence[Segment]:
        """The segments, oldest first; the last one's `valid_bytes` is what is synced."""


class LogReader:
    """Owns a position in a log that only moves forward, and sees only what is synced. `seq`: the next one expected."""

    def __init__(self, log: _Source, seq: int) -> None:
        """Begin at the first record that contains `seq` or follows it."""
        self._log = log
        self.seq = seq
        self._segment: Segment | None = None
        self._file: File | None = None
        self._offset = 0  # where the next block begins
        self._min_seq = 0  # a block below it is ignored
        self._items: Iterator[Frame | Damage] = iter(())  # the rest of the block that is being read
        self._chunk = memoryview(b"")
        self._chunk_offset = 0

    def read(self, max_frames: int, max_bytes: int) -> list[Frame | Damage]:
        """The next records, at most this many and about this many bytes; empty if there are no more for now.

        Frames without triggers are left out.

        Raises:
            StorageFailed: the disk refused; the position is unchanged. Records read before the error come first.
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
            elif item.count and item.seq + item.count > self.seq:
                if item.seq > self.seq:
                    result.append(Damage(self.seq, item.seq, self._segment, item.offset, item.offset))
                result.append(item)
                size += len(item.payload)
                self.seq = item.seq + item.count
        return result

    def skip_to(self, seq: int) -> None:
        """Continue at `seq`."""
        self.close()
        self.seq = max(self.seq, seq)

    def close_removed(self) -> None:
        """Close the open file if the log has removed its segment, so that the disk gets its space back."""
        if self._segment is not None and self._segment not in self._log.segments:
            self.close()

    def close(self) -> None:
        """Close the open file; reading may continue."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._segment = None
        self._items = iter(())
        self._chunk = memoryview(b"")

    def _next(self) -> Frame | Damage | None:
        while self.seq < self._log.next_seq:  # beyond it there may be an empty or a half-removed segment
            segment = self._segment
            if segment is None:
                damage = self._enter(self._segment_of(self.seq))
                if self._segment is None or damage is not None:
                    return damage
                continue
            for item in self._items:
                return item
            if self._offset < segment.valid_bytes:
                self._items = self._read_on(segment)
                continue
            following = next((other for other in self._log.segments if other.number > segment.number), None)
            if following is None:
                return None
            self.close()
            damage = self._enter(following)
            if damage is not None:
                return damage
        return None

    def _segment_of(self, seq: int) -> Segment | None:
        """The segment to begin in: the last one whose first seq is not above `seq`, otherwise the first."""
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
            if segment.path.name in filesystem.list(segment.path.parent):  # raises too if the directory is away
                raise
            return Damage(self.seq, self._seq_after(segment), None, 0, 0)
        self._segment, self._offset, self._min_seq = segment, HEADER_BYTES, segment.first_seq
        if segment.first_seq > self.seq:
            return Damage(self.seq, segment.first_seq, None, 0, 0)
        return None

    def _read_on(self, segment: Segment) -> Iterator[Frame | Damage]:
        """Move to the next block of the segment; returns the damage before it and its items."""
        offset = self._offset
        block = self._block_at_hand(segment.header.salt)
        if block is None:
            self._fill(segment, _CHUNK_BYTES)
            block = self._block_at_hand(segment.header.salt)
        if block is None:
            self._fill(segment, segment.valid_bytes)
            found = find_block(self._chunk, 0, segment.header.salt, self._min_seq)
            block = found.moved(offset) if found is not None else None
        elif block.end > self._chunk_offset + len(self._chunk):
            self._fill(segment, block.end - offset)
        if block is None:
            self._offset, end_seq = segment.valid_bytes, self._seq_after(segment)
            lost = (Damage(self.seq, end_seq, segment, offset, segment.valid_bytes),) if end_seq > self.seq else ()
            return iter(lost)
        self._offset, self._min_seq = block.end, block.next_seq
        before = (Damage(self.seq, block.seq, segment, offset, block.start),) if block.seq > self.seq else ()
        items = self._items_of(block, segment) if block.next_seq > self.seq else ()
        return chain(before, items)

    def _block_at_hand(self, salt: int) -> Block | None:
        """The block at the offset, if it is in memory."""
        position = self._offset - self._chunk_offset
        if not 0 <= position < len(self._chunk):
            return None
        block = read_block(self._chunk, position, salt)
        return block.moved(self._chunk_offset) if block is not None and block.seq >= self._min_seq else None

    def _fill(self, segment: Segment, size: int) -> None:
        assert self._file is not None  # noqa: S101  a segment is entered with its file
        size = min(size, segment.valid_bytes - self._offset)
        self._chunk = memoryview(self._file.read_at(self._offset, size))
        self._chunk_offset = self._offset

    def _items_of(self, block: Block, segment: Segment) -> Iterator[Frame | Damage]:
        """The frames of a block, and the damage between them."""
        gap: NoFrame | None = None
        for item in frames_of(block, self._chunk, self._chunk_offset):
            if isinstance(item, NoFrame):
                gap = NoFrame(gap.offset if gap is not None else item.offset, item.end)
                continue
            if gap is not None and item.seq > self.seq:
                yield Damage(self.seq, item.seq, segment, *gap)
            gap = None
            yield item
        if gap is not None and block.next_seq > self.seq:
            yield Damage(self.seq, block.next_seq, segment, *gap)

    def _seq_after(self, segment: Segment) -> int:
        following = [other for other in self._log.segments if other.number > segment.number]
        return following[0].first_seq if following else self._log.next_seq
