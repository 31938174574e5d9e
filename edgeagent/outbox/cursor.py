"""The cursor file: the released seqs of every log, and the account, in two slots written in place alternately.

A release needs no free space, because the slots are preallocated. If a power cut tears one slot, the other one is
still good and is one checkpoint older. A slot is

    0  8   magic
    8  u32 payload length
    12 u32 CRC-32 (IEEE) of the payload
    16     payload: a Checkpoint as msgpack
"""

from __future__ import annotations

from pathlib import Path
from struct import Struct
from zlib import crc32

import msgspec

from edgeagent.errors import StorageFailed
from edgeagent.outbox.files import File, Filesystem
from edgeagent.outbox.frame import Batch
from edgeagent.outbox.released import Released

SLOT_BYTES = 128 << 10
_MAGIC = b"EDGECUR1"
_HEAD = Struct("<8sII")


class LogState(msgspec.Struct, array_like=True, frozen=True):
    """What a checkpoint keeps of one log. Frames with a seq of `next_seq` or above were written after it.

    `ranges`: the released ranges above `cursor`, as distances: the gap since the end of the range before it (the cursor
    for the first), then the range's length, and so on. `released`: how many seqs were released each way. `moved_in`:
    how many came from another log. `next_number`: the number of the next segment; `last_number`: that of the newest
    segment, 0 for none. A segment whose removal was not synced may reappear after a power cut: one numbered between the
    two is ignored. `active_number`: the segment that holds the newest records and may have grown since, 0 if there was
    none or it was about to be removed. If that segment is missing, or ends below `next_seq`, an unknown number of
    records is lost.
    """

    next_seq: int
    cursor: int
    ranges: list[int]
    released: dict[str, int]
    moved_in: int
    next_number: int
    last_number: int
    active_number: int = 0

    @property
    def pending(self) -> int:
        """How many of its seqs are not released."""
        return self.next_seq - self.cursor - sum(self.ranges[1::2])

    def to_released(self) -> Released:
        """The set that `ranges` encodes."""
        position, result = self.cursor, Released(self.cursor)
        for distance, length in zip(self.ranges[::2], self.ranges[1::2], strict=True):
            result.add(position + distance, length)
            position += distance + length
        return result


class Checkpoint(msgspec.Struct, array_like=True, frozen=True):
    """Everything that the cursor file holds. `events`: the counters in events, as of this checkpoint."""

    generation: int
    logs: dict[str, LogState]
    events: Batch


def distances(released: Released) -> list[int]:
    """The ranges above the cursor, encoded as in `LogState.ranges`."""
    result: list[int] = []
    position = released.cursor
    for start, end in released.ranges:
        result += (start - position, end - start)
        position = end
    return result


class CursorFile:
    """Owns the two slots. The last good checkpoint is never overwritten before a newer one is synced."""

    def __init__(self, filesystem: Filesystem, file: File, path: Path, slot: int) -> None:
        self._file: File | None = file  # None after a failure: the file may have been removed and replaced
        self._filesystem = filesystem
        self._path = path
        self._slot = slot  # the slot to write next: never the last good one

    @classmethod
    def open(cls, filesystem: Filesystem, path: Path) -> tuple[CursorFile, Checkpoint | None]:
        """Open the file, created if absent; returns it with its newest good checkpoint, which is synced.

        The checkpoint is written again because it may be only in the cache, left there by a failed sync. The other
        slot, which is on the disk, is the next one to be written.
        """
        if not filesystem.exists(path):
            return cls(filesystem, filesystem.create(path, 2 * SLOT_BYTES), path, 0), None
        file = filesystem.open(path)
        found = [(read.generation, slot, read) for slot in (0, 1) if (read := _read(file, slot)) is not None]
        if not found:
            return cls(filesystem, file, path, 0), None
        _, slot, newest = max(found, key=lambda entry: entry[0])
        cursor = cls(filesystem, file, path, slot)
        cursor.write(newest)
        return cursor, newest

    def write(self, checkpoint: Checkpoint) -> None:
        """Write and sync a checkpoint. If that fails, the older slot stays good and the next call retries this one.

        Raises:
            StorageFailed: the disk refused, or the checkpoint is larger than a slot.
        """
        payload = msgspec.msgpack.encode(checkpoint)
        if _HEAD.size + len(payload) > SLOT_BYTES:
            raise StorageFailed("write", str(self._path), f"a checkpoint of {len(payload)} bytes does not fit its slot")
        data = _HEAD.pack(_MAGIC, len(payload), crc32(payload)) + payload
        try:
            file = self._file = self._file or self._reopened()
            file.write_at(self._slot * SLOT_BYTES, data)
            file.sync()
        except StorageFailed:
            self.close()
            raise
        self._slot = 1 - self._slot

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _reopened(self) -> File:
        if self._filesystem.exists(self._path):
            return self._filesystem.open(self._path)
        return self._filesystem.create(self._path, 2 * SLOT_BYTES)


def read_slots(file: File) -> tuple[Checkpoint | None, Checkpoint | None]:
    """The content of both slots, None for a slot that is not good."""
    return _read(file, 0), _read(file, 1)


def _read(file: File, slot: int) -> Checkpoint | None:
    data = file.read_at(slot * SLOT_BYTES, SLOT_BYTES)
    if len(data) < _HEAD.size:
        return None
    magic, size, crc = _HEAD.unpack_from(data)
    payload = data[_HEAD.size : _HEAD.size + size]
    if magic != _MAGIC or len(payload) != size or crc32(payload) != crc:
        return None
    try:
        return msgspec.msgpack.decode(payload, type=Checkpoint)
    except ValueError:  # msgspec's errors are ValueErrors
        return None
