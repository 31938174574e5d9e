"""The hash BLAKE2b, without OpenSSL.

`hashlib` has the same one, but loads OpenSSL for others: 3 MiB of memory (`python -m benchmarks idle`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import blake2b
else:
    try:
        from _blake2 import blake2b
    except ImportError:  # a Python that keeps it elsewhere
        from hashlib import blake2b

__all__ = ["blake2b"]
