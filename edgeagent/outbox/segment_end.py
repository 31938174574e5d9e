"""How the newest segment of a log ends: which frames were promised, what a crash tore, and what is lost.

What each kind of evidence proves:

* A batch: everything before it in its segment was synced, because a commit begins after the sync of the one before it.
* The checkpoint's `next_seq`: everything below it was synced, in whichever segment it was.
* The checkpoint's `active_number`: this segment has records that were synced, and nobody removed it. If it is missing,
  or ends before `next_seq`, it may have held more, and nothing says how much.
* The header's `reserved_bytes`: the file was synced at this length. Opening cuts a file where its last frame ends, once
  that frame is synced; a shorter file with bytes behind its last frame was cut by something else.

Without any of these, bytes behind the last frame are what a power cut leaves in the middle of a write, and no loss. A
disk that lost synced bytes leaves the same pattern: the two cases cannot be distinguished.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgeagent.outbox.cursor import LogState
from edgeagent.outbox.frame import Frame, FrameKind, NoFrame, decode_batch, scan
from edgeagent.outbox.reader import Damage
from edgeagent.outbox.segment import Segment


class Recovered(msgspec.Struct, frozen=True):
    """What opening a log found: the last segment's frames, records lost, and torn bytes to be cut.

    `open_end`: why an unknown number of records may be lost at the end, beyond the known ones; empty if none is.
    """

    frames: list[Frame]
    damages: list[Damage]
    torn_bytes: int
    foreign: list[Path]
    open_end: str


class Ending(msgspec.Struct, frozen=True):
    """What the last segment holds.

    `end`: the offset behind its last frame, in bytes; `vouched_end`: behind the last frame that the checkpoint covers.
    `tail_seq`: the seq behind its last frame. `torn_bytes`: half-written bytes there that were never promised.
    `damages`: what is lost. `cut_short`: something removed bytes that had been part of the file.
    """

    frames: list[Frame]
    damages: list[Damage]
    end: int
    vouched_end: int
    tail_seq: int
    torn_bytes: int
    cut_short: bool


def ending_of(data: memoryview, segment: Segment, known_seq: int, state: LogState | None) -> Ending:
    """Determine how the last segment of a log ends, from its bytes.

    `state`: what the checkpoint keeps of this log; everything below `known_seq` was synced.
    """
    last_number = state.last_number if state is not None else 0
    had_more = state is None or segment.number == state.active_number or segment.number > last_number
    frames, gaps, end, written_seq = _promised(data, segment, known_seq)
    damages = [Damage(first_seq, end_seq, segment, gap.offset, gap.end) for gap, first_seq, end_seq in gaps]
    bytes_behind = len(bytes(data[end:]).rstrip(b"\0"))
    tail_seq = frames[-1].seq + frames[-1].count if frames else segment.first_seq
    cut_short = had_more and end < len(data) < segment.header.reserved_bytes
    end_seq = max(known_seq, written_seq if cut_short else tail_seq)
    if tail_seq < end_seq and last_number > segment.number and not bytes_behind:
        damages.append(Damage(tail_seq, end_seq, None, 0, 0))
    elif tail_seq < end_seq:
        damages.append(Damage(tail_seq, end_seq, segment, end, end + bytes_behind))
    # Else they are damaged, or may be.
    torn_bytes = bytes_behind if tail_seq >= end_seq and not cut_short else 0
    vouched_end = max((frame.end for frame in frames if _is_before(frame, known_seq)), default=0)
    return Ending(frames, damages, end, vouched_end, tail_seq, torn_bytes, cut_short)


def open_end(state: LogState | None, newest: Segment | None, ending: Ending | None) -> str:
    """Why an unknown number of records may be lost; empty if everything is known. `newest`: the last segment."""
    if newest is not None and ending is not None and ending.cut_short:
        return f"{newest.path} was cut short"
    if state is None or not state.active_number:
        return ""
    if newest is None or newest.number < state.active_number:
        return f"its segment {state.active_number}, the newest, is missing or cannot be read"
    if newest.number == state.active_number and ending is not None and ending.tail_seq < state.next_seq:
        return f"{newest.path} ends before what had been synced"
    return ""


def _promised(
    data: memoryview, segment: Segment, known_seq: int
) -> tuple[list[Frame], list[tuple[NoFrame, int, int]], int, int]:
    """The frames that may have been promised, the damage among them, their end, and the tail's written seq.

    A gap is damage only if a later batch proves that its bytes had been synced, or the checkpoint does, by its
    `known_seq` and a later record below it. Otherwise the gap is where a crash tore the last commit.
    """
    frames: list[Frame] = []
    gaps: list[tuple[NoFrame, int, int]] = []
    doubtful: tuple[int, int, int] | None = None  # frames and gaps before the gap in doubt, and its offset
    seq = written_seq = segment.first_seq
    pending: NoFrame | None = None
    for item in scan(data, segment.header.salt, segment.first_seq):
        if isinstance(item, NoFrame):
            pending = item
            if doubtful is None:
                doubtful = (len(frames), len(gaps), item.offset)
        elif isinstance(item, Frame):
            if pending is not None:
                gaps.append((pending, seq, item.seq))
                pending = None
            if doubtful is not None and _shows_synced(item, known_seq):
                doubtful = None
            frames.append(item)
            seq = item.seq + item.count
        else:
            end, written_seq = item.offset, item.written_seq
    if doubtful is not None:
        frame_count, gap_count, end = doubtful
        return frames[:frame_count], gaps[:gap_count], end, written_seq
    return frames, gaps, end, written_seq


def _shows_synced(frame: Frame, known_seq: int) -> bool:
    """Whether this frame proves that everything before it had been synced."""
    if _is_before(frame, known_seq):
        return True
    batch = decode_batch(frame) if frame.kind is FrameKind.BATCH else None
    return batch is not None and batch.synced_seq >= frame.seq - 1


def _is_before(frame: Frame, known_seq: int) -> bool:
    """Whether this is a record below `known_seq`; a frame without triggers carries the seq of the next record."""
    return frame.count > 0 and frame.seq < known_seq
