"""Any bytes give frames, gaps and a tail, nothing else."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from edgeagent.core.frame import (
    ALIGNMENT,
    HEADER_BYTES,
    Frame,
    Gap,
    Kind,
    SegmentHeader,
    Tail,
    encode_frame,
    scan,
)

SALT = 7
KINDS = st.sampled_from(Kind)


def written(contents: list[tuple[Kind, int, bytes]]) -> tuple[bytes, list[tuple[int, bytes]]]:
    """Frames as a log writes them, and the seq and payload of each."""
    seq, data, expected = 1, bytes(HEADER_BYTES), []
    for kind, count, payload in contents:
        triggers = 0 if kind is Kind.BATCH else count
        data += encode_frame(SALT, kind, seq, triggers, payload)
        expected.append((seq, payload))
        seq += triggers
    return data, expected


WRITTEN = st.lists(st.tuples(KINDS, st.integers(1, 3), st.binary(max_size=40)), max_size=8).map(written)


def held_to_its_shape(data: bytes) -> list[Frame]:
    """Scan, and see that the parts follow each other and cover everything up to the tail."""
    items = list(scan(memoryview(data), SALT, 1))
    position, min_seq, was_gap = HEADER_BYTES, 1, False
    frames: list[Frame] = []
    for number, item in enumerate(items):
        assert item.offset == position
        assert isinstance(item, Tail) is (number == len(items) - 1)
        if isinstance(item, Frame):
            assert item.seq >= min_seq
            min_seq = item.seq + item.count
            frames.append(item)
        if isinstance(item, Gap):
            assert not was_gap
            assert item.end > item.offset
        was_gap = isinstance(item, Gap)
        if not isinstance(item, Tail):
            position = item.end
            assert position % ALIGNMENT == 0
        else:
            assert item.torn is any(data[item.offset :])
    return frames


@given(st.binary(max_size=400), st.integers(0, 64))
@example(b"\xff" * 200, 0)
def test_any_bytes_give_frames_gaps_and_a_tail(data: bytes, zeros: int) -> None:
    held_to_its_shape(bytes(HEADER_BYTES) + data + bytes(zeros))


@given(WRITTEN, st.integers(0, 64))
def test_what_was_written_is_read(content: tuple[bytes, list[tuple[int, bytes]]], zeros: int) -> None:
    data, expected = content
    frames = held_to_its_shape(data + bytes(zeros))
    assert [(frame.seq, frame.payload) for frame in frames] == expected


@given(WRITTEN, st.data())
def test_damage_costs_the_frames_that_it_hits_and_no_others(
    content: tuple[bytes, list[tuple[int, bytes]]], choice: st.DataObject
) -> None:
    data, expected = content
    start = choice.draw(st.integers(HEADER_BYTES, max(len(data) - 1, HEADER_BYTES)))
    damage = choice.draw(st.binary(max_size=len(data) - start))
    damaged = data[:start] + damage + data[start + len(damage) :]
    whole = {frame.offset: frame for frame in held_to_its_shape(data)}
    found = {frame.offset: frame for frame in held_to_its_shape(damaged)}
    for offset, frame in whole.items():
        if damaged[offset : frame.end] == data[offset : frame.end]:
            assert found[offset] == frame
    assert {(frame.seq, frame.payload) for frame in found.values()} <= set(expected)


@given(WRITTEN, st.data())
def test_a_cut_anywhere_leaves_what_came_before_it(
    content: tuple[bytes, list[tuple[int, bytes]]], choice: st.DataObject
) -> None:
    data, expected = content
    cut = choice.draw(st.integers(HEADER_BYTES, len(data)))
    frames = held_to_its_shape(data[:cut] + bytes(len(data) - cut))
    whole = [frame for frame in held_to_its_shape(data) if frame.end <= cut]
    assert frames[: len(whole)] == whole
    assert [(frame.seq, frame.payload) for frame in frames] == expected[: len(frames)]


@given(
    st.integers(0, 2**32 - 1),
    st.tuples(*[st.integers(0, 2**64 - 1)] * 5),
    st.binary(min_size=16, max_size=16),
)
def test_every_header_comes_back(salt: int, numbers: tuple[int, int, int, int, int], boot: bytes) -> None:
    header = SegmentHeader(salt, *numbers, boot)
    assert SegmentHeader.decode(header.encode()) == header


@given(st.binary(max_size=200))
def test_any_bytes_are_a_header_or_none(data: bytes) -> None:
    assert SegmentHeader.decode(data) is None
