"""An agent in memory: accepts at once, keeps everything, fails on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from edgeagent.agent.days import days_report
from edgeagent.errors import EdgeAgentError, NotFound
from edgeagent.events.event import Draft
from edgeagent.ports.account import Account
from edgeagent.ports.call import A, Call, R
from edgeagent.ports.device import Accepted, ListedTrigger, Place, TriggerQuery, TriggerRef
from edgeagent.ports.manage import ManagedRequest, ManagedRequests
from edgeagent.ports.operator import (
    DataPiece,
    DataTaken,
    DeadDiscarded,
    DeadLetter,
    DeadLetterList,
    DeadNames,
    DeadReplayed,
    ExportedRanges,
    ExportReleased,
    FoundTriggers,
    Imported,
    ImportPart,
    LogLines,
    NamedTrigger,
    NamedTriggers,
    RecordedPage,
    Reloaded,
    WaitingPage,
)
from edgeagent.ports.report import ReportQuery
from edgeagent.ports.verification import Overview, VerifiedPart
from edgeagent.ports.watch import DeviceSeen, StreamQuery, StreamUpdate
from edgeagent.ports.where import Courses
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


MANAGED_STOP = ManagedRequest("r-1", "stop", "plant", "waiting", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z")


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
        self.canarys: dict[str, Any] | None = None
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

    async def triggers(self, query: TriggerQuery) -> list[ListedTrigger]:
        """All reports, as of events that came one a millisecond."""
        self.queries.append(query)
        found = [
            ListedTrigger(one, Place(place, one.event_id, one.correlation_id))
            for place, one in enumerate(self.reports.values())
        ]
        return found[::-1]

    def stats(self) -> dict[str, Any]:
        """The number of events."""
        return {"account": {"accepted": len(self.events)}}

    def canary(self) -> dict[str, Any] | None:
        """What the test says."""
        return self.canarys

    async def metrics(self) -> bytes:
        """The number of events."""
        return b"fake_events_total %d\n" % len(self.events)

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
    """An `OperatorPort` over a list of dead letters; of everything else it has nothing.

    `calls`: the name and the arguments of each. `failure` is raised by every call.
    """

    def __init__(self) -> None:
        self.dead: list[DeadLetter] = []
        self.failure: EdgeAgentError | None = None
        self.calls: list[tuple[str, msgspec.Struct]] = []

    async def perform(self, call: Call[A, R], arguments: A) -> R:
        """Note the call, and answer it."""
        self.calls.append((call.name, arguments))
        if self.failure is not None:
            raise self.failure
        result = self._answer(arguments, call.name)
        assert isinstance(result, call.result), call
        return result

    def _answer(self, asked: Any, name: str) -> msgspec.Struct:
        if isinstance(asked, NamedTriggers):
            found = [letter.correlation_id for letter in self.dead if letter.correlation_id in asked.correlation_ids]
            if name == "replay":
                return DeadReplayed(found)
            self.dead = [letter for letter in self.dead if letter.correlation_id not in found]
            return DeadDiscarded(found)
        if isinstance(asked, NamedTrigger):
            for letter in self.dead:
                if letter.correlation_id == asked.correlation_id:
                    return letter
            raise NotFound(asked.correlation_id, "no dead letter with this correlation id is kept")
        if isinstance(asked, ImportPart):
            return Imported(len(asked.triggers), 0)
        if isinstance(asked, ExportedRanges):
            return ExportReleased(sum(end - start for parts in asked.ranges.values() for start, end in parts))
        nothing: dict[str, msgspec.Struct] = {
            "dead_letters": DeadLetterList(list(self.dead)),
            "dead_names": DeadNames([letter.correlation_id for letter in self.dead]),
            "waiting": WaitingPage("normal", 0, [], None),
            "find": FoundTriggers([]),
            "overview": Overview(
                "checkpoint 1", True, (), (), (), Account(*[0] * len(Account.__struct_fields__)), (), {}
            ),
            "verify": VerifiedPart(0, 0, (), None),
            "recorded": RecordedPage([], None),
            "data": DataPiece(b"\0\xff", 2),
            "take_data": DataTaken(2),
            "reload": Reloaded("config.toml", 1, ("overheat",), (), (), ()),
            "log_lines": LogLines(["a line"]),
            "report": days_report("gw-1", ReportQuery(), (0, 0), [], []),
            "where": Courses("boiler-1", "source", [], None),
            "manage": MANAGED_STOP,
            "managed": MANAGED_STOP,
            "requests": ManagedRequests([MANAGED_STOP]),
        }
        return nothing[name]


class FakeWatch:
    """A `WatchPort` whose news the test gives: `tell`. `subscriptions`: those that are open."""

    def __init__(self) -> None:
        self.subscriptions: list[FakeWatchPlace] = []
        self.queries: list[StreamQuery] = []
        self.changed = asyncio.Event()

    def tell(self, *news: StreamUpdate) -> None:
        """Have news for everybody."""
        for one in self.subscriptions:
            one.news += news
            one.wake()

    def subscribe(self, query: StreamQuery, wake: Callable[[], None]) -> FakeWatchPlace:
        """Note the subscription."""
        self.queries.append(query)
        self.subscriptions.append(FakeWatchPlace(wake, self._left))
        self.changed.set()
        return self.subscriptions[-1]

    async def series(self) -> Mapping[str, Any]:
        """Nothing came or went."""
        return {"at": "2026-01-02T03:04:05Z"}

    async def devices(self) -> Sequence[DeviceSeen]:
        """One device."""
        return [DeviceSeen("boiler-1", "2026-01-02T03:04:05Z")]

    async def until_open(self, count: int) -> None:
        """Return when so many streams are open."""
        await until_told(
            lambda: len(self.subscriptions) == count,
            self.changed,
            f"{count} streams",
            seen=lambda: len(self.subscriptions),
        )

    def _left(self, one: FakeWatchPlace) -> None:
        self.subscriptions.remove(one)
        self.changed.set()


class FakeWatchPlace:
    """What is told to one subscriber; `taken` counts how often it took something."""

    def __init__(self, wake: Callable[[], None], left: Callable[[FakeWatchPlace], None]) -> None:
        self.news: list[StreamUpdate] = []
        self.taken = 0
        self.wake = wake
        self._left = left

    def take(self) -> Sequence[StreamUpdate]:
        """The next of what was told."""
        if not self.news:
            return []
        self.taken += 1
        return [self.news.pop(0)]

    def close(self) -> None:
        """Leave."""
        self._left(self)
