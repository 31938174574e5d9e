"""Chooses the certificates of a session: those on disk, or, while these do not work, those that worked last.

The ones that worked stay in memory. So a new certificate that the broker does not accept, or that is only half written
yet, does no harm as long as the old one is valid.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from edgeagent.common.certificate_ends import Ends
from edgeagent.common.plural import counted
from edgeagent.config.tables import Connection
from edgeagent.errors import Denied, UplinkError

if TYPE_CHECKING:
    from edgeagent.config.secretfile import FileState
    from edgeagent.links.tls import Identity

# With fewer days left than this, a warning is logged, once in this period.
WARN_DAYS = 30
_WARN_AGAIN_S = 86_400.0
_DAY_S = 86_400.0

_log = logging.getLogger(__name__)


class Rotation:
    """The certificates of one session; pass it to one `keep_connected`.

    While there is no connection, the ones on disk and those that worked are tried alternately (if they differ), so that
    neither a bad replacement nor an expired certificate keeps us offline. While connected, `changed` reports that
    there are new ones on disk; the session tries them on a second connection, and uses them only if that works.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._proven: Identity | None = None
        self._chosen: Identity | None = None
        self._refused: tuple[FileState, ...] | None = None  # the files that the broker did not accept
        self._seen: tuple[FileState, ...] = ()
        self._old_is_next: bool | None = None  # whether the old ones are tried next; None: no attempt since they worked
        self._warned: tuple[tuple[FileState, ...], str] | None = None  # which files do not work, and why
        self._warned_at = -_WARN_AGAIN_S

    @property
    def has_files(self) -> bool:
        """Whether there are certificate files, which can be replaced."""
        return bool(self._connection.certificate_files)

    @property
    def ends(self) -> Ends:
        """Until when the certificates in use are valid."""
        used = self._proven or self._chosen
        return used.ends if used is not None else Ends()

    @property
    def days_left(self) -> int | None:
        """Whole days until the client certificate in use expires, negative after that; None: there is none."""
        own = self.ends.own
        return None if own is None else int((own - datetime.now(UTC)).total_seconds() // _DAY_S)

    async def choose(self, address: str) -> Identity:
        """The certificates for the next attempt to connect.

        Raises:
            Denied: those on disk cannot be used. The attempt after this one may get those that worked last.
        """
        from edgeagent.links.tls import load_identity, state_of_files  # noqa: PLC0415  only for links with TLS

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
        """Note that the attempt which `choose` was for succeeded."""
        self._proven, self._old_is_next = self._chosen, None

    def failed(self, error: UplinkError) -> None:
        """Note that it failed: refused files on disk are from now on only tried alternately."""
        chosen, proven = self._chosen, self._proven
        if isinstance(error, Denied) and chosen is not None and proven is not None and chosen.files != proven.files:
            self._refused = chosen.files

    async def changed(self) -> bool:
        """Whether there are certificates on disk that were not tried yet."""
        if self._proven is None:
            return False
        from edgeagent.links.tls import state_of_files  # noqa: PLC0415  as above

        self._seen = await asyncio.to_thread(state_of_files, self._connection)
        return self._seen not in {self._proven.files, self._refused}

    async def load(self, address: str) -> Identity:
        """Load those on disk, for a trial.

        Raises:
            Denied: they cannot be used.
        """
        from edgeagent.links.tls import load_identity  # noqa: PLC0415  as above

        return await asyncio.to_thread(load_identity, address, self._connection)

    def refuse(self, error: UplinkError) -> None:
        """Note that the trial of new certificates failed; a warning is logged, once for these files and this reason.

        A refusal holds until the files change again; a trial that was inconclusive is repeated.
        """
        if isinstance(error, Denied):
            self._refused = self._seen
        if (self._seen, str(error)) != self._warned:
            self._warned = self._seen, str(error)
            _log.warning(
                "the new certificates do not work, the old ones stay in use: %s",
                error,
                extra={"event": "certificate_refused", "reason": str(error)},
            )

    def warn_when_due(self, address: str) -> None:
        """Log a warning, once a day, if the client certificate expires soon."""
        days_left, now_s = self.days_left, time.monotonic()
        if days_left is None or days_left >= WARN_DAYS or now_s - self._warned_at < _WARN_AGAIN_S:
            return
        self._warned_at = now_s
        _log.warning(
            "%s: the client certificate %s %s: put a new one in its place, it is taken up without a restart",
            address,
            self._connection.cert_file,
            f"ends in {counted(days_left, 'day')}" if days_left >= 0 else "has run out",
            extra={"event": "certificate_ends", "days_left": days_left},
        )
