"""An alarm: a call that comes once, in the loop's next turn or at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Alarm:
    """See the module. Set more than once, it comes at the earliest of the times."""

    def __init__(self, loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
        """Not set."""
        self._loop = loop
        self._call = call
        self._handle: asyncio.Handle | None = None

    def soon(self) -> None:
        """Let it come when the loop comes round."""
        if self._handle is None or isinstance(self._handle, asyncio.TimerHandle):
            self.cancel()
            self._handle = self._loop.call_soon(self._come)

    def at(self, when: float) -> None:
        """Let it come at this time of the loop."""
        if self._handle is None or (isinstance(self._handle, asyncio.TimerHandle) and self._handle.when() > when):
            self.cancel()
            self._handle = self._loop.call_at(when, self._come)

    def cancel(self) -> None:
        """Let it not come."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _come(self) -> None:
        self._handle = None
        self._call()
