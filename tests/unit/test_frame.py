from __future__ import annotations

import pytest

from edgeagent.core.frame import (
    ALIGNMENT,
    FRAME_HEADER_BYTES,
    HEADER_BYTES,
    MAGIC,
    Batch,
    Frame,
    Gap,
    Kind,
    SegmentHeader,
    Tail,
    decode_batch,
    decode_frame,
    encode_frame,
    frame_bytes,
    scan,
)

SALT = 0xC0FFEE
HEADER = SegmentHeader(SALT, 7, 101, 6, 4096, 1_774_004_400_250, bytes(range(16)))


def segment(*frames: bytes, zeros: int = 64) -> bytearray:
    return bytearray(HEADER.encode() + b"".join(frames) + bytes(zeros))


def events(*payloads: bytes, first_seq: int = 101) -> list[bytes]:
    return [encode_frame(SALT, Kind.EVENT, seq, 1, payload) for seq, payload in enumerate(payloads, first_seq)]


def scanned(data: bytes | bytearray) -> list[Frame | Gap | Tail]:
    return list(scan(memoryview(bytes(data)), SALT, 101))


def payloads(data: bytes | bytearray) -> list[bytes]:
    return [item.payload for item in scanned(data) if isinstance(item, Frame)]


def test_a_header_comes_back_as_it_was() -> None:
    data = HEADER.encode()
    assert len(data) == HEADER_BYTES
    assert SegmentHeader.decode(data) == HEADER
    assert SegmentHeader.decode(data + b"more") == HEADER


def test_a_header_with_one_wrong_bit_is_none() -> None:
    data = HEADER.encode()
    for bit in range(HEADER_BYTES * 8):
        wrong = bytearray(data)
        wrong[bit // 8] ^= 1 << bit % 8
        assert SegmentHeader.decode(bytes(wrong)) is None


@pytest.mark.parametrize("data", [b"", MAGIC, bytes(HEADER_BYTES), HEADER.encode()[:-1]])
def test_what_is_too_short_or_empty_is_no_header(data: bytes) -> None:
    assert SegmentHeader.decode(data) is None


@pytest.mark.parametrize("size", range(20))
def test_a_frame_is_padded_to_eight_bytes_and_comes_back_as_it_was(size: int) -> None:
    payload = bytes(range(size))
    data = encode_frame(SALT, Kind.MOVED, 2**64 - 1, 65535, payload)
    assert len(data) == frame_bytes(size)
    assert len(data) % ALIGNMENT == 0
    assert len(data) - FRAME_HEADER_BYTES - size < ALIGNMENT
    assert decode_frame(memoryview(data), 0, SALT) == Frame(0, len(data), 2**64 - 1, 65535, Kind.MOVED, payload)


def test_a_frame_with_one_wrong_bit_is_none() -> None:
    data = encode_frame(SALT, Kind.EVENT, 101, 1, b"temp 97")
    for bit in range((FRAME_HEADER_BYTES + 7) * 8):
        wrong = bytearray(data)
        wrong[bit // 8] ^= 1 << bit % 8
        assert decode_frame(memoryview(wrong), 0, SALT) is None


def test_a_frame_that_is_cut_is_none() -> None:
    data = encode_frame(SALT, Kind.EVENT, 101, 1, b"temp 97.")
    for size in range(FRAME_HEADER_BYTES + 8):
        assert decode_frame(memoryview(data)[:size], 0, SALT) is None


def test_frames_are_read_in_order_up_to_the_zeros() -> None:
    data = segment(*events(b"a", b"b" * 30, b""))
    *frames, tail = scanned(data)
    assert [(frame.seq, frame.payload) for frame in frames if isinstance(frame, Frame)] == [
        (101, b"a"),
        (102, b"b" * 30),
        (103, b""),
    ]
    assert tail == Tail(len(data) - 64, torn=False)


def test_a_segment_without_room_left_ends_at_its_end() -> None:
    data = segment(*events(b"a"), zeros=0)
    assert scanned(data)[-1] == Tail(len(data), torn=False)
    assert scanned(HEADER.encode()) == [Tail(HEADER_BYTES, torn=False)]


def test_a_payload_that_ends_in_zeros_is_whole() -> None:
    assert payloads(segment(*events(b"a\0\0\0\0\0\0\0\0\0", b"b"), zeros=0)) == [b"a\0\0\0\0\0\0\0\0\0", b"b"]


def test_damage_in_the_middle_is_a_gap_and_what_follows_is_read() -> None:
    frames = events(b"first", b"second", b"third")
    data = segment(*frames)
    start, end = HEADER_BYTES + len(frames[0]), HEADER_BYTES + len(frames[0]) + len(frames[1])
    data[start + 22] ^= 1
    first, gap, third, tail = scanned(data)
    assert gap == Gap(start, end)
    assert isinstance(first, Frame)
    assert isinstance(third, Frame)
    assert (first.seq, third.seq) == (101, 103)
    assert isinstance(tail, Tail)


def test_a_length_that_is_damaged_does_not_hide_what_follows() -> None:
    frames = events(b"first", b"second", b"third", b"fourth")
    data = segment(*frames)
    data[HEADER_BYTES + 4 : HEADER_BYTES + 8] = b"\xff\xff\xff\xff"
    assert payloads(data) == [b"second", b"third", b"fourth"]


def test_a_torn_end_is_a_tail_that_is_torn() -> None:
    frames = events(b"first", b"second")
    data = segment(*frames)
    start = HEADER_BYTES + len(frames[0])
    data[start + FRAME_HEADER_BYTES : start + FRAME_HEADER_BYTES + 3] = bytes(3)
    assert scanned(data)[-1] == Tail(start, torn=True)
    assert payloads(data) == [b"first"]


def test_old_frames_of_another_salt_are_never_seen() -> None:
    old = b"".join(encode_frame(SALT + 1, Kind.EVENT, 102 + number, 1, b"old") for number in range(3))
    data = segment(*events(b"new"), old)
    assert payloads(data) == [b"new"]
    assert scanned(data)[-1] == Tail(HEADER_BYTES + frame_bytes(3), torn=True)


def test_nothing_is_read_twice_when_bytes_were_copied() -> None:
    [first, second] = events(b"first", b"second")
    assert payloads(segment(first, second, first, second)) == [b"first", b"second"]


def test_a_record_in_a_payload_is_not_taken_for_one_unless_its_frame_is_damaged() -> None:
    inner = encode_frame(SALT, Kind.EVENT, 500, 1, b"inner")
    outer = encode_frame(SALT, Kind.EVENT, 101, 1, b"1234" + inner)
    data = segment(outer)
    assert payloads(data) == [b"1234" + inner]


def test_a_batch_frame_holds_what_was_synced_before_it() -> None:
    data = encode_frame(SALT, Kind.BATCH, 5, 0, b"\x93\x01\x04\x07")
    frame = decode_frame(memoryview(data), 0, SALT)
    assert frame is not None
    assert decode_batch(frame) == Batch(1, 4, 7)


@pytest.mark.parametrize("payload", [b"", b"\x01", b"\x90", b"\x92\x01\xa1x", b"\xff"])
def test_a_batch_frame_that_holds_no_batch_is_none(payload: bytes) -> None:
    frame = decode_frame(memoryview(encode_frame(SALT, Kind.BATCH, 5, 0, payload)), 0, SALT)
    assert frame is not None
    assert decode_batch(frame) is None
