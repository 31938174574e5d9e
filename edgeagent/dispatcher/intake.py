"""The triggers of one connection that were received and are not yet in progress. Pure bookkeeping.

None of them is acknowledged: the broker sends no more once the receive maximum is reached, here and in progress.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from edgeagent.dispatcher.capacity import Limit, Pool, has_room
from edgeagent.dispatcher.engine import Order
from edgeagent.dispatcher.validate import Checked
from edgeagent.ports.link import Message

_T = TypeVar("_T")


class Ready(msgspec.Struct, frozen=True, gc=False):
    """A trigger that was checked and allowed, and waits until the engine and the limits of its `pool` can take it.

    `number` rises from each received trigger to the next.
    """

    number: int
    message: Message
    checked: Checked
    order: Order
    pool: Pool


class Intake:
    """Owns, by agent and in order of arrival, the messages not yet checked and the triggers that wait."""

    def __init__(self) -> None:
        self._received: dict[str, deque[Message]] = {}
        self._waiting: dict[Pool, dict[str, deque[Ready]]] = {}  # then by agent

    def __len__(self) -> int:
        return sum(map(len, self._received.values())) + self.waiting

    @property
    def waiting(self) -> int:
        """How many triggers wait for the engine or for room."""
        return sum(len(queue) for queues in self._waiting.values() for queue in queues.values())

    def waiting_of(self, agent: str) -> int:
        """How many of them belong to this agent."""
        return sum(len(queues[agent]) for queues in self._waiting.values() if agent in queues)

    def waits_for(self, limit: Limit) -> bool:
        """Whether any trigger waits that this limit counts."""
        return any(limit in pool for pool in self._waiting)

    def add(self, agent: str, message: Message) -> None:
        """Add a message that was received, apparently from this agent."""
        self._received.setdefault(agent, deque()).append(message)

    def wait(self, trigger: Ready) -> None:
        """Keep a trigger for later. One that was in progress before goes ahead of those received after it."""
        queue = self._waiting.setdefault(trigger.pool, {}).setdefault(trigger.order.agent, deque())
        index = len(queue)
        while index and queue[index - 1].number > trigger.number:
            index -= 1
        queue.insert(index, trigger)

    def next(self, choose: Callable[[Iterable[str]], str | None]) -> tuple[str, Message | Ready] | None:
        """The next one to handle, with its agent: a waiting trigger that may go on now, otherwise a received message.

        Of an agent's triggers that may go on, the one that was received first is next.

        Args:
            choose: picks one of these agents, or None if none may have another trigger in progress.
        """
        open_to: dict[str, Pool] = {}
        for pool, queues in self._waiting.items():
            if not has_room(pool):
                continue
            for agent, queue in queues.items():
                known = open_to.get(agent)
                if known is None or queue[0].number < self._waiting[known][agent][0].number:
                    open_to[agent] = pool
        chosen = choose(dict.fromkeys((*open_to, *self._received)))  # in order of arrival, for those that are equal
        if chosen is None:
            return None
        if (place := open_to.get(chosen)) is None:
            return chosen, _popped(self._received, chosen)
        trigger = _popped(self._waiting[place], chosen)
        if not self._waiting[place]:
            del self._waiting[place]
        return chosen, trigger

    def forget_waiting(self) -> None:
        """Leave the waiting triggers to the broker."""
        self._waiting.clear()

    def clear(self) -> None:
        """Forget everything: the connection has ended, and the broker delivers all of it again."""
        self._received.clear()
        self._waiting.clear()


def _popped(queues: dict[str, deque[_T]], agent: str) -> _T:
    first = queues[agent].popleft()
    if not queues[agent]:
        del queues[agent]
    return first
