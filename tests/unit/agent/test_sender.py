"""The sender over a real outbox and ledger, with a link that only keeps what is published."""

from __future__ import annotations

import asyncio
from errno import EIO
from pathlib import Path

import msgspec
import pytest

from edgeagent.agent.notes import correlation_of
from edgeagent.common.units import Duration
from edgeagent.events.event import Draft
from edgeagent.outbox.records import DEAD, DISCARDED, PARKED, DeadLimits
from edgeagent.outbox.search import find
from edgeagent.rules.ruleset import RuleSet
from edgeagent.rules.spec import RuleSpec, Window
from edgeagent.wire.messages import State
from tests.fakes.faulty_filesystem import FaultyFilesystem
from tests.fakes.link import FakeLink
from tests.fakes.sender_scene import Scene, scene

pytestmark = pytest.mark.virtual_time

UNHEARD = 0x10
PLAIN = RuleSpec("all", "plant", template="t", arguments={"n": "body.n"})
GATHERED = RuleSpec(
    "many", "plant", template="t", arguments={"ns": "body.#.n"}, window=Window(time=Duration(10), count=3)
)


async def test_a_backlog_that_expired_leaves_without_anything_else_happening(tmp_path: Path) -> None:
    async with scene(tmp_path, msgspec.structs.replace(PLAIN, ttl=Duration(60)), max_inflight=10) as made:
        for start in range(0, 300, 50):
            await made.accept(*range(start, start + 50))
        made.clock.ms += 61_000
        await made.accept(300)
        made.up()
        await made.account(expired=300, settled=1, pending=0)


async def test_a_window_that_is_not_full_closes_when_its_time_is_over(tmp_path: Path) -> None:
    async with scene(tmp_path, msgspec.structs.replace(GATHERED, window=Window(time=Duration(0.2), count=9))) as made:
        made.up()
        promised = await made.accept(1, 2)
        made.clock.ms += 201
        await made.account(settled=1, merged=1, pending=0)
        assert made.arguments() == [[1, 2]]
        await made.chores.idle()
        life = await made.ledger.get(promised[1])
        assert life is not None
        assert (life.report.state, life.report.into) == (State.MERGED, promised[0])


async def test_windows_of_a_backlog_are_those_that_there_would_have_been(tmp_path: Path) -> None:
    async with scene(tmp_path, GATHERED) as made:
        for number in (1, 2, 3, 4):
            await made.accept(number)
            made.clock.ms += 1_000
        made.clock.ms += 10_000
        await made.accept(5, 6, source="boiler-1")
        await made.accept(7, source="boiler-2")
        made.clock.ms += 86_400_000
        made.up()
        await made.account(settled=4, merged=3, pending=0)
        assert made.arguments() == [[1, 2, 3], [4], [5, 6], [7]]


async def test_what_overtakes_by_priority_closes_no_window_of_a_backlog_early(tmp_path: Path) -> None:
    normal = msgspec.structs.replace(GATHERED, source="boiler-*")
    high = msgspec.structs.replace(PLAIN, source="pump-*", priority="high")
    async with scene(tmp_path, normal, high, max_inflight=4) as made:
        for number in range(9):
            await made.accept(number)
            made.clock.ms += 1
        for number in range(100, 120):
            await made.accept(number, source="pump-1")
            made.clock.ms += 60_000
        made.up()
        await made.account(settled=23, merged=6, pending=0)
        assert [each for each in made.arguments() if isinstance(each, list)] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


async def test_windows_that_closed_before_a_stop_are_sent_after_it_and_their_members_never_again(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, GATHERED) as made:
        promised = await made.accept(1, 2, 3, 4)
        made.up()
        await made.until(lambda: made.intake.rule_counts["many"].gathered == 3, "a window")
        made.sender.down()
    async with scene(tmp_path, GATHERED) as made:
        assert made.outbox.health.account.pending == 2
        await made.accept(5, 6)
        made.up()
        await made.account(settled=2, merged=4, pending=0)
        assert made.arguments() == [[1, 2, 3], [4, 5, 6]]
        assert [one.correlation_data for one in made.told] == [promised[0].encode(), promised[3].encode()]


async def test_members_of_an_open_window_go_on_their_own_when_a_reload_takes_the_window_away(tmp_path: Path) -> None:
    async with scene(tmp_path, GATHERED) as made:
        await made.accept(1, 2)
        made.up()
        await asyncio.sleep(0)
        without = msgspec.structs.replace(GATHERED, window=None, arguments={"n": "body.n"})
        made.rules.take_over(RuleSet([without]))
        await made.accept(3)
        made.clock.ms += 10_001
        await made.accept(4)
        await made.account(settled=4, merged=0, pending=0)
        assert sorted(made.arguments()) == [1, 2, 3, 4]


async def test_windows_that_the_disk_refuses_are_kept_and_closed_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = FaultyFilesystem()
    async with scene(tmp_path, GATHERED, filesystem=disk) as made:
        await made.accept(1, 2, 3)
        disk.fail(EIO, "create", where="windows")
        made.up()
        await made.until(lambda: "windows stay open" in caplog.text, "a refusal")
        await made.until(lambda: made.outbox.health.account.pending == 3, "three that wait")
        disk.heal()
        await made.account(settled=1, merged=2, pending=0)
        assert made.arguments() == [[1, 2, 3]]


