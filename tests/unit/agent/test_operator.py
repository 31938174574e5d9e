"""What an operator does with an outbox, on a stopped agent's and on a running one's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest

from edgeagent.agent import operator as operator_module
from edgeagent.agent.days import days_report
from edgeagent.agent.operator import METHODS, Operator
from edgeagent.agent.operator_service import SERVICE_METHODS, OperatorService
from edgeagent.errors import Draining, NotFound
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import DEAD, DEAD_WAY, NORMAL
from edgeagent.outbox.steps import Steps, finished
from edgeagent.outbox.store import Store
from edgeagent.ports.call import Call
from edgeagent.ports.operator import (
    CALLS,
    DEAD_LETTER,
    DEAD_LETTERS,
    DEAD_NAMES,
    DISCARD,
    FIND,
    RELEASE_EXPORTED,
    RELOAD,
    REPLAY,
    TAKE_IN,
    WAITING,
    DeadQuery,
    ExportedRanges,
    FindQuery,
    ImportPart,
    NamedTrigger,
    NamedTriggers,
    NoArguments,
    Reloaded,
    WaitingQuery,
)
from edgeagent.ports.report import DaysReport, ReportQuery
from edgeagent.ports.transfer import exported_trigger
from edgeagent.ports.where import Courses, WhereQuery
from edgeagent.rules.trigger import correlation_id
from tests.fakes.outbox import running_outbox
from tests.fakes.stores import LIMITS, balanced, disk, everything, group, ids, opened, record
from tests.waiting import until

pytestmark = pytest.mark.virtual_time

LARGE = msgspec.structs.replace(LIMITS, max_bytes=4 << 20, segment_bytes=1 << 20)


def name(event_id: str) -> str:
    return correlation_id("gw", "boiler", event_id, "r")


def operator(store: Store) -> Operator:
    """Of a store on a disk in memory; its `overview` is tested with the store's own."""
    return Operator(store, Path("/outbox"), disk(), lambda: 1_000)


def with_dead_letters(store: Store, count: int) -> None:
    store.append([group(NORMAL, *(record(f"e{number}") for number in range(count)))])
    for leased in everything(store):
        store.move(leased, DEAD, DEAD_WAY, reason="no", code=400, attempts=1)


def done(store: Store, call: Call[Any, Any], arguments: msgspec.Struct) -> Any:
    return finished(operator(store).perform(call, arguments))


_NO_REQUESTS: Any = None  # what it does with them: `test_manage`


class Service:
    """A running agent's operator, with what it told the agent."""

    def __init__(self, outbox: Outbox, directory: Path) -> None:
        self.outbox = outbox
        self.woken = 0
        self.draining = False
        self.service = OperatorService(
            outbox,
            directory / "outbox",
            now_ms=lambda: 1_000,
            wake=self._wake,
            is_draining=lambda: self.draining,
            reload=self._reload,
            where=self._where,
            report=self._report,
            requests=_NO_REQUESTS,
        )

    def _wake(self) -> None:
        self.woken += 1

    async def _reload(self) -> Reloaded:
        return Reloaded("config.toml", 0, (), (), (), ())

    async def _report(self, asked: ReportQuery) -> DaysReport:
        return days_report("gw-1", asked, (0, 0), [], [])

    async def _where(self, asked: WhereQuery) -> Courses:
        return Courses(asked.id, "source", [], None)


@asynccontextmanager
async def serving(directory: Path) -> AsyncIterator[Service]:
    async with running_outbox(directory, max_bytes=16 << 20) as outbox:
        yield Service(outbox, directory)


async def add(outbox: Outbox, count: int, first: int = 0) -> None:
    for start in range(first, first + count, 100):
        await outbox.append(group(NORMAL, *(record(f"e{number}") for number in range(start, start + min(count, 100)))))


async def bury(outbox: Outbox, count: int) -> None:
    await add(outbox, count)
    for leased in await outbox.lease(NORMAL):
        await outbox.bury(leased, reason="no", code=400, attempts=1)


