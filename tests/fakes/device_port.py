"""An agent in memory: accepts at once, keeps everything, fails on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from edgeagent.errors import EdgeAgentError
from edgeagent.events.event import Draft
from edgeagent.ports.account import Account
from edgeagent.ports.device import Accepted, TriggerQuery, TriggerRef
from edgeagent.ports.operator import DeadLetter, Imported, RecordedPage, Reloaded, Waiting, WaitingPage
from edgeagent.ports.transfer import ExportedTrigger
from edgeagent.ports.verification import Overview, VerifiedPart
from edgeagent.wire.messages import Report, State
from tests.waiting import until_told

CORRELATION_ID = "9f2c" * 8


def report(correlation_id: str = CORRELATION_ID, state: State = State.PUBLISHED) -> Report:
    """A report with something in every member that must be there."""
    return Report(correlation_id, "e-1", "boiler-1", "overheat", state, "2026-01-02T03:04:05Z")


def dead_letter(correlation_id: str = CORRELATION_ID) -> DeadLetter:
    """A dead letter with something in every member."""
    return DeadLetter(
        correlation_id,
        "e-1",
        "boiler-1",
        "event",
        "overheat",
        "Invalid workflow definition",
        400,
        1,
        "2026-01-02T03:04:05Z",
        "2026-01-02T03:04:04Z",
        '{"temp":97.1}',
    )


class FakeDevice:
    """A `DevicePort`.

    `failure` is raised by `accept`; while `gate` is cleared, `accept` hangs. `waiting` counts the calls that wait for
    a trigger, `changed` is set whenever that count or the events change.
    """

    def __init__(self) -> None:
        self.events: list[Draft] = []
        self.queries: list[TriggerQuery] = []
        self.reports: dict[str, Report] = {}
        self.failure: BaseException | None = None
        self.reason_not_ready: str | None = None
        self.waiting = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.changed = asyncio.Event()

    async def accept(self, drafts: Sequence[Draft]) -> list[Accepted]:
        """Keep the events."""
        if not self.gate.is_set():
            self._note_waiting(1)
            try:
                await self.gate.wait()
            finally:
                self._note_waiting(-1)
        if self.failure is not None:
            raise self.failure
        self.events.extend(drafts)
        self.changed.set()
        return [
            Accepted(draft.id or "0190", draft.source, duplicate=False, triggers=(TriggerRef("overheat", "9f2c" * 8),))
            for draft in drafts
        ]

    async def trigger(self, correlation_id: str, wait_s: float) -> Report | None:
        """The report set for this id, after the whole wait."""
        if wait_s:
            self._note_waiting(1)
            try:
                await asyncio.sleep(wait_s)
            finally:
                self._note_waiting(-1)
        return self.reports.get(correlation_id)

    async def triggers(self, query: TriggerQuery) -> list[Report]:
        """All reports."""
        self.queries.append(query)
        return list(self.reports.values())

    def stats(self) -> dict[str, Any]:
        """The number of events."""
        return {"account": {"accepted": len(self.events)}}

    def not_ready(self) -> str | None:
        """What the test says."""
        return self.reason_not_ready

    async def until_waiting(self, count: int) -> None:
        """Return when so many calls wait."""
        await until_told(
            lambda: self.waiting == count, self.changed, f"{count} calls that wait", seen=lambda: self.waiting
        )

    def _note_waiting(self, difference: int) -> None:
        self.waiting += difference
        self.changed.set()


class FakeOperator:
    """An `OperatorPort` over a list of dead letters."""

    def __init__(self) -> None:
        self.dead: list[DeadLetter] = []
        self.failure: EdgeAgentError | None = None
        self.calls: list[tuple[Any, ...]] = []

    async def dead_letters(self) -> list[DeadLetter]:
        """What the test put there."""
        return list(self.dead)

    async def replay(self, correlation_ids: Sequence[str]) -> list[str]:
        """Those that are there."""
        if self.failure is not None:
            raise self.failure
        return [letter.correlation_id for letter in self.dead if letter.correlation_id in correlation_ids]

    async def discard(self, correlation_ids: Sequence[str]) -> list[str]:
        """Those that are there, gone from now on."""
        found = [letter.correlation_id for letter in self.dead if letter.correlation_id in correlation_ids]
        self.dead = [letter for letter in self.dead if letter.correlation_id not in correlation_ids]
        return found

    async def waiting(self, log: str, seq: int, limit: int) -> WaitingPage:
        """An empty page."""
        self.calls.append(("waiting", log, seq, limit))
        return WaitingPage(log, 0, [], None)

    async def find_waiting(self, text: str) -> list[Waiting]:
        """Nothing."""
        self.calls.append(("find", text))
        return []

    async def release_exported(self, ranges: Mapping[str, Sequence[tuple[int, int]]]) -> int:
        """As many as are asked for."""
        self.calls.append(("exported", ranges))
        return sum(end - start for parts in ranges.values() for start, end in parts)

    async def take_in(self, digest: str, first_number: int, triggers: Sequence[ExportedTrigger]) -> Imported:
        """All of them."""
        if self.failure is not None:
            raise self.failure
        self.calls.append(("import", digest, first_number, len(triggers)))
        return Imported(len(triggers), 0)

    async def overview(self) -> Overview:
        """An outbox that was never used."""
        return Overview("checkpoint 1", True, (), (), (), Account(*[0] * len(Account.__struct_fields__)), (), {})

    async def verify(self, log: str, seq: int) -> VerifiedPart:
        """Nothing wrong."""
        self.calls.append(("verify", log, seq))
        return VerifiedPart(0, 0, (), None)

    async def recorded(self, log: str, seq: int) -> RecordedPage:
        """No events."""
        self.calls.append(("recorded", log, seq))
        return RecordedPage([], None)

    async def reload(self) -> Reloaded:
        """One new rule."""
        if self.failure is not None:
            raise self.failure
        self.calls.append(("reload",))
        return Reloaded("config.toml", 1, ("overheat",), (), (), ())
