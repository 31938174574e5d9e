"""The account of promise P2: how many events and triggers there were, and how each of them ended."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import msgspec

_CAME = ("accepted", "imported")


class EventCounts(msgspec.Struct):
    """Counters in events: `received = stored + duplicate + filtered + throttled + refused + conflict`."""

    received: int = 0
    stored: int = 0
    duplicate: int = 0
    filtered: int = 0
    throttled: int = 0
    refused: int = 0
    conflict: int = 0


class EventWay(StrEnum):
    """By which way events come: over HTTP, from the local broker, or from devices at the agent's own MQTT listener."""

    HTTP = "http"
    LOCAL = "mqtt"
    LISTENER = "listener"


class Account(msgspec.Struct, frozen=True):
    """Counters in triggers, since the outbox was created. `merged`: ended in another trigger, which stands for both.

    `accepted + imported` is the total, and equals the sum of the others.
    """

    accepted: int
    imported: int
    settled: int
    pending: int
    dead: int
    discarded: int
    expired: int
    dropped: int
    merged: int
    exported: int
    damaged: int

    def problems(self) -> Iterator[str]:
        """Where the account does not add up: a sentence for each discrepancy."""
        came = self.accepted + self.imported
        ended = {name: getattr(self, name) for name in self.__struct_fields__ if name not in _CAME}
        if came != sum(ended.values()):
            yield f"{' + '.join(_CAME)} = {came} is not {' + '.join(ended)} = {sum(ended.values())}"


def event_problems(events: EventCounts) -> Iterator[str]:
    """Where the counters in events do not add up: a sentence for each discrepancy."""
    parts = events.stored + events.duplicate + events.filtered + events.throttled + events.refused + events.conflict
    if events.received != parts:
        yield f"received {events.received} is not the sum of what became of the events = {parts}"
