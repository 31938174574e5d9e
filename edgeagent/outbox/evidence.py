"""Evidence in the cursor file of how far the logs were synced, and when a checkpoint must add to it.

Opening reads the checkpoint and the newest segment of each log. So before a segment is begun, a checkpoint must hold
what only the segment before it holds (`needed`). And when a segment of events has its first records, a checkpoint must
say that they exist (`missing`), so that a log which ends before them is known to have lost its end. In the steady state
this costs one checkpoint per segment. It comes a moment later, after a commit of the ledger, if it would make the
outbox forget triggers whose end is not there yet (`Store.unnoted`). A log of copies needs no such evidence: the
original is released only by the checkpoint that knows the copy, and without that checkpoint the original is still in
its log.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgeagent.outbox.cursor import LogState
from edgeagent.outbox.log import Log
from edgeagent.outbox.records import EVENT_LOGS


class Evidence:
    """Tracks what the last checkpoint does not yet prove about each log. It writes nothing itself."""

    def __init__(self, logs: Mapping[str, Log]) -> None:
        """Begin with logs that were just opened: no checkpoint covers yet what opening found."""
        self._logs = logs
        self._unkept = set(logs)
        self._active: dict[str, int] = {}

    def changed(self, name: str) -> None:
        """Note that only a log's newest segment records something: a move, or what a failure left."""
        self._unkept.add(name)

    def kept(self, states: Mapping[str, LogState]) -> None:
        """Note that a checkpoint with these states is synced."""
        self._unkept.clear()
        self._active = {name: state.active_number for name, state in states.items()}

    def needed(self, name: str) -> bool:
        """Whether a checkpoint must be written before this log begins a segment."""
        return name in self._unkept or self._is_missing(name)

    def missing(self) -> bool:
        """Whether a log of events has records in a segment that no checkpoint knows."""
        return any(map(self._is_missing, EVENT_LOGS))

    def outlived(self) -> bool:
        """Whether a segment is about to be removed that the last checkpoint expects to exist."""
        return any(log.spent and self._active.get(name) for name, log in self._logs.items())

    def _is_missing(self, name: str) -> bool:
        return name in EVENT_LOGS and self._logs[name].active_number not in {0, self._active.get(name, 0)}
