"""What comes before what: the order of tasks and containers that wait for each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

# Above this many tasks the order is not computed: that would cost the square of their number.
MAX_RELATED = 2000


def cycle_in(before: Mapping[str, Sequence[str]]) -> str | None:
    """A node of a circle, None when there is no circle.

    Args:
        before: for each node those that it waits for; names that are no node are passed over.
    """
    ordered = _ordered(before)
    if len(ordered) == len(before):
        return None
    rest = before.keys() - set(ordered)
    name = next(name for name in before if name in rest)
    seen: set[str] = set()
    while name not in seen:  # each of the rest waits for another of the rest, so this walk ends in a circle
        seen.add(name)
        name = next(earlier for earlier in before[name] if earlier in rest)
    return name


class Ancestors:
    """Which node comes before which, directly or with others in between."""

    def __init__(self, before: Mapping[str, Sequence[str]], *, is_complete: bool = True) -> None:
        """Compute the order.

        Args:
            before: for each node those that it waits for; names that are no node are passed over.
            is_complete: whether `before` is all there is. If not, and in a circle, and with more nodes than
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
    """The nodes, each behind all that it waits for; those in or behind a circle are missing."""
    waiting = {name: sum(earlier in before for earlier in earliers) for name, earliers in before.items()}
    after: dict[str, list[str]] = {name: [] for name in before}
    for name, earliers in before.items():
        for earlier in earliers:
            if earlier in after:
                after[earlier].append(name)
    ordered = [name for name, count in waiting.items() if count == 0]
    for name in ordered:  # grows while it is walked
        for later in after[name]:
            waiting[later] -= 1
            if waiting[later] == 0:
                ordered.append(later)
    return ordered
