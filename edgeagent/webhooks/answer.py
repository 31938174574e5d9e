"""What a receiver's answer means for a delivery. Pure."""

from __future__ import annotations

import enum
from typing import Final

_GONE: Final = 410
# "Too early", "too many requests", "took too long": the same request may be taken later.
_AGAIN: Final = frozenset({408, 425, 429})


class DeliveryVerdict(enum.Enum):
    """`DONE`: it arrived. `AGAIN`: later. `REFUSED`: never this one. `GONE`: never anything for this receiver."""

    DONE = enum.auto()
    AGAIN = enum.auto()
    REFUSED = enum.auto()
    GONE = enum.auto()


def verdict(status: int) -> DeliveryVerdict:
    """The meaning of a status code. A redirect is not followed, and counts as a fault that somebody will mend."""
    if 200 <= status < 300:  # noqa: PLR2004  the classes of RFC 9110
        return DeliveryVerdict.DONE
    if status == _GONE:
        return DeliveryVerdict.GONE
    if 400 <= status < 500 and status not in _AGAIN:  # noqa: PLR2004
        return DeliveryVerdict.REFUSED
    return DeliveryVerdict.AGAIN
