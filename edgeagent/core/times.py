"""Instants as texts: RFC 3339 in UTC, from Unix milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(unix_ms: int) -> str:
    """`2026-03-20T11:00:00.250Z`."""
    instant = datetime.fromtimestamp(unix_ms / 1000, UTC)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")
