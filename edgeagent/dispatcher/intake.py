"""The triggers that were received and are not yet in hand. Pure bookkeeping of one connection.

Nothing here is acknowledged: the broker sends no more once as many as the receive maximum are here or in hand.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from edgeagent.dispatcher.engine import Order
from edgeagent.dispatcher.validate import Checked
from edgeagent.ports.link import Message

_T = TypeVar("_T")


class Ready(msgspec.Struct, frozen=True, gc=False):
    """A trigger that was checked and allowed, and waits until the engine or its namespace takes it.

    `number` rises from one trigger to the next that is received.
    """

    number: int
    message: Message
    checked: Checked
    order: Order


class Intake:
    """By agent and in order of arrival: messages, and those that wait for the engine or their namespace."""

    def __init__(self) -> None:
        self._received: dict[str, deque[Message]] = {}
        self._waiting: dict[str, dict[str, deque[Ready]]] = {}  # by namespace, then by agent

    def __len__(self) -> int:
        return sum(map(len, self._received.values())) + self.waiting

    @property
    def waiting(self) -> int:
        """How many wait for the engine or for room in their namespace."""
        return sum(len(queue) for queues in self._waiting.values() for queue in queues.values())

    def waiting_of(self, agent: str) -> int:
        """How many of them are this agent's."""
        return sum(len(queues[agent]) for queues in self._waiting.values() if agent in queues)

    def waits_in(self, namespace: str) -> bool:
        """Whether some wait for room there."""
        return namespace in self._waiting

    def add(self, agent: str, message: Message) -> None:
        """This was received, as it seems from this agent."""
        self._received.setdefault(agent, deque()).append(message)

    def wait(self, trigger: Ready) -> None:
        """Keep one for later. What was in hand already goes before what was received after it."""
        queue = self._waiting.setdefault(trigger.order.namespace, {}).setdefault(trigger.order.agent, deque())
        place = len(queue)
        while place and queue[place - 1].number > trigger.number:
            place -= 1
        queue.insert(place, trigger)

    def next(
        self, has_room: Callable[[str], bool], choose: Callable[[Iterable[str]], str | None]
    ) -> tuple[str, Message | Ready] | None:
        """The next to take in hand, with its agent: one that has waited and may go on now, else the one received first.

        Args:
            has_room: whether a namespace takes one more.
            choose: whose turn it is among these agents, None: nobody's.
        """
        open_to = {
            agent: namespace for namespace, queues in self._waiting.items() if has_room(namespace) for agent in queues
        }
        agent = choose(dict.fromkeys((*open_to, *self._received)))  # in order of arrival: of equals the first goes
        if agent is None:
            return None
        if (namespace := open_to.get(agent)) is None:
            return agent, _popped(self._received, agent)
        queues = self._waiting[namespace]
        trigger = _popped(queues, agent)
        if not queues:
            del self._waiting[namespace]
        return agent, trigger

    def forget_waiting(self) -> None:
        """Those that wait are left to the broker."""
        self._waiting.clear()

    def clear(self) -> None:
        """The connection has ended: the broker brings all of them again."""
        self._received.clear()
        self._waiting.clear()


def _popped(queues: dict[str, deque[_T]], agent: str) -> _T:
    first = queues[agent].popleft()
    if not queues[agent]:
        del queues[agent]
    return first
