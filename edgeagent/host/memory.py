"""Returns memory that the process has freed to the operating system."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

_STATUS: Final = Path("/proc/self/status")
# Less than this is not worth the call, nor what is loaded for it.
_WORTH_KIB: Final = 4 << 10


class FreeMemory:
    """Returns the free memory in the C library's heaps. Without such a call (musl), the allocator does so by itself.

    glibc keeps freed memory that lies between pieces in use: after a flood of 3.5 MiB batches it kept 600 of 700 MiB,
    and one call returned them. It takes some milliseconds.
    """

    def __init__(self) -> None:
        """Take what the process has now as what it needs."""
        self._least_kib = _resident_kib()

    def give_back(self) -> None:
        """Return it, if the process has grown: who asks has only estimated what requests took."""
        now_kib = _resident_kib()
        self._least_kib = min(self._least_kib, now_kib)
        if not now_kib or now_kib - self._least_kib >= _WORTH_KIB:
            _trim()


def _trim() -> None:
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415  0.3 MiB, and few agents ever see a flood

        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _resident_kib() -> int:
    """The resident memory; 0 where the system does not tell."""
    with suppress(OSError):
        for line in _STATUS.read_text("ascii", "replace").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    return 0
