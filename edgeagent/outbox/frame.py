r"""The bytes of the outbox: segment headers and blocks of frames (docs/format.md). All integers are little-endian.

A segment is a header of 96 bytes, then blocks, then zeros (preallocated space). A group commit writes one block, or
several if it is large. A block is an index, the payloads of its frames, one behind the other, and, if it has more than
two frames, the index once more; each of the three is padded with zeros to a multiple of 8. An index of n frames is

    0       u32  CRC-32 (IEEE) of the rest of the index, begun with the segment's salt (the copy: with its complement)
    4       u32  n
    8       u32  bytes of all payloads
    12      u64  seq of the first trigger
    20      u32  size of each payload
    20+4n   u32  CRC-32 of each payload
    20+8n   u16  count of each frame: how many triggers, hence seqs, it holds
    20+10n  u8   kind of each frame: 1 event, 2 batch, 3 moved, 4 armed

The salt keeps old bytes from ever being taken for an index. Each group commit begins with a batch frame that names the
highest seq that was synced before it: a bad frame below that number is damage, one above it is a torn tail that nobody
was promised. Blocks begin at multiples of 8, so that the next good one is found behind a damaged one. The second index
is why a block whose first one is damaged still loses nothing but the frames whose own bytes are.

One index for many frames, and not a header for each, because it is written by a few calls for all of them (ADR 5).

Invariant, held by property tests: any bytes give frames, gaps and a tail, nothing else.
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
# What one block holds at most, unless a single frame is larger: reading takes a block as a whole into memory.
MAX_BLOCK_FRAMES = 4096
MAX_BLOCK_BYTES = 256 << 10

_HEADER = Struct("<8sHHIQQQQQ16sQ12x")
_INDEX_HEAD = Struct("<IIIQ")
_COVERED_HEAD = Struct("<IIQ")  # what the index's CRC covers before the arrays
_CRC = Struct("<I")
_INDEX_BYTES_A_FRAME = 11
_FRAMES_WITHOUT_COPY = 2
_BLOCK_OVERHEAD_BYTES = 2 * (_INDEX_HEAD.size + ALIGNMENT) + ALIGNMENT


class FrameKind(IntEnum):
    """What a frame's payload is."""

    EVENT = 1  # an events.event.Record: its rules are its triggers
    BATCH = 2  # a Batch; count 0
    MOVED = 3  # a Moved: one trigger that came from another log
    ARMED = 4  # an Armed: rules that may fire again for a source; count 0


_KINDS = bytes(FrameKind)
_KIND_OF = {int(kind): kind for kind in FrameKind}  # found faster than made


class SegmentHeader(NamedTuple):
    """The start of a segment.

    `previous_number`: the segment before it, 0 if there was none; `previous_bytes`: how many bytes of it are valid.
    `boot` is the boot id of the kernel that wrote it: a record's `uptime_ms` counts in that boot only.
    `reserved_bytes`: how long the file was made, and synced, before anything was written to it; 0 if that is unknown.
    """

    salt: int
    number: int
    first_seq: int
    previous_number: int
    previous_bytes: int
    created_ms: int
    boot: bytes
    reserved_bytes: int = 0

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
        )
        return head + _CRC.pack(crc32(head))

    @classmethod
    def decode(cls, data: bytes | memoryview) -> SegmentHeader | None:
        """Read a header; None when these bytes are none of this version."""
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
    """The start of one group commit. The counters are in events and stand as they were before this batch."""

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
    """A good frame. `offset` and `end` are where its payload lies in the segment."""

    offset: int
    end: int
    seq: int
    count: int
    kind: FrameKind
    payload: bytes


class NoFrame(NamedTuple):
    """Bytes that are no frame where one was, with good frames behind them."""

    offset: int
    end: int


class FramesEnd(NamedTuple):
    """Where the frames of a segment end. `torn`: what follows is not just zeros.

    `written_seq`: what comes behind the last seq that an index names, whether its frame is there or not.
    """

    offset: int
    torn: bool
    written_seq: int


class Block(NamedTuple):
    """What an index says: where the block begins, where its payloads do, where the next block does; and each frame."""

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
        """The seq that comes behind its last frame."""
        return self.seq + sum(self.counts)

    def moved(self, distance: int) -> Block:
        """The same block with all places so many bytes further on."""
        return self._replace(start=self.start + distance, offset=self.offset + distance, end=self.end + distance)


