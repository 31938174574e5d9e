"""Whether the system's clock is synchronised, as systemd-timesyncd says."""

from __future__ import annotations

from pathlib import Path

# The directory is there while systemd-timesyncd runs, the file since it set the clock in this boot (its manual).
TIMESYNC = Path("/run/systemd/timesync")
_TIMESYNCED = "synchronized"


def is_synchronized() -> bool | None:
    """Whether a time server has set the clock; None if nothing here can say.

    The kernel is not asked (adjtimex): a service with `ProtectClock=` may not, and Python has no call for it without a
    library that takes 0.7 MiB as long as the agent runs.
    """
    return (TIMESYNC / _TIMESYNCED).exists() if TIMESYNC.is_dir() else None
