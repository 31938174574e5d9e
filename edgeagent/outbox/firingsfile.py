"""The file `firings`: the last firings of rules, kept because the segments of their events may be gone.

Like `recent`, it is replaced whenever a segment is begun, and before the newest segment of a log is removed. Later
firings are in the active segments, which opening scans: in batches with a number above `batch`. The file does not exist
if no rule of the agent needs its firings.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import msgspec

from edgeagent.errors import StorageFailed
from edgeagent.events.event import Record
from edgeagent.outbox.files import Filesystem
from edgeagent.outbox.records import Armed
from edgeagent.rules.firings import Firing, Firings

_log = logging.getLogger(__name__)


class _Content(msgspec.Struct, array_like=True, frozen=True):
    firings: list[Firing]
    batch: int


class KeptFirings:
    """Owns the firings as they are stored. `changed`: the file may lack the newest."""

    def __init__(self, firings: Iterable[Firing] = (), batch: int = 0) -> None:
        """Begin with the file's content. `batch`: the last group commit that it covers."""
        known = list(firings)
        self.firings = Firings(known)
        self.batch = batch
        # The file that was read may not be on the disk: another process may have replaced it, and failed to sync that.
        self.changed = bool(known)

    @classmethod
    def load(cls, filesystem: Filesystem, path: Path, rules: frozenset[str]) -> KeptFirings:
        """Read the file's entries for these rules; an absent or unreadable file counts as empty."""
        if not filesystem.exists(path):
            return cls()
        try:
            content = msgspec.msgpack.decode(filesystem.read(path), type=_Content)
        except (ValueError, StorageFailed) as exc:  # msgspec's errors are ValueErrors; a start does not depend on it
            _log.warning(
                "%s cannot be read, so rules may fire again before their time: %s",
                path,
                exc,
                extra={"event": "outbox_firings_lost", "path": str(path)},
            )
            return cls()
        return cls((firing for firing in content.firings if firing.rule in rules), content.batch)

    def save(self, filesystem: Filesystem, path: Path, batch: int) -> None:
        """Replace the file, synced, if it is not up to date. `batch`: the number of the last group commit."""
        if not self.changed:
            return
        filesystem.replace(path, msgspec.msgpack.encode(_Content(list(self.firings), batch)))
        self.changed = False

    def take_up(self, entries: Iterable[Record | Armed], rules: frozenset[str], boot: bytes) -> None:
        """Add stored entries for these rules, in order. `boot`: the boot in which their `uptime_ms` counts."""
        for entry in entries:
            for rule in entry.rules:
                if rule not in rules:
                    continue
                self.changed = True
                if isinstance(entry, Armed):
                    self.firings.armed(rule, entry.source)
                else:
                    at = entry.accepted_ms, entry.uptime_ms, boot
                    self.firings.fired(Firing(rule, entry.source, entry.id, *at))
