"""The outbox on a disk that can only be read: its triggers are handed out, and all changes stay in memory.

A worn-out card turns read-only for good while it holds acknowledged triggers. They are forwarded as usual. Settlements
cannot be written, so settled triggers are sent again when the agent starts on a writable disk: under the same names, so
that nothing starts twice. What would be lost is refused: new events, and every change by an operator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from edgeagent.errors import DiskReadOnly, OutboxError
from edgeagent.outbox.files import File
from edgeagent.outbox.moves import MovedPart
from edgeagent.outbox.overlay import Overlay
from edgeagent.outbox.records import EVENT_LOGS, Group, Leased, OutboxLimits
from edgeagent.outbox.segment import unknown_uptime
from edgeagent.outbox.store import Store
from edgeagent.outbox.unreadable import hide_unreadable

# Moves to the dead, parked and window logs are in memory too; beyond this size they are refused.
_MEMORY_BYTES = 64 << 20


class _Memory(Overlay):
    """The disk's files, with all changes kept in memory up to a limit."""

    def __init__(self, reason: DiskReadOnly) -> None:
        super().__init__()
        self._reason = reason

    def create(self, path: Path, size: int) -> File:
        """Create a file of zeros, in memory, while there is room."""
        if self.written_bytes + size > _MEMORY_BYTES:
            raise self._reason
        return super().create(path, size)

    def free_bytes(self, directory: Path) -> int:  # noqa: ARG002  as `Filesystem.free_bytes`
        """Refuse: nothing new is taken."""
        raise self._reason


class RescueStore(Store):
    """A store whose changes stay in memory. It refuses everything that would be lost with the process."""

    def __init__(
        self,
        directory: Path,
        limits: OutboxLimits,
        *,
        reason: DiskReadOnly,
        boot: bytes,
        new_salt: Callable[[], int],
        now_ms: Callable[[], int],
        uptime_ms: Callable[[], int] = unknown_uptime,
        remembered: frozenset[str] = frozenset(),
    ) -> None:
        """Open the outbox on a disk that refused to be written with this `reason`; see `Store`."""
        memory = _Memory(reason)
        hide_unreadable(directory.parent, memory, tell=True)
        super().__init__(
            memory,
            directory,
            limits,
            boot=boot,
            new_salt=new_salt,
            now_ms=now_ms,
            uptime_ms=uptime_ms,
            remembered=remembered,
        )
        self.read_only = reason
        self.failures["disk"] = str(reason)

    def append(self, groups: Sequence[Group]) -> list[int | OutboxError]:
        """Refuse every group: the disk cannot be written."""
        return [self._reason for _ in groups]

    def move(self, leased: Leased, target: str, way: str, *, reason: str, code: int, attempts: int) -> None:
        """Like `Store.move`, in memory. A trigger that would return to the events is refused: it would be lost."""
        if target in EVENT_LOGS:
            raise self._reason
        super().move(leased, target, way, reason=reason, code=code, attempts=attempts)

    def take_in(self, name: str, part: MovedPart) -> None:  # noqa: ARG002  as `Store.take_in`
        """Refuse the triggers: the disk cannot be written."""
        raise self._reason

    @property
    def _reason(self) -> DiskReadOnly:
        assert self.read_only is not None  # noqa: S101  set when it was opened
        return self.read_only
