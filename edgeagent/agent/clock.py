"""The agent's clocks, behind one object, so that tests can turn them."""

from __future__ import annotations

import os
import time
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from edgeagent.common.times import rfc3339

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_RANDOM_BYTES = 9
# So many UUIDs share what is random in them and are told apart, and sorted, by their last two digits.
_LAST_DIGITS = [f"{number:02x}" for number in reversed(range(256))]
_UUID_VARIANTS = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))


class Moment(NamedTuple):
    """One look at the clocks, for everything that is decided together. `time`: `now_ms` as RFC 3339."""

    now_ms: int
    uptime_ms: int
    time: str


class Clock:
    """Wall time only for data; `monotonic_s` for logic; `uptime_ms` counts within the boot that `boot` names."""

    def __init__(self) -> None:
        self.boot = bytes.fromhex(_BOOT_ID.read_text("ascii").strip().replace("-", ""))
        self._id_ends: list[str] = []  # each is used once

    def now_ms(self) -> int:
        """Wall clock, Unix milliseconds."""
        return time.time_ns() // 1_000_000

    def uptime_ms(self) -> int:
        """Milliseconds since the machine's boot, those asleep included."""
        return int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000)

    def now(self) -> str:
        """Wall clock, RFC 3339 UTC."""
        return rfc3339(self.now_ms())

    def moment(self) -> Moment:
        """All of them."""
        now_ms = self.now_ms()
        return Moment(now_ms, self.uptime_ms(), rfc3339(now_ms))

    def new_id(self, now_ms: int) -> str:
        """A UUIDv7 (RFC 9562, 5.7): sorts by time, unique without coordination."""
        if not self._id_ends:
            self._id_ends = _uuid7_ends()
        return _uuid7_start(now_ms) + self._id_ends.pop()


@lru_cache(maxsize=2)  # events come many in a millisecond
def _uuid7_start(now_ms: int) -> str:
    digits = f"{now_ms:012x}"
    return f"{digits[:8]}-{digits[8:]}-7"


def _uuid7_ends() -> list[str]:
    """What stands behind the time in the next UUIDs, the last one first: the variant, and 66 random bits."""
    digits = os.urandom(_RANDOM_BYTES).hex()
    start = f"{digits[:3]}-{_UUID_VARIANTS[digits[3]]}{digits[4:7]}-{digits[7:17]}"
    return [start + last for last in _LAST_DIGITS]
