"""A Bloom filter of correlation ids: of fixed size, with false positives, and without false negatives. Pure.

A correlation id is a hash, so its own digits serve as the hashes.
"""

from __future__ import annotations

import re

_BITS = 23
_HASHES = 4
_DIGITS = _BITS * _HASHES // 4 + 1
_MASK = (1 << _BITS) - 1
_CORRELATION_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
# With this many ids, one in forty of the ids that were not added is reported as seen.
ROOMY = 1_000_000


def is_correlation_id(text: str) -> bool:
    """Whether this can be a trigger's correlation id: 32 lower-case hex digits."""
    return _CORRELATION_ID.fullmatch(text) is not None


class BloomFilter:
    """A set of correlation ids in 1 MiB. `count`: how often an id was added.

    Promises that every id which was added is in it. An id that was not added may be in it too, so a hit must always be
    checked.
    """

    def __init__(self) -> None:
        self.count = 0
        self._bits = bytearray(1 << _BITS - 3)

    def add(self, correlation_id: str) -> None:
        """Add an id."""
        self.count += 1
        number, bits = int(correlation_id[:_DIGITS], 16), self._bits
        for _ in range(_HASHES):
            place = number & _MASK
            bits[place >> 3] |= 1 << (place & 7)
            number >>= _BITS

    def __contains__(self, correlation_id: str) -> bool:
        """Whether the id may have been added; False is certain."""
        number, bits = int(correlation_id[:_DIGITS], 16), self._bits
        for _ in range(_HASHES):
            place = number & _MASK
            if not bits[place >> 3] >> (place & 7) & 1:
                return False
            number >>= _BITS
        return True
