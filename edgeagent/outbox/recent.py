"""The file `recent`: the keys of the last events, kept where their segments may be gone.

It is replaced whenever a segment is begun; what came after stands in the active segments, which opening scans: in
batches with a higher number than `batch`.
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
    """An MQTT delivery that became an event without an id of its own."""

    session: str
    packet_id: int
    digest: bytes
    event_id: str


class _Content(msgspec.Struct, array_like=True, frozen=True):
    keys: bytes
    deliveries: list[Delivery]
    batch: int


class Recent:
    """The last events in the order they were stored: key and digest, 24 bytes each; and the last deliveries."""

    def __init__(self, capacity: int) -> None:
        """Nothing yet; at most `capacity` events are kept."""
        self._limit_bytes = capacity * _ENTRY_BYTES
        self._keys = bytearray()
        self._deliveries: list[Delivery] = []
        self.batch = 0  # the last group commit that was in the file

    @classmethod
    def load(cls, filesystem: Filesystem, path: Path, capacity: int) -> Recent:
        """Read the file; an absent or unreadable one counts as empty, since this is a convenience (contract P3)."""
        recent = cls(capacity)
        if not filesystem.exists(path):
            return recent
        try:
            content = msgspec.msgpack.decode(filesystem.read(path), type=_Content)
        except (ValueError, StorageFailed):  # msgspec's errors are ValueErrors; a bad sector here must not stop a start
            return recent
        recent._keys = bytearray(content.keys)
        recent._deliveries = content.deliveries
        recent.batch = content.batch
        recent._trim()
        return recent

    def save(self, filesystem: Filesystem, path: Path, batch: int) -> None:
        """Replace the file, synced. `batch`: the number of the last group commit whose events are here."""
        self._trim()
        filesystem.replace(path, msgspec.msgpack.encode(_Content(bytes(self._keys), self._deliveries, batch)))

    def add(self, key: bytes, digest: bytes, delivery: Delivery | None) -> None:
        """Take up an event that was stored."""
        self.add_all([(key, digest)], [] if delivery is None else [delivery])

    def add_all(self, keys: Iterable[tuple[bytes, bytes]], deliveries: Iterable[Delivery]) -> None:
        """Take up events that were stored: key (if it has one) and digest of each, and the deliveries of the others."""
        self._keys += b"".join([key + digest for key, digest in keys if key])
        self._deliveries += deliveries
        if len(self._keys) > self._limit_bytes * 2 or len(self._deliveries) > OPEN_DELIVERIES * 2:
            self._trim()

    def keys(self) -> list[tuple[bytes, bytes]]:
        """Key and digest of each event, oldest first."""
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
