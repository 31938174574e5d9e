"""Large data under rules with a rate, a strict order or `coalesce`, over a real outbox in virtual time."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Collection, Sequence
from pathlib import Path

import msgspec
import pytest

from edgeagent.agent.uploading import RECHECK_S
from edgeagent.common.units import Duration
from edgeagent.outbox import limited
from edgeagent.outbox.store import Store
from edgeagent.ports.link import Publication
from edgeagent.rules.ruleset import RuleSet
from edgeagent.rules.spec import Rate, RuleSpec
from tests.fakes.link import FakeLink
from tests.fakes.sender_scene import Scene, scene
from tests.fakes.slow_uploads import SlowUploads
from tests.fakes.turned_clock import LoopsClock
from tests.waiting import until

pytestmark = pytest.mark.virtual_time

MINUTE_S, HOUR_S = 60.0, 3600.0

LARGE = RuleSpec(
    "large",
    "plant",
    template="t",
    source="cam-*",
    rate=Rate(3, Duration(MINUTE_S)),
)
PLAIN = RuleSpec("plain", "plant", template="t", source="plain-*")
SIZES = range(2000, 2012)


class Broker(FakeLink):
    """Takes whatever is published in the next turn; `taken`: when, and the number in the event's id."""

    def __init__(self, made: Scene) -> None:
        super().__init__()
        self.taken: list[tuple[float, int]] = []
        self._made = made
        made.link = self
        made.up()

    def publish(self, publications: Sequence[Publication]) -> None:
        """Take them."""
        super().publish(publications)
        loop = asyncio.get_running_loop()
        self.taken += [(loop.time(), number(one.payload)) for one in publications]
        loop.call_soon(self._made.take)

    async def has(self, count: int) -> None:
        """Wait until it has taken so many."""
        await until(lambda: len(self.taken) >= count, f"{count} triggers", seen=lambda: self.numbers, deadline_s=HOUR_S)

    @property
    def numbers(self) -> list[int]:
        """In the order in which it took them."""
        return [n for _, n in self.taken]


def number(payload: bytes) -> int:
    annotations = json.loads(payload)["workflow"]["metadata"]["annotations"]
    return int(annotations["edgeagent.io/event-id"].removeprefix("e-"))


def most_in_a_minute(times: Sequence[float]) -> int:
    """How many of these times are in one minute, wherever it begins."""
    return max(sum(at <= other < at + MINUTE_S for other in times) for at in times)


def spooled(directory: Path) -> list[str]:
    return sorted(path.name for path in (directory / "outbox" / "spool").iterdir())


