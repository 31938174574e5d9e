r"""The byte format of the outbox: segment headers and blocks of frames (docs/format.md). All integers little-endian.

A segment is a header of 96 bytes, then blocks, then zeros (preallocated space). A group commit writes one block, or
several if it is large. A block is an index, the payloads of its frames back to back, and, if it has more than two
frames, a copy of the index; each of the three is padded with zeros to a multiple of 8. An index of n frames is

    0       u32  CRC-32 (IEEE) of the rest of the index, begun with the segment's salt (the copy: with its complement)
    4       u32  n
    8       u32  bytes of all payloads
    12      u64  seq of the first trigger
    20      u32  size of each payload
    20+4n   u32  CRC-32 of each payload
    20+8n   u16  count of each frame: how many triggers, hence seqs, it holds
    20+10n  u8   kind of each frame: 1 event, 2 batch, 3 moved, 4 armed, 5 completed

The salt keeps old bytes from ever being taken for an index. Each group commit begins with a batch frame that names the
highest seq synced before it: a bad frame below that number is damage, one above it is a torn tail that nobody was
promised. Blocks begin at multiples of 8, so that the next good one can be found behind a damaged one. Thanks to the
copy, a block with a damaged first index loses only the frames whose own bytes are damaged.

One index serves many frames, instead of a header for each, because a few calls then write all of them (ADR 5).

Invariant, held by property tests: any bytes decode to frames, gaps and a tail, and never raise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum
from itertools import accumulate
from struct import Struct, pack, unpack_from
from typing import NamedTuple
from zlib import crc32

import msgspec

MAGIC = b"\x8bEDGELOG"
VERSION = 1
HEADER_BYTES = 96
ALIGNMENT = 8
MAX_COUNT = 0xFFFF
# The limits of one block, unless a single frame is larger: reading loads a whole block into memory.
MAX_BLOCK_FRAMES = 4096
MAX_BLOCK_BYTES = 256 << 10

_HEADER = Struct("<8sHHIQQQQQ16sQQ4x")
_INDEX_HEAD = Struct("<IIIQ")
_COVERED_HEAD = Struct("<IIQ")  # what the index's CRC covers before the arrays
_CRC = Struct("<I")
_INDEX_BYTES_A_FRAME = 11
_FRAMES_WITHOUT_COPY = 2
_BLOCK_OVERHEAD_BYTES = 2 * (_INDEX_HEAD.size + ALIGNMENT) + ALIGNMENT


class FrameKind(IntEnum):
    """The kind of a frame: what its payload is."""

    EVENT = 1  # an events.event.Record: its rules are its triggers
    BATCH = 2  # a Batch; count 0
    MOVED = 3  # a Moved: one trigger that came from another log
    ARMED = 4  # an Armed: rules that may fire again for a source; count 0
    COMPLETED = 5  # a Completed: packet ids of a session that are free again; count 0


_KINDS = bytes(FrameKind)
# A look-up takes 0.5 us less a frame than a call of the class (`benchmarks path`, drain).
_KIND_OF = {int(kind): kind for kind in FrameKind}


class SegmentHeader(msgspec.Struct, frozen=True):
    """The start of a segment.

    `previous_number`: the segment before it, 0 if there was none; `previous_bytes`: how many bytes of it are valid.
    `boot`: the boot id of the kernel that wrote it; a record's `uptime_ms` counts in that boot only. `reserved_bytes`:
    the file's synced length before anything was written to it; 0 if that is unknown. `created_uptime_ms`: when it was
    begun, since the start of `boot`; 0 if that is unknown.
    """

    salt: int
    number: int
    first_seq: int
    previous_number: int
    previous_bytes: int
    created_ms: int
    boot: bytes
    reserved_bytes: int = 0
    created_uptime_ms: int = 0

    def encode(self) -> bytes:
        """The header's 96 bytes."""
        head = _HEADER.pack(
            MAGIC,
            VERSION,
            HEADER_BYTES,
            self.salt,
            self.number,
            self.first_seq,
            self.previous_number,
            self.previous_bytes,
            self.created_ms,
            self.boot,
            self.reserved_bytes,
            self.created_uptime_ms,
        )
        return head + _CRC.pack(crc32(head))

    @classmethod
    def decode(cls, data: bytes | memoryview) -> SegmentHeader | None:
        """Read a header; None if these bytes are no header of this version."""
        if len(data) < HEADER_BYTES:
            return None
        head = bytes(data[: HEADER_BYTES - _CRC.size])
        magic, version, size, *rest = _HEADER.unpack(head)
        if magic != MAGIC or version != VERSION or size != HEADER_BYTES:
            return None
        if _CRC.unpack_from(data, HEADER_BYTES - _CRC.size)[0] != crc32(head):
            return None
        return cls(*rest)


