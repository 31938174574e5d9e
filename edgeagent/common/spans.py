"""Lengths of time as texts for a person."""

from __future__ import annotations

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400


def span(seconds: float) -> str:
    """A length of time in its largest one or two units: `8 s`, `14 min`, `5 h 12 min`, `3 d 4 h`. Never below `0 s`."""
    whole = max(int(seconds), 0)
    days, hours, minutes = whole // _DAY_S, whole % _DAY_S // _HOUR_S, whole % _HOUR_S // _MINUTE_S
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min" if minutes else f"{whole} s"
