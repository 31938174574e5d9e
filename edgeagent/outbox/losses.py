"""What was lost, told and kept: an ERROR with the exact range, a list for the operator, the damaged bytes aside."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from pathlib import Path

from edgeagent.errors import StorageFailed
from edgeagent.outbox.files import Filesystem
from edgeagent.outbox.reader import Damage
from edgeagent.outbox.records import Loss
from edgeagent.outbox.unreadable import lies_aside, newest_lies_aside

# The last losses that statistics name; the log has them all.
_KEPT = 100
# What is put aside must not fill the disk: about two segments.
_QUARANTINE_BYTES = 16 << 20

_log = logging.getLogger(__name__)


class Losses:
    """The losses since the process began."""

    def __init__(self, filesystem: Filesystem, directory: Path, now_ms: Callable[[], int]) -> None:
        """`directory`: where damaged bytes are put aside; made when it is first needed."""
        self._filesystem = filesystem
        self._directory = directory
        self._now_ms = now_ms
        self._quarantined = 0
        self.last: deque[Loss] = deque(maxlen=_KEPT)

    def tell(self, log: str, first_seq: int, end_seq: int, count: int, way: str, reason: str) -> None:
        """Triggers are lost: `count` of those from `first_seq` to `end_seq` (excluded), released as `way`."""
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

    def tell_open(self, log: str, first_seq: int, reason: str) -> None:
        """The end of a log is lost: what was stored from `first_seq` on, and nothing tells how much that was."""
        self.last.append(Loss(log, first_seq, None, 0, reason, self._now_ms()))
        _log.error(
            "what was stored in log %s from seq %d on is lost, and whether that was anything cannot be told: %s",
            log,
            first_seq,
            reason,
            extra={"event": "outbox_end_lost", "log": log, "first_seq": first_seq},
        )

    def lie_aside(self, log: str, damage: Damage) -> bool:
        """Whether records are missing that are in a file put aside (`unreadable`): tells it, and it is no loss."""
        # Not the bytes that are here are at fault, but those that should follow.
        missing = damage.segment is None or damage.offset == damage.end or damage.end >= damage.segment.valid_bytes
        if not missing or not lies_aside(self._filesystem, self._directory.parent, log, damage.first_seq):
            return False
        _log.error(
            "triggers of log %s, seq %d to %d, are in files that cannot be opened: those that are pending count as "
            "exported, and are not sent before the files can be opened",
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

    def end_lies_aside(self, log: str, number: int) -> bool:
        """Whether the end of a log, from the segment with this number on, is in a file put aside: then it is not lost.

        That is told with the file, and with the records of it that are known.
        """
        return newest_lies_aside(self._filesystem, self._directory.parent, log, number)

    def quarantine(self, log: str, damage: Damage) -> None:
        """Keep a copy of damaged bytes for whoever wants to look; a disk that refuses is no reason to stop."""
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
