"""The supply: triggers that are leased and wait for a place in the window, from both priorities, in order."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from edgeagent.errors import StorageFailed
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import HIGH, NORMAL, Leased

# When both logs have triggers, every so many-th comes from `normal`, so that `high` overtakes without starving it.
_NORMAL_SHARE = 8
# While the disk cannot be read it is tried this often.
_UNREADABLE_S = 1.0

_log = logging.getLogger(__name__)


class Supply:
    """See the module. One of the logs may be unreadable: the other one goes on."""

    def __init__(self, outbox: Outbox, more: Callable[[], None]) -> None:
        """`more` is called when there may be something to lease that was not there, or not readable, before."""
        self._outbox = outbox
        self._more = more
        self._leased: dict[str, deque[Leased]] = {HIGH: deque(), NORMAL: deque()}
        self._empty = {HIGH: False, NORMAL: False}
        self._unreadable = False
        self._taken = 0
        outbox.on_change = self.changed

    def changed(self) -> None:
        """The outbox has new triggers."""
        self._empty = dict.fromkeys(self._empty, False)
        self._more()

    def unreadable(self, error: StorageFailed) -> None:
        """The disk refused to be read: told once, and tried again."""
        if not self._unreadable:
            _log.warning("cannot read the outbox, trying again: %s", error, extra={"event": "outbox_unreadable"})
        self._unreadable = True
        asyncio.get_running_loop().call_later(_UNREADABLE_S, self.changed)

    @property
    def unread(self) -> bool:
        """Whether `read` may bring something: a log has more, and none of it is leased."""
        return any(not leased and not self._empty[name] for name, leased in self._leased.items())

    async def read(self) -> None:
        """Lease from the disk where nothing is left."""
        for name, leased in self._leased.items():
            if leased or self._empty[name]:
                continue
            self._empty[name] = True  # until `changed` says otherwise, perhaps while we read
            try:
                leased.extend(await self._outbox.lease(name))
                self._unreadable = False
            except StorageFailed as exc:
                self.unreadable(exc)
            if leased:
                self._empty[name] = False

    def take(self, most: int) -> list[Leased]:
        """The next triggers to send, at most so many; empty when none is leased, and none was just committed."""
        for name, leased in self._leased.items():
            if leased or self._empty[name]:
                continue
            newest = self._outbox.lease_newest(name)
            if newest is not None:
                leased.extend(newest)
                self._empty[name] = not newest
        high, normal = self._leased[HIGH], self._leased[NORMAL]
        if not high:
            return [normal.popleft() for _ in range(min(most, len(normal)))]
        taken: list[Leased] = []
        while len(taken) < most and (high or normal):
            self._taken += 1
            turn = normal if normal and (not high or self._taken % _NORMAL_SHARE == 0) else high
            taken.append(turn.popleft())
        return taken
