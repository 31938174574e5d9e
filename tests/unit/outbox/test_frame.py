from __future__ import annotations

import pytest

from edgeagent.outbox.frame import (
    ALIGNMENT,
    HEADER_BYTES,
    MAGIC,
    MAX_BLOCK_BYTES,
    MAX_BLOCK_FRAMES,
    Batch,
    Frame,
    FrameKind,
    FramesEnd,
    NoFrame,
    SegmentHeader,
    blocks_bytes,
    decode_batch,
    encode_blocks,
    frames_of,
    read_block,
    scan,
)

SALT = 0xC0FFEE
HEADER = SegmentHeader(SALT, 7, 101, 6, 4096, 1_774_004_400_250, bytes(range(16)))


def segment(*blocks: bytes, zeros: int = 64) -> bytearray:
    return bytearray(HEADER.encode() + b"".join(blocks) + bytes(zeros))


def events(seq: int, *payloads: bytes, salt: int = SALT) -> bytes:
    return encode_blocks(salt, seq, bytes((FrameKind.EVENT,)) * len(payloads), [1] * len(payloads), payloads)


def batch(payload: bytes) -> Frame:
    data = memoryview(encode_blocks(SALT, 5, bytes((FrameKind.BATCH,)), [0], [payload]))
    block = read_block(data, 0, SALT)
    assert block is not None
    [frame] = frames_of(block, data)
    assert isinstance(frame, Frame)
    return frame


def scanned(data: bytes | bytearray) -> list[Frame | NoFrame | FramesEnd]:
    return list(scan(memoryview(bytes(data)), SALT, 101))


def payloads(data: bytes | bytearray) -> list[bytes]:
    return [item.payload for item in scanned(data) if isinstance(item, Frame)]


