"""Small things that every part may use: names, units, times, waits, text from outside. No I/O."""

from __future__ import annotations
