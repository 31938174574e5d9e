"""Uploads that are made ahead of their triggers' turn: whose they are, and who still wants them. Without I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from edgeagent.outbox.records import Leased

# How many are asked for, each some KB, of which a few are under way.
MAX_OPEN: Final = 256

Place = tuple[str, int]


class Ahead:
    """Owns the triggers of each event whose upload was asked for ahead and has not ended, by the object's name.

    Promises that an upload is forgotten when the last of these triggers has ended, and not before.
    """

    def __init__(self) -> None:
        self._open: dict[str, list[Leased]] = {}
        self._left: set[str] | None = None

    def __contains__(self, name: str) -> bool:
        return name in self._open

    def __len__(self) -> int:
        """How many were asked for and have not ended."""
        return len(self._open)

    @property
    def names(self) -> Sequence[str]:
        """Their names, in the order in which they were asked for."""
        return tuple(self._open)

    def places(self) -> list[Place]:
        """The log and seq of each trigger."""
        return [(one.log, one.seq) for triggers in self._open.values() for one in triggers]

    def looking(self) -> None:
        """Note from now on which triggers end, because pending ones are being looked for."""
        self._left = set()

    def add(self, name: str, triggers: Sequence[Leased]) -> bool:
        """Note an upload of these triggers, which are of one event.

        False: one of them ended while they were looked for, or the object is another event's, which used the id before.
        """
        known = self._open.get(name)
        if known is not None and known[0].record.artifact != triggers[0].record.artifact:
            return False
        if self._left is not None and name in self._left:
            return False
        self._open.setdefault(name, []).extend(triggers)
        return True

    def left(self, name: str, leased: Leased) -> bool:
        """Note that a trigger ended; returns whether another one of its event wants the upload that is under way."""
        if self._left is not None:
            self._left.add(name)
        return bool(self._keep(name, lambda one: (one.log, one.seq) != (leased.log, leased.seq)))

    def ended(self, name: str) -> bool:
        """Note that an upload has ended; returns whether it is one of these."""
        return self._open.pop(name, None) is not None

    def sift(self, is_wanted: Callable[[Leased], bool]) -> list[str]:
        """Leave out triggers for which nothing needs to be uploaded; returns the names that nobody wants any more."""
        return [name for name in self.names if not self._keep(name, is_wanted)]

    def _keep(self, name: str, is_wanted: Callable[[Leased], bool]) -> list[Leased]:
        kept = [one for one in self._open.pop(name, ()) if is_wanted(one)]
        if kept:
            self._open[name] = kept
        return kept
