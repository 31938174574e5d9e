"""Uploads begin when their event is stored, whatever the uplink does, over a real outbox in virtual time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from edgeagent.agent import uploads_ahead
from edgeagent.agent.ahead import Ahead
from edgeagent.common.units import Duration
from edgeagent.events.artifact import Artifact
from edgeagent.events.event import Record
from edgeagent.outbox import ahead
from edgeagent.outbox.records import NORMAL, Leased
from edgeagent.rules.spec import Rate, RuleSpec
from tests.fakes.sender_scene import scene
from tests.fakes.slow_uploads import SlowUploads
from tests.fakes.turned_clock import LoopsClock
from tests.waiting import until

pytestmark = pytest.mark.virtual_time

DAY_S = 86400.0
LARGE = RuleSpec("large", "plant", template="t", source="cam-*")
PLAIN = RuleSpec("plain", "plant", template="t", source="plain-*")


def ids(uploads: SlowUploads) -> list[str]:
    """The events whose uploads were begun, in order."""
    return [name.rpartition("/")[2] for name in uploads.wanted]


async def test_without_an_uplink_all_data_goes_to_the_store_and_the_triggers_leave_at_once_when_it_is_there(
    tmp_path: Path,
) -> None:
    uploads = SlowUploads(tmp_path, 5.0)
    async with scene(tmp_path, LARGE, PLAIN, max_inflight=2, clock=LoopsClock(), uploading=uploads.uploading) as made:
        uploads.ahead = made.ahead
        await made.read_all_logs()
        for n in range(5):  # more than there are places in flight, before what is large
            await made.accept(n, source="plain-1")
        await made.accept_large(*range(2000, 2010), source="cam-1")
        await until(lambda: len(uploads.stored) == 10)
        assert ids(uploads) == [f"e-{size}" for size in range(2000, 2010)], "the oldest first"
        assert len(uploads.uploading) == 0, "no trigger was taken up"
        uploads.pause()
        made.up()
        await made.account(settled=15, pending=0)
        assert len(uploads.wanted) == 10, "none of it is sent again"
        assert uploads.uploading.shown() == []


async def test_high_priority_goes_first_and_what_will_not_be_sent_is_not_uploaded(tmp_path: Path) -> None:
    uploads = SlowUploads(tmp_path, 1.0)
    high = msgspec.structs.replace(LARGE, name="high", source="alarm-*", priority="high")
    newest = msgspec.structs.replace(LARGE, name="newest", source="live-*", coalesce="latest")
    short = msgspec.structs.replace(LARGE, name="short", source="short-*", ttl=Duration(60))
    async with scene(tmp_path, LARGE, high, newest, short, clock=LoopsClock(), uploading=uploads.uploading) as made:
        uploads.ahead = made.ahead
        await made.accept_large(2000, source="cam-1")
        await made.accept_large(2001, 2002, source="live-1")
        await made.accept_large(2003, source="short-1")
        await made.accept_large(2004, source="alarm-1")
        await asyncio.sleep(61)
        await made.read_all_logs()
        await until(lambda: len(uploads.stored) == 2)
        assert ids(uploads) == ["e-2004", "e-2000"]
        made.up()
        await made.account(settled=3, merged=1, expired=1, pending=0)
        assert set(ids(uploads)) == {"e-2004", "e-2000", "e-2002"}


async def test_data_of_a_trigger_that_waits_for_its_rate_is_uploaded_meanwhile(tmp_path: Path) -> None:
    uploads = SlowUploads(tmp_path, 1.0)
    slow = msgspec.structs.replace(LARGE, rate=Rate(1, Duration(DAY_S)))
    async with scene(tmp_path, slow, clock=LoopsClock(), uploading=uploads.uploading) as made:
        uploads.ahead = made.ahead
        await made.read_all_logs()
        made.up()
        await made.accept_large(*range(2000, 2006), source="cam-1")
        await until(lambda: len(uploads.stored) == 6)
        await made.account(settled=1)
        await asyncio.sleep(DAY_S)
        await made.account(settled=2)
        assert len(uploads.wanted) == 6


@pytest.mark.slow
async def test_what_expires_while_the_store_is_away_is_not_uploaded_any_more(tmp_path: Path) -> None:
    uploads = SlowUploads(tmp_path, 1.0, is_away=True)
    short = msgspec.structs.replace(LARGE, name="short", source="short-*", ttl=Duration(60))
    async with scene(tmp_path, LARGE, short, clock=LoopsClock(), uploading=uploads.uploading) as made:
        uploads.ahead = made.ahead
        await made.read_all_logs()
        await made.accept_large(2000, source="short-1")
        await made.accept_large(2001, source="cam-1")
        await until(lambda: len(uploads.uploading.shown()) == 2)
        await until(lambda: len(uploads.uploading.shown()) == 1, deadline_s=DAY_S)
        uploads.back()
        await until(lambda: len(uploads.stored) == 1)
        assert [name[-6:] for name in uploads.stored] == ["e-2001"]


@pytest.mark.slow
async def test_without_an_uplink_a_bounded_number_is_known_in_memory_and_a_bounded_number_goes_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "MAX_AHEAD", 80)
    monkeypatch.setattr(uploads_ahead, "MAX_OPEN", 96)
    uploads = SlowUploads(tmp_path, 1.0, is_away=True)
    async with scene(tmp_path, LARGE, clock=LoopsClock(), uploading=uploads.uploading) as made:
        uploads.ahead = made.ahead
        await made.read_all_logs()
        await made.accept_large(*range(2000, 2150), source="cam-1")
        await until(lambda: len(uploads.wanted) > 96 - ahead.ENOUGH)
        uploads.back()
        await until(lambda: len(uploads.stored) >= 80)
        await asyncio.sleep(DAY_S)
        assert len(uploads.stored) < 80 + ahead.ENOUGH
        assert uploads.most_open <= 96
        made.up()
        await made.account(settled=150, pending=0)
        assert len(uploads.wanted) == 150


@pytest.mark.parametrize("has_restarted", [False, True])
async def test_large_data_is_found_wherever_it_is_among_many_small_events(tmp_path: Path, has_restarted: bool) -> None:
    every = msgspec.structs.replace(LARGE, source="*")
    sizes = [2000, 2001, 2002]
    uploads = SlowUploads(tmp_path, 1.0)
    async with scene(tmp_path, every, clock=LoopsClock(), uploading=uploads.uploading) as made:
        uploads.ahead = made.ahead
        if not has_restarted:
            await made.read_all_logs()
        for number, size in enumerate(sizes):
            for first in range(0, 700, 100):  # more than a segment
                await made.accept(*range(1000 * number + first, 1000 * number + first + 100))
            await made.accept_large(size, source="cam-1")
        if not has_restarted:
            await until(lambda: len(uploads.stored) == 3)
    if has_restarted:
        async with scene(tmp_path, every, clock=LoopsClock(), uploading=uploads.uploading) as made:
            uploads.ahead = made.ahead
            await made.read_all_logs()
            await until(lambda: len(uploads.stored) == 3)
    assert ids(uploads) == [f"e-{size}" for size in sizes]
    assert (tmp_path / "outbox" / "normal").is_dir()
    assert len([*(tmp_path / "outbox" / "normal").glob("*.seg")]) > 3


async def test_after_a_restart_only_the_rest_is_uploaded(tmp_path: Path) -> None:
    uploads = SlowUploads(tmp_path, 1.0)
    async with scene(tmp_path, LARGE, clock=LoopsClock(), uploading=uploads.uploading) as made:
        uploads.ahead = made.ahead
        await made.read_all_logs()
        await made.accept_large(2000, 2001, source="cam-1")
        await until(lambda: len(uploads.stored) == 2)
        uploads.pause()
        await made.accept_large(2002, source="cam-1")
    again = SlowUploads(tmp_path, 1.0)
    again.stored.update(uploads.stored)
    async with scene(tmp_path, LARGE, clock=LoopsClock(), uploading=again.uploading) as made:
        again.ahead = made.ahead
        await made.read_all_logs()
        await until(lambda: len(again.stored) == 3)
        assert ids(again) == ["e-2002"]


def test_an_object_is_asked_for_ahead_of_one_event_only_when_a_device_uses_an_id_again() -> None:
    made = Ahead()
    record = Record("gw", "cam-1", "e-1", "event", "now", b"{}", True, ("large",), 0, 0)
    one, again = (
        Leased(NORMAL, seq, "large", msgspec.structs.replace(record, artifact=Artifact(digit * 64, 1)), b"")
        for seq, digit in ((1, "a"), (2, "b"))
    )
    assert made.add("gw/cam-1/e-1", [one])
    assert not made.add("gw/cam-1/e-1", [again]), "the first one's data stays there until its trigger has left"
    assert not made.left("gw/cam-1/e-1", one)
    assert made.add("gw/cam-1/e-1", [again])
