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

    @property
    def is_seen(self) -> bool:
        """Whether there is a person who sees the line."""
        return sys.stderr.isatty()

    def at(self, done: int, total: int) -> None:
        """Show that `done` of `total` is done."""
        now = time.monotonic()
        if now >= self._next_s:
            self._next_s = now + _EVERY_S
            self.says(f"{100 * min(done, total) // max(total, 1)} %")

    def says(self, text: str) -> None:
        """Show how far it is, in words."""
        if self.is_seen:
            self._shown = True
            sys.stderr.write(f"\r\033[K{self._what}: {text}")
            sys.stderr.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Clear the line."""
        self.clear()

    def clear(self) -> None:
        """Clear the line, so that something else can be written."""
        if self._shown:
            self._shown = False
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
