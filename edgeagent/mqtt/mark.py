"""What user properties of MQTT 5 say: the mark on edgeagent's publications (contract section 1), and the trace."""

from __future__ import annotations

from collections.abc import Sequence

from edgeagent.ports.link import MARK, TRACEPARENT


def mark_property(name: str) -> tuple[tuple[str, str], ...]:
    """The user properties that name us as the publisher: one, or none if the name is empty."""
    return ((MARK, name),) if name else ()


def told_beside(user_properties: Sequence[tuple[str, str]]) -> tuple[str | None, str | None]:
    """The name of the edgeagent that published a message, and its trace; None for each that is not there."""
    if not user_properties:
        return None, None
    found = dict(reversed(user_properties))  # of several the first counts
    return found.get(MARK), found.get(TRACEPARENT)
