"""`filters.time`: the event's time of day must be within a period.

The times are those of a wall clock, in UTC or in an IANA time zone. Where clocks are put forward, a period loses the
hour that does not exist; where they are put back, it contains the repeated hour twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, time, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from edgeagent.common.times import instant
from edgeagent.errors import MessageError
from edgeagent.rules.filter_data import Condition
from edgeagent.rules.spec import TimeFilter

_CLOCK = re.compile(r" *([0-9]|[01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9])(?:[.,]([0-9]+))?", re.ASCII)
_MICROSECOND_DIGITS = 6


def time_problems(period: TimeFilter) -> Iterator[tuple[str, str]]:
    """Yield the mistakes in the period: key path below `filters`, and reason."""
    found = []
    for key in ("start", "stop"):
        try:
            found.append(_clock(getattr(period, key)))
        except ValueError as exc:
            yield f"time.{key}", str(exc)
    if len(found) > len(set(found)):
        yield "time.stop", "is the same as start: write 00:00:00 and 23:59:59, or no time at all, for the whole day"
    try:
        _zone(period.timezone)
    except ValueError as exc:
        yield "time.timezone", str(exc)


def compile_time(period: TimeFilter) -> Condition:
    """A function that says whether an envelope's time is in the period, from `start` until just before `stop`.

    With `stop` before `start` the period includes midnight. It must have no `time_problems`. The function raises
    `MessageError` if the event's time is invalid.
    """
    start, stop, zone = _clock(period.start), _clock(period.stop), _zone(period.timezone)
    if start < stop:
        return lambda envelope: start <= _time_of_day(envelope, zone) < stop

    def holds(envelope: Any) -> bool:
        now = _time_of_day(envelope, zone)
        return now >= start or now < stop

    return holds


def _time_of_day(envelope: Any, zone: tzinfo) -> time:
    text = envelope["time"]
    try:
        return instant(text).astimezone(zone).time()
    except (ValueError, OverflowError) as exc:
        reason = f"must be RFC 3339, such as 2026-03-20T11:00:00Z, is {text!r}"
        raise MessageError("filter", "time", reason) from exc


def _clock(text: str) -> time:
    match = _CLOCK.fullmatch(text)
    if match is None:
        raise ValueError(f'must be a time of day with seconds, such as "22:00:00", is {text!r}')
    hour, minute, second = (int(digits) for digits in match.groups()[:3])
    fraction = (match[4] or "")[:_MICROSECOND_DIGITS].ljust(_MICROSECOND_DIGITS, "0")
    return time(hour, minute, second, int(fraction))


def _zone(name: str) -> tzinfo:
    if not name:
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, KeyError, OSError) as exc:  # a path, a missing file, a directory
        raise ValueError(
            f"{name!r} cannot be loaded: it must be a name of the IANA such as Europe/Berlin, and this machine must "
            "have the time zone data (the package tzdata, the system's or Python's)"
        ) from exc