def test_every_call_of_the_table_is_one_method_with_its_types() -> None:
    """The type checker sees that each method fits its call; not that each call has one."""
    assert METHODS.keys() | SERVICE_METHODS.keys() == {call.name for call in CALLS}
    for call in CALLS:
        found: list[Any] = [methods[call.name] for methods in (METHODS, SERVICE_METHODS) if call.name in methods]
        assert len(found) == 1, f"{call.name}: one method of Operator, or of OperatorService if only an agent can do it"
        *arguments, result = get_type_hints(found[0]).values()
        assert arguments == [call.arguments], call.name
        assert result in (call.result, Steps[call.result]), call.name  # type: ignore[name-defined]


def test_on_a_stopped_outbox_dead_letters_are_put_back_or_let_go_and_that_survives_a_power_cut() -> None:
    filesystem = disk()
    store = opened(filesystem)
    with_dead_letters(store, 4)
    assert [letter.event_id for letter in done(store, DEAD_LETTERS, DeadQuery()).dead] == ["e0", "e1", "e2", "e3"]
    assert done(store, DEAD_LETTER, NamedTrigger(name("e2"))).reason == "no"
    assert done(store, REPLAY, NamedTriggers([name("e1"), name("none")])).replayed == [name("e1")]
    assert done(store, DISCARD, NamedTriggers([name("e3"), name("e1")])).discarded == [name("e3")]
    after = opened(filesystem.crash())
    assert ids(everything(after)) == ["e1"]
    assert ids(everything(after, DEAD)) == ["e0", "e2"]
    assert balanced(after)
    with pytest.raises(NotFound, match="no dead letter"):
        done(after, DEAD_LETTER, NamedTrigger(name("e3")))


def test_dead_letters_come_in_pages_each_within_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(disk(), LARGE)
    with_dead_letters(store, 7)
    for bound, value, pages in (("_PAGE_LETTERS", 3, [3, 3, 1]), ("_PAGE_BYTES", 1, [1] * 7)):
        with monkeypatch.context() as patched:
            patched.setattr(operator_module, bound, value)
            found: list[list[str]] = []
            seq: int | None = 0
            while seq is not None:
                page = done(store, DEAD_LETTERS, DeadQuery(seq))
                found.append([letter.event_id for letter in page.dead])
                seq = page.next_seq
            assert [len(page) for page in found] == pages
            assert [event_id for page in found for event_id in page] == [f"e{number}" for number in range(7)]
    whole = done(store, DEAD_LETTERS, DeadQuery())
    assert msgspec.to_builtins(whole).keys() == {"dead"}, "a whole list says nothing of pages"
    assert done(store, DEAD_NAMES, NoArguments()).correlation_ids == [letter.correlation_id for letter in whole.dead]


def test_what_was_put_back_while_a_discard_read_is_not_discarded_too() -> None:
    store = opened(disk())
    with_dead_letters(store, 2)
    discard = operator(store).perform(DISCARD, NamedTriggers([name("e0"), name("e1")]))
    next(discard)
    done(store, REPLAY, NamedTriggers([name("e0")]))
    assert finished(discard).discarded == [name("e1")]
    assert ids(everything(store)) == ["e0"]
    assert balanced(store)


def test_a_search_works_in_steps_and_ends_when_it_has_found_enough() -> None:
    store = opened(disk(), LARGE)
    store.append([group(NORMAL, *(record("same", source=f"s{number}") for number in range(20)))])
    for start in range(0, 3000, 100):
        store.append([group(NORMAL, *(record(f"e{number}") for number in range(start, start + 100)))])
    steps = list(operator(store).perform(FIND, FindQuery(name("e2999"))))
    assert len(steps) > 3000 // 256
    [last] = done(store, FIND, FindQuery(name("e2999")[:20])).found
    assert last.trigger.id == "e2999"
    assert len(done(store, FIND, FindQuery("same")).found) == 10
    assert len(list(operator(store).perform(FIND, FindQuery("same")))) < 5


