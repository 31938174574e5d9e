"""Moving triggers from one log to another: the frames that are written to the log they move to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from edgeagent.errors import RecordTooLarge
from edgeagent.outbox.frame import FrameKind
from edgeagent.outbox.log import Entries, room_of
from edgeagent.outbox.records import Closing, Leased, Moved

_KIND = bytes((FrameKind.MOVED,))
_encode = msgspec.msgpack.Encoder().encode


class MovedPart(msgspec.Struct, frozen=True):
    """Moves that share a sync, and their frames."""

    moves: Sequence[Moved]
    entries: Entries


def moved_entries(leased: Leased, reason: str, code: int, attempts: int, now_ms: int) -> Entries:
    """The frame for one trigger and the reason it was moved."""
    record = msgspec.structs.replace(leased.record, rules=(leased.rule,))
    moved = Moved(leased.log, leased.seq, record, reason, code, attempts, now_ms, leased.boot)
    payload = _encode(moved)
    return _part([moved], [payload], len(payload)).entries


def parts_of(moves: Iterable[Moved], capacity: int) -> Iterator[MovedPart]:
    """Divide moves into parts that each fit a segment of this capacity, in bytes.

    Raises:
        RecordTooLarge: one of them fits no segment.
    """
    part: list[Moved] = []
    payloads: list[bytes] = []
    total = 0
    for moved in moves:
        payload = _encode(moved)
        if room_of(1, len(payload)) > capacity:
            raise RecordTooLarge(len(payload), capacity)
        if room_of(len(part) + 1, total + len(payload)) > capacity:
            yield _part(part, payloads, total)
            part, payloads, total = [], [], 0
        part.append(moved)
        payloads.append(payload)
        total += len(payload)
    if part:
        yield _part(part, payloads, total)


def windows_of(closings: Iterable[Closing], is_released: Callable[[Leased], bool], now_ms: int) -> Iterator[Moved]:
    """The records of windows that closed. A trigger released by now is in none of them, and none is in two."""
    taken: set[tuple[str, int]] = set()
    for closing in closings:
        positions: list[tuple[str, int]] = []
        for member in closing.members:
            position = member.log, member.seq
            if position not in taken and not is_released(member):
                taken.add(position)
                positions.append(position)
        if positions:
            record = msgspec.structs.replace(closing.record, rules=(closing.rule,))
            yield Moved(*positions[0], record, "", 0, 0, now_ms, closing.members[0].boot, positions[1:])


def _part(moves: list[Moved], payloads: list[bytes], total: int) -> MovedPart:
    return MovedPart(moves, Entries(_KIND * len(moves), [1] * len(moves), payloads, room_of(len(moves), total)))
