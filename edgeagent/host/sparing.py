"""Keeps out of an agent's process what libraries load whether or not it is used: 5 MiB of an idle agent's 30.

Both do without where Python has none of it, and this is how they are imported here (`python -m benchmarks idle`).
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any


def import_msgspec_alone() -> None:
    """Import msgspec without `typing_extensions`, of which it needs nothing that `typing` does not have."""
    _import_without("typing_extensions", "msgspec")


def import_asyncio_without_tls() -> None:
    """Import asyncio as if Python had no TLS: whoever asks this process's loop for TLS later gets a RuntimeError.

    To be called before anything else imports asyncio. Any other use of `ssl` is as ever.
    """
    _import_without("ssl", "asyncio")


def _import_without(left_out: str, module: str) -> None:
    """Without effect if either of the two is there already."""
    if module in sys.modules or left_out in sys.modules:
        return
    modules: dict[str, Any] = sys.modules
    modules[left_out] = None  # an import of it fails then, as Python's reference says
    try:
        import_module(module)
    finally:
        del modules[left_out]
