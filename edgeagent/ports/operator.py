"""What the agent offers to the operator of its machine, and the data that passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

import msgspec

from edgeagent.ports.transfer import ExportedTrigger
from edgeagent.ports.verification import Overview, VerifiedPart

T = TypeVar("T")


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


class Waiting(msgspec.Struct, frozen=True):
    """A trigger in the outbox. `in_flight`: it was handed out to be sent. `reason`: why it was moved to its log."""

    seq: int
    log: str
    correlation_id: str
    in_flight: bool
    data_bytes: int
    reason: str
    trigger: ExportedTrigger


class WaitingPage(msgspec.Struct, frozen=True):
    """Some of the triggers that wait in a log; `waiting` is how many there are. `next_seq`: the next page's, if any."""

    log: str
    waiting: int
    triggers: Sequence[Waiting]
    next_seq: int | None


class Imported(msgspec.Struct, frozen=True):
    """What was taken in: `stored` triggers, and how many came before from the same file (`known`)."""

    stored: int
    known: int


class Reloaded(msgspec.Struct, frozen=True):
    """What a reload took over from `file`: how many rules are enabled now, and the names of those that differ.

    `restart`: the tables that were changed as well and count only after a restart.
    """

    file: str
    rules: int
    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    restart: tuple[str, ...]


class RecordedPage(msgspec.Struct, frozen=True):
    """Events that are still in a log, whatever became of them: each as the trigger of the first rule it matched.

    `next_seq`: the next page's, None when this is the last one.
    """

    triggers: Sequence[ExportedTrigger]
    next_seq: int | None


class OperatorPort(Protocol):
    """What the agent offers to the operator of its machine, on the Unix socket only."""

    async def dead_letters(self) -> list[DeadLetter]:
        """Every dead letter, oldest first."""

    async def replay(self, correlation_ids: Sequence[str]) -> list[str]:
        """Put dead letters back into the outbox; returns those that were found. Synced when it returns."""

    async def discard(self, correlation_ids: Sequence[str]) -> list[str]:
        """Let go of dead letters for good; returns those that were found. Synced when it returns."""

    async def waiting(self, log: str, seq: int, limit: int) -> WaitingPage:
        """Triggers that wait in a log, from `seq` on, oldest first, at most `limit`."""

    async def find_waiting(self, text: str) -> list[Waiting]:
        """Triggers in any log whose correlation id begins so, or whose event has this id; a few at most."""

    async def release_exported(self, ranges: Mapping[str, Sequence[tuple[int, int]]]) -> int:
        """Release what is in an export file: ranges of seqs of each log, ends excluded. Synced when it returns.

        Returns how many were released; those that were handed out to be sent meanwhile are not.
        """

    async def take_in(self, digest: str, first_number: int, triggers: Sequence[ExportedTrigger]) -> Imported:
        """Take in triggers of the export file with this digest, number `first_number` and on. Synced when it returns.

        Raises:
            MessageError, RecordTooLarge: one of them can never be stored.
            OutboxFull, StorageFailed, Draining: try again later; what is stored then is recognised.
        """

    async def overview(self) -> Overview:
        """What is known of the outbox on disk before its logs are read."""

    async def verify(self, log: str, seq: int) -> VerifiedPart:
        """Read a part of a log from `seq` on."""

    async def recorded(self, log: str, seq: int) -> RecordedPage:
        """Events that are still in a log of events, from `seq` on, oldest first."""

    async def reload(self) -> Reloaded:
        """Read the configuration again and take its rules over; nothing stops and nothing is lost.

        Raises:
            ConfigError: it cannot be used, with every problem found; the old rules go on.
        """
