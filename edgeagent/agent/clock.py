"""The agent's clocks, behind one object, so that tests can turn them."""

from __future__ import annotations

import os
import time
from pathlib import Path

from edgeagent.core.times import rfc3339

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_UUID7_RANDOM_BYTES = 10
_UUIDS_AT_ONCE = 64  # the kernel is asked once for so many
_UUID_VARIANT = "89ab"


class Clock:
    """Wall time only for data; `monotonic_s` for logic; `uptime_ms` counts within the boot that `boot` names."""

    def __init__(self) -> None:
        self.boot = bytes.fromhex(_BOOT_ID.read_text("ascii").strip().replace("-", ""))
        self._told = (-1, "")
        self._random = b""

    def now_ms(self) -> int:
        """Wall clock, Unix milliseconds."""
        return time.time_ns() // 1_000_000

    def uptime_ms(self) -> int:
        """Milliseconds since the machine's boot, those asleep included."""
        return int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000)

    def now(self) -> str:
        """Wall clock, RFC 3339 UTC."""
        now_ms, (told_ms, text) = self.now_ms(), self._told
        if now_ms != told_ms:
            text = rfc3339(now_ms)
            self._told = now_ms, text
        return text

    def new_id(self) -> str:
        """A UUIDv7 (RFC 9562, 5.7): sorts by time, unique without coordination."""
        if len(self._random) < _UUID7_RANDOM_BYTES:
            self._random = os.urandom(_UUID7_RANDOM_BYTES * _UUIDS_AT_ONCE)
        random, self._random = self._random[-_UUID7_RANDOM_BYTES:].hex(), self._random[:-_UUID7_RANDOM_BYTES]
        time = f"{self.now_ms():012x}"
        variant = _UUID_VARIANT[int(random[3], 16) & 3]
        return f"{time[:8]}-{time[8:]}-7{random[:3]}-{variant}{random[4:7]}-{random[7:19]}"
