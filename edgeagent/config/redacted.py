"""A configuration without its secrets, for a fault report."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from edgeagent.common.secrets import MASK, is_secrets_name, without_secrets
from edgeagent.wire.webhook import receiver

# What these files hold is no secret; every other file that a configuration names may hold one.
_PUBLIC_FILES = frozenset({"ca_file", "cert_file", "workflow_file"})
_MAX_SECRET_BYTES = 64 << 10


def redacted(config: msgspec.Struct) -> dict[str, Any]:
    """Every key with its value in force; constants of rules and whole workflows, which may hold anything, are masked.

    Of the URLs of webhooks and of `presign_url` the host stays, and nothing of a webhook's body: all may hold a token.
    Files that hold secrets stay as names.
    """
    members: dict[str, Any] = _without(_plain(config), "")
    return members


def known_secrets(config: msgspec.Struct) -> set[str]:
    """What the files of secrets that this configuration names hold, as far as this user may read them."""
    found: set[str] = set()
    for key, name in _files(_plain(config)):
        if not name or key in _PUBLIC_FILES:
            continue
        try:
            text = Path(name).read_bytes()[:_MAX_SECRET_BYTES].decode("utf-8", "replace")
        except OSError:  # what cannot be read cannot have been written anywhere by us
            continue
        found |= {text.strip(), *(line.strip() for line in text.splitlines())}
        found |= {part for line in text.splitlines() for part in line.strip().split(":")[1:]}  # users and their hashes
    return found


def _plain(config: msgspec.Struct) -> Any:
    return msgspec.to_builtins(config, enc_hook=_built_in)


def _built_in(value: Any) -> Any:
    """A value of a class of our own, which is one of a built-in class."""
    return next(kind(value) for kind in (str, int, float) if isinstance(value, kind))


def _files(members: Any) -> Iterator[tuple[str, str]]:
    if isinstance(members, dict):
        for key, value in members.items():
            if key.endswith("_file") and isinstance(value, str):
                yield key, value
            else:
                yield from _files(value)
    elif isinstance(members, (list, tuple)):
        for value in members:
            yield from _files(value)


def _without(value: Any, key: str) -> Any:
    if key == "workflow" and value is not None:
        encoded = msgspec.json.encode(value)
        return f"({len(encoded)} bytes, SHA-256 {hashlib.sha256(encoded).hexdigest()})"
    if key == "webhook":
        value = [{**table, "url": receiver(table["url"]).shown, "body": table["body"] and MASK} for table in value]
    if key == "presign_url" and value:
        return receiver(value).shown
    if key == "value" or (is_secrets_name(key) and isinstance(value, (str, int, float)) and value):
        return None if value is None else MASK
    if isinstance(value, dict):
        return {name: _without(each, name) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without(each, "") for each in value]
    return without_secrets(value) if isinstance(value, str) else value
