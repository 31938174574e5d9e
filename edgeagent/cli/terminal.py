"""The width of the terminal, for help and tables."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Final

_FALLBACK_COLUMNS: Final = 80
# As argparse leaves free at the end of a line.
_MARGIN: Final = 2


class HelpFormatter(argparse.HelpFormatter):
    """argparse's, which is made for each argument: its own way to the width loads compressors, 0.5 MiB of memory."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=columns() - _MARGIN)


def columns() -> int:
    """How many columns there are, as `shutil.get_terminal_size` finds it: `$COLUMNS`, else the terminal's, else 80."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns if sys.__stdout__ else _FALLBACK_COLUMNS
    except (OSError, ValueError):  # no terminal, or closed
        return _FALLBACK_COLUMNS
