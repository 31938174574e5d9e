"""The account of the memory that requests hold, over all listeners. A request that does not fit gets 503.

A request's share is reserved when its head is read, and given back when its answer is sent, whatever happened to its
connection meanwhile. It covers the body (once: only one request is decoded at a time) and what is made of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

# In addition to the 35 to 50 MB that the agent needs at rest; the systemd unit allows it 224 MB.
MAX_REQUEST_BYTES: Final = 48 << 20
# Requests up to this size are small: one event of a usual sensor, or a query.
SMALL_BYTES: Final = 64 << 10
# This fraction of the budget is kept for small requests, and as much for those on the Unix socket.
_KEPT_PARTS: Final = 8
# After this much was given back, the allocator is asked to return it to the system, and not more often than this.
_TIDY_BYTES: Final = 16 << 20
_TIDY_INTERVAL_S: Final = 0.5


class Budget:
    """The number of bytes that requests hold; no reservation exceeds `max_bytes`. Use it only in the loop's thread."""

    def __init__(self, max_bytes: int = MAX_REQUEST_BYTES, tidy: Callable[[], None] = lambda: None) -> None:
        """`tidy`: returns free memory to the system; it is called after much was given back."""
        self.used_bytes = 0
        self._max_bytes = max_bytes
        self._kept_bytes = max_bytes // _KEPT_PARTS
        self._tidy = tidy
        self._freed_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def reserve(self, more_bytes: int, total_bytes: int, *, is_local: bool) -> bool:
        """Reserve `more_bytes` for a request, which then holds `total_bytes`. False: no room, and nothing is reserved.

        `is_local`: the request came over the Unix socket.
        """
        room = self._max_bytes - self.used_bytes - more_bytes
        if total_bytes > SMALL_BYTES:
            room -= self._kept_bytes
        if not is_local:
            room -= self._kept_bytes
        if room < 0:
            return False
        self.used_bytes += more_bytes
        return True

    def occupy(self, size_bytes: int) -> None:
        """Count bytes that are held already, such as an answer that its client does not read, even beyond the limit."""
        self.used_bytes += size_bytes

    def give_back(self, size_bytes: int) -> None:
        """Free bytes that were reserved or occupied."""
        self.used_bytes -= size_bytes
        if size_bytes <= SMALL_BYTES:
            return
        self._freed_bytes += size_bytes
        if self._freed_bytes >= _TIDY_BYTES and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_TIDY_INTERVAL_S, self._tidy_up)

    def close(self) -> None:
        """Stop the timer; no request is served any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tidy_up(self) -> None:
        self._timer = None
        self._freed_bytes = 0
        self._tidy()
