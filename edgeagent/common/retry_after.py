"""The header `Retry-After` of HTTP."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

# A server may ask for a longer wait than this; it is asked again after this one.
MAX_RETRY_AFTER_S: Final = 3600.0
_MAX_DIGITS = 12


def retry_after_s(text: str, date: str, now: datetime) -> float:
    """How long a server asks us to wait, 0 if it does not; at most `MAX_RETRY_AFTER_S`.

    Args:
        text: the header `Retry-After`, seconds or a date; "" for none.
        date: the header `Date` of the same answer, by which a date is measured if there is one: our clock may be wrong.
        now: our time.
    """
    text = text.strip()
    if text.isascii() and text.isdecimal():
        return min(float(text[:_MAX_DIGITS]), MAX_RETRY_AFTER_S)
    until = http_instant(text)
    if until is None:
        return 0.0
    return min(max((until - (http_instant(date) or now)).total_seconds(), 0.0), MAX_RETRY_AFTER_S)


def http_instant(text: str) -> datetime | None:
    """The time that a header such as `Date` says; None if it says none."""
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, OverflowError, IndexError):
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
