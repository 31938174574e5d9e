"""Durations and sizes as people write them: `"30s"`, `"7d"`, `"256MiB"`; plain numbers are seconds and bytes."""

from __future__ import annotations

import re

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_DURATION_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+)(B|kB|KiB|MB|MiB|GB|GiB)", re.ASCII)
_SIZE_UNITS_BYTES = {"B": 1, "kB": 1000, "KiB": 1 << 10, "MB": 10**6, "MiB": 1 << 20, "GB": 10**9, "GiB": 1 << 30}


class Duration(float):
    """A length of time in seconds."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Duration:
        """Read `"30s"`, `"1.5h"` or a number of seconds.

        Raises:
            ValueError: it is neither, or negative; the text says what is expected.
        """
        if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
            return cls(float(match[1]) * _DURATION_UNITS_S[match[2]])
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf"):
            return cls(value)
        raise ValueError(f'{value!r} is no duration: write "30s", "10m", "7d" (ms, s, m, h, d) or a number of seconds')


class Size(int):
    """A number of bytes."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Size:
        """Read `"256MiB"` or a number of bytes.

        Raises:
            ValueError: it is neither, or negative; the text says what is expected.
        """
        if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
            return cls(int(match[1]) * _SIZE_UNITS_BYTES[match[2]])
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return cls(value)
        raise ValueError(f'{value!r} is no size: write "64KiB", "256MiB", "1GiB" or a number of bytes')
