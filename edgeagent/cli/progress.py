"""The progress of a long command, for a person at a terminal; nothing is written if stderr is not one."""

from __future__ import annotations

import sys
import time
from typing import Self

_EVERY_S = 0.2


class ProgressLine:
    """A line on stderr that is overwritten: the task, and the percentage done. A context manager."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._shown = False
        self._next_s = time.monotonic() + _EVERY_S  # a quick task writes nothing

    def at(self, done: int, total: int) -> None:
        """Show that `done` of `total` is done."""
        now = time.monotonic()
        if now < self._next_s or not sys.stderr.isatty():
            return
        self._next_s = now + _EVERY_S
        self._shown = True
        sys.stderr.write(f"\r{self._what}: {100 * min(done, total) // max(total, 1)} %")
        sys.stderr.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Clear the line."""
        if self._shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
