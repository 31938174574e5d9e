"""Whether the system's clock is synchronised, as systemd-timesyncd or the kernel says."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# The directory is there while systemd-timesyncd runs, the file since it set the clock in this boot (its manual).
TIMESYNC = Path("/run/systemd/timesync")
_TIMESYNCED = "synchronized"
# adjtimex(2): the return value for a clock that is not synchronised, or of which this cannot be said.
_TIME_ERROR = 5
_TIMEX_BYTES = 512  # more than a struct timex has on any machine; all zeros: only read


def is_synchronized() -> bool | None:
    """Whether a time server has set the clock; None if nothing here can say.

    systemd-timesyncd is asked first: with `ProtectClock=` a service may not ask the kernel, and where it runs, no
    library is loaded for that.
    """
    if TIMESYNC.is_dir():
        return (TIMESYNC / _TIMESYNCED).exists()
    state = _adjtimex()()
    return None if state < 0 else state != _TIME_ERROR


@cache
def _adjtimex() -> Callable[[], int]:
    """A function that calls adjtimex(2); it returns -1 where the system refuses or has none."""
    if sys.platform != "linux":
        return lambda: -1
    import ctypes  # noqa: PLC0415  0.3 MiB, only where no systemd-timesyncd runs

    call = getattr(ctypes.CDLL(None), "adjtimex", None)
    if call is None:
        return lambda: -1
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)

    def ask() -> int:
        ctypes.memset(timex, 0, _TIMEX_BYTES)  # the kernel fills it, and its first member would be an order
        return int(call(timex))

    return ask
