"""Parts with rows of their own in the ledger's file, which are committed with the ledger's changes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Protocol

Writes = Callable[[sqlite3.Connection], None]


class LedgerCompanion(Protocol):
    """A part with rows of its own in the ledger, which are committed with the ledger's."""

    def begin(self) -> Writes | None:
        """Take what is not written; returns what writes it, in the commit's transaction, or None for nothing."""

    def ended(self, *, kept: bool) -> None:
        """Note whether the commit is on disk. If not, what was taken is taken again with the next one."""


class Companions:
    """Owns the companions of a ledger, and calls them in the order in which they were added."""

    def __init__(self) -> None:
        self._companions: list[LedgerCompanion] = []

    def add(self, companion: LedgerCompanion) -> None:
        """Add one; before the ledger's first commit."""
        self._companions.append(companion)

    def begin(self) -> Writes | None:
        """See `LedgerCompanion`; of all of them."""
        begun = [writes for each in self._companions if (writes := each.begin()) is not None]
        if not begun:
            return None

        def write(database: sqlite3.Connection) -> None:
            for writes in begun:
                writes(database)

        return write

    def ended(self, *, kept: bool) -> None:
        """See `LedgerCompanion`; of all of them."""
        for each in self._companions:
            each.ended(kept=kept)
