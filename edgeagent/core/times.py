"""Instants as texts: RFC 3339 in UTC, from Unix milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


def rfc3339(unix_ms: int) -> str:
    """`2026-03-20T11:00:00.250Z`."""
    unix_s, ms = divmod(unix_ms, 1000)
    return f"{_second(unix_s)}.{ms:03d}Z"


@lru_cache(maxsize=2)  # events come many in a second
def _second(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")
