"""Measures what a filesystem does for the outbox: how long syncs take, and how many bytes are written."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

from edgeagent.common.histogram import Histogram
from edgeagent.outbox.files import File, Filesystem

# An eMMC or an SSD syncs within a few milliseconds; a tired SD card takes up to seconds.
_SYNC_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5)


class DiskMeter:
    """What was measured since the start. Written by the disk thread; any other thread may read it.

    Attributes:
        syncs: how long each sync took that succeeded, in seconds: one for each commit, and the checkpoints'.
        written_bytes: what was written to files, without what the file system writes for itself.
    """

    def __init__(self) -> None:
        self.syncs = Histogram(_SYNC_BOUNDS_S)
        self.written_bytes = 0


class _MeteredFile:
    """A file whose writes and syncs are measured."""

    def __init__(self, file: File, meter: DiskMeter) -> None:
        self._file = file
        self._meter = meter
        self.read_at = file.read_at
        self.size = file.size
        self.truncate = file.truncate
        self.close = file.close

    def write_at(self, offset: int, data: bytes) -> None:
        """Write; see `File`."""
        self._file.write_at(offset, data)
        self._meter.written_bytes += len(data)

    def sync(self) -> None:
        """Sync; see `File`."""
        begun_at = perf_counter()
        self._file.sync()
        self._meter.syncs.observe(perf_counter() - begun_at)


class MeteredFilesystem:
    """A filesystem that measures into a `DiskMeter`, and does everything else as the one behind it."""

    def __init__(self, filesystem: Filesystem, meter: DiskMeter) -> None:
        self._filesystem = filesystem
        self._meter = meter
        self.make_directory = filesystem.make_directory
        self.list = filesystem.list
        self.exists = filesystem.exists
        self.read = filesystem.read
        self.remove = filesystem.remove
        self.move_file = filesystem.move_file
        self.discard = filesystem.discard
        self.free_bytes = filesystem.free_bytes

    def create(self, path: Path, size: int) -> File:
        """Create; see `Filesystem`. Its reserved space is not written."""
        return _MeteredFile(self._filesystem.create(path, size), self._meter)

    def open(self, path: Path) -> File:
        """Open; see `Filesystem`."""
        return _MeteredFile(self._filesystem.open(path), self._meter)

    def replace(self, path: Path, data: bytes) -> None:
        """Replace; see `Filesystem`."""
        self._filesystem.replace(path, data)
        self._meter.written_bytes += len(data)
