"""The file `rates`: which triggers of rules with a `rate` were last published, and when.

So a restart allows no burst, and what was published before it needs no second permit.

It is written before each checkpoint, if it changed, and within a second. So whatever a checkpoint has as released is
known here as published. A crash takes at most the last second from it: then a rule may publish once as many again.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from edgeagent.errors import StorageFailed
from edgeagent.outbox.files import Filesystem
from edgeagent.rules.rate import PublishedTriggers

_log = logging.getLogger(__name__)


class KeptRates:
    """Owns the file. `content`: what it had when it was opened, None if nothing."""

    def __init__(self, filesystem: Filesystem, path: Path) -> None:
        """Read the file; an absent or unreadable one counts as empty."""
        self._filesystem = filesystem
        self._path = path
        self._new: PublishedTriggers | None = None
        self.content: PublishedTriggers | None = None
        if filesystem.exists(path):
            try:
                self.content = msgspec.msgpack.decode(filesystem.read(path), type=PublishedTriggers)
            except (
                ValueError,
                StorageFailed,
            ) as exc:  # msgspec's errors are ValueErrors; a start does not depend on it
                _log.warning(
                    "%s cannot be read, so rules may exceed their rate once: %s",
                    path,
                    exc,
                    extra={"event": "outbox_rates_lost", "path": str(path)},
                )
        # It may not be on the disk: another process may have replaced the file, and failed to sync that.
        self._doubtful = self.content

    @property
    def changed(self) -> bool:
        """Whether the file lacks the newest."""
        return self._new is not None

    def put(self, content: PublishedTriggers) -> None:
        """Have this written with the next checkpoint. The only method that another thread may call."""
        self._new = content

    def save(self) -> None:
        """Replace the file, synced, if it may not be up to date.

        Raises:
            StorageFailed: the disk refuses.
        """
        new = self._new if self._new is not None else self._doubtful
        if new is not None:
            self._filesystem.replace(self._path, msgspec.msgpack.encode(new))
            self._doubtful = None
            if self._new is new:  # otherwise there is a newer one, for the next checkpoint
                self._new = None
