r"""The bytes of the outbox: segment headers and frames (docs/format.md). All integers are little-endian.

A segment is a header of 96 bytes, then frames, then zeros (preallocated space). A frame is

    0  u32  CRC-32 (IEEE) of bytes 4..20 and the payload, begun with the segment's salt
    4  u32  payload length
    8  u64  seq of its first trigger
    16 u16  count: how many triggers, hence seqs, it holds
    18 u8   kind: 1 event, 2 batch, 3 moved
    19 u8   zero
    20      payload, then zeros up to a multiple of 8

The salt keeps old bytes from ever being taken for records. Each group commit begins with a batch frame that names
the highest seq that was synced before it: a bad frame below that number is damage, one above it is a torn tail that
nobody was promised. Frames begin at multiples of 8, so that the next good one is found behind a damaged one.

Invariant, held by property tests: any bytes give frames, gaps and a tail, nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum
from struct import Struct
from typing import NamedTuple
from zlib import crc32

import msgspec

MAGIC = b"\x8bEDGELOG"
VERSION = 1
HEADER_BYTES = 96
FRAME_HEADER_BYTES = 20
ALIGNMENT = 8
MAX_COUNT = 0xFFFF

_HEADER = Struct("<8sHHIQQQQQ16s20x")
_FRAME = Struct("<IQHBx")  # what the CRC covers before the payload
_CRC = Struct("<I")
# What follows a payload, by its size modulo the alignment.
_PADDING_BY_SIZE = tuple(bytes(-(FRAME_HEADER_BYTES + size) % ALIGNMENT) for size in range(ALIGNMENT))


class Kind(IntEnum):
    """What a frame's payload is."""

    EVENT = 1  # a core.event.Record: its rules are its triggers
    BATCH = 2  # a Batch; count 0
    MOVED = 3  # a Moved: one trigger that came from another log


_KINDS = frozenset(Kind)


class SegmentHeader(NamedTuple):
    """The start of a segment.

    `previous_number`: the segment before it, 0 if there was none; `previous_bytes`: how many bytes of it are valid.
    `boot` is the boot id of the kernel that wrote it: a record's `uptime_ms` counts in that boot only.
    """

    salt: int
    number: int
    first_seq: int
    previous_number: int
    previous_bytes: int
    created_ms: int
    boot: bytes

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
    """A good frame. `offset` and `end` are byte positions in the segment; `end` is where the next one begins."""

    offset: int
    end: int
    seq: int
    count: int
    kind: Kind
    payload: bytes


class Gap(NamedTuple):
    """Bytes that are no frame, with good frames behind them."""

    offset: int
    end: int


class Tail(NamedTuple):
    """Where the frames of a segment end. `torn`: what follows is not just zeros."""

    offset: int
    torn: bool


def frame_bytes(payload_bytes: int) -> int:
    """How much room a frame takes for a payload of this size."""
    return -(-(FRAME_HEADER_BYTES + payload_bytes) // ALIGNMENT) * ALIGNMENT


def entries_bytes(entries: Iterable[tuple[Kind, int, bytes]]) -> int:
    """How much room the frames of entries take."""
    overhead = FRAME_HEADER_BYTES + ALIGNMENT - 1
    return sum([(overhead + len(payload)) & -ALIGNMENT for _, _, payload in entries])


def encode_frame(salt: int, kind: Kind, seq: int, count: int, payload: bytes) -> bytes:
    """One frame, padded."""
    return encode_frames(salt, seq, [(kind, count, payload)])[0]


def encode_frames(salt: int, seq: int, entries: Iterable[tuple[Kind, int, bytes]]) -> tuple[bytes, int]:
    """Frames one behind the other, each of a kind, a count and a payload; the first one has this seq.

    Returns the bytes, and the seq that comes next. Everything that the outbox stores passes through this loop, so it
    makes as few calls a frame as it can.
    """
    parts: list[bytes] = []
    pack_head, pack_crc, padding = _FRAME.pack, _CRC.pack, _PADDING_BY_SIZE
    for kind, count, payload in entries:
        size = len(payload)
        covered = pack_head(size, seq, count, kind) + payload
        parts += (pack_crc(crc32(covered, salt)), covered, padding[size % ALIGNMENT])
        seq += count
    return b"".join(parts), seq


def decode_frame(data: memoryview, offset: int, salt: int) -> Frame | None:
    """The frame at an offset, None when there is no good and whole one."""
    if offset + FRAME_HEADER_BYTES > len(data):
        return None
    size, seq, count, kind = _FRAME.unpack_from(data, offset + _CRC.size)
    start = offset + FRAME_HEADER_BYTES
    if kind not in _KINDS or start + size > len(data):
        return None
    if _CRC.unpack_from(data, offset)[0] != crc32(data[offset + _CRC.size : start + size], salt):
        return None
    return Frame(offset, offset + frame_bytes(size), seq, count, Kind(kind), bytes(data[start : start + size]))


def decode_batch(frame: Frame) -> Batch | None:
    """What a batch frame holds; None when that is no batch."""
    try:
        return _decode_batch(frame.payload)
    except ValueError:  # msgspec's errors are ValueErrors
        return None


def scan(data: memoryview, salt: int, min_seq: int, offset: int = HEADER_BYTES) -> Iterator[Frame | Gap | Tail]:
    """Everything in a segment from `offset` on, in order; a `Tail` is the last thing.

    A frame whose seq is below what came before it (`min_seq` at first) is no frame: nothing is ever read twice.
    """
    used_end: int | None = None  # where the zeros begin; looked for once, since it costs a pass over everything
    while True:
        frame = decode_frame(data, offset, salt)
        if frame is not None and frame.seq >= min_seq:
            yield frame
            offset, min_seq = frame.end, frame.seq + frame.count
            continue
        if used_end is None:
            used_end = len(bytes(data).rstrip(b"\0"))
        if offset >= used_end:
            yield Tail(offset, torn=False)
            return
        found = _next_frame(data, offset, used_end, salt, min_seq)
        if found is None:
            yield Tail(offset, torn=True)
            return
        yield Gap(offset, found)
        offset = found


def _next_frame(data: memoryview, offset: int, limit: int, salt: int, min_seq: int) -> int | None:
    for candidate in range(offset + ALIGNMENT, limit, ALIGNMENT):
        frame = decode_frame(data, candidate, salt)
        if frame is not None and frame.seq >= min_seq:
            return candidate
    return None
