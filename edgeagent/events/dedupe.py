"""Recognises repeated events: by (source, id), or by MQTT delivery for events without an id of their own.

This is a convenience with a limited memory; the workflow's name makes it start only once (contract P3).
"""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum
from functools import lru_cache

from edgeagent.common.digests import blake2b

KEY_BYTES = 16
DIGEST_BYTES = 8
# How many deliveries can come again: those that a broker has unacknowledged. We ask for 256 at most, but Mosquitto 2.0
# was seen with 1,220 when it emptied a long queue.
OPEN_DELIVERIES = 4096
# Of all sessions together about so many are kept, some 300 bytes each; of one at least as many as a device usually has
# open.
ALL_DELIVERIES = 16_384
_FEWEST = 64

# Of an MQTT delivery at QoS 2 the number is its packet id and this: the same packet id at QoS 1 is another delivery.
EXACTLY_ONCE = 1 << 16

# Copying a hash that was begun takes 0.1 us less than beginning another one (`benchmarks path`, CPU an event).
_KEY = blake2b(digest_size=KEY_BYTES)
_DIGEST = blake2b(digest_size=DIGEST_BYTES)


class DedupeVerdict(Enum):
    """What an event is, compared with earlier ones."""

    NEW = "new"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


def event_key(source: str, event_id: str) -> bytes:
    """An event's identity in 16 bytes."""
    key = _KEY.copy()
    key.update(f"{source}\0{event_id}".encode())
    return key.digest()


def data_digest(data: bytes, topic: str | None = None) -> bytes:
    """The digest of the data, and of the topic if that counts too; it separates a repetition from a conflict."""
    digest = _DIGEST.copy() if topic is None else _begun(topic).copy()
    digest.update(data)
    return digest.digest()


@lru_cache(maxsize=256)  # devices send to the same few topics
def _begun(topic: str) -> blake2b:
    digest = _DIGEST.copy()
    digest.update(topic.encode() + b"\0")
    return digest


class Dedupe:
    """The last `capacity` events by key; for events without a trigger of each matched rule, the rules that have one."""

    def __init__(self, capacity: int) -> None:
        """Start empty; a capacity of 0 switches it off."""
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
        """The rules that have a trigger of an event, if they are known and not all that matched; otherwise empty."""
        return self._rules.get(key, ())

    def add(self, key: bytes, digest: bytes, rules: tuple[str, ...] = ()) -> None:
        """Add an event, and forget the oldest beyond the capacity. `rules`: see the method `rules`."""
        if not self._capacity:
            return
        self._digests[key] = digest
        if rules:
            self._rules[key] = rules
        if len(self._digests) > self._capacity:
            oldest, _ = self._digests.popitem(last=False)
            self._rules.pop(oldest, None)

    def forget(self, key: bytes) -> None:
        """Remove an event that was not stored after all."""
        self._digests.pop(key, None)
        self._rules.pop(key, None)


class Deliveries:
    """The MQTT deliveries that became events without an id of their own, by session and packet id.

    A repeated delivery is the same event. At QoS 1 a packet id without DUP is a new message, and replaces the old one;
    at QoS 2 (`EXACTLY_ONCE`) the packet id stands for its message, with DUP or without, until it is completed. The last
    `OPEN_DELIVERIES` of each session are kept, because only unacknowledged ones can come again, and fewer when there
    are many sessions. The owner of a session must report its end (`forget`), or its deliveries stay here.
    """

    def __init__(self) -> None:
        self._sessions: dict[str, OrderedDict[int, tuple[bytes, str]]] = {}
        self._most = OPEN_DELIVERIES  # of one session, with as many sessions as there are

    def event_id(self, session: str, packet_id: int, digest: bytes) -> str | None:
        """The id of the event that this very delivery became, None if it was not seen before."""
        known = self._sessions.get(session)
        delivery = known.get(packet_id) if known is not None else None
        return delivery[1] if delivery is not None and delivery[0] == digest else None

    def add(self, session: str, packet_id: int, digest: bytes, event_id: str) -> None:
        """Add a delivery."""
        known = self._sessions.get(session)
        if known is None:
            known = self._sessions[session] = OrderedDict()
            self._share()
        elif packet_id in known:
            del known[packet_id]  # so that it becomes the last one
        known[packet_id] = (digest, event_id)
        while len(known) > self._most:
            known.popitem(last=False)

    def complete(self, session: str, packet_id: int) -> bool:
        """Forget a delivery: what comes with its packet id from now on is another message. False: it was not known."""
        known = self._sessions.get(session)
        return known is not None and known.pop(packet_id, None) is not None

    def forget(self, session: str) -> None:
        """Forget a session that has ended: its packet ids begin anew."""
        self._sessions.pop(session, None)
        self._share()

    def _share(self) -> None:
        self._most = max(_FEWEST, min(OPEN_DELIVERIES, ALL_DELIVERIES // max(len(self._sessions), 1)))