class Batch(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The start of one group commit. The counters are in events, as they were before this batch."""

    number: int
    synced_seq: int
    received: int = 0
    stored: int = 0
    duplicate: int = 0
    filtered: int = 0
    throttled: int = 0
    refused: int = 0
    conflict: int = 0


_decode_batch = msgspec.msgpack.Decoder(Batch).decode


class Frame(msgspec.Struct, frozen=True, gc=False):
    """A good frame. `offset` and `end` bound its payload in the segment, in bytes."""

    offset: int
    end: int
    seq: int
    count: int
    kind: FrameKind
    payload: bytes


class NoFrame(NamedTuple):
    """Bytes that hold no valid frame and have good frames behind them."""

    offset: int
    end: int


class FramesEnd(msgspec.Struct, frozen=True):
    """Where the frames of a segment end. `torn`: bytes other than zeros follow.

    `written_seq`: the seq after the last one that an index names, whether its frame is good or not.
    """

    offset: int
    torn: bool
    written_seq: int


class Block(msgspec.Struct, frozen=True):
    """A decoded index: the offsets of the block, of its payloads and of the next block; and each frame's fields."""

    start: int
    offset: int
    end: int
    seq: int
    sizes: tuple[int, ...]
    crcs: tuple[int, ...]
    counts: tuple[int, ...]
    kinds: bytes

    @property
    def next_seq(self) -> int:
        """The seq after the block's last frame."""
        return self.seq + sum(self.counts)

    def moved(self, distance: int) -> Block:
        """The same block with every offset increased by `distance` bytes."""
        return msgspec.structs.replace(
            self, start=self.start + distance, offset=self.offset + distance, end=self.end + distance
        )


def blocks_bytes(frames: int, payload_bytes: int) -> int:
    """An upper bound, in bytes, for this many frames, in however many blocks they are written."""
    blocks = 1 + frames // MAX_BLOCK_FRAMES + 2 * payload_bytes // MAX_BLOCK_BYTES
    return payload_bytes + 2 * _INDEX_BYTES_A_FRAME * frames + _BLOCK_OVERHEAD_BYTES * blocks


def encode_blocks(salt: int, seq: int, kinds: bytes, counts: Sequence[int], payloads: Sequence[bytes]) -> bytes:
    """Encode frames, given by kind, count and payload; `seq` is that of the first."""
    sizes = list(map(len, payloads))
    if len(sizes) <= MAX_BLOCK_FRAMES and sum(sizes) <= MAX_BLOCK_BYTES:
        return _encode_block(salt, seq, kinds, counts, payloads, sizes)
    parts: list[bytes] = []
    seqs = list(accumulate(counts, initial=seq))
    for start, end in _cuts(sizes):
        cut = slice(start, end)
        parts.append(_encode_block(salt, seqs[start], kinds[cut], counts[cut], payloads[cut], sizes[cut]))
    return b"".join(parts)


def read_block(data: memoryview, offset: int, salt: int) -> Block | None:
    """The block that begins at an offset, None without a good index there. Its payloads may extend beyond the data."""
    found = _read_index(data, offset, salt)
    return found[0].moved(offset) if found is not None else None


def find_block(data: memoryview, offset: int, salt: int, min_seq: int) -> Block | None:
    """The first block from an offset on, found by the index before its payloads or by the copy behind them."""
    for position in range(offset, len(data), ALIGNMENT):
        block = read_block(data, position, salt) or _block_before_copy(data, position, salt, offset)
        if block is not None and block.seq >= min_seq:
            return block
    return None


def frames_of(block: Block, data: memoryview, base: int = 0) -> Iterator[Frame | NoFrame]:
    """The frames of a block, up to the end of the data; a `NoFrame` stands for a damaged one.

    `base`: the offset at which the data begins.
    """
    offset, seq = block.offset, block.seq
    for size, crc, count, kind in zip(block.sizes, block.crcs, block.counts, block.kinds, strict=True):
        end = offset + size
        payload = bytes(data[offset - base : end - base])
        if len(payload) < size:
            return
        yield Frame(offset, end, seq, count, _KIND_OF[kind], payload) if crc32(payload) == crc else NoFrame(offset, end)
        offset, seq = end, seq + count


def decode_batch(frame: Frame) -> Batch | None:
    """The content of a batch frame; None if it cannot be decoded."""
    try:
        return _decode_batch(frame.payload)
    except ValueError:  # msgspec's errors are ValueErrors
        return None


def scan(
    data: memoryview, salt: int, min_seq: int, offset: int = HEADER_BYTES
) -> Iterator[Frame | NoFrame | FramesEnd]:
    """Everything in a segment from the block at `offset` on, in order; the last item is a `FramesEnd`.

    A block with a seq below the end of the block before it (`min_seq` at first) is ignored: nothing is read twice.
    """
    used_end: int | None = None  # where the zeros begin; determined once, since it costs a pass over all bytes
    gap_offset: int | None = None  # where the damaged bytes begin, if there are any before `offset`
    while True:
        block = read_block(data, offset, salt)
        if block is None or block.seq < min_seq:
            if used_end is None:
                used_end = len(bytes(data).rstrip(b"\0"))
            block = find_block(data[:used_end], offset, salt, min_seq)
        if block is None:
            break
        if gap_offset is None and block.start > offset:
            gap_offset = offset
        for index, item in enumerate(frames_of(block, data)):
            if isinstance(item, NoFrame):
                gap_offset = gap_offset or _gap_start(block, item, index)
                continue
            if gap_offset is not None:
                yield NoFrame(gap_offset, item.offset)
                gap_offset = None
            yield item
            offset = item.end
        min_seq = block.next_seq
        if block.end > len(data):  # it was cut
            break
        offset = block.end
    end = offset if gap_offset is None else gap_offset
    yield FramesEnd(end, bool(bytes(data[end:used_end]).strip(b"\0")), min_seq)


def _gap_start(block: Block, gap: NoFrame, index: int) -> int:
    """Where the gap begins that is item `index` of a block: at the index, if no good frame precedes it.

    So a file that is cut there does not end with an index without frames, which would look like a loss.
    """
    return gap.offset if index else block.start


def _cuts(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The bounds of parts, each within the limits of a block, that frames of these sizes are divided into."""
    start, total = 0, 0
    for index, size in enumerate(sizes):
        if index > start and (total + size > MAX_BLOCK_BYTES or index - start >= MAX_BLOCK_FRAMES):
            yield start, index
            start, total = index, 0
        total += size
    yield start, len(sizes)


def _encode_block(
    salt: int, seq: int, kinds: bytes, counts: Sequence[int], payloads: Sequence[bytes], sizes: Sequence[int]
) -> bytes:
    frames, payload_bytes = len(sizes), sum(sizes)
    arrays = pack(f"<{2 * frames}I{frames}H", *sizes, *map(crc32, payloads), *counts)
    covered = _COVERED_HEAD.pack(frames, payload_bytes, seq) + arrays + kinds
    padding = _padding(_CRC.size + len(covered))
    parts = [_CRC.pack(crc32(covered, salt)), covered, padding, *payloads, _padding(payload_bytes)]
    if frames > _FRAMES_WITHOUT_COPY:
        parts += (_CRC.pack(crc32(covered, _complement(salt))), covered, padding)
    return b"".join(parts)


def _read_index(data: memoryview, offset: int, salt: int) -> tuple[Block, int] | None:
    """The index at an offset, as a block at 0, and the index's padded length in bytes; None if it is not good."""
    if offset + _INDEX_HEAD.size > len(data):
        return None
    crc, frames, payload_bytes, seq = _INDEX_HEAD.unpack_from(data, offset)
    end = offset + _INDEX_HEAD.size + _INDEX_BYTES_A_FRAME * frames
    if not 0 < frames <= MAX_BLOCK_FRAMES or end > len(data):
        return None
    if crc != crc32(data[offset + _CRC.size : end], salt):
        return None
    numbers = unpack_from(f"<{2 * frames}I{frames}H", data, offset + _INDEX_HEAD.size)
    sizes, crcs, counts = numbers[:frames], numbers[frames : 2 * frames], numbers[2 * frames :]
    kinds = bytes(data[end - frames : end])
    if sum(sizes) != payload_bytes or kinds.strip(_KINDS):
        return None
    size = _aligned(end - offset)
    copy_bytes = size if frames > _FRAMES_WITHOUT_COPY else 0
    return Block(0, size, size + _aligned(payload_bytes) + copy_bytes, seq, sizes, crcs, counts, kinds), size


def _block_before_copy(data: memoryview, position: int, salt: int, offset: int) -> Block | None:
    """The block whose second index begins at `position`, if the block begins at or after `offset`."""
    found = _read_index(data, position, _complement(salt))
    if found is None:
        return None
    block, size = found
    start = position - (block.end - size)
    if len(block.sizes) <= _FRAMES_WITHOUT_COPY or start < offset:
        return None
    return block.moved(start)


def _complement(salt: int) -> int:
    return salt ^ 0xFFFFFFFF


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _padding(size: int) -> bytes:
    return bytes(-size % ALIGNMENT)
