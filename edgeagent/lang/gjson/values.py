"""What paths find, decoded JSON or nothing, and the text of a value as gjson gives it."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any, Final

import msgspec

from edgeagent.errors import MessageError


class _Missing:
    """The type of `MISSING`."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()


def text_of(value: Any, null: str = "null") -> str:
    """A value's text: strings unchanged, numbers in plain decimal, objects and arrays as JSON, null as `null`.

    Raises:
        MessageError: the value is nested too deep to be written.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return null
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        text = repr(value)
        if "e" in text:
            text = format(Decimal(text), "f")
        return text.removesuffix(".0")
    if isinstance(value, int):
        return str(value)
    return json_of(value)


def json_of(value: Any) -> str:
    """A value as compact JSON.

    Raises:
        MessageError: the value is nested too deep to be written.
    """
    try:
        return msgspec.json.encode(value).decode()
    except RecursionError as exc:
        raise MessageError("event", "", "is nested too deep") from exc


def number_of(value: float) -> float:
    """A number as the double that gjson compares; an integer too large for a double is infinite."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
