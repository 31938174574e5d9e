"""Which agent may have one more trigger in progress: fair by agent, so that no gateway keeps the others out. Pure.

`engine.max_concurrent` is the number of slots. The agent with the fewest triggers in progress is next; among equals,
the one served longest ago. The last slots are reserved for agents that have none: a gateway whose creations are slow
would otherwise fill every slot while the others are silent, and leave no room for the first trigger of another one.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable

# One slot in so many, and at least one, is reserved for agents that have nothing in progress.
_KEPT_OF = 8
# How many agents' last service is remembered. A forgotten agent goes first, once.
_MAX_SERVED = 4096


class Shares:
    """Owns the slots and who has them. Senders without an agent share one name, the empty one."""

    def __init__(self, slots: int) -> None:
        """Begin with all slots free."""
        self._slots = slots
        self._kept = max(1, slots // _KEPT_OF) if slots > 1 else 0
        self._held: Counter[str] = Counter()
        self._taken = 0
        self._served: OrderedDict[str, int] = OrderedDict()
        self._served_count = 0

    @property
    def taken(self) -> int:
        """How many slots are taken."""
        return self._taken

    @property
    def full(self) -> bool:
        """Whether no agent may take a slot."""
        return self._taken >= self._slots

    def next(self, agents: Iterable[str]) -> str | None:
        """The agent among these that is next; None if none of them may take a slot now."""
        free = self._slots - self._taken
        if free <= 0:
            return None
        may = (agent for agent in agents if free > self._kept or not self._held[agent])
        return min(may, key=lambda agent: (self._held[agent], self._served.get(agent, 0)), default=None)

    def served(self, agent: str) -> None:
        """Note that an agent was next, whether or not it took a slot."""
        self._served_count += 1
        self._served[agent] = self._served_count
        self._served.move_to_end(agent)
        if len(self._served) > _MAX_SERVED:
            self._served.popitem(last=False)

    def take(self, agent: str) -> None:
        """Give an agent a slot for a trigger that is now in progress."""
        self._taken += 1
        self._held[agent] += 1

    def give_back(self, agent: str) -> None:
        """Free the slot of a trigger that is no longer in progress."""
        self._taken -= 1
        self._held[agent] -= 1
        if not self._held[agent]:
            del self._held[agent]
