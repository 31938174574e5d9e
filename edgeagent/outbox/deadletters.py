"""The bounds of the log of dead letters: how many, how many bytes, how old; and which of them go first.

Dead letters wait for somebody to decide about them. Where nobody comes, they must neither fill the disk nor keep other
triggers from leaving. What is dropped is the oldest, some at a time, so that one line of the log tells of many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edgeagent.common.elapsed import is_set
from edgeagent.errors import DeadLettersFull, StorageFailed
from edgeagent.outbox.log import Log
from edgeagent.outbox.records import DEAD, DROPPED, EXPIRED, DeadLimits, Leased
from edgeagent.outbox.retention import Cut
from edgeagent.ports.verification import DeadHealth

# This part of them goes together when there are too many.
_DROPPED_PART = 20
_USUAL_BYTES = 4096
TOO_OLD = "older than outbox.dead_max_age"


class DeadLetters:
    """See the module. The store asks, releases and keeps."""

    def __init__(
        self, log: Log, limits: DeadLimits, segment_bytes: int, peek: Callable[[], Iterator[list[Leased]]]
    ) -> None:
        """`peek` gives the dead letters in parts, oldest first."""
        self._log = log
        self._limits = limits
        self._segment_bytes = segment_bytes
        self._peek = peek
        self._oldest = (0, 0)  # seq and time
        self._moving_seq: int | None = None

    def full(self, room: int = _USUAL_BYTES) -> str:
        """Why one that takes this room is not taken; empty when it is."""
        if self._log.pending >= self._limits.max_count:
            return f"there are {self._log.pending} dead letters"
        return f"dead letters take {self._log.used_bytes} bytes (outbox.dead_max_bytes)" if self._is_large(room) else ""

    @contextmanager
    def moving(self, leased: Leased) -> Iterator[None]:
        """Let no age end a dead letter while it is written to another log, nor those behind it, which may be next."""
        self._moving_seq = leased.seq if leased.log == DEAD else None
        try:
            yield
        finally:
            self._moving_seq = None

    def refusing(self) -> str:
        """Why none is taken now; empty when there is room, or the oldest make it."""
        return "" if self._limits.when_full == "drop_oldest" else self.full()

    def make_room(self, room: int, now_ms: int, lose: Callable[[Cut, str, str], None]) -> None:
        """Make room for one that takes so much: `lose` tells and keeps what is released for it, how, and why.

        Raises:
            DeadLettersFull: there is none.
            StorageFailed: `lose` does.
        """
        while reason := self.full(room):
            older = self.cut_older(now_ms) if is_set(now_ms) else None
            if older is not None:
                lose(older, EXPIRED, TOO_OLD)
                continue
            if self._limits.when_full != "drop_oldest" or not self._log.pending:
                raise DeadLettersFull(reason)
            lose(self._cut_oldest(room), DROPPED, f"{reason} (outbox.dead_when_full)")

    def _cut_oldest(self, room: int) -> Cut:
        """Release the oldest: those of a segment when bytes are short, else a number of them."""
        first_seq = self._log.released.cursor
        ends = (segment.first_seq for segment in self._log.segments if segment.first_seq > first_seq)
        end_seq = (
            next(ends, self._log.next_seq)
            if self._is_large(room)
            else self._seq_after(-(-self._limits.max_count // _DROPPED_PART))
        )
        return Cut(first_seq, end_seq, self._log.release(first_seq, end_seq - first_seq, DROPPED))

    def cut_older(self, now_ms: int) -> Cut | None:
        """Release what has been one for longer than the largest age; None when there is nothing of that.

        What a clock said that was not set is no time: such a one is as young as the next one of which a time is known.
        """
        first_seq = end_seq = self._log.released.cursor
        try:
            for leased in (each for part in self._peek() for each in part):
                if leased.seq == self._moving_seq:
                    break
                at_ms = leased.moved.at_ms if leased.moved is not None else 0
                if is_set(at_ms):
                    if at_ms >= now_ms - self._limits.max_age_ms:
                        break
                    end_seq = leased.seq + 1
        except StorageFailed:
            return None  # nothing is given up because the disk cannot be read now
        if end_seq == first_seq:
            return None
        return Cut(first_seq, end_seq, self._log.release(first_seq, end_seq - first_seq, EXPIRED))

    def health(self) -> DeadHealth:
        """How they are; of the disk only the oldest one is read, and only when it is another than the last time."""
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
        """The seq behind so many of the oldest."""
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
