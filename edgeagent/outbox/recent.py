"""The file `recent`: the keys of the last events, kept because their segments may be gone.

It is replaced whenever a segment is begun. Later keys are in the active segments, which opening scans: in batches with
a number above `batch`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

import msgspec

from edgeagent.errors import StorageFailed
from edgeagent.events.dedupe import DIGEST_BYTES, EXACTLY_ONCE, KEY_BYTES, OPEN_DELIVERIES
from edgeagent.outbox.files import Filesystem

_ENTRY_BYTES = KEY_BYTES + DIGEST_BYTES


class Delivery(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An MQTT delivery whose event had no id of its own. `packet_id`: at QoS 2, `EXACTLY_ONCE` is added to it."""

    session: str
    packet_id: int
    digest: bytes
    event_id: str


class _Content(msgspec.Struct, array_like=True, frozen=True):
    keys: bytes
    deliveries: list[Delivery]
    batch: int


class Recent:
    """Owns the last events in the order they were stored: key and digest, 24 bytes each; and the last deliveries.

    Of deliveries at QoS 2 those that are not complete are kept however many others come after them: a device may be
    away for long before it sends again.

    Attributes:
        batch: the last group commit that was in the file.
        has_completed: a delivery was completed, which the file does not say yet.
    """

    def __init__(self, capacity: int) -> None:
        """Begin empty; at most `capacity` events are kept."""
        self._limit_bytes = capacity * _ENTRY_BYTES
        self._keys = bytearray()
        self._deliveries: list[Delivery] = []
        self._open: dict[tuple[str, int], Delivery] = {}  # at QoS 2, the oldest first
        self.batch = 0
        self.has_completed = False

    @classmethod
    def load(cls, filesystem: Filesystem, path: Path, capacity: int) -> Recent:
        """Read the file; an absent or unreadable one counts as empty, since it is a convenience (contract P3)."""
        recent = cls(capacity)
        if not filesystem.exists(path):
            return recent
        try:
            content = msgspec.msgpack.decode(filesystem.read(path), type=_Content)
        except (ValueError, StorageFailed):  # msgspec's errors are ValueErrors; a bad sector must not prevent a start
            return recent
        recent._keys = bytearray(content.keys)
        recent.add_all((), content.deliveries)
        recent.batch = content.batch
        recent._trim()
        return recent

    def save(self, filesystem: Filesystem, path: Path, batch: int) -> None:
        """Replace the file, synced. `batch`: the number of the last group commit that it covers."""
        deliveries = self.deliveries()
        filesystem.replace(path, msgspec.msgpack.encode(_Content(bytes(self._keys), deliveries, batch)))
        self.has_completed = False

    def add(self, key: bytes, digest: bytes, delivery: Delivery | None) -> None:
        """Add an event that was stored."""
        self.add_all([(key, digest)], [] if delivery is None else [delivery])

    def add_all(self, keys: Iterable[tuple[bytes, bytes]], deliveries: Sequence[Delivery]) -> None:
        """Add events that were stored: the key (may be empty) and digest of each, and the other events' deliveries."""
        self._keys += b"".join([key + digest for key, digest in keys if key])
        self._deliveries += deliveries
        for delivery in [each for each in deliveries if each.packet_id >= EXACTLY_ONCE]:
            place = delivery.session, delivery.packet_id
            self._open.pop(place, None)  # so that it becomes the last one
            self._open[place] = delivery
        if (
            len(self._keys) > self._limit_bytes * 2
            or len(self._deliveries) > OPEN_DELIVERIES * 2
            or len(self._open) > OPEN_DELIVERIES * 2
        ):
            self._trim()

    def complete(self, session: str, packet_ids: Iterable[int]) -> None:
        """Forget deliveries at QoS 2 whose packet ids stand for other messages from now on."""
        for packet_id in packet_ids:
            self.has_completed |= self._open.pop((session, packet_id), None) is not None

    def keys(self) -> list[tuple[bytes, bytes]]:
        """The key and digest of each event, oldest first."""
        self._trim()
        return [
            (bytes(self._keys[start : start + KEY_BYTES]), bytes(self._keys[start + KEY_BYTES : start + _ENTRY_BYTES]))
            for start in range(0, len(self._keys) - _ENTRY_BYTES + 1, _ENTRY_BYTES)
        ]

    def deliveries(self) -> list[Delivery]:
        """The last deliveries, oldest first; before them those at QoS 2 that are not complete."""
        self._trim()
        return [*self._open.values(), *(each for each in self._deliveries if each.packet_id < EXACTLY_ONCE)]

    def _trim(self) -> None:
        excess = len(self._keys) - self._limit_bytes
        if excess > 0:
            del self._keys[: -(-excess // _ENTRY_BYTES) * _ENTRY_BYTES]
        del self._deliveries[:-OPEN_DELIVERIES]
        for place in list(islice(self._open, max(0, len(self._open) - OPEN_DELIVERIES))):
            del self._open[place]
