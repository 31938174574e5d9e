"""Any bytes give frames, gaps and a tail, nothing else."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import example, given
from hypothesis import strategies as st

from edgeagent.outbox.frame import (
    ALIGNMENT,
    HEADER_BYTES,
    Block,
    Frame,
    FrameKind,
    FramesEnd,
    NoFrame,
    SegmentHeader,
    encode_blocks,
    read_block,
    scan,
)

SALT = 7
KINDS = st.sampled_from(FrameKind)
WITHOUT_TRIGGERS = {FrameKind.BATCH, FrameKind.ARMED, FrameKind.COMPLETED}


class Written(NamedTuple):
    """A segment as a log writes it, and the seq and payload of each frame."""

    data: bytes
    expected: list[tuple[int, bytes]]


def written(commits: list[list[tuple[FrameKind, int, bytes]]]) -> Written:
    seq, data, expected = 1, bytes(HEADER_BYTES), []
    for frames in commits:
        counts = [0 if kind in WITHOUT_TRIGGERS else count for kind, count, _ in frames]
        contents = [payload for _, _, payload in frames]
        data += encode_blocks(SALT, seq, bytes(kind for kind, _, _ in frames), counts, contents)
        for count, payload in zip(counts, contents, strict=True):
            expected.append((seq, payload))
            seq += count
    return Written(data, expected)


# A payload is a msgpack array: never empty, and never just zeros.
PAYLOADS = st.binary(max_size=40).map(lambda content: b"\x9f" + content)
FRAMES = st.lists(st.tuples(KINDS, st.integers(1, 3), PAYLOADS), min_size=1, max_size=5)
WRITTEN = st.lists(FRAMES, max_size=5).map(written)


def blocks(data: bytes) -> list[Block]:
    """The blocks of data that is whole."""
    result: list[Block] = []
    offset = HEADER_BYTES
    while (block := read_block(memoryview(data), offset, SALT)) is not None:
        result.append(block)
        offset = block.end
    return result


def held_to_its_shape(data: bytes) -> list[Frame]:
    """Scan, and see that the parts follow each other and that nothing is left out behind the tail."""
    items = list(scan(memoryview(data), SALT, 1))
    position, min_seq, was_gap = HEADER_BYTES, 1, False
    frames: list[Frame] = []
    for number, item in enumerate(items):
        assert item.offset >= position
        assert isinstance(item, FramesEnd) is (number == len(items) - 1)
        if isinstance(item, Frame):
            assert item.seq >= min_seq
            assert item.end - item.offset == len(item.payload)
            min_seq = item.seq + item.count
            frames.append(item)
        if isinstance(item, NoFrame):
            assert not was_gap
            assert item.end > item.offset
        was_gap = isinstance(item, NoFrame)
        if not isinstance(item, FramesEnd):
            position = item.end
        else:
            assert not was_gap
            assert item.torn is any(data[item.offset :])
    return frames


@given(st.binary(max_size=400), st.integers(0, 64))
@example(b"\xff" * 200, 0)
def test_any_bytes_give_frames_gaps_and_a_tail(data: bytes, zeros: int) -> None:
    held_to_its_shape(bytes(HEADER_BYTES) + data + bytes(zeros))


@given(WRITTEN, st.integers(0, 64))
def test_what_was_written_is_read(content: Written, zeros: int) -> None:
    frames = held_to_its_shape(content.data + bytes(zeros))
    assert [(frame.seq, frame.payload) for frame in frames] == content.expected
    assert all(block.start % ALIGNMENT == 0 for block in blocks(content.data))


@given(WRITTEN, st.data())
def test_damage_costs_the_frames_that_it_hits_and_no_others(content: Written, choice: st.DataObject) -> None:
    data = content.data
    start = choice.draw(st.integers(HEADER_BYTES, max(len(data) - 1, HEADER_BYTES)))
    damage = choice.draw(st.binary(max_size=len(data) - start))
    damaged = data[:start] + damage + data[start + len(damage) :]
    found = {frame.offset: frame for frame in held_to_its_shape(damaged)}
    for block in blocks(data):
        size = 20 + 11 * len(block.sizes)  # without the padding
        copy_start = block.end - (block.offset - block.start)
        front, copy = slice(block.start, block.start + size), slice(copy_start, copy_start + size)
        indexes = [front, copy] if len(block.sizes) > 2 else [front]
        if all(data[index] != damaged[index] for index in indexes):
            continue
        for frame in held_to_its_shape(data):
            if block.start <= frame.offset < block.end and damaged[frame.offset : frame.end] == frame.payload:
                assert found[frame.offset] == frame
    assert {(frame.seq, frame.payload) for frame in found.values()} <= set(content.expected)


@given(WRITTEN, st.data())
def test_a_cut_anywhere_leaves_what_came_before_it(content: Written, choice: st.DataObject) -> None:
    data = content.data
    cut = choice.draw(st.integers(HEADER_BYTES, len(data)))
    frames = held_to_its_shape(data[:cut] + bytes(len(data) - cut))
    whole = [frame for frame in held_to_its_shape(data) if frame.end <= cut]
    assert frames[: len(whole)] == whole
    assert [(frame.seq, frame.payload) for frame in frames] == content.expected[: len(frames)]


@given(
    st.integers(0, 2**32 - 1),
    st.tuples(*[st.integers(0, 2**64 - 1)] * 5),
    st.binary(min_size=16, max_size=16),
    st.tuples(*[st.integers(0, 2**64 - 1)] * 2),
)
def test_every_header_comes_back(
    salt: int, numbers: tuple[int, int, int, int, int], boot: bytes, later: tuple[int, int]
) -> None:
    header = SegmentHeader(salt, *numbers, boot, *later)
    assert SegmentHeader.decode(header.encode()) == header


@given(st.binary(max_size=200))
def test_any_bytes_are_a_header_or_none(data: bytes) -> None:
    assert SegmentHeader.decode(data) is None
