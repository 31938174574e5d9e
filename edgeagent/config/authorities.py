"""Until when the authorities in a file are of use."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from edgeagent.common.certificates import expiries, first_to_end


def end_of_authorities(ca_file: str, now: datetime) -> datetime | None:
    """When the first of the authorities in a `ca_file` that are still valid ends; None without a file, or if unknown.

    It reads the file: not for the loop's thread.
    """
    if not ca_file:
        return None
    try:
        return first_to_end(expiries(Path(ca_file).read_bytes()), now)
    except (OSError, ValueError):  # just replaced, or in a form that only OpenSSL knows
        return None
