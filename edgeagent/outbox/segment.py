"""One segment file: its header, its bounds, and the writer that appends to it."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from edgeagent.common.elapsed import Instant
from edgeagent.errors import StorageFailed
from edgeagent.outbox.files import File, Filesystem
from edgeagent.outbox.frame import HEADER_BYTES, SegmentHeader

_SUFFIX = ".seg"
_MAX_NUMBER = 1 << 63  # so that the number after any other fits its field
_NAME_DIGITS = 20  # any u64, so that names sort as numbers do
_NAME = re.compile(rf"([0-9]{{{_NAME_DIGITS}}}){re.escape(_SUFFIX)}", re.ASCII)


def number_of(name: str) -> int | None:
    """The number in a segment's file name; None if the name has another form or the number is out of range."""
    match = _NAME.fullmatch(name)
    number = int(match[1]) if match else _MAX_NUMBER
    return number if number < _MAX_NUMBER else None


def segment_path(directory: Path, number: int) -> Path:
    """The path of the segment with this number."""
    return directory / f"{number:0{_NAME_DIGITS}d}{_SUFFIX}"


class Segment:
    """A segment on disk. Frames lie between the header and `valid_bytes`; `size` is what it takes on disk."""

    def __init__(self, path: Path, header: SegmentHeader, valid_bytes: int, size: int) -> None:
        self.path = path
        self.header = header
        self.valid_bytes = valid_bytes
        self.size = size

    @property
    def number(self) -> int:
        """The segment's number, which orders it in the log."""
        return self.header.number

    @property
    def first_seq(self) -> int:
        """The seq of its first record."""
        return self.header.first_seq


def unknown_uptime() -> int:
    """The time since the machine's boot, where nobody asks for it."""
    return 0


def header_maker(
    new_salt: Callable[[], int], now: Callable[[], Instant], reserved_bytes: int
) -> Callable[[int, int, Segment | None], SegmentHeader]:
    """Make a function that builds headers from a segment's number, its first seq and its predecessor, if any."""

    def header(number: int, first_seq: int, previous: Segment | None) -> SegmentHeader:
        before = (previous.number, previous.valid_bytes) if previous is not None else (0, 0)
        at = now()
        return SegmentHeader(new_salt(), number, first_seq, *before, at.wall_ms, at.boot, reserved_bytes, at.uptime_ms)

    return header


class SegmentWriter:
    """Owns the active segment's file. It appends behind what is synced, and never after a failed write or sync."""

    def __init__(self, segment: Segment, file: File) -> None:
        self.segment = segment
        self.salt = segment.header.salt
        self._file = file

    @classmethod
    def create(cls, filesystem: Filesystem, directory: Path, header: SegmentHeader, size: int) -> SegmentWriter:
        """A new, preallocated segment with its header written; the header is synced with the first frames."""
        path = segment_path(directory, header.number)
        file = filesystem.create(path, size)
        try:
            file.write_at(0, header.encode())
        except StorageFailed:
            file.close()
            with suppress(StorageFailed):
                filesystem.remove(path)
            raise
        return cls(Segment(path, header, HEADER_BYTES, size), file)

    @property
    def room(self) -> int:
        """How many bytes of frames still fit."""
        return self.segment.size - self.segment.valid_bytes

    def append(self, frames: bytes) -> None:
        """Append frames and sync. After an error the segment must not be written again.

        Raises:
            StorageFailed: the bytes written are not valid; `valid_bytes` is unchanged.
        """
        self._file.write_at(self.segment.valid_bytes, frames)
        self._file.sync()
        self.segment.valid_bytes += len(frames)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
