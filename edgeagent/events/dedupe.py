"""Which events came before: by (source, id), and by MQTT delivery for events without an id of their own.

A convenience within a horizon; what makes a workflow start once is its name (contract P3).
"""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum
from functools import lru_cache
from hashlib import blake2b

KEY_BYTES = 16
DIGEST_BYTES = 8
# How many deliveries can come again: those that a broker has open. We ask for 256 at most, but Mosquitto 2.0 was seen
# with 1,220 open when it emptied a long queue.
OPEN_DELIVERIES = 4096

# A copy of a hash that was begun costs less than to begin another one.
_KEY = blake2b(digest_size=KEY_BYTES)
_DIGEST = blake2b(digest_size=DIGEST_BYTES)


class DedupeVerdict(Enum):
    """What an event is, compared with those before it."""

    NEW = "new"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


def event_key(source: str, event_id: str) -> bytes:
    """An event's identity in 16 bytes."""
    key = _KEY.copy()
    key.update(f"{source}\0{event_id}".encode())
    return key.digest()


def data_digest(data: bytes, topic: str | None = None) -> bytes:
    """The digest of the data, and of the topic if it counts too, to tell a repetition from a conflict."""
    digest = _DIGEST.copy() if topic is None else _begun(topic).copy()
    digest.update(data)
    return digest.digest()


@lru_cache(maxsize=256)  # devices send to the same few topics
def _begun(topic: str) -> blake2b:
    digest = _DIGEST.copy()
    digest.update(topic.encode() + b"\0")
    return digest


class Dedupe:
    """The last `capacity` events, by key; and, of those that have not a trigger of each rule they matched, of which."""

    def __init__(self, capacity: int) -> None:
        """An empty horizon; 0 switches it off."""
        self._capacity = capacity
        self._digests: OrderedDict[bytes, bytes] = OrderedDict()
        self._rules: dict[bytes, tuple[str, ...]] = {}

    def check(self, key: bytes, digest: bytes) -> DedupeVerdict:
        """Compare an event with those that were added."""
        known = self._digests.get(key)
        if known is None:
            return DedupeVerdict.NEW
        return DedupeVerdict.DUPLICATE if known == digest else DedupeVerdict.CONFLICT

    def rules(self, key: bytes) -> tuple[str, ...]:
        """Of which rules an event has a trigger, where that is known; else empty."""
        return self._rules.get(key, ())

    def add(self, key: bytes, digest: bytes, rules: tuple[str, ...] = ()) -> None:
        """Take up an event; the oldest beyond the capacity is forgotten. `rules`: as the method `rules` tells them."""
        if not self._capacity:
            return
        self._digests[key] = digest
        if rules:
            self._rules[key] = rules
        if len(self._digests) > self._capacity:
            oldest, _ = self._digests.popitem(last=False)
            self._rules.pop(oldest, None)

    def forget(self, key: bytes) -> None:
        """Take an event back that was not stored after all."""
        self._digests.pop(key, None)
        self._rules.pop(key, None)


class Deliveries:
    """MQTT deliveries that became events without an id of their own, by session and packet id.

    What a sender delivers again is the same event. A packet id that comes without DUP is a new message and takes the
    place of the old one. Of each session the last `OPEN_DELIVERIES` are kept, since only those that the sender has open
    can come again; whoever opens sessions says when they end (`forget`), or their deliveries stay here.
    """

    def __init__(self) -> None:
        self._sessions: dict[str, OrderedDict[int, tuple[bytes, str]]] = {}

    def event_id(self, session: str, packet_id: int, digest: bytes) -> str | None:
        """The id of the event that this very delivery became when it came before."""
        known = self._sessions.get(session)
        delivery = known.get(packet_id) if known is not None else None
        return delivery[1] if delivery is not None and delivery[0] == digest else None

    def add(self, session: str, packet_id: int, digest: bytes, event_id: str) -> None:
        """Take up a delivery."""
        known = self._sessions.get(session)
        if known is None:
            known = self._sessions[session] = OrderedDict()
        known.pop(packet_id, None)
        known[packet_id] = (digest, event_id)
        if len(known) > OPEN_DELIVERIES:
            known.popitem(last=False)

    def forget(self, session: str) -> None:
        """The session has ended: its packet ids begin anew."""
        self._sessions.pop(session, None)
