"""Which certificates a session uses: those on disk, or those that worked last while the ones on disk do not.

The ones that worked stay in memory. A certificate that was exchanged for one that the broker does not take, or of
which only half is written yet, therefore costs nothing as long as the old one is valid.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime

from edgeagent.config.tables import Connection
from edgeagent.errors import Denied, UplinkError
from edgeagent.mqtt.tls import FileState, Identity, certificate_files, load_identity, state_of_files

# Below so many days the operator is warned, once in this time.
WARN_DAYS = 30
_WARN_AGAIN_S = 86_400.0
_DAY_S = 86_400.0

_log = logging.getLogger(__name__)


class Rotation:
    """The certificates of one session; give it to one `keep_connected`.

    While there is no connection, the ones on disk and those that worked take turns (only when they differ), so that
    neither a bad exchange nor an old one that ran out keeps us away. While there is one, `changed` says that others
    are on disk; the session tries them on a connection of its own, and comes back with them only if that works.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._proven: Identity | None = None
        self._chosen: Identity | None = None
        self._refused: tuple[FileState, ...] | None = None  # the files that the broker did not take
        self._seen: tuple[FileState, ...] = ()
        self._old_is_next: bool | None = None  # whose turn it is; None: no attempt since the last that worked
        self._warned = ""
        self._warned_at = -_WARN_AGAIN_S

    @property
    def has_files(self) -> bool:
        """Whether there is something that can be exchanged."""
        return bool(certificate_files(self._connection))

    @property
    def days_left(self) -> int | None:
        """Whole days until the client certificate in use ends, negative when it has; None: there is none."""
        used = self._proven or self._chosen
        if used is None or used.ends is None:
            return None
        return int((used.ends - datetime.now(UTC)).total_seconds() // _DAY_S)

    async def choose(self, address: str) -> Identity:
        """What the next attempt to connect uses.

        Raises:
            Denied: what is on disk cannot be used. The attempt after this one may get what worked last.
        """
        files = await asyncio.to_thread(state_of_files, self._connection)
        proven, self._chosen = self._proven, None
        take_old = files == self._refused if self._old_is_next is None else self._old_is_next
        self._old_is_next = not take_old
        if proven is not None and proven.files != files and take_old:
            self._chosen = proven
        else:
            self._chosen = await asyncio.to_thread(load_identity, address, self._connection)
        self.warn_when_due(address)
        return self._chosen

    def worked(self) -> None:
        """The attempt that `choose` was for has led to a connection."""
        self._proven, self._old_is_next = self._chosen, None

    def failed(self, error: UplinkError) -> None:
        """It has not: others that are on disk and were refused are only taken up in turn from now on."""
        chosen, proven = self._chosen, self._proven
        if isinstance(error, Denied) and chosen is not None and proven is not None and chosen.files != proven.files:
            self._refused = chosen.files

    async def changed(self) -> bool:
        """Whether there are certificates on disk that were not tried yet."""
        if self._proven is None:
            return False
        self._seen = await asyncio.to_thread(state_of_files, self._connection)
        return self._seen not in {self._proven.files, self._refused}

    async def load(self, address: str) -> Identity:
        """What is on disk, for a trial.

        Raises:
            Denied: it cannot be used.
        """
        return await asyncio.to_thread(load_identity, address, self._connection)

    def refuse(self, error: UplinkError) -> None:
        """The trial of what `changed` saw failed: the operator is warned, once for each reason.

        A refusal counts until the files change again; after a trial that came to nothing there is another.
        """
        if isinstance(error, Denied):
            self._refused = self._seen
        if str(error) != self._warned:
            self._warned = str(error)
            _log.warning(
                "the new certificates do not work, the old ones stay in use: %s",
                error,
                extra={"event": "certificate_refused", "reason": str(error)},
            )

    def warn_when_due(self, address: str) -> None:
        """Warn the operator, once a day, when the client certificate ends soon."""
        days_left, now_s = self.days_left, time.monotonic()
        if days_left is None or days_left >= WARN_DAYS or now_s - self._warned_at < _WARN_AGAIN_S:
            return
        self._warned_at = now_s
        _log.warning(
            "%s: the client certificate %s %s: put a new one in its place, it is taken up without a restart",
            address,
            self._connection.cert_file,
            f"ends in {days_left} days" if days_left >= 0 else "has run out",
            extra={"event": "certificate_ends", "days_left": days_left},
        )
