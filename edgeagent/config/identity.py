"""A name for a configuration as it is in force, so that whoever manages many gateways sees who has which."""

from __future__ import annotations

from typing import Any

import msgspec

from edgeagent.common.digests import blake2b
from edgeagent.common.units import BitRate, Duration, Size
from edgeagent.config.tables import FilePath, MadePath

_DIGEST_BYTES = 8


def identity(config: msgspec.Struct) -> str:
    """16 hex digits, the same for the same values, defaults included, on any machine; comments and order do not count.

    Files count by their names as they are written, workflow files by what is in them. A version that knows other keys
    gives other names.
    """
    return blake2b(msgspec.json.encode(plain(config), order="sorted"), digest_size=_DIGEST_BYTES).hexdigest()


def plain(value: Any) -> Any:
    """A table, or a part of one, as values that JSON has: files by their names as they are written."""
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, FilePath | MadePath):
        return value.written
    if isinstance(value, Duration | BitRate | Size):
        return int(value) if isinstance(value, Size) else float(value)
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value
