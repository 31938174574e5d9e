"""The time of an event in its trigger: the agent's own is corrected when the clock was set after the event came."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from edgeagent.agent.clock import Moment
from edgeagent.agent.event_time import with_right_time
from edgeagent.common.times import instant, rfc3339
from edgeagent.events.event import Draft, Record
from edgeagent.events.time_quality import (
    CORRECTED,
    DEVICE,
    NOT_NOTED,
    SYNCHRONIZED,
    UNSYNCHRONIZED,
)
from edgeagent.outbox.records import NORMAL, Leased
from edgeagent.ports.link import Publication
from edgeagent.ports.transfer import exported_trigger, imported_record
from edgeagent.rules.spec import DataFilter, Filters, RuleSpec
from tests.fakes.sender_scene import scene
from tests.fakes.turned_clock import LoopsClock
from tests.unit.agent.test_sender import GATHERED, UNHEARD

RIGHT_MS = 1_800_000_000_000
BOOT, EARLIER_BOOT = b"b" * 16, b"a" * 16
EARLY = Record("gw", "s", "e", "event", rfc3339(5_000), b"", False, ("r",), 5_000, 5_000, time_quality=UNSYNCHRONIZED)
ASKS = RuleSpec("all", "plant", template="t", arguments={"at": "time", "quality": "time_quality"})
TO_1970_MS = -RIGHT_MS


def seen(record: Record, moment: Moment, boot: bytes = BOOT) -> tuple[str, int]:
    """Time and quality in a trigger of this record, which is sent at a moment in `BOOT`."""
    found = with_right_time(Leased(NORMAL, 1, "r", record, boot), BOOT, moment).record
    same = msgspec.structs.replace(found, time=record.time, time_quality=record.time_quality)
    assert same == record, "only the time changes"
    return found.time, found.time_quality


def at(wall_ms: int, uptime_ms: int, quality: int = SYNCHRONIZED) -> Moment:
    return Moment(wall_ms, uptime_ms, rfc3339(wall_ms), quality)


def test_the_uptime_tells_when_an_event_came_once_the_clock_is_right() -> None:
    assert seen(EARLY, at(RIGHT_MS, 65_000)) == (rfc3339(RIGHT_MS - 60_000), CORRECTED)


def test_a_clock_that_turns_out_to_have_been_right_leaves_the_time_as_it_is() -> None:
    assert seen(EARLY, at(65_999, 65_000)) == (EARLY.time, SYNCHRONIZED)


def test_a_time_stays_as_it_is_while_the_clock_is_not_right_or_after_another_boot() -> None:
    assert seen(EARLY, at(RIGHT_MS, 65_000, UNSYNCHRONIZED)) == (EARLY.time, UNSYNCHRONIZED)
    assert seen(EARLY, at(RIGHT_MS, 65_000), EARLIER_BOOT) == (EARLY.time, UNSYNCHRONIZED)
    assert seen(EARLY, at(RIGHT_MS, 65_000), b"") == (EARLY.time, UNSYNCHRONIZED), "imported"


@pytest.mark.parametrize("quality", [DEVICE, SYNCHRONIZED])
def test_a_devices_time_and_one_of_a_right_clock_are_never_changed(quality: int) -> None:
    record = msgspec.structs.replace(EARLY, time_quality=quality)
    assert seen(record, at(RIGHT_MS, 65_000)) == (EARLY.time, quality)


def test_a_record_of_an_earlier_version_has_the_agents_time_if_that_is_when_it_was_accepted() -> None:
    old = msgspec.structs.replace(EARLY, time_quality=NOT_NOTED)
    assert seen(old, at(RIGHT_MS, 65_000)) == (rfc3339(RIGHT_MS - 60_000), CORRECTED)
    theirs = msgspec.structs.replace(old, time="2026-03-20T11:00:00Z")
    assert seen(theirs, at(RIGHT_MS, 65_000)) == (theirs.time, DEVICE)


@pytest.mark.parametrize("quality", [NOT_NOTED, UNSYNCHRONIZED, DEVICE, SYNCHRONIZED])
def test_an_export_carries_what_is_known_of_the_time(quality: int) -> None:
    record = msgspec.structs.replace(EARLY, time_quality=quality)
    assert imported_record(exported_trigger(record, "r", NORMAL)).time_quality == quality


@pytest.mark.virtual_time
async def test_a_trigger_that_is_sent_again_after_the_clock_was_set_has_the_right_time_and_the_same_name(
    tmp_path: Path,
) -> None:
    clock = LoopsClock()
    clock.wall_ahead_ms, clock.time_quality = TO_1970_MS, UNSYNCHRONIZED
    async with scene(tmp_path, ASKS, clock=clock) as made:
        (promised,) = await made.accept(1)
        made.up()
        await made.published(1)
        first = made.link.published[0]
        made.refuse(UNHEARD)
        clock.wall_ahead_ms, clock.time_quality = 0, SYNCHRONIZED
        await made.account(settled=1, pending=0)
        (second,) = made.told
    assert [told(first)[1], told(second)[1]] == ["unsynchronized", "corrected"]
    assert told(first)[0].startswith("19")
    assert told(second)[0].startswith("2027")
    assert {correlation(first), correlation(second)} == {promised}


@pytest.mark.slow
@pytest.mark.virtual_time
async def test_a_window_has_the_right_time_of_its_first_event(tmp_path: Path) -> None:
    clock = LoopsClock()
    clock.wall_ahead_ms, clock.time_quality = TO_1970_MS, UNSYNCHRONIZED
    spec = msgspec.structs.replace(GATHERED, arguments=ASKS.arguments)
    async with scene(tmp_path, spec, clock=clock) as made:
        await made.accept(1, 2)
        clock.wall_ahead_ms, clock.time_quality = 0, SYNCHRONIZED
        began_ms = clock.now_ms()
        made.up()
        await made.account(settled=1, merged=1, pending=0)
        (window,) = made.told
    time, quality = told(window)
    assert quality == "corrected"
    assert abs(instant(time).timestamp() * 1000 - began_ms) < 60_000


@pytest.mark.virtual_time
async def test_a_filter_can_leave_out_what_was_dated_by_a_clock_that_was_not_set(tmp_path: Path) -> None:
    clock = LoopsClock()
    dated = DataFilter("time_quality", "string", ["^device$", "^synchronized$"])
    async with scene(tmp_path, msgspec.structs.replace(ASKS, filters=Filters(data=[dated])), clock=clock) as made:

        async def fires(time: str = "") -> bool:
            (accepted,) = await made.intake.accept([Draft(source="boiler-1", data=b"1", is_json=True, time=time)])
            return bool(accepted.triggers)

        assert await fires()
        clock.time_quality = UNSYNCHRONIZED
        assert not await fires()
        assert await fires("2026-03-20T11:00:00Z")


def told(publication: Publication) -> tuple[str, str]:
    at, quality = json.loads(publication.payload)["workflow"]["spec"]["arguments"]["parameters"]
    return at["value"], quality["value"]


def correlation(publication: Publication) -> str:
    return str(json.loads(publication.payload)["correlation_id"])
