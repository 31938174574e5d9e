r"""Paths into an event's envelope, in the part of gjson's syntax that names and indexes need.

`body.temp`, `body.readings.0.value`, `body.a\.b` (a dot in a name). Everything else of gjson (`#`, wildcards,
modifiers, multipaths, `|`) is refused when the configuration is read, never silently different.
Values and their texts follow gjson: https://github.com/tidwall/gjson/blob/master/SYNTAX.md
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import msgspec

_SPECIAL = frozenset("#*?|@[]{}!")

Path = tuple[str, ...]


class _Missing:
    """The type of `MISSING`."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()


def compile_path(text: str) -> Path:
    """Split a path into its parts.

    Raises:
        ValueError: it is empty, has an empty part, or uses syntax that is not supported; the text says which.
    """
    parts: list[str] = []
    part = ""
    signs = iter(text)
    for sign in signs:
        if sign == "\\":
            part += next(signs, "")
        elif sign == ".":
            parts.append(part)
            part = ""
        elif sign in _SPECIAL:
            raise ValueError(f"{text!r}: {sign!r} is not supported in a path; write \\{sign} for the character itself")
        else:
            part += sign
    parts.append(part)
    if "" in parts:
        raise ValueError(f"{text!r} has an empty part: no event has such a value")
    return tuple(parts)


def lookup(path: Path, envelope: Any) -> Any:
    """The value at a path, or `MISSING`. `envelope` is decoded JSON: dict, list, str, int, float, bool, None."""
    value = envelope
    for part in path:
        if isinstance(value, dict):
            value = value.get(part, MISSING)
        elif isinstance(value, list) and part.isdecimal() and part.isascii() and int(part) < len(value):
            value = value[int(part)]
        else:
            return MISSING
        if value is MISSING:
            return MISSING
    return value


def text_of(value: Any, null: str = "null") -> str:
    """A value's text: strings as they are, numbers in plain decimal, objects and arrays as JSON, null as `null`."""
    if isinstance(value, str):
        return value
    if value is None:
        return null
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        text = format(Decimal(repr(value)), "f")
        return text.removesuffix(".0")
    if isinstance(value, int):
        return str(value)
    return msgspec.json.encode(value).decode()
