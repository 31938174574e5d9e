"""What the agent offers to devices, whatever protocol they speak."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from edgeagent.events.event import Draft
from edgeagent.wire.messages import Report, State

T = TypeVar("T")


class TriggerRef(msgspec.Struct, frozen=True, gc=False):
    """A trigger that an accepted event promises."""

    rule: str
    correlation_id: str


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """The answer to one event: it is synced to disk (or no rule wants it: then `triggers` is empty)."""

    id: str
    source: str
    duplicate: bool
    triggers: tuple[TriggerRef, ...]


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
