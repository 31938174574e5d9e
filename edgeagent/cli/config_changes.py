"""What one configuration changes in another, key by key. Without I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from edgeagent.common.foreign import MAX_SHOWN_CHARS, shown

_ABSENT = "(absent)"
_PRESENT = "(a table)"


class ConfigChange(NamedTuple):
    """A key, and its value before and after, as JSON."""

    key: str
    before: str
    after: str


def leaves(prefix: str, value: Any) -> list[tuple[str, str]]:
    """Every key below `prefix` with its value as JSON. A list of named tables has their names as keys."""
    if isinstance(value, Mapping) and value:
        return [leaf for name, each in value.items() for leaf in leaves(f"{prefix}.{name}".lstrip("."), each)]
    if isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
        named = all(isinstance(each.get("name"), str) for each in value)
        keys = [each["name"] if named else number for number, each in enumerate(value)]
        return [leaf for key, each in zip(keys, value, strict=True) for leaf in leaves(f"{prefix}[{key}]", each)]
    return [(prefix, shown(msgspec.json.encode(value).decode(), MAX_SHOWN_CHARS))]


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[ConfigChange]:
    """Every key that differs, in the order of the new configuration, then those that are gone.

    A named table that is new or gone, such as a rule, is one change.
    """
    old, new = dict(leaves("", before)), dict(leaves("", after))
    tables_before, tables_after = set(map(_table_of, old)), set(map(_table_of, new))
    found: dict[str, ConfigChange] = {}
    for key in {**new, **old}:
        table = _table_of(key)
        if table and table not in tables_before:
            found[table] = ConfigChange(table, _ABSENT, _PRESENT)
        elif table and table not in tables_after:
            found[table] = ConfigChange(table, _PRESENT, _ABSENT)
        elif old.get(key) != new.get(key):
            found[key] = ConfigChange(key, old.get(key, _ABSENT), new.get(key, _ABSENT))
    return list(found.values())


def _table_of(key: str) -> str:
    """The outermost table of a list that this key is in: `rule[overheat]`; empty if there is none."""
    table, bracket, _ = key.partition("]")
    return table + bracket if bracket else ""
