"""Throttle and rearm as events are accepted: what is swallowed, what waits, and what a refused event leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from errno import EIO
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeagent.agent.intake import EventIntake
from edgeagent.common.units import Duration
from edgeagent.errors import OutboxError, RecordTooLarge, StorageFailed
from edgeagent.events.dedupe import Dedupe
from edgeagent.events.event import Draft
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import HIGH, NORMAL
from edgeagent.ports.device import Accepted
from edgeagent.rules.ruleset import RuleSet
from edgeagent.rules.spec import DataFilter, Filters, RuleSpec
from tests.fakes.faulty_filesystem import CHANGES, FaultyFilesystem
from tests.fakes.outbox import running_outbox
from tests.fakes.turned_clock import TurnedClock

pytestmark = pytest.mark.virtual_time

HOT = Filters(data=[DataFilter("body.temp", "number", ["90"], ">=")])
COOL = Filters(data=[DataFilter("body.temp", "number", ["80"], "<")])
THROTTLED = RuleSpec("slow", "plant", filters=HOT, template="t", throttle=Duration(60))
REARMED = RuleSpec("door", "plant", filters=HOT, template="t", rearm=COOL)
PLAIN = RuleSpec("all", "plant", filters=HOT, template="t")


def make(outbox: Outbox, *rules: RuleSpec) -> tuple[EventIntake, TurnedClock]:
    clock = TurnedClock()
    return EventIntake("gw-1", RuleSet(rules), outbox, Dedupe(1000), clock, max_event_bytes=16 << 10), clock


def event(temp: int, **fields: Any) -> Draft:
    return Draft(**{"source": "boiler-1", **fields}, data=b'{"temp": %d}' % temp, is_json=True)


def rules_of(accepted: list[Accepted]) -> list[list[str]]:
    return [[trigger.rule for trigger in one.triggers] for one in accepted]


@pytest.fixture
async def outbox(tmp_path: Path) -> AsyncIterator[Outbox]:
    async with running_outbox(tmp_path) as running:
        yield running


async def test_a_throttled_rule_fires_again_when_its_time_is_over_and_not_because_events_went_on(
    outbox: Outbox,
) -> None:
    intake, clock = make(outbox, THROTTLED)
    said: list[list[list[str]]] = []
    for _ in range(5):
        said.append(rules_of(await intake.accept([event(95)])))
        clock.ms += 20_000
    assert said == [[["slow"]], [[]], [[]], [["slow"]], [[]]]
    assert (outbox.events.stored, outbox.events.throttled, outbox.events.filtered) == (2, 3, 0)
    assert intake.rule_counts["slow"].throttled == 3


async def test_only_the_swallowed_rule_of_an_event_is_left_out_and_a_repetition_is_told_the_same(
    outbox: Outbox,
) -> None:
    intake, _ = make(outbox, THROTTLED, PLAIN)
    first, second = await intake.accept([event(95, id="1"), event(95, id="2")])
    assert rules_of([first, second]) == [["slow", "all"], ["all"]]
    again = await intake.accept([event(95, id="2"), event(95, id="1")])
    assert [one.duplicate for one in again] == [True, True]
    assert rules_of(again) == [["all"], ["slow", "all"]]
    assert (outbox.events.stored, outbox.events.throttled, outbox.events.duplicate) == (2, 0, 2)
    assert intake.rule_counts["slow"].throttled == 1


async def test_a_rule_fires_again_only_after_what_rearms_it_and_that_event_itself_fires_nothing(outbox: Outbox) -> None:
    always = Filters(data=[DataFilter("body.temp", "number", ["0"], ">=")])
    intake, _ = make(outbox, msgspec.structs.replace(REARMED, filters=always))
    said = [rules_of(await intake.accept([event(temp)]))[0] for temp in (10, 95, 20, 20, 30)]
    assert said == [["door"], [], [], ["door"], []]
    assert intake.rule_counts["door"].disarmed == 3


async def test_what_rearms_a_rule_may_be_an_event_of_another_type(outbox: Outbox) -> None:
    intake, _ = make(outbox, msgspec.structs.replace(REARMED, type="reading"))
    said = [rules_of(await intake.accept([event(95, type="reading")]))[0]]
    await intake.accept([event(20, type="pause")])
    await intake.accept([Draft(source="boiler-1", data=b"{}", is_json=True, type="pause")])
    said.append(rules_of(await intake.accept([event(95, type="reading")]))[0])
    assert said == [["door"], ["door"]]
    assert intake.rule_counts["door"].errors == 0


async def test_an_event_that_rearms_a_high_rule_is_kept_in_the_log_of_that_rule(outbox: Outbox) -> None:
    intake, _ = make(outbox, msgspec.structs.replace(REARMED, priority="high"))
    for temp in (95, 20, 95):
        await intake.accept([event(temp)])
    assert len(await outbox.lease(HIGH)) == 2
    assert await outbox.lease(NORMAL) == []


async def test_a_refused_firing_leaves_the_rule_as_it_was(tmp_path: Path) -> None:
    disk = FaultyFilesystem()
    async with running_outbox(tmp_path, filesystem=disk) as outbox:
        intake, _ = make(outbox, THROTTLED)
        disk.fail(EIO, *CHANGES)
        with pytest.raises(StorageFailed):
            await intake.accept([event(95)])
        disk.heal()
        assert rules_of(await intake.accept([event(95)])) == [["slow"]]
        assert rules_of(await intake.accept([event(95)])) == [[]]


async def test_an_event_swallowed_by_one_that_is_then_refused_is_refused_too(tmp_path: Path) -> None:
    disk = FaultyFilesystem()
    async with running_outbox(tmp_path, filesystem=disk) as outbox:
        intake, _ = make(outbox, THROTTLED)
        disk.fail(EIO, *CHANGES)
        outcomes = await asyncio.gather(intake.accept([event(95)]), intake.accept([event(96)]), return_exceptions=True)
        assert [isinstance(outcome, OutboxError) for outcome in outcomes] == [True, True]
        assert (outbox.events.refused, outbox.events.throttled) == (2, 0)
        disk.heal()
        assert rules_of(await intake.accept([event(96)])) == [["slow"]]


async def test_no_rule_of_an_event_stays_swallowed_because_of_one_that_was_refused(outbox: Outbox) -> None:
    intake, _ = make(outbox, THROTTLED, PLAIN)
    filler = b'{"temp": 95, "x": "%b"}' % (b"x" * 15_000)
    no_segment_holds_them = [event(95), *(Draft(source=f"b-{n}", data=filler, is_json=True) for n in range(5))]
    outcomes = await asyncio.gather(
        intake.accept(no_segment_holds_them), intake.accept([event(96, id="2")]), return_exceptions=True
    )
    assert isinstance(outcomes[0], RecordTooLarge)
    assert isinstance(outcomes[1], list)
    assert rules_of(outcomes[1]) == [["slow", "all"]]
    assert [one.rule for one in await outbox.lease(NORMAL)] == ["slow", "all"]


async def test_a_refused_rearming_leaves_the_rule_disarmed(tmp_path: Path) -> None:
    disk = FaultyFilesystem()
    async with running_outbox(tmp_path, filesystem=disk) as outbox:
        intake, _ = make(outbox, REARMED)
        await intake.accept([event(95)])
        disk.fail(EIO, *CHANGES)
        with pytest.raises(StorageFailed):
            await intake.accept([event(20)])
        disk.heal()
        assert rules_of(await intake.accept([event(95)])) == [[]]
        await intake.accept([event(20)])
        assert rules_of(await intake.accept([event(95)])) == [["door"]]


async def test_what_a_rule_did_last_is_known_after_a_restart(tmp_path: Path) -> None:
    for temps, wanted in (((95, 95), [["slow", "door"], []]), ((95, 20), [[], []]), ((95,), [["door"]])):
        async with running_outbox(tmp_path, remembered=frozenset({"slow", "door"})) as outbox:
            intake, _ = make(outbox, THROTTLED, REARMED)
            # Same clock, same boot: a process that was started again.
            assert [rules_of(await intake.accept([event(temp)]))[0] for temp in temps] == wanted
