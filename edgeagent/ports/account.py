"""The account of promise P2: what became of every event and every trigger."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

_CAME = ("accepted", "imported")


class EventCounts(msgspec.Struct):
    """In events: `received = stored + duplicate + filtered + throttled + refused + conflict`."""

    received: int = 0
    stored: int = 0
    duplicate: int = 0
    filtered: int = 0
    throttled: int = 0
    refused: int = 0
    conflict: int = 0


class Account(msgspec.Struct, frozen=True):
    """In triggers, since the outbox was made. `merged`: each ended in another one, which stands for it too.

    `accepted + imported` is what came in, and the sum of the others is what became of it.
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
        """Where the account does not add up: a sentence each, none if it does."""
        came = self.accepted + self.imported
        ended = {name: getattr(self, name) for name in self.__struct_fields__ if name not in _CAME}
        if came != sum(ended.values()):
            yield f"{' + '.join(_CAME)} = {came} is not {' + '.join(ended)} = {sum(ended.values())}"


def event_problems(events: EventCounts) -> Iterator[str]:
    """Where the counters in events do not add up."""
    parts = events.stored + events.duplicate + events.filtered + events.throttled + events.refused + events.conflict
    if events.received != parts:
        yield f"received {events.received} is not the sum of what became of the events = {parts}"
