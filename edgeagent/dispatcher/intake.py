"""The triggers of one connection that were received and are not yet in progress. Pure bookkeeping.

None of them is acknowledged: the broker sends no more once the receive maximum is reached, here and in progress.
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
    """A trigger that was checked and allowed, and waits until the engine or its namespace can take it.

    `number` rises from each received trigger to the next.
    """

    number: int
    message: Message
    checked: Checked
    order: Order


class Intake:
    """Owns, by agent and in order of arrival, the messages not yet checked and the triggers that wait."""

    def __init__(self) -> None:
        self._received: dict[str, deque[Message]] = {}
        self._waiting: dict[str, dict[str, deque[Ready]]] = {}  # by namespace, then by agent

    def __len__(self) -> int:
        return sum(map(len, self._received.values())) + self.waiting

    @property
    def waiting(self) -> int:
        """How many triggers wait for the engine or for room in their namespace."""
        return sum(len(queue) for queues in self._waiting.values() for queue in queues.values())

    def waiting_of(self, agent: str) -> int:
        """How many of them belong to this agent."""
        return sum(len(queues[agent]) for queues in self._waiting.values() if agent in queues)

    def waits_in(self, namespace: str) -> bool:
        """Whether any trigger waits for room in this namespace."""
        return namespace in self._waiting

    def add(self, agent: str, message: Message) -> None:
        """Add a message that was received, apparently from this agent."""
        self._received.setdefault(agent, deque()).append(message)

    def wait(self, trigger: Ready) -> None:
        """Keep a trigger for later. One that was in progress before goes ahead of those received after it."""
        queue = self._waiting.setdefault(trigger.order.namespace, {}).setdefault(trigger.order.agent, deque())
        index = len(queue)
        while index and queue[index - 1].number > trigger.number:
            index -= 1
        queue.insert(index, trigger)

    def next(
        self, has_room: Callable[[str], bool], choose: Callable[[Iterable[str]], str | None]
    ) -> tuple[str, Message | Ready] | None:
        """The next one to handle, with its agent: a waiting trigger that may go on now, otherwise a received message.

        Args:
            has_room: whether a namespace takes one more.
            choose: picks one of these agents, or None if none may have another trigger in progress.
        """
        open_to = {
            agent: namespace for namespace, queues in self._waiting.items() if has_room(namespace) for agent in queues
        }
        agent = choose(dict.fromkeys((*open_to, *self._received)))  # in order of arrival, which decides between equals
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
