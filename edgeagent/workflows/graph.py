"""The order of tasks and containers that wait for each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

# With more tasks than this the order is not computed, because that would cost the square of their number.
MAX_RELATED = 2000


def cycle_in(before: Mapping[str, Sequence[str]]) -> str | None:
    """A node of a cycle, None if there is no cycle.

    Args:
        before: for each node those that it waits for; names that are not nodes are ignored.
    """
    ordered = _ordered(before)
    if len(ordered) == len(before):
        return None
    rest = before.keys() - set(ordered)
    name = next(name for name in before if name in rest)
    seen: set[str] = set()
    while name not in seen:  # each remaining node waits for another one, so this walk ends in a cycle
        seen.add(name)
        name = next(earlier for earlier in before[name] if earlier in rest)
    return name


class Ancestors:
    """Which node comes before which, directly or through others."""

    def __init__(self, before: Mapping[str, Sequence[str]], *, is_complete: bool = True) -> None:
        """Compute the order.

        Args:
            before: for each node those that it waits for; names that are not nodes are ignored.
            is_complete: whether `before` is complete. If it is not, or there is a cycle, or there are more nodes than
                `MAX_RELATED`, any node may come before any other.
        """
        ordered = _ordered(before) if is_complete and len(before) <= MAX_RELATED else []
        self._known = len(ordered) == len(before)
        self._bit = {name: 1 << number for number, name in enumerate(ordered)}
        self._sets: dict[str, int] = {}
        for name in ordered:
            ancestors = 0
            for earlier in before[name]:
                ancestors |= self._bit.get(earlier, 0) | self._sets.get(earlier, 0)
            self._sets[name] = ancestors

    def has(self, name: str, earlier: str) -> bool:
        """Whether `earlier` comes before `name`; also True when that is unknown."""
        return not self._known or bool(self._sets.get(name, 0) & self._bit.get(earlier, 0))


def _ordered(before: Mapping[str, Sequence[str]]) -> list[str]:
    """The nodes, each after all that it waits for; those in or after a cycle are missing."""
    waiting = {name: sum(earlier in before for earlier in earliers) for name, earliers in before.items()}
    after: dict[str, list[str]] = {name: [] for name in before}
    for name, earliers in before.items():
        for earlier in earliers:
            if earlier in after:
                after[earlier].append(name)
    ordered = [name for name, count in waiting.items() if count == 0]
    for name in ordered:  # it grows during the loop
        for later in after[name]:
            waiting[later] -= 1
            if waiting[later] == 0:
                ordered.append(later)
    return ordered
