"""Finding the triggers that a person's text names, wherever the agent keeps them."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from edgeagent.agent.facts import BrokerConnection, Flight, OpenWindow, RuleFacts, Surroundings
from edgeagent.agent.inflight import FlightPhase
from edgeagent.agent.lines import RateWait
from edgeagent.agent.notes import correlation_of
from edgeagent.agent.where import Where
from edgeagent.errors import NotFound
from edgeagent.events.event import Record
from edgeagent.ledger.followed import By, Followed
from edgeagent.outbox.records import DEAD, NORMAL, WINDOWS, Leased, Moved
from edgeagent.ports.artifacts import UploadProgress, UploadState
from edgeagent.ports.where import MAX_COURSES, Courses, WhereQuery
from edgeagent.wire.lifecycle import Life
from edgeagent.wire.messages import Report, State

pytestmark = pytest.mark.virtual_time

NOW_MS = 1_800_000_000_000


class FakeKnowledge:
    """A `Knowledge` of two lists. `searches`: how often the whole outbox was read, for one trigger or for many."""

    def __init__(self, followed: list[Followed] | None = None, stored: list[Leased] | None = None) -> None:
        self.in_ledger = followed or []
        self.progress: UploadProgress | None = None
        self.in_outbox = stored or []
        self.flying: dict[str, Leased] = {}
        self.searches = 0

    async def followed(self, by: By, text: str, limit: int) -> list[Followed]:
        """See `Knowledge`."""
        members: dict[By, Callable[[Report], bool]] = {
            By.CORRELATION: lambda report: report.correlation_id == text,
            By.BEGINNING: lambda report: report.correlation_id.startswith(text),
            By.EVENT: lambda report: report.event_id == text,
            By.WORKFLOW: lambda report: report.workflow_id == text,
            By.SOURCE: lambda report: report.source == text,
        }
        return [each for each in self.in_ledger if members[by](each.life.report)][:limit]

    async def stored(self, correlation_id: str) -> Leased | None:
        """See `Knowledge`."""
        found = await self.matching(lambda leased: correlation_of(leased) == correlation_id, 1)
        return found[0] if found else None

    async def matching(self, wanted: Callable[[Leased], bool], limit: int) -> list[Leased]:
        """See `Knowledge`."""
        self.searches += 1
        return [leased for leased in self.in_outbox if wanted(leased)][-limit:]

    def flight(self, correlation_id: str) -> tuple[Flight, Leased] | None:
        """See `Knowledge`."""
        leased = self.flying.get(correlation_id)
        return (Flight(FlightPhase.WAITING, 1), leased) if leased is not None else None

    def rate(self, _leased: Leased) -> RateWait | None:
        """None waits."""
        return None

    def window(self, _leased: Leased) -> OpenWindow | None:
        """See `Knowledge`."""
        return None

    def upload(self, _leased: Leased) -> UploadProgress | None:
        """See `Knowledge`."""
        return self.progress

    def of_rule(self, _name: str) -> RuleFacts:
        """See `Knowledge`."""
        return RuleFacts(namespace="plant")

    def around(self) -> Surroundings:
        """See `Knowledge`."""
        return Surroundings(BrokerConnection(True, NOW_MS, "", "mqtt://cloud"), "argo/workflows/trigger")

    def now_ms(self) -> int:
        """See `Knowledge`."""
        return NOW_MS


def leased(number: int, source: str = "boiler", log: str = NORMAL, events: tuple[str, ...] = ()) -> Leased:
    rules = ("overheat",)
    record = Record("gw", source, f"e{number}", "t", "now", b"", True, rules, NOW_MS - 9_000 + number, 0, events=events)
    moved = Moved(NORMAL, 1, record, "refused", 400, 1, NOW_MS, b"") if log != NORMAL else None
    return Leased(log, number, "overheat", record, b"", moved)


def followed(number: int, state: State = State.RUNNING, source: str = "boiler", **members: str) -> Followed:
    name = correlation_of(leased(number, source))
    report = Report(name, f"e{number}", source, "overheat", state, "now", f"overheat-{name}", "plant")
    return Followed(Life(msgspec.structs.replace(report, **members), NOW_MS - 9_000 + number), 1, 0, 0)


async def find(knowledge: FakeKnowledge, text: str) -> Courses:
    return await Where(knowledge).find(WhereQuery(text))


def events(found: Courses) -> list[str]:
    return [course.event_id for course in found.triggers]


@pytest.mark.parametrize("in_ledger", [True, False])
async def test_every_name_of_a_trigger_leads_to_it(*, in_ledger: bool) -> None:
    numbers = range(1, 6)
    knowledge = (
        FakeKnowledge([followed(number) for number in numbers])
        if in_ledger
        else FakeKnowledge(stored=[leased(number) for number in numbers])
    )
    name = correlation_of(leased(3))
    for text, kind in (
        (name, "correlation_id"),
        (name[:8], "correlation_id"),
        ("e3", "event"),
        (f"overheat-{name}", "workflow"),
    ):
        found = await find(knowledge, text)
        assert (found.id, found.kind, events(found)) == (text, kind, ["e3"])
        assert found.event is not None
        assert (found.event.id, found.event.source) == ("e3", "boiler")
    found = await find(knowledge, "boiler")
    assert (found.kind, events(found), found.event) == ("source", ["e5", "e4", "e3", "e2", "e1"], None)


async def test_a_source_is_told_from_ledger_and_outbox_together_each_trigger_once() -> None:
    knowledge = FakeKnowledge([followed(1), followed(2, State.PUBLISHED)], [leased(2), leased(3)])
    found = await find(knowledge, "boiler")
    assert [(course.event_id, course.state) for course in found.triggers] == [
        ("e3", "buffered"),
        ("e2", "published"),
        ("e1", "running"),
    ]


async def test_an_event_in_a_window_leads_to_the_trigger_that_it_is_in() -> None:
    window = leased(1, log=WINDOWS, events=("e1", "e2", "e3"))
    found = await find(FakeKnowledge(stored=[window]), "e2")
    assert (found.kind, events(found)) == ("event", ["e1"])


@pytest.mark.parametrize(
    ("state", "text", "advice"),
    [
        (
            UploadState.FAILED,
            "the store does not take its data: it is away (1.0 of 4.0 MiB, 25 %); tried again in 57 s",
            "when it is mended, edgeagent reload has it tried at once",
        ),
        (UploadState.SENDING, "its data is on the way to the store: 1.0 of 4.0 MiB, 25 %", "nothing to do"),
        (UploadState.WAITING, "its data waits for its turn on the way to the store: it is away", "large data go on"),
    ],
)
async def test_a_trigger_that_waits_for_its_upload_says_how_far_that_is_and_what_to_do(
    state: UploadState, text: str, advice: str
) -> None:
    knowledge = FakeKnowledge(stored=[leased(1)])
    knowledge.progress = UploadProgress(state, 1 << 20, 4 << 20, "it is away", 57.0)
    (course,) = (await find(knowledge, "e1")).triggers
    assert course.hangs is not None
    assert course.hangs.text == text
    assert advice in course.hangs.advice


async def test_a_list_has_the_newest_and_ends_at_its_limit() -> None:
    knowledge = FakeKnowledge(
        [followed(number) for number in range(900, 800, -1)], [leased(number) for number in range(950, 1100)]
    )
    found = await find(knowledge, "boiler")
    assert events(found) == [f"e{number}" for number in range(1099, 1099 - MAX_COURSES, -1)]


async def test_a_trigger_that_the_engine_has_costs_no_search_of_the_outbox() -> None:
    for state in (State.TRIGGERED, State.RUNNING, State.SUCCEEDED, State.MERGED):
        knowledge = FakeKnowledge([followed(1, state)])
        await find(knowledge, correlation_of(leased(1)))
        assert knowledge.searches == 0
    knowledge = FakeKnowledge([followed(1, State.PUBLISHED)])
    knowledge.flying = {correlation_of(leased(1)): leased(1)}
    await find(knowledge, correlation_of(leased(1)))
    assert knowledge.searches == 0


async def test_a_dead_letter_is_found_with_its_reason() -> None:
    knowledge = FakeKnowledge([followed(1, State.REJECTED, error="refused")], [leased(1, log=DEAD)])
    [course] = (await find(knowledge, correlation_of(leased(1)))).triggers
    assert course.hangs is not None
    assert "it is a dead letter: refused (code 400)" in course.hangs.text


async def test_a_trigger_in_flight_that_nobody_follows_is_found() -> None:
    knowledge = FakeKnowledge()
    name = correlation_of(leased(1))
    knowledge.flying = {name: leased(1)}
    [course] = (await find(knowledge, name)).triggers
    assert (course.event_id, course.source, course.rule, course.state) == ("e1", "boiler", "overheat", "published")


async def test_an_event_is_meant_before_a_source_of_the_same_name() -> None:
    knowledge = FakeKnowledge([followed(1, event_id="7"), followed(2, source="7")])
    assert events(await find(knowledge, "7")) == ["7"]


@pytest.mark.parametrize("text", ["nothing", "9f2c", "0" * 31, "0" * 32, "overheat-" + "0" * 32, "\x1b[2J"])
async def test_what_nobody_knows_says_what_is_never_kept(text: str) -> None:
    with pytest.raises(NotFound, match="is counted and not kept; a rule with track = false"):
        await find(FakeKnowledge([followed(1)], [leased(2)]), text)


@pytest.mark.parametrize(("text", "is_short"), [("9f2c123", True), ("7", True), ("9f2c1234", False), ("pump", False)])
async def test_too_few_digits_of_a_correlation_id_say_how_many_it_takes(text: str, is_short: bool) -> None:
    with pytest.raises(NotFound) as caught:
        await find(FakeKnowledge([], []), text)
    assert ("give eight digits or more" in str(caught.value)) == is_short
