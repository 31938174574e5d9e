"""Recognises the texts in an expression that are dates: they stand for a number there, the instant in Unix seconds.

The formats and their tolerance are govaluate's (`tryParseTime` in its parsing.go, over Go's `time.Parse`): an hour may
have one digit, seconds may have a fraction, several blanks count as one. A date without an offset is taken as UTC, the
local time of a Sensor's container.
Source: https://github.com/Knetic/govaluate, revision 9aa49832a739, the one that Argo Events is built with.
"""

from __future__ import annotations

import re
from datetime import date

_DAY_S = 86_400
_DAYS_IN_400_YEARS = 146_097
_UNIX_EPOCH_DAY = date(1970, 1, 1).toordinal()

_CLOCK = r"(?P<hour>[0-9]{1,2})(?::(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,][0-9]+)?)?)?"
_DATE = re.compile(
    r"(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})"
    rf"(?:(?P<separator>T| +){_CLOCK}(?P<offset>Z|[+-][0-9]{{2}}:?[0-9]{{2}})?)?"
)
# What govaluate also reads as a date, though unintended: `9:00AM` (in the year 0), and Go's ANSIC, UnixDate and
# RubyDate, whose time zone names mean different things on different machines.
_KITCHEN = re.compile(r"(0?[0-9]|1[0-2]):[0-5][0-9][AP]M")
_WEEKDAY_FIRST = re.compile(
    r"(?:sun|mon|tue|wed|thu|fri|sat) +(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec) +[0-9]{1,2} +"
    r"[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]+)? +(?:[^ ]+ +)?[0-9]{4}",
    re.IGNORECASE | re.ASCII,
)


def date_literal(text: str) -> float | None:
    """The Unix seconds that a text in an expression stands for; None if it is plain text.

    Raises:
        ValueError: govaluate reads it as a date, but in a form whose instant is uncertain.
    """
    if _KITCHEN.fullmatch(text) or _WEEKDAY_FIRST.fullmatch(text):
        raise ValueError(
            f"the text {text!r} would be read as a date; write it as 2026-01-31T09:00:00Z, or match it: =~"
        )
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    parts = found.groupdict()
    if not _is_a_format(parts):
        return None
    days = _days(int(parts["year"]), int(parts["month"]), int(parts["day"]))
    seconds = _seconds(*(int(parts[name] or 0) for name in ("hour", "minute", "second")))
    if days is None or seconds is None:
        return None
    return float(days * _DAY_S + seconds - _offset_s(text, parts["offset"] or "Z"))


def _is_a_format(parts: dict[str, str | None]) -> bool:
    """Whether these parts, each valid, make up one of the formats."""
    offset, minute, second = parts["offset"], parts["minute"], parts["second"]
    if parts["separator"] is None:
        return True
    if parts["separator"] == "T":
        return offset is not None and (":" not in offset or second is not None)
    if offset is None:
        return minute is not None
    return second is not None and ":" in offset


def _days(year: int, month: int, day: int) -> int | None:
    """Days since 1970, None if there is no such day. The year 0 exists here, unlike in `datetime`."""
    try:
        in_cycle = date(year % 400 + 400, month, day).toordinal()
    except ValueError:
        return None
    return in_cycle + (year // 400 - 1) * _DAYS_IN_400_YEARS - _UNIX_EPOCH_DAY


def _seconds(hour: int, minute: int, second: int) -> int | None:
    if hour > 23 or minute > 59 or second > 59:  # noqa: PLR2004 - a day has 24 hours
        return None
    return hour * 3600 + minute * 60 + second


def _offset_s(text: str, offset: str) -> int:
    if offset == "Z":
        return 0
    hours, minutes = int(offset[1:3]), int(offset[-2:])
    if hours > 23 or minutes > 59:  # noqa: PLR2004 - as above; Go's versions differ on such offsets
        raise ValueError(f"the date {text!r} has an offset that no place has")
    return (hours * 3600 + minutes * 60) * (-1 if offset[0] == "-" else 1)
