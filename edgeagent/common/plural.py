"""Numbers of things, as a person says them."""

from __future__ import annotations


def counted(count: int, one: str, many: str = "") -> str:
    """`1 trigger`, `2,000 triggers`. `many`: a plural without s, as in `counted(2, "waits", "wait")`."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"
