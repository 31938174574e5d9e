"""Leased triggers: they wait, in order and from both priorities, until there is a place in flight."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from edgeagent.errors import StorageFailed
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import EVENT_LOGS, WINDOWS, Leased

# When both logs have triggers, one in this many comes from `normal`, so that `high` overtakes without starving it.
_NORMAL_SHARE = 8
# While the disk cannot be read, it is tried again this often.
_UNREADABLE_S = 1.0

_log = logging.getLogger(__name__)


class Leases:
    """The triggers that are leased from the outbox and not in flight yet.

    Owns the order in which they are taken: windows first, then `high` before `normal` without starving it. Promises
    that a log which cannot be read holds up no other one, and is tried again. Must never drop a trigger: a leased one
    is taken, or put back and taken again.

    Attributes:
        more_to_send: the hook that is called when there may be triggers to take that were missing or unreadable
            before. The composition root connects it with `Sender.wake`.
    """

    def __init__(self, outbox: Outbox) -> None:
        self.more_to_send: Callable[[], None] = lambda: None
        self._outbox = outbox
        self._leased: dict[str, deque[Leased]] = {name: deque() for name in (WINDOWS, *EVENT_LOGS)}
        self._empty = dict.fromkeys(self._leased, False)
        self._unreadable = False
        self._taken = 0

    def changed(self) -> None:
        """Note that the outbox has new triggers."""
        self._note_more(EVENT_LOGS)

    def closed(self) -> None:
        """Note that the outbox has windows that closed."""
        self._note_more([WINDOWS])

    def put_back(self, members: Sequence[Leased]) -> None:
        """Put back triggers of one rule: they are taken once more, in their order and before the others."""
        for leased in reversed(members):
            self._leased[leased.log].appendleft(leased)
        self.more_to_send()

    def unreadable(self, error: StorageFailed) -> None:
        """Note that the disk refused a read: it is logged once, and tried again."""
        if not self._unreadable:
            _log.warning("cannot read the outbox, trying again: %s", error, extra={"event": "outbox_unreadable"})
        self._unreadable = True
        asyncio.get_running_loop().call_later(_UNREADABLE_S, self._note_more, list(self._leased))

    @property
    def unread(self) -> bool:
        """Whether `read` may bring something: a log has more, and none of it is leased."""
        return any(not leased and not self._empty[name] for name, leased in self._leased.items())

    async def read(self) -> None:
        """Lease from the disk, for each log of which nothing is left in memory."""
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
        """The next triggers to send, at most `most`; empty if nothing is leased and nothing was just committed."""
        for name in EVENT_LOGS:
            leased = self._leased[name]
            if leased or self._empty[name]:
                continue
            newest = self._outbox.lease_newest(name)
            if newest is not None:
                leased.extend(newest)
                self._empty[name] = not newest
        windows, high, normal = self._leased.values()
        if windows:  # their events were accepted earlier
            return [windows.popleft() for _ in range(min(most, len(windows)))]
        if not high:
            return [normal.popleft() for _ in range(min(most, len(normal)))]
        taken: list[Leased] = []
        while len(taken) < most and (high or normal):
            self._taken += 1
            log = normal if normal and (not high or self._taken % _NORMAL_SHARE == 0) else high
            taken.append(log.popleft())
        return taken

    def _note_more(self, names: Iterable[str]) -> None:
        self._empty.update(dict.fromkeys(names, False))
        self.more_to_send()
