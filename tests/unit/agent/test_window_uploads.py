"""Windows of large data: their trigger carries a claim for each member, and leaves when all of it is in the store."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeagent.common.units import Duration
from edgeagent.rules.spec import RuleSpec, Window
from tests.fakes.sender_scene import scene
from tests.fakes.slow_uploads import SlowUploads
from tests.fakes.turned_clock import LoopsClock
from tests.waiting import until

pytestmark = pytest.mark.virtual_time

HOUR_S = 3600.0
FRAMES = RuleSpec(
    "frames", "plant", template="t", arguments={"body": "body"}, window=Window(time=Duration(60), count=3)
)


def spooled(directory: Path) -> list[str]:
    return sorted(path.name for path in (directory / "outbox" / "spool").iterdir())


def digest(size: int) -> str:
    return hashlib.sha256(size.to_bytes(8) * (size // 8) + bytes(size % 8)).hexdigest()


def sizes(body: Any) -> list[int]:
    """What a window's body says of its members: the size of large data, or what a small one has as `n`."""
    return [member.get("size", member.get("n")) for member in body]


async def test_a_window_of_large_and_small_events_leaves_when_all_its_data_is_in_the_store(tmp_path: Path) -> None:
    uploads = SlowUploads(tmp_path, 1.0, is_away=True)
    async with scene(tmp_path, FRAMES, clock=LoopsClock(), uploading=uploads.uploading) as made:
        await made.read_all_logs()
        made.up()
        await made.accept_large(2000, source="cam-1")
        await made.accept(7, source="cam-1")
        await made.accept_large(2001, source="cam-1")
        await made.accept(*range(3), source="plain-1")
        await made.account(settled=1, merged=2, pending=3)
        assert len(uploads.wanted) == 2, "they are asked for while the window is open"
        assert len(spooled(tmp_path)) == 2
        uploads.back()
        await made.account(settled=2, merged=4, pending=0)
        small, frames = made.arguments()
        assert (sizes(small), sizes(frames)) == ([0, 1, 2], [2000, 7, 2001])
        assert [frames[0]["sha256"], frames[2]["sha256"]] == [digest(2000), digest(2001)]
        assert frames[0]["url"].endswith("/e-2000")
        await until(lambda: spooled(tmp_path) == [], seen=lambda: spooled(tmp_path))
        assert len(uploads.uploading) == 0
        assert uploads.digests() == {digest(2000), digest(2001)}


async def test_data_that_the_store_can_never_have_is_a_dead_letter_and_its_window_goes_without_it(
    tmp_path: Path,
) -> None:
    uploads = SlowUploads(tmp_path, 1.0, is_away=True)
    async with scene(tmp_path, FRAMES, clock=LoopsClock(), uploading=uploads.uploading) as made:
        made.up()
        await made.accept_large(2000, 2001, 2002, source="cam-1")
        await until(lambda: len(uploads.wanted) == 3)
        uploads.refuse(uploads.wanted[1])
        uploads.back()
        await made.account(settled=1, merged=1, dead=1, pending=0)
        assert [sizes(body) for body in made.arguments()] == [[2000, 2002]]


@pytest.mark.slow
async def test_a_restart_while_a_window_waits_for_its_data_makes_the_same_window(tmp_path: Path) -> None:
    uploads = SlowUploads(tmp_path, 1.0, is_away=True)
    async with scene(tmp_path, FRAMES, clock=LoopsClock(), uploading=uploads.uploading) as made:
        made.up()
        await made.accept_large(*range(2000, 2005), source="cam-1")
        await until(lambda: len(uploads.wanted) == 5)
    uploads = SlowUploads(tmp_path, 1.0)
    async with scene(tmp_path, FRAMES, clock=LoopsClock(), uploading=uploads.uploading) as made:
        await made.read_all_logs()
        made.up()
        await made.account(settled=2, merged=3, pending=0)
        assert [sizes(body) for body in made.arguments()] == [[2000, 2001, 2002], [2003, 2004]]
        await until(lambda: spooled(tmp_path) == [], seen=lambda: spooled(tmp_path))


async def test_a_window_that_becomes_too_old_while_the_store_is_away_expires(tmp_path: Path) -> None:
    uploads = SlowUploads(tmp_path, 1.0, is_away=True)
    short = msgspec.structs.replace(FRAMES, ttl=Duration(HOUR_S))
    async with scene(tmp_path, short, clock=LoopsClock(), uploading=uploads.uploading) as made:
        made.up()
        await made.accept_large(2000, 2001, 2002, source="cam-1")
        await until(lambda: len(uploads.wanted) == 3)
        await asyncio.sleep(HOUR_S + 60)
        await made.account(expired=1, merged=2, pending=0)
        assert len(uploads.uploading) == 0
        assert uploads.stored == {}


async def test_in_strict_order_a_later_window_of_the_source_waits_for_the_data_of_the_earlier_one(
    tmp_path: Path,
) -> None:
    uploads = SlowUploads(tmp_path, 10.0)
    strict = msgspec.structs.replace(FRAMES, order="strict")
    async with scene(tmp_path, strict, clock=LoopsClock(), uploading=uploads.uploading) as made:
        made.up()
        await made.accept_large(2000, 2001, 2002, source="cam-1")
        await made.accept(1, 2, 3, source="cam-1")
        await made.accept(4, 5, 6, source="cam-2")
        await made.account(settled=3, merged=6, pending=0)
        assert [sizes(body) for body in made.arguments()] == [[4, 5, 6], [2000, 2001, 2002], [1, 2, 3]]
