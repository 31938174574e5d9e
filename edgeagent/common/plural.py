"""Numbers of things, as a person says them."""

from __future__ import annotations


def counted(count: int, one: str, many: str = "") -> str:
    """`1 trigger`, `2 triggers`. `many` where an s at the end is not enough: `counted(2, "waits", "wait")`."""
    return f"{count} {one if count == 1 else many or f'{one}s'}"
