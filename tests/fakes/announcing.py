"""A state announcer over an outbox and a clock that the test sets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

from edgeagent.agent.announcer import StateAnnouncer
from edgeagent.agent.trouble import Trouble
from tests.fakes.turned_clock import TurnedClock


class FakeOutbox:
    """What the announcer asks an outbox for; the test changes the attributes."""

    def __init__(self) -> None:
        self.pending = 0
        self.oldest_ms: int | None = None
        self.hours: float | None = None
        self.failure = ""
        self.looks = 0

    @property
    def health(self) -> Any:
        """The part of `Health` that is read."""
        return SimpleNamespace(
            account=SimpleNamespace(pending=self.pending),
            failure=self.failure,
            dead=SimpleNamespace(full=""),
            accepting=True,
        )

    def hours_left(self) -> float | None:
        """As the test says."""
        return self.hours

    async def beside(self, work: Any) -> int | None:
        """Instead of `oldest_ms` on the disk."""
        del work
        self.looks += 1
        return self.oldest_ms


class Announcing(NamedTuple):
    """The announcer, and what it reads."""

    announcer: StateAnnouncer
    outbox: FakeOutbox
    trouble: Trouble
    clock: TurnedClock


def announcing(interval_s: float = 300.0) -> Announcing:
    """An announcer of gw-042 that is not connected."""
    outbox, trouble, clock = FakeOutbox(), Trouble(), TurnedClock()
    source: Any = outbox
    announcer = StateAnnouncer("gw-042", source, clock, interval_s, lambda: trouble.what, lambda: "0123456789abcdef")
    return Announcing(announcer, outbox, trouble, clock)
