"""Who may have one more trigger in hand: fair by agent, so that one gateway never keeps the others out. Pure.

Places are what `engine.max_concurrent` counts. Whoever has the fewest in hand goes next, of several the one that was
served longest ago. The last places are kept for those that have none: a gateway whose creations take their time, and
which would fill every place while nobody else has anything to say, leaves room for the first trigger of another one.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable

# One place in so many, and at least one, is kept for agents that have nothing in hand.
_KEPT_OF = 8
# Agents of whom it is remembered when they were served last. Whoever is forgotten goes first, once.
_MAX_SERVED = 4096


class Shares:
    """The places and who has them. Senders without an agent share one name, the empty one."""

    def __init__(self, places: int) -> None:
        """All are free."""
        self._places = places
        self._kept = max(1, places // _KEPT_OF) if places > 1 else 0
        self._held: Counter[str] = Counter()
        self._taken = 0
        self._served: OrderedDict[str, int] = OrderedDict()
        self._turns = 0

    @property
    def taken(self) -> int:
        """How many are taken."""
        return self._taken

    @property
    def full(self) -> bool:
        """Whether nobody may take one."""
        return self._taken >= self._places

    def next(self, agents: Iterable[str]) -> str | None:
        """Whose turn it is among these, None when none of them may take a place now."""
        free = self._places - self._taken
        if free <= 0:
            return None
        may = (agent for agent in agents if free > self._kept or not self._held[agent])
        return min(may, key=lambda agent: (self._held[agent], self._served.get(agent, 0)), default=None)

    def served(self, agent: str) -> None:
        """It was its turn, whether or not it took a place."""
        self._turns += 1
        self._served[agent] = self._turns
        self._served.move_to_end(agent)
        if len(self._served) > _MAX_SERVED:
            self._served.popitem(last=False)

    def take(self, agent: str) -> None:
        """One of its triggers is in hand."""
        self._taken += 1
        self._held[agent] += 1

    def give_back(self, agent: str) -> None:
        """It is in hand no more."""
        self._taken -= 1
        self._held[agent] -= 1
        if not self._held[agent]:
            del self._held[agent]
