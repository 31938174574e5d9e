"""Which publications go in one request. Pure.

A request holds at most 1,000 messages and 10^7 bytes, and all its messages have the same ordering key
(https://cloud.google.com/pubsub/quotas, and the API's reference of `topics.publish`). While a request with an ordering
key is under way, no other of the same key is begun, so that they arrive in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from edgeagent.pubsub.messages import Attempted

MAX_MESSAGES: Final = 1000
MAX_REQUEST_BYTES: Final = 10_000_000
# What a request's body has beside its messages: the frame, and a comma before each message but the first.
_FRAME_BYTES = len(b'{"messages":[]}')


class RequestBatch(NamedTuple):
    """The messages of one request."""

    ordering_key: str
    entries: Sequence[Attempted]


def is_too_large(entry: Attempted) -> bool:
    """Whether no request can hold this message."""
    return len(entry.message) + _FRAME_BYTES > MAX_REQUEST_BYTES


def halves(batch: RequestBatch) -> list[RequestBatch]:
    """A refused request again, as two: one bad message must not take the others with it. Not for a single message."""
    middle = len(batch.entries) // 2
    return [RequestBatch(batch.ordering_key, part) for part in (batch.entries[:middle], batch.entries[middle:])]


class Batches:
    """Owns the publications that wait for a request, in order, and the ordering keys that are under way.

    Promises that messages with one ordering key leave in order, one request at a time. Must never split a message.
    """

    def __init__(self) -> None:
        self._free: deque[Attempted] = deque()
        self._keyed: dict[str, deque[Attempted]] = {}
        self._busy: set[str] = set()

    def add(self, entry: Attempted) -> None:
        """Queue a publication; it must not be `is_too_large`."""
        if entry.ordering_key:
            self._keyed.setdefault(entry.ordering_key, deque()).append(entry)
        else:
            self._free.append(entry)

    def take(self) -> RequestBatch | None:
        """The next request; None while nothing can go. `done` must follow when it is answered."""
        if self._free:
            return RequestBatch("", _filled(self._free))
        for key, queue in self._keyed.items():
            if key not in self._busy:
                batch = RequestBatch(key, _filled(queue))
                if not queue:
                    del self._keyed[key]
                self._busy.add(key)
                return batch
        return None

    def done(self, batch: RequestBatch) -> None:
        """The request was answered: the next one with its key may go."""
        self._busy.discard(batch.ordering_key)


def _filled(queue: deque[Attempted]) -> list[Attempted]:
    """Take as many as one request holds from the front."""
    taken, size_bytes = [queue.popleft()], 0
    size_bytes = _FRAME_BYTES + len(taken[0].message)
    while queue and len(taken) < MAX_MESSAGES:
        size_bytes += 1 + len(queue[0].message)
        if size_bytes > MAX_REQUEST_BYTES:
            break
        taken.append(queue.popleft())
    return taken
