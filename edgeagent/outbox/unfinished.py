"""Moves that a crash left between two logs: a moved record is there, and nothing says that its origin is released.

A checkpoint holds both or neither. So what is behind the checkpoint is made good: the origin is released. Of a move
that was refused because the disk failed there may be bytes all the same, and the trigger may have come to something
else since; then its origin is released by the checkpoint, or by a move that was committed later, and what is here was
never promised. That is why the last moves are finished first.
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

_WAYS = {DEAD: DEAD_WAY, PARKED: PARKED_WAY, WINDOWS: GATHERED}


def gone_way(name: str) -> str:
    """How seqs count that are gone and of which nothing is known. A copy is of a trigger that counts elsewhere."""
    return VOID if name in COPY_LOGS else SETTLED


class Unfinished:
    """See the module. Without a checkpoint nothing was known to be released: moves are finished as they are found."""

    def __init__(self, logs: Mapping[str, Log], *, checkpoint: bool) -> None:
        """The logs as they are opened, before anything of them is released."""
        self._logs = logs
        self._checkpoint = checkpoint
        self._ends = {name: log.next_seq for name, log in logs.items()}
        self._found: list[tuple[int, str, int, Moved]] = []

    def found(self, number: int, name: str, seq: int, moved: Moved) -> None:
        """A moved record stands in a log with this seq; it was written by the group commit with this number."""
        if moved.origin == IMPORT:
            self._logs[name].moved_in += 1
            self._logs[name].imported += 1
        elif self._checkpoint:
            self._found.append((number, name, seq, moved))
        else:
            self._finish(name, moved)

    def lost_origins(self) -> list[tuple[str, Damage]]:
        """What is missing at the ends of logs of which later triggers were moved: log, and what.

        A trigger was synced where it came from before it was moved, and so was everything before it there.
        """
        lost: list[tuple[str, Damage]] = []
        for name, seq in sorted(self._origin_ends().items()):
            log = self._logs[name]
            if seq > log.next_seq:
                lost.append((name, Damage(log.next_seq, seq, None, 0, 0)))
                log.next_seq = seq
        return lost

    def finish(self) -> None:
        """All were found."""
        for _, name, seq, moved in sorted(self._found, key=itemgetter(0), reverse=True):
            if name in COPY_LOGS and self._came_to_something_else(moved):
                self._logs[name].release(seq, 1, VOID)
            else:
                self._finish(name, moved)

    def _origin_ends(self) -> dict[str, int]:
        """The seq behind the last one of each log that a moved record names."""
        ends: dict[str, int] = {}
        for _, _, _, moved in self._found:
            for name, seq in ((moved.origin, moved.origin_seq), *moved.merged):
                if name in self._logs:
                    ends[name] = max(ends.get(name, 0), seq + 1)
        return ends

    def _came_to_something_else(self, moved: Moved) -> bool:
        places = [(moved.origin, moved.origin_seq), *moved.merged]
        return any(name in self._logs and seq in self._logs[name].released for name, seq in places)

    def _finish(self, name: str, moved: Moved) -> None:
        """Release what a moved record was moved from."""
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
            elif name in COPY_LOGS:  # a replayed one counts as accepted anew
                self._count_gone(origin_name, way)

    def _count_twice(self) -> None:
        """A copy is lost that no checkpoint knows, and it was moved on: the trigger is there, and where it first was.

        Either may be the only one that can be read, so both stay, and it is as if it had been accepted twice.
        """
        log = self._logs[NORMAL]
        log.skip_to(log.next_seq + 1, VOID)

    def _count_gone(self, name: str, way: str) -> None:
        """A trigger of a log is gone from there: count as released this way what counts as settled.

        That is where it was accepted, if this log has copies. If nothing is known of that, it had a seq there.
        """
        if not any(self._logs[each].recount(SETTLED, way) for each in dict.fromkeys((name, *EVENT_LOGS))):
            log = self._logs[NORMAL]
            log.skip_to(log.next_seq + 1, way)