async def test_a_newer_trigger_takes_the_place_of_those_that_were_not_sent(tmp_path: Path) -> None:
    latest = msgspec.structs.replace(PLAIN, coalesce="latest")
    async with scene(tmp_path, latest, max_inflight=2) as made:
        made.link.room = 1
        first = await made.accept(1, source="boiler-2")
        promised = await made.accept(2, 3, 4)
        made.up()
        await made.account(settled=2, merged=2, pending=0)
        assert made.arguments() == [1, 4]
        await made.chores.idle()
        for correlation in promised[:2]:
            life = await made.ledger.get(correlation)
            assert life is not None
            assert (life.report.state, life.report.into) == (State.MERGED, promised[2])
        assert first[0].encode() == made.told[0].correlation_data


async def test_what_was_published_is_not_merged_into_a_newer_one(tmp_path: Path) -> None:
    latest = msgspec.structs.replace(PLAIN, coalesce="latest")
    async with scene(tmp_path, latest) as made:
        made.up()
        await made.accept(1)
        await made.published(1)
        await made.accept(2)
        made.sender.down()
        made.link = FakeLink()
        made.up()
        await made.account(settled=2, merged=0, pending=0)


@pytest.mark.slow
async def test_a_backlog_that_nobody_heard_flows_within_a_minute_when_somebody_does_without_a_new_event(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, PLAIN) as made:
        await made.accept(*range(150))
        made.up()
        await made.published(4)
        for _ in range(25 * 60):
            made.refuse(UNHEARD)
            await asyncio.sleep(1.0)
        made.refuse(UNHEARD)
        asked = made.refused
        assert asked < 150 * 15, "seldom, each one ever more"
        waited_s = 0.0
        while len(made.told) < 150:
            made.take()
            await asyncio.sleep(0.5)
            await made.sender_reads()
            waited_s += 0.5
            assert waited_s < 75, f"{len(made.told)} of 150"
        assert sorted(map(int, made.arguments())) == list(range(150))


async def test_a_new_event_that_is_heard_wakes_those_that_were_not(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, PLAIN) as made:
        await made.accept(*range(40))
        made.up()
        await made.published(4)
        for _ in range(300):
            made.refuse(UNHEARD)
            await asyncio.sleep(1.0)
        made.refuse(UNHEARD)
        woken_s = asyncio.get_running_loop().time()
        await made.accept(100)
        await made.until(lambda: len(made.told) == 41, "all of them")
        assert asyncio.get_running_loop().time() - woken_s < 1, "no trigger's own wait is over so soon"
        assert made.arguments()[0] == 100
        assert made.arguments()[1:] == sorted(made.arguments()[1:]), "in their order"


async def bad(made: Scene, *numbers: int) -> None:
    """Events that match and have no value for the rule's parameter."""
    await made.intake.accept(
        [Draft(source="boiler-1", data=b"{}", is_json=True, id=f"bad-{number}") for number in numbers]
    )


async def test_what_has_no_place_among_the_dead_letters_holds_up_nothing_and_gets_one_later(tmp_path: Path) -> None:
    async with scene(tmp_path, PLAIN, max_inflight=10, dead=DeadLimits(max_count=5)) as made:
        made.up()
        await bad(made, *range(30))
        await made.accept(1)
        await made.account(dead=5, pending=25, settled=1)
        assert made.arguments() == [1]
        await made.until(lambda: len(made.triggers) == 0, "nothing in flight")
        parked = await find(made.outbox, PARKED, lambda _: True, 100)
        assert {leased.moved.reason for leased in parked if leased.moved} == {"parameter: n: the event has no body.n"}
        assert (await made.ledger.get(correlation_of(parked[0]))).report.state is State.REJECTED  # type: ignore[union-attr]
        letters = await find(made.outbox, DEAD, lambda _: True, 3)
        made.outbox.release(letters, DISCARDED)
        made.outbox.on_change()
        await made.account(dead=5, pending=22, discarded=3)
        assert len(made.told) == 1, "what is final is never sent"


async def test_a_restart_knows_which_parked_ones_are_final(tmp_path: Path) -> None:
    async with scene(tmp_path, PLAIN, max_inflight=10, dead=DeadLimits(max_count=1)) as made:
        made.up()
        await bad(made, *range(4))
        await made.account(dead=1, pending=3)
    async with scene(tmp_path, PLAIN, max_inflight=10) as again:
        again.up()
        await again.account(dead=4, pending=0)
        assert again.told == []
        letters = await find(again.outbox, DEAD, lambda _: True, 10)
        assert {leased.moved.reason for leased in letters if leased.moved} == {"parameter: n: the event has no body.n"}


async def test_dead_letters_may_give_way_to_newer_ones(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with scene(tmp_path, PLAIN, max_inflight=10, dead=DeadLimits(max_count=40, when_full="drop_oldest")) as made:
        made.up()
        await bad(made, *range(60))
        await made.accept(1)
        await made.account(dead=40, dropped=20, settled=1, pending=0)
        assert "lost 2 triggers of log dead, seq 1 to 2: there are 40 dead letters" in caplog.text
        letters = await find(made.outbox, DEAD, lambda _: True, 1000)
        assert [letters[0].record.id, letters[-1].record.id] == ["bad-20", "bad-59"]
        assert made.outbox.health.dead.full == ""
