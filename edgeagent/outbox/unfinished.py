"""Moves that a crash interrupted: the moved record exists, and no checkpoint says that its origin is released.

A checkpoint has both or neither. So a move after the checkpoint is completed: the origin is released. A move that was
refused because the disk failed may have left bytes all the same, and the trigger may since have ended another way. Its
origin is then released by the checkpoint, or by a move committed later, and the bytes left were never promised. That is
why the latest moves are completed first.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter

from edgeagent.outbox.log import Log
from edgeagent.outbox.reader import Damage
from edgeagent.outbox.records import (
    COPY_LOGS,
    DEAD,
    DEAD_WAY,
    EVENT_LOGS,
    GATHERED,
    IMPORT,
    LIMITED,
    LIMITED_WAY,
    MERGED,
    NORMAL,
    PARKED,
    PARKED_WAY,
    REPLAYED,
    SETTLED,
    VOID,
    WINDOWS,
    Moved,
)

_WAYS = {DEAD: DEAD_WAY, PARKED: PARKED_WAY, WINDOWS: GATHERED, LIMITED: LIMITED_WAY}


def gone_way(name: str) -> str:
    """How lost seqs of which nothing is known are counted. A copy's original is counted in its own log."""
    return VOID if name in COPY_LOGS else SETTLED


class Unfinished:
    """Owns the moves found on opening, until they are completed. Without a checkpoint each is completed at once."""

    def __init__(self, logs: Mapping[str, Log], *, checkpoint: bool) -> None:
        """Begin with logs just opened, before anything in them is released."""
        self._logs = logs
        self._checkpoint = checkpoint
        self._ends = {name: log.next_seq for name, log in logs.items()}
        self._found: list[tuple[int, str, int, Moved]] = []

    def found(self, number: int, name: str, seq: int, moved: Moved) -> None:
        """Note a moved record with this seq in a log, written by the group commit with this number."""
        if moved.origin == IMPORT:
            self._logs[name].moved_in += 1
            self._logs[name].imported += 1
        elif self._checkpoint:
            self._found.append((number, name, seq, moved))
        else:
            self._finish(name, moved)

    def lost_origins(self) -> list[tuple[str, Damage]]:
        """The ranges missing at the ends of logs from which later triggers were moved: log and range.

        A trigger was synced in its origin before it was moved, and so was everything before it there.
        """
        lost: list[tuple[str, Damage]] = []
        for name, seq in sorted(self._origin_ends().items()):
            log = self._logs[name]
            if seq > log.next_seq:
                lost.append((name, Damage(log.next_seq, seq, None, 0, 0)))
                log.next_seq = seq
        return lost

    def finish(self) -> None:
        """Complete or void every move; called once all were found."""
        for _, name, seq, moved in sorted(self._found, key=itemgetter(0), reverse=True):
            if name in COPY_LOGS and self._ended_another_way(moved):
                self._logs[name].release(seq, 1, VOID)
            else:
                self._finish(name, moved)

    def _origin_ends(self) -> dict[str, int]:
        """For each log, the seq after the last one that a moved record names as its origin."""
        ends: dict[str, int] = {}
        for _, _, _, moved in self._found:
            for name, seq in ((moved.origin, moved.origin_seq), *moved.merged):
                if name in self._logs:
                    ends[name] = max(ends.get(name, 0), seq + 1)
        return ends

    def _ended_another_way(self, moved: Moved) -> bool:
        origins = [(moved.origin, moved.origin_seq), *moved.merged]
        return any(name in self._logs and seq in self._logs[name].released for name, seq in origins)

    def _finish(self, name: str, moved: Moved) -> None:
        """Release the origins of a moved record."""
        ways = [(moved.origin, moved.origin_seq, _WAYS.get(name, REPLAYED))]
        ways += [(log, seq, MERGED) for log, seq in moved.merged]
        for origin_name, seq, way in ways:
            origin = self._logs.get(origin_name)
            if origin is None:
                continue
            origin.skip_to(seq + 1, gone_way(origin_name))
            if origin.release(seq, 1, way):
                self._logs[name].moved_in += way != MERGED
                if self._checkpoint and origin_name in COPY_LOGS and seq >= self._ends[origin_name]:
                    self._count_twice()
            elif name in COPY_LOGS:  # a replayed trigger counts as accepted anew
                self._count_gone(origin_name, way)

    def _count_twice(self) -> None:
        """Count a trigger as accepted twice: a copy that no checkpoint knows is lost, and it had been moved on.

        The trigger is now in its new log and in its first one. Either may be the only readable record, so both stay.
        """
        log = self._logs[NORMAL]
        log.skip_to(log.next_seq + 1, VOID)

    def _count_gone(self, name: str, way: str) -> None:
        """Count a lost trigger of a log, released this way, which so far counts as settled.

        It is counted in the log that accepted it, if this log holds copies. If that is unknown, it had a seq there.
        """
        if not any(self._logs[each].recount(SETTLED, way) for each in dict.fromkeys((name, *EVENT_LOGS))):
            log = self._logs[NORMAL]
            log.skip_to(log.next_seq + 1, way)