def digest(size: int) -> str:
    return hashlib.sha256(size.to_bytes(8) * (size // 8) + bytes(size % 8)).hexdigest()


async def spool_is_empty(directory: Path) -> None:
    await until(lambda: spooled(directory) == [], "the spool to be empty", seen=lambda: spooled(directory))


@pytest.mark.slow
@pytest.mark.parametrize("upload_s", [0.5, 90.0])
async def test_large_data_under_a_rate_is_all_sent_and_no_faster_than_the_rate(tmp_path: Path, upload_s: float) -> None:
    uploads = SlowUploads(tmp_path, upload_s)
    async with scene(tmp_path, LARGE, clock=LoopsClock(), uploading=uploads.uploading) as made:
        await made.read_all_logs()
        broker = Broker(made)
        await made.accept_large(*SIZES, source="cam-1")
        await broker.has(len(SIZES))
        assert sorted(broker.numbers) == list(SIZES)
        assert most_in_a_minute([at for at, _ in broker.taken]) == 3
        assert uploads.digests() == {digest(size) for size in SIZES}
        await made.account(settled=len(SIZES), pending=0, dead=0)
        assert made.triggers.stats()["republished"] == 0
        await spool_is_empty(tmp_path)


@pytest.mark.slow
async def test_while_the_store_is_away_only_as_many_as_have_a_permit_wait_for_it_and_no_other_rule_does(
    tmp_path: Path,
) -> None:
    uploads = SlowUploads(tmp_path, 1.0, is_away=True)
    async with scene(tmp_path, LARGE, PLAIN, max_inflight=2, clock=LoopsClock(), uploading=uploads.uploading) as made:
        broker = Broker(made)
        await made.accept_large(*SIZES, source="cam-1")
        for n in range(10):
            await made.accept(n, source="plain-1")
        await broker.has(10)
        assert sorted(broker.numbers) == list(range(10))
        await until(lambda: made.limited.stats()["large"]["waiting"] == len(SIZES) - 3)
        assert len(uploads.wanted) == len(uploads.uploading) == 3
        uploads.back()
        await broker.has(10 + len(SIZES))
        assert most_in_a_minute([at for at, n in broker.taken if n >= SIZES[0]]) == 3
        await made.account(settled=10 + len(SIZES), pending=0)


@pytest.mark.slow
async def test_a_restart_while_data_is_uploaded_or_waits_for_the_rate_loses_none(tmp_path: Path) -> None:
    uploads = SlowUploads(tmp_path, 1.0, is_away=True)
    async with scene(tmp_path, LARGE, clock=LoopsClock(), uploading=uploads.uploading) as made:
        await made.read_all_logs()
        Broker(made)
        await made.accept_large(*SIZES, source="cam-1")
        await until(lambda: made.limited.stats()["large"]["waiting"] == len(SIZES) - 3)
        await made.account(pending=len(SIZES))
    uploads = SlowUploads(tmp_path, 1.0)
    async with scene(tmp_path, LARGE, clock=LoopsClock(), uploading=uploads.uploading) as made:
        await made.read_all_logs()
        broker = Broker(made)
        await broker.has(len(SIZES))
        assert sorted(broker.numbers) == list(SIZES)
        assert uploads.digests() == {digest(size) for size in SIZES}
        await made.account(settled=len(SIZES), pending=0, dead=0)
        await spool_is_empty(tmp_path)


async def test_what_the_store_refuses_is_a_dead_letter_and_its_permit_is_free_for_the_next(tmp_path: Path) -> None:
    uploads = SlowUploads(tmp_path, 1.0, is_away=True)
    only_one = msgspec.structs.replace(LARGE, rate=Rate(1, Duration(24 * HOUR_S)))
    async with scene(tmp_path, only_one, clock=LoopsClock(), uploading=uploads.uploading) as made:
        broker = Broker(made)
        await made.accept_large(2000, 2001, 2002, source="cam-1")
        for count in (1, 2):
            await until(lambda count=count: len(uploads.wanted) == count)  # type: ignore[misc]
            uploads.refuse(uploads.wanted[-1])
        await until(lambda: len(uploads.wanted) == 3)
        uploads.back()
        await broker.has(1)
        assert broker.numbers == [2002]
        await made.account(settled=1, dead=2, pending=0)


@pytest.mark.slow
async def test_in_strict_order_nothing_of_a_source_overtakes_data_that_is_uploaded_and_other_sources_do(
    tmp_path: Path,
) -> None:
    uploads = SlowUploads(tmp_path, 10.0)
    strict = msgspec.structs.replace(LARGE, order="strict", rate=Rate(4, Duration(MINUTE_S)))
    async with scene(tmp_path, strict, clock=LoopsClock(), uploading=uploads.uploading) as made:
        broker = Broker(made)
        await made.accept_large(2000, source="cam-1")
        await made.accept(1, source="cam-1")
        await made.accept_large(2002, source="cam-1")
        await made.accept(3, source="cam-1")
        await made.accept(4, source="cam-2")
        await broker.has(5)
        assert broker.numbers[0] == 4
        assert [n for n in broker.numbers if n != 4] == [2000, 1, 2002, 3]
        assert most_in_a_minute([at for at, _ in broker.taken]) <= 4
        await made.account(settled=5, pending=0)


@pytest.mark.slow
async def test_with_coalesce_what_is_being_uploaded_goes_and_of_the_rest_only_the_newest(tmp_path: Path) -> None:
    uploads = SlowUploads(tmp_path, 100.0)
    newest = msgspec.structs.replace(LARGE, coalesce="latest", rate=None)
    clock = LoopsClock()
    async with scene(tmp_path, newest, clock=clock, uploading=uploads.uploading) as made:
        broker = Broker(made)
        await made.accept_large(2000, source="cam-1")
        await until(lambda: len(uploads.wanted) == 1)
        uploads.pause()
        for size in (2001, 2002, 2003):
            await asyncio.sleep(1)
            await made.accept_large(size, source="cam-1")
        await broker.has(1)
        assert broker.numbers == [2000]
        uploads.back()
        await broker.has(2)
        assert broker.numbers == [2000, 2003]
        await made.account(settled=2, merged=2, pending=0)


@pytest.mark.slow
async def test_the_log_is_condensed_around_a_trigger_that_waits_for_its_upload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limited, "_MAX_RANGES", 3)
    stayed: set[int] = set()
    condense = limited.condense

    def noted(store: Store, at: limited.Condensing, kept: Collection[int], now_ms: int) -> limited.Condensing | None:
        stayed.update(kept)
        return condense(store, at, kept, now_ms)

    monkeypatch.setattr(limited, "condense", noted)
    uploads = SlowUploads(tmp_path, 0.1)
    one = msgspec.structs.replace(LARGE, rate=Rate(1, Duration(1)))
    quick = msgspec.structs.replace(PLAIN, rate=Rate(20, Duration(1)))
    async with scene(tmp_path, one, quick, clock=LoopsClock(), uploading=uploads.uploading) as made:
        await made.read_all_logs()
        broker = Broker(made)
        await made.accept_large(*SIZES[:2], source="cam-1")
        await broker.has(1)
        uploads.seconds = 10.0
        await until(lambda: len(uploads.wanted) == 2)  # from the log
        for n in range(100):
            if n < len(SIZES) - 2:
                await made.accept_large(SIZES[n + 2], source="cam-1")
            await made.accept(3 * n, 3 * n + 1, 3 * n + 2, source="plain-1")
        await broker.has(300 + len(SIZES))
        assert sorted(broker.numbers) == [*range(300), *SIZES]
        assert stayed, "it was condensed while one was uploaded"
        assert uploads.digests() == {digest(size) for size in SIZES}
        await made.account(settled=300 + len(SIZES), pending=0)
        await spool_is_empty(tmp_path)


@pytest.mark.slow
async def test_a_rule_that_comes_back_sends_nothing_whose_data_is_not_in_the_store(tmp_path: Path) -> None:
    uploads = SlowUploads(tmp_path, 1.0, is_away=True)
    rule = msgspec.structs.replace(LARGE, rate=None)
    async with scene(tmp_path, rule, clock=LoopsClock(), uploading=uploads.uploading) as made:
        made.link = FakeLink(room=0)
        made.up()
        await made.accept_large(2000, source="cam-1")
        await until(lambda: len(uploads.uploading) == 1)
        made.rules.take_over(RuleSet([]))
        await asyncio.sleep(2 * RECHECK_S)
        made.sender.wake()
        assert (len(uploads.uploading), made.triggers.stats()["in_flight"]) == (0, 1), "it is about to be a dead letter"
        made.rules.take_over(RuleSet([rule]))
        made.sender.down()
        broker = Broker(made)
        await asyncio.sleep(1)
        assert (broker.numbers, len(uploads.uploading)) == ([], 1)
        uploads.back()
        await broker.has(1)
        assert uploads.digests() == {digest(2000)}
        await made.account(settled=1, pending=0, dead=0)
