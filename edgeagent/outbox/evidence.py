"""What the cursor file says of how far the logs were synced, and when it must say more.

An opening reads the checkpoint and the newest segment of each log. So before a segment is begun, a checkpoint has to
hold what stands only in the one before it (`needed`); and when a segment of events has its first records, one has to
say that they are there (`missing`), because a log that ends before it is then known to have lost its end. In the steady
state this is one checkpoint for a segment. A log of copies needs no such thing: what was copied is released by the
checkpoint that knows the copy, and without one it is where it was.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgeagent.outbox.cursor import LogState
from edgeagent.outbox.log import Log
from edgeagent.outbox.records import EVENT_LOGS


class Evidence:
    """See the module."""

    def __init__(self, logs: Mapping[str, Log]) -> None:
        """Of logs that were just opened: no checkpoint has yet what that found."""
        self._logs = logs
        self._unkept = set(logs)
        self._active: dict[str, int] = {}

    def changed(self, name: str) -> None:
        """A log has what only its newest segment and the next checkpoint tell: a move, or what a failure left."""
        self._unkept.add(name)

    def kept(self, states: Mapping[str, LogState]) -> None:
        """A checkpoint with these states is synced."""
        self._unkept.clear()
        self._active = {name: state.active_number for name, state in states.items()}

    def needed(self, name: str) -> bool:
        """Whether a checkpoint must be written before this log begins a segment."""
        return name in self._unkept or self._is_missing(name)

    def missing(self) -> bool:
        """Whether a log of events has records in a segment of which no checkpoint knows."""
        return any(map(self._is_missing, EVENT_LOGS))

    def outlived(self) -> bool:
        """Whether a segment is about to be removed that the last checkpoint expects to be there."""
        return any(log.spent and self._active.get(name) for name, log in self._logs.items())

    def _is_missing(self, name: str) -> bool:
        return name in EVENT_LOGS and self._logs[name].active_number not in {0, self._active.get(name, 0)}
