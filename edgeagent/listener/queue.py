"""What waits for one device: in order, bounded in number and bytes, the newest kept.

When there is no room, the oldest message at QoS 0 goes first; when there is none, a new one at QoS 0 is not taken, and
for a new one at QoS 1 or 2 the oldest goes: of commands and states the last ones count.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from edgeagent.listener.parcels import Parcel, size_of

MAX_QUEUE_BYTES: Final = 1 << 20  # of one device, beside one message of any size
MAX_ALL_BYTES: Final = 16 << 20


class Room:
    """What waits for all devices together, and what is on its way to them.

    Attributes:
        dropped: messages that no queue had room for, since the start.
    """

    def __init__(self, max_bytes: int = MAX_ALL_BYTES) -> None:
        """Nothing waits."""
        self.used_bytes = 0
        self.dropped = 0
        self.max_bytes = max_bytes

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be on its way than has to be."""
        return self.used_bytes >= self.max_bytes


class Queue:
    """Owns the messages that wait for one device.

    Promises to give them out in order, and to count in its `Room` those that had to go. Must never take a new
    message beyond its own bounds or those of the room.

    Attributes:
        max_messages: how many may wait; those over it go when another one comes.
    """

    __slots__ = ("_at_qos_0", "_max_bytes", "_messages", "_room", "_used_bytes", "max_messages")

    def __init__(self, room: Room, max_messages: int, max_bytes: int = MAX_QUEUE_BYTES) -> None:
        """An empty queue, one of those that share `room`."""
        self._room = room
        self.max_messages = max_messages
        self._max_bytes = max_bytes
        self._messages: deque[Parcel] = deque()
        self._used_bytes = 0
        self._at_qos_0 = 0

    def __len__(self) -> int:
        return len(self._messages)

    def __iter__(self) -> Iterator[Parcel]:
        return iter(self._messages)

    def put(self, message: Parcel) -> int:
        """Add a message. Returns how many were dropped for it, itself included if it was."""
        size, dropped = size_of(message.publish), 0
        while not self._has_room(size):
            if self._at_qos_0:
                self._drop(next(index for index, each in enumerate(self._messages) if not each.qos))
            elif message.qos and self._messages:
                self._drop(0)
            else:
                self._room.dropped += 1
                return dropped + 1
            dropped += 1
        self._messages.append(message)
        self._account(message, 1)
        return dropped

    def pop(self, now: float) -> Parcel | None:
        """Take the oldest message whose time is not over; None when there is none."""
        while self._messages:
            message = self._messages.popleft()
            self._account(message, -1)
            if message.expires_at is None or message.expires_at > now:
                return message
        return None

    def discard(self, is_unwanted: Callable[[Parcel], bool]) -> int:
        """Drop these; returns how many they were."""
        unwanted = [index for index, message in enumerate(self._messages) if is_unwanted(message)]
        for index in reversed(unwanted):
            self._drop(index)
        return len(unwanted)

    def clear(self) -> int:
        """Forget all; returns how many they were."""
        count = len(self._messages)
        while self._messages:
            self._account(self._messages.popleft(), -1)
        return count

    def _has_room(self, size: int) -> bool:
        return (
            len(self._messages) < self.max_messages
            and (not self._messages or self._used_bytes + size <= self._max_bytes)
            and self._room.used_bytes + size <= self._room.max_bytes
        )

    def _drop(self, index: int) -> None:
        message = self._messages[index]
        del self._messages[index]
        self._account(message, -1)
        self._room.dropped += 1

    def _account(self, message: Parcel, sign: int) -> None:
        size = size_of(message.publish) * sign
        self._used_bytes += size
        self._room.used_bytes += size
        if not message.qos:
            self._at_qos_0 += sign