def with_wrong_bits(data: bytes, first: int, last: int) -> list[bytes]:
    """The data with each bit of some bytes turned."""
    result = []
    for bit in range(first * 8, last * 8):
        wrong = bytearray(data)
        wrong[bit // 8] ^= 1 << bit % 8
        result.append(bytes(wrong))
    return result


def test_a_header_comes_back_as_it_was() -> None:
    data = HEADER.encode()
    assert len(data) == HEADER_BYTES
    assert SegmentHeader.decode(data) == HEADER
    assert SegmentHeader.decode(data + b"more") == HEADER


def test_a_header_with_one_wrong_bit_is_none() -> None:
    assert all(SegmentHeader.decode(wrong) is None for wrong in with_wrong_bits(HEADER.encode(), 0, HEADER_BYTES))


@pytest.mark.parametrize("data", [b"", MAGIC, bytes(HEADER_BYTES), HEADER.encode()[:-1]])
def test_what_is_too_short_or_empty_is_no_header(data: bytes) -> None:
    assert SegmentHeader.decode(data) is None


@pytest.mark.parametrize("size", range(20))
def test_a_block_is_padded_to_eight_bytes_and_comes_back_as_it_was(size: int) -> None:
    payload = bytes(range(size))
    data = memoryview(encode_blocks(SALT, 2**64 - 1, bytes((FrameKind.MOVED,)), [65535], [payload]))
    assert len(data) % ALIGNMENT == 0
    block = read_block(data, 0, SALT)
    assert block is not None
    assert (block.start, block.end) == (0, len(data))
    [frame] = frames_of(block, data)
    assert frame == Frame(block.offset, block.offset + size, 2**64 - 1, 65535, FrameKind.MOVED, payload)


@pytest.mark.parametrize("count", [1, 2, 3, 100, MAX_BLOCK_FRAMES, MAX_BLOCK_FRAMES + 1, 3 * MAX_BLOCK_FRAMES])
@pytest.mark.parametrize("size", [0, 7, 300])
def test_blocks_take_no_more_room_than_is_said(count: int, size: int) -> None:
    data = events(101, *[bytes(size)] * count)
    assert len(data) <= blocks_bytes(count, count * size)
    assert len(payloads(segment(data))) == count


@pytest.mark.parametrize("sizes", [[MAX_BLOCK_BYTES + 1], [10, MAX_BLOCK_BYTES, 10], [MAX_BLOCK_BYTES // 2 + 1] * 5])
def test_large_frames_are_put_in_blocks_of_their_own(sizes: list[int]) -> None:
    contents = [bytes([number]) * size for number, size in enumerate(sizes, 1)]
    data = events(101, *contents)
    assert len(data) <= blocks_bytes(len(sizes), sum(sizes))
    frames = [item for item in scanned(segment(data)) if isinstance(item, Frame)]
    assert [(frame.seq, frame.payload) for frame in frames] == list(enumerate(contents, 101))


def test_an_index_with_one_wrong_bit_is_none() -> None:
    data = events(101, b"temp 97")
    for wrong in with_wrong_bits(data, 0, 31):
        assert read_block(memoryview(wrong), 0, SALT) is None


def test_a_payload_with_one_wrong_bit_is_a_gap() -> None:
    data = events(101, b"temp 97", b"temp 98")
    block = read_block(memoryview(data), 0, SALT)
    assert block is not None
    for wrong in with_wrong_bits(data, block.offset, block.offset + 7):
        gap, good = frames_of(block, memoryview(wrong))
        assert gap == NoFrame(block.offset, block.offset + 7)
        assert isinstance(good, Frame)
        assert good.payload == b"temp 98"


def test_a_block_that_is_cut_has_the_frames_that_are_there() -> None:
    data = events(101, b"a" * 10, b"b" * 10, b"c" * 10)
    block = read_block(memoryview(data), 0, SALT)
    assert block is not None
    for size in range(len(data)):
        cut = memoryview(data)[:size]
        found = read_block(cut, 0, SALT)
        assert (found is None) is (size < block.offset - 3)  # its padding may be missing
        if found is not None:
            whole = min(max(size - block.offset, 0) // 10, 3)
            assert [item.payload for item in frames_of(found, cut) if isinstance(item, Frame)] == [
                letter * 10 for letter in (b"a", b"b", b"c")[:whole]
            ]


def test_frames_are_read_in_order_up_to_the_zeros() -> None:
    data = segment(events(101, b"a", b"b" * 30, b""), events(104, b"d"))
    *frames, tail = scanned(data)
    assert [(frame.seq, frame.payload) for frame in frames if isinstance(frame, Frame)] == [
        (101, b"a"),
        (102, b"b" * 30),
        (103, b""),
        (104, b"d"),
    ]
    assert tail == FramesEnd(len(data) - 64, torn=False, written_seq=105)


def test_a_segment_without_room_left_ends_at_its_end() -> None:
    data = segment(events(101, b"a"), zeros=0)
    assert scanned(data)[-1] == FramesEnd(len(data), torn=False, written_seq=102)
    assert scanned(HEADER.encode()) == [FramesEnd(HEADER_BYTES, torn=False, written_seq=101)]


def test_a_payload_that_ends_in_zeros_is_whole() -> None:
    contents = [b"a\0\0\0\0\0\0\0\0\0", b"b"]
    assert payloads(segment(events(101, contents[0]), events(102, contents[1]), zeros=0)) == contents


def test_damage_in_the_middle_is_a_gap_and_what_follows_is_read() -> None:
    data = segment(events(101, b"first", b"second", b"third"))
    before, hit, after = [item for item in scanned(data) if isinstance(item, Frame)]
    data[hit.offset] ^= 1
    first, gap, third, tail = scanned(data)
    assert gap == NoFrame(hit.offset, hit.end)
    assert (first, third) == (before, after)
    assert isinstance(tail, FramesEnd)


def test_the_second_index_serves_when_the_first_one_is_damaged() -> None:
    block = events(104, b"fourth", b"fifth", b"sixth")
    data = segment(events(101, b"first", b"second", b"third"), block, events(107, b"seventh"))
    whole = scanned(data)
    start = HEADER_BYTES + len(events(101, b"first", b"second", b"third"))
    data[start : start + 56] = bytes(56)
    assert scanned(data) == whole


def test_a_block_both_of_whose_indexes_are_damaged_is_a_gap() -> None:
    blocks = [events(101, b"first"), events(102, b"second", b"third", b"fourth"), events(105, b"fifth")]
    data = segment(*blocks)
    start = HEADER_BYTES + len(blocks[0])
    data[start + 4] ^= 1
    data[start + len(blocks[1]) - 20] ^= 1
    assert payloads(data) == [b"first", b"fifth"]
    gap = scanned(data)[1]
    assert isinstance(gap, NoFrame)
    assert gap.offset == start


def test_a_number_of_frames_that_is_damaged_does_not_hide_what_follows() -> None:
    data = segment(events(101, b"first"), events(102, b"second"), events(103, b"third"))
    data[HEADER_BYTES + 4 : HEADER_BYTES + 8] = b"\xff\xff\xff\xff"
    assert payloads(data) == [b"second", b"third"]


def test_a_torn_end_is_a_tail_that_is_torn() -> None:
    data = segment(events(101, b"first"), events(102, b"second"))
    hit = scanned(data)[1]
    assert isinstance(hit, Frame)
    data[hit.offset : hit.offset + 3] = bytes(3)
    assert scanned(data)[-1] == FramesEnd(HEADER_BYTES + len(events(101, b"first")), torn=True, written_seq=103)
    assert payloads(data) == [b"first"]


def test_old_blocks_of_another_salt_are_never_seen() -> None:
    new = events(101, b"new")
    data = segment(new, events(102, b"old", b"old", b"old", salt=SALT + 1))
    assert payloads(data) == [b"new"]
    assert scanned(data)[-1] == FramesEnd(HEADER_BYTES + len(new), torn=True, written_seq=102)


def test_nothing_is_read_twice_when_bytes_were_copied() -> None:
    first, second = events(101, b"first"), events(102, b"second")
    assert payloads(segment(first, second, first, second)) == [b"first", b"second"]


def test_a_block_in_a_payload_is_not_taken_for_one_unless_its_own_is_damaged() -> None:
    content = b"1234" + events(500, b"inner")
    assert payloads(segment(events(101, content))) == [content]


def test_a_batch_holds_what_was_synced_before_it() -> None:
    assert decode_batch(batch(b"\x93\x01\x04\x07")) == Batch(1, 4, 7)


@pytest.mark.parametrize("payload", [b"", b"\x01", b"\x90", b"\x92\x01\xa1x", b"\xff"])
def test_a_batch_frame_that_holds_no_batch_is_none(payload: bytes) -> None:
    assert decode_batch(batch(payload)) is None
