"""Retained messages: the last one of each topic, for clients that subscribe later (MQTT 5, 3.3.1.3).

Bounded in number and in bytes. A message that does not fit is not kept, and what is there stays: a device that makes up
ever new topics does not take those of others away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum

from msgspec.structs import replace

from edgeagent.listener.packets import Publish
from edgeagent.listener.parcels import Kept, Parcel, expiry_of, size_of
from edgeagent.listener.subscriptions import Grant
from edgeagent.wire.topics import matches


class RetainOutcome(Enum):
    """What became of a message that is to be retained."""

    SAME = "same"  # nothing changed, as far as the disk is concerned
    NEW = "new"
    CHANGED = "changed"
    REMOVED = "removed"
    NO_ROOM = "no room"


class Retained:
    """Owns the last retained message of each topic. Times are seconds of a clock that does not go back.

    Promises that a message which it took is there until its topic gets another one, or its time is over. Must never
    grow beyond its bounds, or forget the message of one topic to make room for that of another.

    Attributes:
        used_bytes: what the messages take, about.
    """

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        """Nothing is kept."""
        self.used_bytes = 0
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._messages: dict[str, Kept] = {}
        self._expiring: dict[str, float] = {}
        self._topics: Sequence[str] | None = None

    def limit(self, max_messages: int, max_bytes: int) -> None:
        """From now on new messages are kept up to these bounds."""
        self._max_messages, self._max_bytes = max_messages, max_bytes

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, publish: Publish, now: float) -> RetainOutcome:
        """Keep a message that is to be retained in place of its topic's, or none when it is empty."""
        topic = publish.topic
        before = self._messages.get(topic)
        if not publish.payload:
            return RetainOutcome.SAME if before is None or not self.remove(topic) else RetainOutcome.REMOVED
        if publish.qos:
            publish = replace(publish, duplicate=False, packet_id=0)
        message = Kept(publish, expiry_of(publish, now))
        size = size_of(message.publish)
        left = self._max_bytes - self.used_bytes + (size_of(before.publish) if before is not None else 0)
        if size > left or (before is None and len(self._messages) >= self._max_messages):
            if before is not None:
                self.remove(topic)  # it is no longer true
            return RetainOutcome.NO_ROOM
        self._put(message, size)
        if before is None:
            return RetainOutcome.NEW
        return RetainOutcome.SAME if before == message else RetainOutcome.CHANGED

    def restore(self, message: Kept) -> bool:
        """Take back what was on disk. False: there is no room for it."""
        size = size_of(message.publish)
        if len(self._messages) >= self._max_messages or self.used_bytes + size > self._max_bytes:
            return False
        self._put(message, size)
        return True

    def remove(self, topic: str) -> bool:
        """Forget a topic's message. Returns whether there was one."""
        before = self._messages.pop(topic, None)
        if before is None:
            return False
        self.used_bytes -= size_of(before.publish)
        self._expiring.pop(topic, None)
        self._topics = None
        return True

    def get(self, topic: str) -> Kept | None:
        """A topic's message, though its time may be over."""
        return self._messages.get(topic)

    def topics(self) -> Sequence[str]:
        """All topics, as they are now."""
        if self._topics is None:
            self._topics = tuple(self._messages)
        return self._topics

    def expired(self, now: float) -> list[str]:
        """Forget the messages whose time is over; returns their topics."""
        topics = [topic for topic, at in self._expiring.items() if at <= now]
        for topic in topics:
            self.remove(topic)
        return topics

    def due_at(self) -> float | None:
        """When the next message's time is over; None: of none."""
        return min(self._expiring.values(), default=None)

    def _put(self, message: Kept, size: int) -> None:
        topic = message.publish.topic
        before = self._messages.get(topic)
        if before is None:
            self._topics = None
        else:
            self.used_bytes -= size_of(before.publish)
        self._messages[topic] = message
        self.used_bytes += size
        if message.expires_at is not None:
            self._expiring[topic] = message.expires_at
        else:
            self._expiring.pop(topic, None)


class Replay:
    """The retained messages for new subscriptions, found bit by bit: a filter may match ten thousand of them.

    A message is read when it is found, so that none is older than what was published meanwhile.
    """

    def __init__(self, retained: Retained, grants: Mapping[str, Grant]) -> None:
        """`grants`: the new subscriptions by their filters."""
        self._pairs = _pairs(retained, grants)
        self.is_done = not grants

    def take(self, looks: int, now: float) -> list[Parcel]:
        """What the next `looks` comparisons find."""
        parcels: list[Parcel] = []
        for _ in range(looks):
            pair = next(self._pairs, None)
            if pair is None:
                self.is_done = True
                break
            message, grant = pair
            if message is None:
                continue
            publish, expires_at = message
            if expires_at is None or expires_at > now:
                identifiers = (grant.identifier,) if grant.identifier else ()
                parcels.append(Parcel(publish, min(grant.qos, publish.qos), True, identifiers, expires_at))
        return parcels


def _pairs(retained: Retained, grants: Mapping[str, Grant]) -> Iterator[tuple[Kept | None, Grant]]:
    """Each comparison, with the message that it found."""
    for topic_filter, grant in grants.items():
        if "+" not in topic_filter and "#" not in topic_filter:
            yield retained.get(topic_filter), grant
            continue
        for topic in retained.topics():
            yield retained.get(topic) if matches(topic_filter, topic) else None, grant
