"""The last log lines of the process, in memory, for a fault report."""

from __future__ import annotations

import threading
from collections import deque
from typing import Final

import msgspec

MAX_LINES: Final = 500
MAX_CHARS: Final = 256 << 10


class RecentLine(msgspec.Struct, frozen=True):
    """A line of the log as it is written for a person. `level`: `logging`'s number."""

    level: int
    text: str


class RecentLines:
    """Owns the last lines: at most `MAX_LINES`, and `MAX_CHARS` characters. May be used from any thread."""

    def __init__(self) -> None:
        self._lines: deque[RecentLine] = deque()
        self._chars = 0
        self._lock = threading.Lock()

    def add(self, level: int, text: str) -> None:
        """Keep a line, and forget the oldest ones beyond the bounds. Of a line that is too long the beginning stays."""
        line = RecentLine(level, text[:MAX_CHARS])
        with self._lock:
            self._lines.append(line)
            self._chars += len(line.text)
            while len(self._lines) > MAX_LINES or self._chars > MAX_CHARS:
                self._chars -= len(self._lines.popleft().text)

    def lines(self, level: int = 0) -> list[str]:
        """The lines of this level or a higher one, oldest first."""
        with self._lock:
            return [line.text for line in self._lines if line.level >= level]
