"""Messages on their way: as they are kept for later, and as they go to one client."""

from __future__ import annotations

from math import ceil
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from edgeagent.listener.packets import Publish

# What a message takes beside its bytes.
OVERHEAD_BYTES: Final = 200


class Kept(NamedTuple):
    """A message that is kept for later, and when it is worth nothing any more (None: never)."""

    publish: Publish
    expires_at: float | None


class Parcel(msgspec.Struct, frozen=True):
    """A message for one client. `qos`, `retain` and `identifiers` count, whatever the message itself says of them.

    `expires_at`: when it is worth nothing any more, None: never.
    """

    publish: Publish
    qos: int
    retain: bool
    identifiers: tuple[int, ...]
    expires_at: float | None

    def at(self, now: float) -> Publish | None:
        """The message with what is left of its time; None when that is over."""
        if self.expires_at is None:
            return self.publish
        left_s = self.expires_at - now
        return replace(self.publish, expiry_s=ceil(left_s)) if left_s > 0 else None


def expiry_of(publish: Publish, now: float) -> float | None:
    """When a message that comes now is worth nothing any more."""
    return None if publish.expiry_s is None else now + publish.expiry_s


def size_of(publish: Publish) -> int:
    """What a message takes in memory, about."""
    size = OVERHEAD_BYTES + len(publish.topic) + len(publish.payload)
    if publish.content_type is not None:
        size += len(publish.content_type)
    if publish.response_topic is not None:
        size += len(publish.response_topic)
    if publish.correlation_data is not None:
        size += len(publish.correlation_data)
    for name, value in publish.user_properties:
        size += len(name) + len(value) + OVERHEAD_BYTES
    return size
