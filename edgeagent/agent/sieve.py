"""Which correlation ids were seen? A Bloom filter: of fixed size, may say yes by mistake, and never no. Pure.

A correlation id is a hash, so its own digits are as good as hashes of it.
"""

from __future__ import annotations

import re

_BITS = 23
_HASHES = 4
_DIGITS = _BITS * _HASHES // 4 + 1
_MASK = (1 << _BITS) - 1
_CORRELATION_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
# With so many of them one id in forty that was not seen is taken for one that was.
ROOMY = 1_000_000


def is_correlation_id(text: str) -> bool:
    """Whether this can be a trigger's: 32 lower-case hex digits."""
    return _CORRELATION_ID.fullmatch(text) is not None


class Sieve:
    """See the module; 1 MiB. `count`: how often something was added."""

    def __init__(self) -> None:
        self.count = 0
        self._bits = bytearray(1 << _BITS - 3)

    def add(self, correlation_id: str) -> None:
        """It was seen."""
        self.count += 1
        number, bits = int(correlation_id[:_DIGITS], 16), self._bits
        for _ in range(_HASHES):
            place = number & _MASK
            bits[place >> 3] |= 1 << (place & 7)
            number >>= _BITS

    def __contains__(self, correlation_id: str) -> bool:
        """Whether it may have been seen."""
        number, bits = int(correlation_id[:_DIGITS], 16), self._bits
        for _ in range(_HASHES):
            place = number & _MASK
            if not bits[place >> 3] >> (place & 7) & 1:
                return False
            number >>= _BITS
        return True
