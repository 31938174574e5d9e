"""The mark on edgeagent's publications (contract section 1), a user property of MQTT 5."""

from __future__ import annotations

from collections.abc import Sequence

from edgeagent.ports.link import MARK


def mark_property(name: str) -> tuple[tuple[str, str], ...]:
    """The user properties that name us as the publisher: one, or none if the name is empty."""
    return ((MARK, name),) if name else ()


def mark_of(user_properties: Sequence[tuple[str, str]]) -> str | None:
    """The name of the edgeagent that published a message, None if none did."""
    return next((value for name, value in user_properties if name == MARK), None) if user_properties else None
