"""The account of promise P2: what became of every event and every trigger."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec


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
    """In triggers, since the outbox was made. `imported`, `dropped`, `merged` and `exported` have no source yet."""

    accepted: int
    settled: int
    pending: int
    dead: int
    discarded: int
    expired: int
    damaged: int

    def problems(self) -> Iterator[str]:
        """Where the account does not add up: a sentence each, none if it does."""
        ended = self.settled + self.pending + self.dead + self.discarded + self.expired + self.damaged
        if self.accepted != ended:
            yield f"accepted {self.accepted} is not settled + pending + dead + discarded + expired + damaged = {ended}"


def event_problems(events: EventCounts) -> Iterator[str]:
    """Where the counters in events do not add up."""
    parts = events.stored + events.duplicate + events.filtered + events.throttled + events.refused + events.conflict
    if events.received != parts:
        yield f"received {events.received} is not the sum of what became of the events = {parts}"
