"""The triggers that were received and are not yet in hand. Pure bookkeeping of one connection.

Nothing here is acknowledged: the broker sends no more once as many as the receive maximum are here or in hand.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from edgeagent.dispatcher.engine import Order
from edgeagent.dispatcher.validate import Checked
from edgeagent.mqtt.link import Message


class Ready(msgspec.Struct, frozen=True, gc=False):
    """A trigger that was checked and allowed, and waits until the engine or its namespace takes it.

    `number` rises from one trigger to the next that is received.
    """

    number: int
    message: Message
    checked: Checked
    order: Order


class Intake:
    """Messages in order of arrival, and before them those that wait, by namespace and in order."""

    def __init__(self) -> None:
        self._received: deque[Message] = deque()
        self._waiting: dict[str, deque[Ready]] = {}

    def __len__(self) -> int:
        return len(self._received) + self.waiting

    @property
    def waiting(self) -> int:
        """How many wait for the engine or for room in their namespace."""
        return sum(len(queue) for queue in self._waiting.values())

    def waits_in(self, namespace: str) -> bool:
        """Whether some wait for room there."""
        return namespace in self._waiting

    def add(self, messages: Sequence[Message]) -> None:
        """These were received."""
        self._received.extend(messages)

    def wait(self, trigger: Ready) -> None:
        """Keep one for later. What was in hand already goes before what was received after it."""
        queue = self._waiting.setdefault(trigger.order.namespace, deque())
        place = len(queue)
        while place and queue[place - 1].number > trigger.number:
            place -= 1
        queue.insert(place, trigger)

    def next(self, has_room: Callable[[str], bool]) -> Message | Ready | None:
        """The next to take in hand: one that has waited and may go on now, else the one received first."""
        for namespace, queue in self._waiting.items():
            if has_room(namespace):
                trigger = queue.popleft()
                if not queue:
                    del self._waiting[namespace]
                return trigger
        return self._received.popleft() if self._received else None

    def forget_waiting(self) -> None:
        """Those that wait are left to the broker."""
        self._waiting.clear()

    def clear(self) -> None:
        """The connection has ended: the broker brings all of them again."""
        self._received.clear()
        self._waiting.clear()
