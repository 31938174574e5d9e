"""The Protocols through which the parts of one process meet, and the data that passes.

Parts in the same row of the architecture do not import each other: the composition root hands each what it needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from edgeagent.core.event import Draft
from edgeagent.core.messages import Report, State


class TriggerRef(msgspec.Struct, frozen=True):
    """A trigger that an accepted event promises."""

    rule: str
    correlation_id: str


class Accepted(msgspec.Struct, frozen=True):
    """The answer to one event: it is synced to disk (or no rule wants it: then `triggers` is empty)."""

    id: str
    source: str
    duplicate: bool
    triggers: tuple[TriggerRef, ...]


class DeadLetter(msgspec.Struct, frozen=True):
    """A trigger that was given up, kept with everything needed to send it again.

    `reason`: why, for a person. `code`: the answer's code, 0 where there was none. `attempts`: how often it was
    published by the process that gave it up. `at`: when, RFC 3339 UTC. `data`: the event's data as text
    (JSON as it is, anything else as base64).
    """

    correlation_id: str
    event_id: str
    source: str
    type: str
    rule: str
    reason: str
    code: int
    attempts: int
    at: str
    time: str
    data: str


class TriggerQuery(msgspec.Struct, frozen=True):
    """Which triggers to list; empty members do not restrict."""

    source: str = ""
    rule: str = ""
    state: State | None = None
    limit: int = 100


class DevicePort(Protocol):
    """What the agent offers to devices, whatever protocol they speak."""

    async def accept(self, drafts: Sequence[Draft]) -> list[Accepted]:
        """Take events, all or none; returns when they are synced to disk, in the order given.

        Cancelling the call does not undo it: the events may be stored.

        Raises:
            MessageError: an event breaks the contract; names the member.
            EventConflict: an id came before with other data.
            RecordTooLarge: an event is larger than `outbox.max_event_bytes`.
            OutboxFull, StorageFailed, Draining: try again later.
        """

    async def trigger(self, correlation_id: str, wait_s: float) -> Report | None:
        """A trigger's present report, after at most `wait_s` seconds or as soon as its state is final."""

    async def triggers(self, query: TriggerQuery) -> list[Report]:
        """Reports, newest first."""

    def stats(self) -> dict[str, Any]:
        """The account, the outbox, the uplink and the rules, ready for JSON."""

    def not_ready(self) -> str | None:
        """Why no event can be accepted now, None when one can."""


class OperatorPort(Protocol):
    """What the agent offers to the operator of its machine, on the Unix socket only."""

    async def dead_letters(self) -> list[DeadLetter]:
        """Every dead letter, oldest first."""

    async def replay(self, correlation_ids: Sequence[str]) -> list[str]:
        """Put dead letters back into the outbox; returns those that were found. Synced when it returns."""
