"""How many unfinished workflows each namespace has, and whether it may have one more (`engine.max_active`). Pure.

The count includes the workflows that the watcher has listed or seen, those created here that it has not reported yet,
and creations under way. The limit is a brake, not a lock: another dispatcher's workflows count once the watcher has
reported them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec


class _Namespace(msgspec.Struct):
    """The workflows of one namespace.

    `created`: names that the watcher has not reported yet, each with the number of lists there were at its creation.
    `reserved`: creations under way; `early`: workflows that the watcher saw end while some were under way.
    """

    watched: set[str] = set()
    created: dict[str, int] = {}
    reserved: int = 0
    early: set[str] = set()
    lists: int = 0

    @property
    def active(self) -> int:
        return len(self.watched) + len(self.created) + self.reserved


class Capacity:
    """Owns the counts by namespace. The watcher calls `started`, `finished` and `listed`, the dispatcher the rest."""

    def __init__(self, max_active: int | None, watched: Collection[str], *, changed: Callable[[], None]) -> None:
        """Begin with no active workflow.

        Args:
            max_active: the limit of each namespace; None for no limit, and no counting.
            watched: the namespaces that the watcher reports on. Others have no limit: they would be full for ever.
            changed: called after a namespace may have gained room.
        """
        self._max_active = max_active or 0
        self._changed = changed
        self._namespaces = {name: _Namespace() for name in watched} if max_active else {}

    # Called by the watcher.

    def started(self, namespace: str, name: str) -> None:
        """Note that this workflow exists and has not finished; may be called repeatedly."""
        counted = self._namespaces.get(namespace)
        if counted is None:
            return
        counted.created.pop(name, None)
        counted.watched.add(name)

    def finished(self, namespace: str, name: str) -> None:
        """Note that this workflow has finished or was deleted."""
        counted = self._namespaces.get(namespace)
        if counted is None:
            return
        counted.watched.discard(name)
        counted.created.pop(name, None)
        if counted.reserved:
            counted.early.add(name)
        self._changed()

    def listed(self, namespace: str, names: Collection[str]) -> None:
        """Set the unfinished workflows to these; one created since the list before this one stays counted."""
        counted = self._namespaces.get(namespace)
        if counted is None:
            return
        counted.watched = set(names)
        counted.created = {
            name: lists
            for name, lists in counted.created.items()
            if lists == counted.lists and name not in counted.watched
        }
        counted.lists += 1
        self._changed()

    # Called by the dispatcher.

    def has_room(self, namespace: str) -> bool:
        """Whether one more workflow may be created in the namespace."""
        counted = self._namespaces.get(namespace)
        return counted is None or counted.active < self._max_active

    def is_relaxed(self, namespace: str) -> bool:
        """Whether half of the limit is free: then the end of the shortage is logged."""
        counted = self._namespaces.get(namespace)
        return counted is None or 2 * counted.active <= self._max_active

    def reserve(self, namespace: str) -> bool:
        """Count a creation that is about to begin, until `release`; False if there is no room for it."""
        if not self.has_room(namespace):
            return False
        if namespace in self._namespaces:
            self._namespaces[namespace].reserved += 1
        return True

    def release(self, namespace: str, created: str | None) -> None:
        """Note that a creation has ended: with this workflow, or with None."""
        counted = self._namespaces.get(namespace)
        if counted is None:
            return
        counted.reserved -= 1
        if created is not None and created not in counted.early and created not in counted.watched:
            counted.created[created] = counted.lists
        if not counted.reserved:
            counted.early.clear()
        if created is None:
            self._changed()
