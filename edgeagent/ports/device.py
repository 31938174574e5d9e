"""The interface that the agent offers to devices, whatever protocol they speak."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, Self, TypeVar

import msgspec

from edgeagent.errors import Draining, EventConflict, MessageError, OutboxError, RecordTooLarge
from edgeagent.events.event import Draft
from edgeagent.wire.lifecycle import Life
from edgeagent.wire.messages import Report, State

T = TypeVar("T")


class TriggerRef(msgspec.Struct, frozen=True, gc=False):
    """A trigger promised for an accepted event."""

    rule: str
    correlation_id: str


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """The answer to one event: it is synced to disk, or matches no rule, and then `triggers` is empty."""

    id: str
    source: str
    duplicate: bool
    triggers: tuple[TriggerRef, ...]


class RefusedEvent(msgspec.Struct, frozen=True):
    """An event that is not accepted, and why.

    `later`: it may be accepted when it is offered again, because the outbox is full, the disk fails or the agent stops;
    it is neither stored nor counted. Otherwise it is refused for good, and counted.
    """

    error: MessageError | EventConflict | OutboxError | Draining

    @property
    def later(self) -> bool:
        """Whether it may be offered again."""
        return isinstance(self.error, (OutboxError, Draining)) and not isinstance(self.error, RecordTooLarge)


class Place(NamedTuple):
    """The place of a trigger in the list of all, which begins with the greatest: the newest event's."""

    accepted_ms: int
    event_id: str
    correlation_id: str

    @classmethod
    def of(cls, life: Life) -> Self:
        """The place of a trigger."""
        return cls(life.accepted_ms, life.report.event_id, life.report.correlation_id)


class TriggerQuery(msgspec.Struct, frozen=True):
    """Which triggers to list; empty members do not restrict. `after`: only those that follow this place in the list."""

    source: str = ""
    rule: str = ""
    state: State | None = None
    limit: int = 100
    after: Place | None = None


class ListedTrigger(NamedTuple):
    """A trigger in a list, and its place, from which the list can be continued."""

    report: Report
    place: Place


class EventPort(Protocol):
    """Accepts events from messages, each by itself. An event that is not refused is synced: that is a promise."""

    async def take(self, drafts: Sequence[Draft]) -> Mapping[int, RefusedEvent]:
        """Accept events individually, in the order given. Returns those not accepted, by their index in `drafts`.

        All others are synced to disk, or need not be stored; their `id` and `time` are set, and `repeated` in those
        whose very delivery was stored before.

        The caller must offer again, in order, those that may be accepted later. Cancelling the call does not undo it:
        the events may be stored.
        """

    def refuse(self, error: MessageError) -> None:
        """Count a message that should be an event but cannot be converted into a draft."""

    def complete(self, session: str, packet_id: int, done: Callable[[], None]) -> bool:
        """The sender of a delivery at QoS 2 says that it forgets it (PUBREL): its packet id is free for other messages.

        False: there is no event of this delivery. Otherwise `done` is called when the disk knows it, which is before
        the packet id may be used again: the same bytes are then another event, also after a crash.
        """

    def end_session(self, session: str) -> None:
        """Forget the deliveries (`Draft.delivery`) of an MQTT session, because its packet ids start again."""


class DevicePort(Protocol):
    """What the agent offers to devices, whatever protocol they speak. Accepting an event is a promise: it is synced."""

    async def accept(self, drafts: Sequence[Draft]) -> list[Accepted]:
        """Store events, all or none; returns once they are synced to disk, the answers in the order given.

        Cancelling the call does not undo it: the events may be stored.

        Raises:
            MessageError: an event breaks the contract; names the member.
            EventConflict: an earlier event had the same id and other data.
            RecordTooLarge: an event is larger than `outbox.max_event_bytes`, or all together are larger than a segment.
            OutboxFull, StorageFailed, Draining: try again later.
        """

    async def trigger(self, correlation_id: str, wait_s: float) -> Report | None:
        """A trigger's report, once its state is final or after `wait_s` seconds; None if the trigger is unknown."""

    async def triggers(self, query: TriggerQuery) -> list[ListedTrigger]:
        """The triggers that match, newest event first."""

    def stats(self) -> dict[str, Any]:
        """The account, the outbox, the uplink and the rules, ready for JSON."""

    def canary(self) -> dict[str, Any] | None:
        """What is known of the whole way to the engine's side by canaries, ready for JSON; None if none are sent."""

    async def metrics(self) -> bytes:
        """The same for Prometheus, in its text format 0.0.4."""

    def not_ready(self) -> str | None:
        """Why no event can be accepted now; None if events can."""
