"""Durations, sizes and rates as people write them: `"30s"`, `"7d"`, `"256MiB"`, `"2Mbit/s"`."""

from __future__ import annotations

import re

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_DURATION_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d{1,30})(B|kB|KiB|MB|MiB|GB|GiB)", re.ASCII)
_SIZE_UNITS_BYTES = {"B": 1, "kB": 1000, "KiB": 1 << 10, "MB": 10**6, "MiB": 1 << 20, "GB": 10**9, "GiB": 1 << 30}
_RATE = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)(bit|kbit|Mbit|Gbit|B|kB|KiB|MB|MiB|GB|GiB)/s", re.ASCII)
_BITS_PER_S = {"bit": 1, "kbit": 1000, "Mbit": 10**6, "Gbit": 10**9}
# So that sums with a clock's time stay far from overflow, and offsets in a file fit into 63 bits.
_LONGEST_S = 100 * 365 * 86400
_LARGEST_BYTES = (1 << 63) - 1


class Duration(float):
    """A length of time in seconds, at most 100 years."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Duration:
        """Read `"30s"`, `"1.5h"` or a number of seconds.

        Raises:
            ValueError: the value is neither, or negative, or longer than 100 years; the text says what is expected.
        """
        seconds: object = value
        if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
            seconds = float(match[1]) * _DURATION_UNITS_S[match[2]]
        if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 0 <= seconds <= _LONGEST_S:
            return cls(seconds)
        raise ValueError(
            f'{value!r} is not a duration: write "30s", "10m", "7d" (ms, s, m, h, d) or a number of seconds'
        )


class Size(int):
    """A number of bytes."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Size:
        """Read `"256MiB"` or a number of bytes.

        Raises:
            ValueError: the value is neither, or negative, or needs more than 63 bits; the text says what is expected.
        """
        size: object = value
        if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
            size = int(match[1]) * _SIZE_UNITS_BYTES[match[2]]
        if isinstance(size, int) and not isinstance(size, bool) and 0 <= size <= _LARGEST_BYTES:
            return cls(size)
        raise ValueError(f'{value!r} is not a size: write "64KiB", "256MiB", "1GiB" or a number of bytes')


class BitRate(float):
    """A speed in bytes a second."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> BitRate:
        """Read `"2Mbit/s"` or `"250KiB/s"`.

        Raises:
            ValueError: the value is neither; the text says what is expected.
        """
        if isinstance(value, str) and (match := _RATE.fullmatch(value)):
            bits = _BITS_PER_S.get(match[2])
            bytes_each = _SIZE_UNITS_BYTES[match[2]] if bits is None else bits / 8
            return cls(float(match[1]) * bytes_each)
        raise ValueError(f'{value!r} is not a rate: write "500kbit/s", "2Mbit/s" or "250KiB/s"')
