"""The outbox on a disk that can only be read: what is there is handed out, and what becomes of it stays in memory.

A card that wears out turns read-only for good, with triggers on it that were acknowledged. They are forwarded as ever.
What is settled is not kept, so it is sent again when the agent starts on a disk that can be written: under the same
names, so that nothing starts twice. What would be lost is refused: new events, and everything that an operator changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from edgeagent.errors import DiskReadOnly, OutboxError
from edgeagent.outbox.files import File
from edgeagent.outbox.log import Entries
from edgeagent.outbox.overlay import Overlay
from edgeagent.outbox.records import EVENT_LOGS, Group, Leased, OutboxLimits
from edgeagent.outbox.store import Store
from edgeagent.outbox.unreadable import hide_unreadable

# Dead letters, parked triggers and windows that come up are in memory too; beyond this they stay where they are.
_MEMORY_BYTES = 64 << 20


class _Memory(Overlay):
    """Files of the disk as they are read, and as they would be if it could be written."""

    def __init__(self, reason: DiskReadOnly) -> None:
        super().__init__()
        self._reason = reason

    def create(self, path: Path, size: int) -> File:
        """A new file of zeros, in memory, while there is room."""
        if self.written_bytes + size > _MEMORY_BYTES:
            raise self._reason
        return super().create(path, size)


class RescueStore(Store):
    """See the module."""

    def __init__(
        self,
        directory: Path,
        limits: OutboxLimits,
        *,
        reason: DiskReadOnly,
        boot: bytes,
        new_salt: Callable[[], int],
        now_ms: Callable[[], int],
        remembered: frozenset[str] = frozenset(),
    ) -> None:
        """Open the outbox in a directory of a disk that refused to be written with this `reason`; see `Store`."""
        memory = _Memory(reason)
        hide_unreadable(directory.parent, memory, tell=True)
        super().__init__(memory, directory, limits, boot=boot, new_salt=new_salt, now_ms=now_ms, remembered=remembered)
        self.read_only = reason
        self.failures["disk"] = str(reason)

    def append(self, groups: Sequence[Group]) -> list[int | OutboxError]:
        """Store nothing."""
        return [self._reason for _ in groups]

    def move(self, leased: Leased, target: str, way: str, *, reason: str, code: int, attempts: int) -> None:
        """As `Store.move`, in memory. A trigger that is put back among the events would be lost."""
        if target in EVENT_LOGS:
            raise self._reason
        super().move(leased, target, way, reason=reason, code=code, attempts=attempts)

    def take_in(self, name: str, entries: Entries) -> None:  # noqa: ARG002  as `Store.take_in`
        """Store nothing."""
        raise self._reason

    @property
    def _reason(self) -> DiskReadOnly:
        assert self.read_only is not None  # noqa: S101  set when it was opened
        return self.read_only


def must_keep(store: Store) -> None:
    """See that what somebody is about to change in a store will be kept.

    Raises:
        DiskReadOnly: it would not.
    """
    if store.read_only is not None:
        raise store.read_only
