"""The one timer of a connection, which is set for every request and hardly ever expires."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class LazyTimer:
    """Calls `expired` at the deadline that was set last.

    A timer of the loop that would fire too early stays as it is and is set again when it fires, so that a request which
    ends at once costs none.
    """

    __slots__ = ("_deadline", "_expired", "_handle", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[], None]) -> None:
        self._loop = loop
        self._expired = expired
        self._deadline: float | None = None
        self._handle: asyncio.TimerHandle | None = None

    def set(self, deadline: float) -> None:
        """Expire at this time of the loop, and not at the one before."""
        self._deadline = deadline
        if self._handle is None or deadline < self._handle.when():
            if self._handle is not None:
                self._handle.cancel()
            self._handle = self._loop.call_at(deadline, self._fire)

    def clear(self) -> None:
        """Do not expire, until it is set again."""
        self._deadline = None

    def cancel(self) -> None:
        """The connection is gone."""
        if self._handle is not None:
            self._handle.cancel()

    def _fire(self) -> None:
        self._handle = None
        if self._deadline is None:
            return
        if self._loop.time() < self._deadline:
            self._handle = self._loop.call_at(self._deadline, self._fire)
        else:
            self._expired()
