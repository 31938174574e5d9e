"""Losses: each is logged as an ERROR with the exact range, listed for the operator, and damaged bytes are kept."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from pathlib import Path

from edgeagent.errors import StorageFailed
from edgeagent.outbox.files import Filesystem
from edgeagent.outbox.reader import Damage
from edgeagent.outbox.records import Loss
from edgeagent.outbox.unreadable import is_aside, newest_is_aside

# How many of the last losses the statistics name; the log has them all.
_KEPT = 100
# Copies of damaged bytes must not fill the disk: the limit is about two segments.
_QUARANTINE_BYTES = 16 << 20

_log = logging.getLogger(__name__)


class Losses:
    """Owns the list of losses since the process began, and the copies of damaged bytes. It releases nothing."""

    def __init__(self, filesystem: Filesystem, directory: Path, now_ms: Callable[[], int]) -> None:
        """`directory`: for copies of damaged bytes; created when it is first needed."""
        self._filesystem = filesystem
        self._directory = directory
        self._now_ms = now_ms
        self._quarantined = 0
        self.last: deque[Loss] = deque(maxlen=_KEPT)

    def report(self, log: str, first_seq: int, end_seq: int, count: int, way: str, reason: str) -> None:
        """Log and list the loss of `count` triggers from `first_seq` to `end_seq` (excluded), released as `way`."""
        self.last.append(Loss(log, first_seq, end_seq - 1, count, reason, self._now_ms()))
        _log.error(
            "lost %d triggers of log %s, seq %d to %d: %s",
            count,
            log,
            first_seq,
            end_seq - 1,
            reason,
            extra={
                "event": f"outbox_{way}",
                "log": log,
                "first_seq": first_seq,
                "last_seq": end_seq - 1,
                "lost": count,
            },
        )

    def report_open_end(self, log: str, first_seq: int, reason: str) -> None:
        """Log and list the loss of a log's end: everything stored from `first_seq` on, of unknown extent."""
        self.last.append(Loss(log, first_seq, None, 0, reason, self._now_ms()))
        _log.error(
            "everything stored in log %s from seq %d on is lost; how much that was, if anything, is unknown: %s",
            log,
            first_seq,
            reason,
            extra={"event": "outbox_end_lost", "log": log, "first_seq": first_seq},
        )

    def in_file_aside(self, log: str, damage: Damage) -> bool:
        """Whether the missing records are in a file put aside (`unreadable`): that is logged, and no loss."""
        # The bytes that are present are good; those that should follow are missing.
        missing = damage.segment is None or damage.offset == damage.end or damage.end >= damage.segment.valid_bytes
        if not missing or not is_aside(self._filesystem, self._directory.parent, log, damage.first_seq):
            return False
        _log.error(
            "triggers of log %s, seq %d to %d, are in files that cannot be opened: those that are pending count as "
            "exported, and are sent once the files can be opened",
            log,
            damage.first_seq,
            damage.end_seq - 1,
            extra={
                "event": "outbox_aside",
                "log": log,
                "first_seq": damage.first_seq,
                "last_seq": damage.end_seq - 1,
            },
        )
        return True

    def end_in_file_aside(self, log: str, number: int) -> bool:
        """Whether the segment with this number or a later one is put aside, so that the log's end is not lost.

        That was logged with the file, and with those of its records that are known.
        """
        return newest_is_aside(self._filesystem, self._directory.parent, log, number)

    def quarantine(self, log: str, damage: Damage) -> None:
        """Keep a copy of damaged bytes for a later analysis; if the disk refuses, work continues without it."""
        segment, size = damage.segment, damage.end - damage.offset
        if segment is None or size <= 0 or self._quarantined + size > _QUARANTINE_BYTES:
            return
        self._quarantined += size
        path = self._directory / f"{log}-{segment.number}-{damage.offset}.bin"
        try:
            self._filesystem.make_directory(self._directory)
            file = self._filesystem.open(segment.path)
            try:
                self._filesystem.replace(path, file.read_at(damage.offset, size))
            finally:
                file.close()
        except StorageFailed as exc:
            _log.warning("damaged bytes are not kept: %s", exc, extra={"event": "outbox_quarantine_failed"})