def blocks_bytes(frames: int, payload_bytes: int) -> int:
    """At most so much room do so many frames take, in however many blocks."""
    blocks = 1 + frames // MAX_BLOCK_FRAMES + 2 * payload_bytes // MAX_BLOCK_BYTES
    return payload_bytes + 2 * _INDEX_BYTES_A_FRAME * frames + _BLOCK_OVERHEAD_BYTES * blocks


def encode_blocks(salt: int, seq: int, kinds: bytes, counts: Sequence[int], payloads: Sequence[bytes]) -> bytes:
    """Frames, each of a kind, a count and a payload; the first one has this seq."""
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
    """The block that begins at an offset; None when there is no good index. Its payloads may be beyond the data."""
    found = _read_index(data, offset, salt)
    return found[0].moved(offset) if found is not None else None


def find_block(data: memoryview, offset: int, salt: int, min_seq: int) -> Block | None:
    """The first block from an offset on, by the index before its payloads or by the one behind them."""
    for place in range(offset, len(data), ALIGNMENT):
        block = read_block(data, place, salt) or _block_before_copy(data, place, salt, offset)
        if block is not None and block.seq >= min_seq:
            return block
    return None


def frames_of(block: Block, data: memoryview, base: int = 0) -> Iterator[Frame | NoFrame]:
    """The frames of a block as far as the data goes, a gap for each that is damaged. `base`: where the data begins."""
    offset, seq = block.offset, block.seq
    for size, crc, count, kind in zip(block.sizes, block.crcs, block.counts, block.kinds, strict=True):
        end = offset + size
        payload = bytes(data[offset - base : end - base])
        if len(payload) < size:
            return
        yield Frame(offset, end, seq, count, _KIND_OF[kind], payload) if crc32(payload) == crc else NoFrame(offset, end)
        offset, seq = end, seq + count


def decode_batch(frame: Frame) -> Batch | None:
    """What a batch frame holds; None when that is no batch."""
    try:
        return _decode_batch(frame.payload)
    except ValueError:  # msgspec's errors are ValueErrors
        return None


def scan(
    data: memoryview, salt: int, min_seq: int, offset: int = HEADER_BYTES
) -> Iterator[Frame | NoFrame | FramesEnd]:
    """Everything in a segment from the block at `offset` on, in order; a `FramesEnd` is the last thing.

    A block whose seq is below what came before it (`min_seq` at first) is none: nothing is ever read twice.
    """
    used_end: int | None = None  # where the zeros begin; looked for once, since it costs a pass over everything
    gap_offset: int | None = None  # where the bytes begin that are no frames, if there are any before `offset`
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
        for place, item in enumerate(frames_of(block, data)):
            if isinstance(item, NoFrame):
                gap_offset = gap_offset or _gap_start(block, item, place)
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


def _gap_start(block: Block, gap: NoFrame, place: int) -> int:
    """Where a gap begins that is item `place` of a block: with the index, if no good frame comes before it.

    So a file that is cut there does not end with an index whose frames are gone, which would look like a loss.
    """
    return gap.offset if place else block.start


def _cuts(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where to cut frames of these sizes, so that no part is larger than a block may be."""
    start, total = 0, 0
    for place, size in enumerate(sizes):
        if place > start and (total + size > MAX_BLOCK_BYTES or place - start >= MAX_BLOCK_FRAMES):
            yield start, place
            start, total = place, 0
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
    """The index at an offset as a block at 0, and how long it is with its padding; None when it is not good."""
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


def _block_before_copy(data: memoryview, place: int, salt: int, offset: int) -> Block | None:
    """The block whose second index begins at a place, if it begins at `offset` or behind it."""
    found = _read_index(data, place, _complement(salt))
    if found is None:
        return None
    block, size = found
    start = place - (block.end - size)
    if len(block.sizes) <= _FRAMES_WITHOUT_COPY or start < offset:
        return None
    return block.moved(start)


def _complement(salt: int) -> int:
    return salt ^ 0xFFFFFFFF


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _padding(size: int) -> bytes:
    return bytes(-size % ALIGNMENT)
