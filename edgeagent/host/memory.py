"""Memory that the process has freed, given back to the system."""

from __future__ import annotations

import ctypes
import sys


def give_back_free_memory() -> None:
    """Return what is free inside the C library's heaps; where it has no such call (musl), its allocator does it itself.

    glibc keeps what was freed between pieces that are still used: after a flood of batches of 3.5 MiB it kept 600 of
    700 MiB, and one such call returned them. It takes some milliseconds.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
