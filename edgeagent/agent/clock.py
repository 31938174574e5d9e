"""The agent's clocks, behind one object, so that tests can turn them."""

from __future__ import annotations

import os
import time
from pathlib import Path

from edgeagent.core.times import rfc3339

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_UUID7_RANDOM_BYTES = 10


class Clock:
    """Wall time only for data; `monotonic_s` for logic; `uptime_ms` counts within the boot that `boot` names."""

    def __init__(self) -> None:
        self.boot = bytes.fromhex(_BOOT_ID.read_text("ascii").strip().replace("-", ""))

    def now_ms(self) -> int:
        """Wall clock, Unix milliseconds."""
        return time.time_ns() // 1_000_000

    def uptime_ms(self) -> int:
        """Milliseconds since the machine's boot, those asleep included."""
        return int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000)

    def now(self) -> str:
        """Wall clock, RFC 3339 UTC."""
        return rfc3339(self.now_ms())

    def new_id(self) -> str:
        """A UUIDv7 (RFC 9562, 5.7): sorts by time, unique without coordination."""
        value = int.from_bytes(self.now_ms().to_bytes(6, "big") + os.urandom(_UUID7_RANDOM_BYTES), "big")
        value = value & ~(0xF << 76) | 0x7 << 76
        value = value & ~(0x3 << 62) | 0x2 << 62
        text = f"{value:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
