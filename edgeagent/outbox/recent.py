"""The file `recent`: the keys of the last events, kept because their segments may be gone.

It is replaced whenever a segment is begun. Later keys are in the active segments, which opening scans: in batches with
a number above `batch`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from edgeagent.errors import StorageFailed
from edgeagent.events.dedupe import DIGEST_BYTES, KEY_BYTES, OPEN_DELIVERIES
from edgeagent.outbox.files import Filesystem

_ENTRY_BYTES = KEY_BYTES + DIGEST_BYTES


class Delivery(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An MQTT delivery whose event had no id of its own."""

    session: str
    packet_id: int
    digest: bytes
    event_id: str


class _Content(msgspec.Struct, array_like=True, frozen=True):
    keys: bytes
    deliveries: list[Delivery]
    batch: int


class Recent:
    """Owns the last events in the order they were stored: key and digest, 24 bytes each; and the last deliveries."""

    def __init__(self, capacity: int) -> None:
        """Begin empty; at most `capacity` events are kept."""
        self._limit_bytes = capacity * _ENTRY_BYTES
        self._keys = bytearray()
        self._deliveries: list[Delivery] = []
        self.batch = 0  # the last group commit that was in the file

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
        recent._deliveries = content.deliveries
        recent.batch = content.batch
        recent._trim()
        return recent

    def save(self, filesystem: Filesystem, path: Path, batch: int) -> None:
        """Replace the file, synced. `batch`: the number of the last group commit that it covers."""
        self._trim()
        filesystem.replace(path, msgspec.msgpack.encode(_Content(bytes(self._keys), self._deliveries, batch)))

    def add(self, key: bytes, digest: bytes, delivery: Delivery | None) -> None:
        """Add an event that was stored."""
        self.add_all([(key, digest)], [] if delivery is None else [delivery])

    def add_all(self, keys: Iterable[tuple[bytes, bytes]], deliveries: Iterable[Delivery]) -> None:
        """Add events that were stored: the key (may be empty) and digest of each, and the other events' deliveries."""
        self._keys += b"".join([key + digest for key, digest in keys if key])
        self._deliveries += deliveries
        if len(self._keys) > self._limit_bytes * 2 or len(self._deliveries) > OPEN_DELIVERIES * 2:
            self._trim()

    def keys(self) -> list[tuple[bytes, bytes]]:
        """The key and digest of each event, oldest first."""
        self._trim()
        return [
            (bytes(self._keys[start : start + KEY_BYTES]), bytes(self._keys[start + KEY_BYTES : start + _ENTRY_BYTES]))
            for start in range(0, len(self._keys) - _ENTRY_BYTES + 1, _ENTRY_BYTES)
        ]

    def deliveries(self) -> list[Delivery]:
        """The last deliveries, oldest first."""
        self._trim()
        return list(self._deliveries)

    def _trim(self) -> None:
        excess = len(self._keys) - self._limit_bytes
        if excess > 0:
            del self._keys[: -(-excess // _ENTRY_BYTES) * _ENTRY_BYTES]
        del self._deliveries[:-OPEN_DELIVERIES]
