"""The limits on the log of dead letters: how many, how many bytes, how old; and which of them are dropped first.

Dead letters wait for an operator's decision. If nobody decides, they must neither fill the disk nor stop other
triggers from leaving. The oldest are dropped, several at a time, so that one log line covers many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edgeagent.common.elapsed import Instant
from edgeagent.errors import DeadLettersFull, StorageFailed
from edgeagent.outbox.log import Log
from edgeagent.outbox.records import DEAD, DROPPED, EXPIRED, DeadLimits, Leased
from edgeagent.outbox.retention import Cut, least_age_ms
from edgeagent.ports.verification import DeadHealth

# When there are too many, one in this many is dropped, all of them together.
_DROPPED_PART = 20
_USUAL_BYTES = 4096
TOO_OLD = "older than outbox.dead_max_age"


class DeadLetters:
    """Decides whether a dead letter fits and which old ones give way. The store does the logging and the writing."""

    def __init__(
        self, log: Log, limits: DeadLimits, segment_bytes: int, peek: Callable[[], Iterator[list[Leased]]]
    ) -> None:
        """`peek` yields the dead letters in parts, oldest first."""
        self._log = log
        self._limits = limits
        self._segment_bytes = segment_bytes
        self._peek = peek
        self._oldest = (0, 0)  # seq and time
        self._moving_seq: int | None = None

    def full(self, room: int = _USUAL_BYTES) -> str:
        """Why a dead letter of this many bytes would be refused; empty if it would not."""
        if self._log.pending >= self._limits.max_count:
            return f"there are {self._log.pending} dead letters"
        return f"dead letters take {self._log.used_bytes} bytes (outbox.dead_max_bytes)" if self._is_large(room) else ""

    @contextmanager
    def moving(self, leased: Leased) -> Iterator[None]:
        """While a dead letter is written to another log, neither it nor any behind it expires by age."""
        self._moving_seq = leased.seq if leased.log == DEAD else None
        try:
            yield
        finally:
            self._moving_seq = None

    def refusing(self) -> str:
        """Why dead letters are refused now; empty if there is room, or if dropping the oldest makes room."""
        return "" if self._limits.when_full == "drop_oldest" else self.full()

    def make_room(self, room: int, now: Instant, drop: Callable[[Cut, str, str], None]) -> None:
        """Make room for a dead letter of this many bytes.

        `drop` takes what was released for it, the way, and the reason; it logs the loss and writes it to disk.

        Raises:
            DeadLettersFull: there is no room.
            StorageFailed: `drop` raised it.
        """
        while reason := self.full(room):
            older = self.cut_older(now)
            if older is not None:
                drop(older, EXPIRED, TOO_OLD)
                continue
            if self._limits.when_full != "drop_oldest" or not self._log.pending:
                raise DeadLettersFull(reason)
            drop(self._cut_oldest(room), DROPPED, f"{reason} (outbox.dead_when_full)")

    def _cut_oldest(self, room: int) -> Cut:
        """Release the oldest: those of one segment if bytes are short, otherwise a fixed fraction."""
        first_seq = self._log.released.cursor
        ends = (segment.first_seq for segment in self._log.segments if segment.first_seq > first_seq)
        end_seq = (
            next(ends, self._log.next_seq)
            if self._is_large(room)
            else self._seq_after(-(-self._limits.max_count // _DROPPED_PART))
        )
        return Cut(first_seq, end_seq, self._log.release(first_seq, end_seq - first_seq, DROPPED))

    def cut_older(self, now: Instant) -> Cut | None:
        """Release dead letters older than the maximum age; None if there are none.

        A time from a clock that was not set is unknown: that dead letter counts as young as the next with a known time.
        """
        first_seq = end_seq = self._log.released.cursor
        try:
            for leased in (each for part in self._peek() for each in part):
                if leased.seq == self._moving_seq:
                    break
                header = self._log.header_of(leased.seq)
                if header is None or leased.moved is None:
                    continue
                age_ms = least_age_ms(header, leased.moved.at_ms, now)
                if age_ms is not None:
                    if age_ms <= self._limits.max_age_ms:
                        break
                    end_seq = leased.seq + 1
        except StorageFailed:
            return None  # nothing is dropped because the disk cannot be read now
        if end_seq == first_seq:
            return None
        return Cut(first_seq, end_seq, self._log.release(first_seq, end_seq - first_seq, EXPIRED))

    def health(self) -> DeadHealth:
        """The dead letters' health. Only the oldest one is read from disk, and only when it has changed."""
        limits, log = self._limits, self._log
        full = self.refusing()
        return DeadHealth(
            log.pending,
            limits.max_count,
            log.used_bytes,
            limits.max_bytes,
            self._oldest_ms() if log.pending else 0,
            full,
        )

    def _is_large(self, room: int) -> bool:
        return not self._log.fits(room) and self._log.used_bytes + self._segment_bytes > self._limits.max_bytes

    def _seq_after(self, count: int) -> int:
        """The seq after this many of the oldest."""
        log = self._log
        for start, end in log.released.missing(log.released.cursor, log.next_seq - log.released.cursor):
            if end - start >= count:
                return start + count
            count -= end - start
        return log.next_seq

    def _oldest_ms(self) -> int:
        cursor = self._log.released.cursor
        if self._oldest[0] != cursor:
            try:
                oldest = next((each.moved for part in self._peek() for each in part), None)
            except StorageFailed:
                return self._oldest[1]
            self._oldest = cursor, oldest.at_ms if oldest is not None else 0
        return self._oldest[1]
