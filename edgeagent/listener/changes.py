"""What is to be written: retained messages and sessions that changed since they were last taken to the disk.

Each thing is there once, as it is now, so that what changes often is written seldom: flash wears out. How soon depends
on what it is: somebody waits for it, it is new, or only its value is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Generic, NamedTuple, TypeVar

import msgspec

from edgeagent.listener.packets import TopicSubscription
from edgeagent.listener.parcels import Kept, Parcel

T = TypeVar("T")


class Urgency(IntEnum):
    """How soon something is to be on disk."""

    NONE = 0
    LATER = 1  # within ten seconds: another value of what is there
    SOON = 2  # within a second: something new, or something gone


class StoredSession(msgspec.Struct, frozen=True):
    """A session as it is on disk. What waits in it is there only after an orderly end.

    `token`: what its packet ids are kept under with events, until it ends.
    """

    client_id: str
    user: str | None
    version: int
    expiry_s: int
    subscriptions: tuple[tuple[TopicSubscription, int], ...] = ()  # each with its identifier, 0 without one
    token: str = ""


class WaitingParcels(NamedTuple):
    """What waits in a session at an orderly end, in order."""

    client_id: str
    messages: tuple[Parcel, ...]


@dataclass
class Pending(Generic[T]):
    """Things by their keys, as they are to be on disk.

    What is not there yet and goes before it was written is not written at all: ever new keys that come and go take no
    memory, however long the disk refuses.
    """

    entries: dict[str, T | None] = field(default_factory=dict)  # None: it is to go
    new: set[str] = field(default_factory=set)  # those of them that the disk does not have

    def put(self, key: str, value: T, *, is_new: bool) -> None:
        """This is to be there. `is_new`: before, there was none."""
        if is_new and key not in self.entries:
            self.new.add(key)
        self.entries[key] = value

    def drop(self, key: str) -> None:
        """This is to go."""
        if key in self.new:
            self.new.discard(key)
            del self.entries[key]
        else:
            self.entries[key] = None

    def before(self, later: Pending[T]) -> Pending[T]:
        """This, which could not be written, with what changed later."""
        on_disk = self.entries.keys() - self.new
        new = (self.new | later.new) - on_disk
        entries = {**self.entries, **later.entries}
        gone = [key for key in new if entries[key] is None]
        for key in gone:
            del entries[key]
        return Pending(entries, new.difference(gone))


class ChangeBatch(msgspec.Struct, frozen=True):
    """What is written in one commit."""

    messages: Pending[Kept]
    sessions: Pending[StoredSession]


class Changes:
    """Owns what the disk does not have yet, each thing as it is now.

    Promises that what was taken and could not be written is there again, where nothing newer is. Must never grow with
    the number of changes: a thing is there once, and one that came and went before it was written not at all.

    Attributes:
        urgency: how soon the most urgent of it is to be on disk.
    """

    def __init__(self) -> None:
        """Nothing changed."""
        self.urgency = Urgency.NONE
        self._messages = Pending[Kept]()
        self._sessions = Pending[StoredSession]()
        self._under_way: ChangeBatch | None = None

    def is_unwritten(self, topic: str) -> bool:
        """Whether what a topic retains now is not on disk yet."""
        return topic in self._messages.entries or (
            self._under_way is not None and topic in self._under_way.messages.entries
        )

    def message(self, message: Kept, *, is_new: bool) -> None:
        """A topic has this retained message now. `is_new`: it had none."""
        self._messages.put(message.publish.topic, message, is_new=is_new)
        self.urgency = max(self.urgency, Urgency.SOON if is_new else Urgency.LATER)

    def no_message(self, topic: str, urgency: Urgency = Urgency.SOON) -> None:
        """A topic has no retained message any more."""
        self._messages.drop(topic)
        self.urgency = max(self.urgency, urgency)

    def session(self, session: StoredSession, *, is_new: bool) -> None:
        """A client has this session now. `is_new`: it had none that is kept."""
        self._sessions.put(session.client_id, session, is_new=is_new)
        self.urgency = Urgency.SOON

    def no_session(self, client_id: str) -> None:
        """A client has no session any more that is kept."""
        self._sessions.drop(client_id)
        self.urgency = Urgency.SOON

    def take(self) -> ChangeBatch:
        """What changed, to be written: then comes `written`, or `put_back`."""
        batch = self._under_way = ChangeBatch(self._messages, self._sessions)
        self._messages, self._sessions, self.urgency = Pending(), Pending(), Urgency.NONE
        return batch

    def written(self) -> None:
        """What was taken is on disk."""
        self._under_way = None

    def put_back(self) -> None:
        """What was taken could not be written: it is to be, where nothing newer is there."""
        batch, self._under_way = self._under_way, None
        if batch is not None:
            self._messages = batch.messages.before(self._messages)
            self._sessions = batch.sessions.before(self._sessions)
            self.urgency = Urgency.SOON
