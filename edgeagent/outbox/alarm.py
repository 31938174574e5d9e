"""A timer that makes one call, either in the event loop's next turn or at a given time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Alarm:
    """Makes one call at the earliest of the times it was set to; the call may set it again."""

    def __init__(self, loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
        """Create an alarm that is not set."""
        self._loop = loop
        self._call = call
        self._handle: asyncio.Handle | None = None

    def soon(self) -> None:
        """Make the call in the loop's next turn."""
        if self._handle is None or isinstance(self._handle, asyncio.TimerHandle):
            self.cancel()
            self._handle = self._loop.call_soon(self._come)

    def at(self, when: float) -> None:
        """Make the call at this time of the loop's clock, in seconds, unless it is due earlier."""
        if self._handle is None or (isinstance(self._handle, asyncio.TimerHandle) and self._handle.when() > when):
            self.cancel()
            self._handle = self._loop.call_at(when, self._come)

    def cancel(self) -> None:
        """Cancel the call, if one is due."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _come(self) -> None:
        self._handle = None
        self._call()
