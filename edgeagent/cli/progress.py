"""How far a long command is, for a person at a terminal; nothing where there is none."""

from __future__ import annotations

import sys
import time
from typing import Self

_EVERY_S = 0.2


class ProgressLine:
    """A line on stderr that is written over: what is done, and how much of it in percent. A context manager."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._shown = False
        self._next_s = time.monotonic() + _EVERY_S  # what is quick says nothing

    def at(self, done: int, total: int) -> None:
        """So much of `total` is done."""
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
        """Leave an empty line for what comes."""
        if self._shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
