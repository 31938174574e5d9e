"""Which files the spool holds, and for which records. Pure: it never sees the disk.

A record refers to the file that holds its event's data, by its place in a log: one seq for each of its triggers. A file
is needed while one of these seqs is not released, and while somebody holds it: from its arrival to the moment when the
outcome of storing its record is known. After a start the book is not complete before every log has been read, and until
then it gives nothing away: a file that nobody is known to need may be needed by a record that was not read yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import msgspec

# A file takes at least this much of a disk, and of the limit.
BLOCK_BYTES: Final = 4096
# The part of the limit that is kept for events without large data, which would be refused together with it otherwise.
_KEPT_PARTS: Final = 16
# Each costs some 500 bytes of memory, however small it is.
MAX_FILES: Final = 20_000
# The places of many records with the same data: beyond so many, those of one log are kept as one range, which ends with
# its last seq. Then the file may be kept for longer than it is needed, and never for shorter.
_MAX_RANGES: Final = 16

# Whether a range of seqs of a log, its end excluded, is released.
IsReleased = Callable[[str, int, int], bool]


class SpoolFigures(NamedTuple):
    """What the spool holds: files, and the bytes that they count for."""

    files: int
    used_bytes: int


class _Range(msgspec.Struct, gc=False):
    log: str
    first_seq: int
    end_seq: int


class _Entry(msgspec.Struct):
    size: int
    holds: int = 0
    ranges: list[_Range] = []


class SpoolBook:
    """Owns what is known of the files. Must never call a file free that an unreleased record refers to."""

    def __init__(self, files: Mapping[str, int]) -> None:
        """`files`: the size of each file that is on the disk, by its hash."""
        self._entries = {sha256: _Entry(size) for sha256, size in files.items()}
        self.used_bytes = sum(counted_bytes(size) for size in files.values())
        self.is_complete = not files

    def __len__(self) -> int:
        """How many files there are."""
        return len(self._entries)

    def size(self, sha256: str) -> int | None:
        """The size of a file; None if it is not there."""
        entry = self._entries.get(sha256)
        return entry.size if entry is not None else None

    def hold(self, sha256: str, size: int) -> None:
        """Hold a file, which is there from now on if it was not before; of this size, whatever was there before."""
        entry = self._entries.get(sha256)
        if entry is None:
            entry = self._entries[sha256] = _Entry(size)
            self.used_bytes += counted_bytes(size)
        self.used_bytes += counted_bytes(size) - counted_bytes(entry.size)
        entry.size = size
        entry.holds += 1

    def let_go(self, sha256: str) -> None:
        """End one hold of a file."""
        entry = self._entries.get(sha256)
        if entry is not None and entry.holds:
            entry.holds -= 1

    def is_held_only(self, sha256: str) -> bool:
        """Whether a file has one hold, and no record refers to it."""
        entry = self._entries.get(sha256)
        return entry is not None and entry.holds == 1 and not entry.ranges

    def refer(self, sha256: str, log: str, first_seq: int, count: int) -> None:
        """Note that these seqs of a log refer to a file, once or again. One that is lost is not noted."""
        entry = self._entries.get(sha256)
        if entry is None:
            return
        end_seq = first_seq + count
        for known in entry.ranges:
            if known.log == log and known.first_seq <= end_seq and first_seq <= known.end_seq:
                known.first_seq, known.end_seq = min(known.first_seq, first_seq), max(known.end_seq, end_seq)
                return
        if len(entry.ranges) >= _MAX_RANGES:
            for known in entry.ranges:
                if known.log == log:
                    known.first_seq, known.end_seq = min(known.first_seq, first_seq), max(known.end_seq, end_seq)
                    return
        entry.ranges.append(_Range(log, first_seq, end_seq))

    def next_reference(self, log: str, seq: int) -> int | None:
        """From where on, beginning with `seq`, records of a log may refer to files; None if none does."""
        return min(
            (
                max(one.first_seq, seq)
                for entry in self._entries.values()
                for one in entry.ranges
                if one.log == log and one.end_seq > seq
            ),
            default=None,
        )

    def free(self, is_released: IsReleased) -> list[str]:
        """The files that nobody needs any more; none before the book is complete."""
        if not self.is_complete:
            return []
        return [sha256 for sha256 in self._entries if self.is_free(sha256, is_released)]

    def is_free(self, sha256: str, is_released: IsReleased) -> bool:
        """Whether nobody needs a file any more."""
        entry = self._entries.get(sha256)
        if entry is None or not self.is_complete:
            return False
        entry.ranges = [one for one in entry.ranges if not is_released(one.log, one.first_seq, one.end_seq)]
        return not entry.holds and not entry.ranges

    def remove(self, sha256: str) -> None:
        """Forget a file that is not there any more."""
        entry = self._entries.pop(sha256, None)
        if entry is not None:
            self.used_bytes -= counted_bytes(entry.size)

    def is_unreferred(self, sha256: str) -> bool:
        """Whether nobody refers to a file or holds it, as far as records were noted."""
        entry = self._entries.get(sha256)
        return entry is not None and not entry.ranges and not entry.holds

    def unreferred(self) -> list[str]:
        """The files that nobody refers to or holds, as far as records were noted."""
        return [sha256 for sha256 in self._entries if self.is_unreferred(sha256)]

    def figures(self) -> SpoolFigures:
        """What is there."""
        return SpoolFigures(len(self._entries), self.used_bytes)


def counted_bytes(size: int) -> int:
    """What a file of this size counts for: whole blocks, and at least one."""
    return max(-(-size // BLOCK_BYTES), 1) * BLOCK_BYTES


def room_bytes(max_bytes: int) -> int:
    """The most of the outbox's limit that large data may take, together with all that is there."""
    return max_bytes - max_bytes // _KEPT_PARTS