async def test_a_running_agent_commits_between_the_steps_of_a_call(tmp_path: Path) -> None:
    async with serving(tmp_path) as agent:
        await add(agent.outbox, 3000)
        search = asyncio.create_task(agent.service.perform(FIND, FindQuery(name("none"))))
        commit = asyncio.create_task(agent.outbox.append(group(NORMAL, record("new"))))
        done, _ = await asyncio.wait([search, commit], return_when=asyncio.FIRST_COMPLETED)
        assert done == {commit}
        assert (await search).found == []


async def test_what_an_operator_changes_wakes_the_sender_and_what_is_taken_away_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with serving(tmp_path) as agent:
        await bury(agent.outbox, 3)
        assert len((await agent.service.perform(DEAD_LETTERS, DeadQuery())).dead) == 3
        assert agent.woken == 0
        assert (await agent.service.perform(REPLAY, NamedTriggers([name("e1")]))).replayed == [name("e1")]
        assert agent.woken
        assert ids(await agent.outbox.lease(NORMAL)) == ["e1"]
        agent.woken = 0
        await agent.service.perform(DISCARD, NamedTriggers([name("e0"), name("e1")]))
        assert agent.woken, "what had no place among the dead letters may have one now"
        await add(agent.outbox, 1, first=7)
        page = await agent.service.perform(WAITING, WaitingQuery())
        assert [(each.trigger.id, each.in_flight) for each in page.triggers] == [("e1", True), ("e7", False)]
        seqs = [each.seq for each in page.triggers]
        released = await agent.service.perform(
            RELEASE_EXPORTED, ExportedRanges({NORMAL: [(seq, seq + 1) for seq in seqs]})
        )
        assert released.released == 1, "what is in flight stays"
    told = [(each.__dict__["event"], each.getMessage()) for each in caplog.records]
    assert told == [
        ("dead_discarded", f"an operator discarded 1 dead letter: {name('e0')}"),
        ("outbox_exported", "an operator exported 1 trigger: they are sent by the agent that imports the file"),
    ]


async def test_an_agent_that_stops_takes_no_import_and_does_everything_else(tmp_path: Path) -> None:
    part = ImportPart("ab" * 32, 1, [exported_trigger(record("i1"), "r", NORMAL)])
    async with serving(tmp_path) as agent:
        agent.draining = True
        with pytest.raises(Draining):
            await agent.service.perform(TAKE_IN, part)
        await bury(agent.outbox, 1)
        assert len((await agent.service.perform(REPLAY, NamedTriggers([name("e0")]))).replayed) == 1
        assert (await agent.service.perform(RELOAD, NoArguments())).file == "config.toml"
        agent.draining = False
        assert (await agent.service.perform(TAKE_IN, part)).stored == 1


async def test_a_letter_that_two_operators_put_back_at_once_is_put_back_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as agent:
        await bury(agent.outbox, 1)
        both = await asyncio.gather(
            *(agent.service.perform(REPLAY, NamedTriggers([name("e0")])) for _ in range(2)),
        )
        assert [each.replayed for each in both] == [[name("e0")], []]
        assert ids(await agent.outbox.lease(NORMAL)) == ["e0"]


async def test_a_call_that_is_given_up_lets_go_of_what_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_now: set[int] = set()
    peek = Store.peek

    def watched(store: Store, log: str, seq: int = 0) -> Any:
        inner = peek(store, log, seq)
        open_now.add(id(inner))
        try:
            yield from inner
        finally:
            open_now.discard(id(inner))

    monkeypatch.setattr(Store, "peek", watched)
    async with serving(tmp_path) as agent:
        await add(agent.outbox, 3000)
        search = asyncio.create_task(agent.service.perform(FIND, FindQuery(name("none"))))
        await until(lambda: bool(open_now))
        search.cancel()
        with pytest.raises(asyncio.CancelledError):
            await search
        assert not open_now
