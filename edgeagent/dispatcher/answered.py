"""The answers of the last day, so that a repeated request gets the same one (contract section 15). Pure.

The memory is this process's. What outlives it is the engine's state: an operation that was done finds its workflow as
it left it, and a resubmitted workflow has a name made from its request.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

KEPT_S = 86_400.0
MAX_ANSWERS = 10_000
MAX_BYTES = 8 << 20

# Agent and request id.
Key = tuple[str, str]


class _Answer(msgspec.Struct, frozen=True, gc=False):
    digest: bytes
    payload: bytes
    at_s: float


class Answered:
    """Owns the answers by agent and request id, the oldest first; the oldest is forgotten when there are too many."""

    def __init__(self) -> None:
        self._answers: OrderedDict[Key, _Answer] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._answers)

    def find(self, key: Key, digest: bytes, now_s: float) -> bytes | bool:
        """The answer to a request; False if it is not known, True if its id was used for another request.

        `digest`: of the request's content. `now_s`: monotonic.
        """
        self._forget(now_s)
        known = self._answers.get(key)
        if known is None:
            return False
        return known.payload if known.digest == digest else True

    def keep(self, key: Key, digest: bytes, payload: bytes, now_s: float) -> None:
        """Remember a final answer."""
        if key in self._answers or len(payload) > MAX_BYTES:
            return
        self._answers[key] = _Answer(digest, payload, now_s)
        self._bytes += len(payload)
        self._forget(now_s)

    def _forget(self, now_s: float) -> None:
        while self._answers:
            oldest = next(iter(self._answers.values()))
            if now_s - oldest.at_s < KEPT_S and len(self._answers) <= MAX_ANSWERS and self._bytes <= MAX_BYTES:
                return
            self._answers.popitem(last=False)
            self._bytes -= len(oldest.payload)
