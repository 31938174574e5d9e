"""What a receiver's answer means for a delivery. Pure."""

from __future__ import annotations

import enum
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

# A receiver may ask for a longer wait than this; it is tried again after this one.
MAX_RETRY_AFTER_S: Final = 3600.0
_GONE: Final = 410
# "Too early", "too many requests", "took too long": the same request may be taken later.
_AGAIN: Final = frozenset({408, 425, 429})
_MAX_DIGITS = 12


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


def retry_after_s(text: str, date: str, now: datetime) -> float:
    """How long a receiver asks us to wait, 0 if it does not; at most `MAX_RETRY_AFTER_S`.

    Args:
        text: the header `Retry-After`, seconds or a date; "" for none.
        date: the header `Date` of the same answer, by which a date is measured if there is one: our clock may be wrong.
        now: our time.
    """
    text = text.strip()
    if text.isascii() and text.isdecimal():
        return min(float(text[:_MAX_DIGITS]), MAX_RETRY_AFTER_S)
    until = _instant(text)
    if until is None:
        return 0.0
    return min(max((until - (_instant(date) or now)).total_seconds(), 0.0), MAX_RETRY_AFTER_S)


def _instant(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, OverflowError, IndexError):
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
