"""The modifiers of gjson (`@keys`, `@reverse`, …) on decoded JSON.

Each gets what the path before it found, which may be nothing: `@keys` of nothing is `[]`, as in gjson.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from edgeagent.errors import MessageError
from edgeagent.lang.gjson.values import MISSING, json_of

Modifier = Callable[[Any], Any]

_REFUSED = {
    "pretty": "it only lays out text, and texts are always compact here; leave it out",
    "dig": "what it finds at any depth can be far larger than the event; name the path",
}


def compile_modifier(name: str, argument: str | None) -> Modifier:
    """The modifier of this name (without `@`), one of `MODIFIER_NAMES`; `argument` is the text as written.

    Raises:
        ValueError: it is not supported, or not with this argument.
    """
    if name in _REFUSED:
        raise ValueError(f"@{name} is not supported: {_REFUSED[name]}")
    if argument is None:
        return _MODIFIERS[name]
    option = _OPTIONS.get(name)
    if option is None:
        raise ValueError(f"@{name} takes no argument")
    try:
        on = msgspec.json.decode(argument, type=dict[str, bool])
    except (msgspec.DecodeError, RecursionError):
        on = {}
    if on.keys() != {option}:
        raise ValueError(f'the argument of @{name} can only be {{"{option}":true}} or {{"{option}":false}}')
    if not on[option]:
        return _MODIFIERS[name]
    if name == "join":
        raise ValueError("@join with preserve is not supported: it would make members of the same name")
    return _flatten_deep


def _this(value: Any) -> Any:
    return value


def _reverse(value: Any) -> Any:
    if isinstance(value, list):
        return value[::-1]
    if isinstance(value, dict):
        return dict(reversed(value.items()))
    return value


def _flatten(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    flat: list[Any] = []
    for item in value:
        if isinstance(item, list):
            flat.extend(item)
        else:
            flat.append(item)
    return flat


def _flatten_deep(value: Any) -> Any:
    """Arrays in arrays, to any depth; without recursion, because the sender chooses the depth."""
    if not isinstance(value, list):
        return value
    flat: list[Any] = []
    open_arrays = [iter(value)]
    while open_arrays:
        for item in open_arrays[-1]:
            if isinstance(item, list):
                open_arrays.append(iter(item))
                break
            flat.append(item)
        else:
            open_arrays.pop()
    return flat


def _join(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    joined: dict[str, Any] = {}
    for item in value:
        if isinstance(item, dict):
            joined.update(item)
    return joined


def _keys(value: Any) -> Any:
    if value is MISSING:
        return []
    if isinstance(value, dict):
        return list(value)
    return [None] * (len(value) if isinstance(value, list) else 1)


def _values(value: Any) -> Any:
    if value is MISSING:
        return []
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else [value]


def _tostr(value: Any) -> Any:
    if value is MISSING:
        return ""
    try:
        return json_of(value)
    except MessageError:
        return MISSING


def _fromstr(value: Any) -> Any:
    """A text that is JSON, decoded. Other values are unchanged; null and a text that is not JSON give nothing."""
    if value is None:
        return MISSING
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except (ValueError, RecursionError):
        return MISSING


def _group(value: Any) -> Any:
    """Turn an object of arrays into an array of objects."""
    if not isinstance(value, dict):
        return MISSING
    groups: list[dict[str, Any]] = []
    for name, items in value.items():
        if not isinstance(items, list):
            continue
        groups.extend({} for _ in range(len(items) - len(groups)))
        for group, item in zip(groups, items, strict=False):
            group[name] = item
    return groups


_MODIFIERS: dict[str, Modifier] = {
    "this": _this,
    "valid": _this,  # decoded data is always valid
    "ugly": _this,  # texts are always compact
    "reverse": _reverse,
    "flatten": _flatten,
    "join": _join,
    "keys": _keys,
    "values": _values,
    "tostr": _tostr,
    "fromstr": _fromstr,
    "group": _group,
}
_OPTIONS = {"flatten": "deep", "join": "preserve"}

# All modifiers that gjson knows; any other `@name` is the name of a member, there and here.
MODIFIER_NAMES = frozenset({*_MODIFIERS, *_REFUSED})
