"""Keeps TLS out of a process that does without: OpenSSL and what stands on it are 4 MiB of an idle agent's 30.

asyncio imports `ssl` whether or not a connection will ever use it, and does without where Python was built without it.
"""

from __future__ import annotations

import sys
from typing import Any


def import_asyncio_without_tls() -> None:
    """Import asyncio as if Python had no TLS: whoever asks this process's loop for TLS later gets a RuntimeError.

    To be called before anything else imports asyncio; without effect if something did, or uses `ssl`. Any other use of
    `ssl` is as ever.
    """
    if "asyncio" in sys.modules or "ssl" in sys.modules:
        return
    modules: dict[str, Any] = sys.modules
    modules["ssl"] = None  # an import of it fails then, as Python's reference says
    try:
        import asyncio  # noqa: F401, PLC0415
    finally:
        del modules["ssl"]
