"""Chance for waits: `random` has far more than these few lines, and takes 0.1 MiB as long as the process runs."""

from __future__ import annotations

import os
from typing import Final

_BYTES: Final = 6  # a float has room for all their bits


def fraction() -> float:
    """A random number, at least 0 and less than 1."""
    return int.from_bytes(os.urandom(_BYTES)) / (1 << 8 * _BYTES)
