"""How many unfinished workflows there are of each kind, and whether there may be one more (`engine.max_active`). Pure.

A limit counts the workflows that the watcher has listed or seen, those created here that it has not reported yet, and
creations under way. It is a brake, not a lock: another dispatcher's workflows count once the watcher has reported them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import msgspec

from edgeagent.common.names import Glob


class LimitUse(msgspec.Struct, frozen=True):
    """How much of a limit is used. `key`: NAMESPACE/TEMPLATE, both globs; `active`: unfinished workflows of `most`."""

    key: str
    most: int
    active: int

    @property
    def full(self) -> bool:
        """Whether there may be no more."""
        return self.active >= self.most


class Limit(msgspec.Struct, eq=False):
    """One limit and its count. `namespace`: the one that a plain number limits; empty for a key of the table."""

    key: str
    most: int
    namespace: str = ""
    active: int = 0

    @property
    def has_room(self) -> bool:
        """Whether one more workflow may be created."""
        return self.active < self.most

    @property
    def is_relaxed(self) -> bool:
        """Whether half of the limit is free: then the end of the shortage is logged."""
        return 2 * self.active <= self.most

    def __str__(self) -> str:
        """What is reached when there is no room, for those who wait."""
        if self.namespace:
            return f"namespace {self.namespace!r} has as many unfinished workflows as it may (engine.max_active)"
        return f'there are as many unfinished workflows as engine.max_active "{self.key}" = {self.most} lets be'


Pool = tuple[Limit, ...]
"""All limits that count a workflow. Triggers of one pool have room at the same time."""


class _Created(msgspec.Struct, frozen=True):
    """A workflow that was created here, and how many lists there had been."""

    pool: Pool
    lists: int


class _Namespace(msgspec.Struct):
    """The workflows of one namespace.

    `created`: those that the watcher has not reported yet. `reserved`: creations under way; `early`: workflows that the
    watcher saw end while some were under way.
    """

    watched: dict[str, Pool] = {}
    created: dict[str, _Created] = {}
    reserved: int = 0
    early: set[str] = set()
    lists: int = 0


class Capacity:
    """Owns the limits and their counts. The watcher calls `started`, `finished` and `listed`, the dispatcher the rest.

    The template of a workflow is the name of the WorkflowTemplate or ClusterWorkflowTemplate that it refers to, empty
    for one with its own templates.
    """

    def __init__(
        self, max_active: int | Mapping[str, int] | None, watched: Collection[str], *, changed: Callable[[], None]
    ) -> None:
        """Begin with no active workflow.

        Args:
            max_active: the limit of each namespace, or that of each key NAMESPACE/TEMPLATE, over all that it matches;
                None for no limit, and no counting.
            watched: the namespaces that the watcher reports on. Others have no limit: they would be full for ever.
            changed: called after there may be more room.
        """
        if isinstance(max_active, int):
            self._limits = tuple(Limit(f"{name}/*", max_active, name) for name in watched)
        else:
            self._limits = tuple(Limit(key, most) for key, most in (max_active or {}).items())
        self._globs = [(limit, *_globs(limit.key)) for limit in self._limits]
        self._changed = changed
        self._namespaces = {name: _Namespace() for name in watched} if self._limits else {}

    @property
    def is_known(self) -> bool:
        """Whether every namespace has been listed once; before, a restart has forgotten what is unfinished."""
        return all(counted.lists for counted in self._namespaces.values())

    def uses(self) -> tuple[LimitUse, ...]:
        """How much of each limit is used, in the order of the configuration."""
        return tuple(LimitUse(limit.key, limit.most, limit.active) for limit in self._limits)

    def pool(self, namespace: str, template: str) -> Pool:
        """The limits that count the workflows of a template in a namespace; none if nobody watches it."""
        if namespace not in self._namespaces:
            return ()
        return tuple(
            limit
            for limit, namespaces, templates in self._globs
            if namespaces.matches(namespace) and templates.matches(template)
        )

    # Called by the watcher.

    def started(self, namespace: str, name: str, template: str) -> None:
        """Note that this workflow exists and has not finished; may be called repeatedly."""
        counted = self._namespaces.get(namespace)
        if counted is None:
            return
        self._watch(counted, name, self.pool(namespace, template))

    def finished(self, namespace: str, name: str) -> None:
        """Note that this workflow has finished or was deleted."""
        counted = self._namespaces.get(namespace)
        if counted is None:
            return
        self._forget(counted, name)
        if counted.reserved:
            counted.early.add(name)
        self._changed()

    def listed(self, namespace: str, names: Collection[str]) -> None:
        """Set the unfinished workflows to these; one created since the list before this one stays counted."""
        counted = self._namespaces.get(namespace)
        if counted is None:
            return
        for name in names:
            if name not in counted.watched:  # its template is that of its creation
                created = counted.created.get(name)
                self._watch(counted, name, created.pool if created is not None else self.pool(namespace, ""))
        kept = set(names)
        gone = [name for name in counted.watched if name not in kept]
        gone += [name for name, created in counted.created.items() if created.lists != counted.lists]
        for name in gone:
            self._forget(counted, name)
        counted.lists += 1
        self._changed()

    # Called by the dispatcher.

    def reached(self, namespace: str, template: str) -> Limit | None:
        """The limit that leaves no room for one more workflow of a template in a namespace; None if there is room."""
        return full(self.pool(namespace, template))

    def reserve(self, namespace: str, pool: Pool) -> None:
        """Count a creation that is about to begin, until `release`."""
        if (counted := self._namespaces.get(namespace)) is not None:
            counted.reserved += 1
            _add(pool, 1)

    def release(self, namespace: str, pool: Pool, created: str | None) -> None:
        """Note that a creation has ended: with this workflow, or with None."""
        counted = self._namespaces.get(namespace)
        if counted is None:
            return
        counted.reserved -= 1
        _add(pool, -1)
        if created is not None and created not in counted.early and created not in counted.watched:
            self._forget(counted, created)
            counted.created[created] = _Created(pool, counted.lists)
            _add(pool, 1)
        if not counted.reserved:
            counted.early.clear()
        if created is None:
            self._changed()

    def _watch(self, counted: _Namespace, name: str, pool: Pool) -> None:
        """Count this workflow among those that the watcher has reported."""
        self._forget(counted, name)
        counted.watched[name] = pool
        _add(pool, 1)

    @staticmethod
    def _forget(counted: _Namespace, name: str) -> None:
        """Count this workflow no longer."""
        if (watched := counted.watched.pop(name, None)) is not None:
            _add(watched, -1)
        if (created := counted.created.pop(name, None)) is not None:
            _add(created.pool, -1)


def has_room(pool: Pool) -> bool:
    """Whether one more workflow may be created that these limits count."""
    return all(limit.has_room for limit in pool)


def full(pool: Pool) -> Limit | None:
    """The first of these limits that has no room; None if all have."""
    return next((limit for limit in pool if not limit.has_room), None)


def _globs(key: str) -> tuple[Glob, Glob]:
    namespace, _, template = key.partition("/")
    return Glob(namespace), Glob(template)


def _add(pool: Pool, count: int) -> None:
    for limit in pool:
        limit.active += count
