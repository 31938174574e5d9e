"""Explains in plain words what is wrong with JSON from outside; msgspec's own messages name Python's types."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from edgeagent.common.foreign import shown

_EXPECTED = re.compile(r"Expected `([^`]*)`([^,]*)(?:, got `([^`]*)`)?", re.DOTALL)
_MALFORMED = re.compile(r"JSON is malformed: (.*)", re.DOTALL)
_KINDS: Final = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "null",
    "array": "an array",
    "object": "an object",
    "bytes": "base64",
}


def misfit(text: str) -> str:
    """Msgspec's reason for JSON of the wrong form, without the position: `must be a text, is an array`."""
    match = _EXPECTED.fullmatch(text)
    if match is None:
        return shown(text[:1].lower() + text[1:].replace("`", '"'))
    wanted, bound, kind = match.groups()
    return f"must be {_kinds(wanted)}{bound}" + (f", is {_kinds(kind)}" if kind is not None else "")


def json_reason(error: Exception) -> str:
    """Why JSON could not be decoded, from the exception of msgspec (a ValueError or a RecursionError)."""
    if isinstance(error, msgspec.ValidationError):
        reason, _, place = str(error).partition(" - at `$")
        place = place.removesuffix("`").removeprefix(".")
        return f"{shown(place)}: {misfit(reason)}" if place else misfit(reason)
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    match = _MALFORMED.fullmatch(str(error))
    return shown(match[1]) if match is not None else "it ends before it is complete"


def _kinds(text: str) -> str:
    return " or ".join(_KINDS.get(kind, kind) for kind in text.split(" | "))
