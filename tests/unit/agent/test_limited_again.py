"""`rate`: a trigger that had a permit before a crash does not wait for another one, wherever it is on disk."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edgeagent.common.units import Duration
from edgeagent.outbox.records import LIMITED
from edgeagent.outbox.store import Store
from edgeagent.rules.rate import FirstPublication, PublishedTriggers
from edgeagent.rules.ruleset import RuleSet
from edgeagent.rules.spec import Rate, RuleSpec
from tests.fakes.outbox import running_outbox
from tests.fakes.rate_broker import HOUR_S, MINUTE_S, SLOW, RateBroker, accepted, most_within, slow
from tests.fakes.sender_scene import Scene, scene
from tests.fakes.turned_clock import LoopsClock
from tests.waiting import until, until_answer

pytestmark = pytest.mark.virtual_time

HOURLY = slow(rate=Rate(3, Duration(HOUR_S)))


class Gateway:
    """Its disk, which a crash leaves as it is at that moment, and its clock."""

    def __init__(self, directory: Path) -> None:
        self.clock = LoopsClock()
        self._directory = directory
        self._lives = 0

    @asynccontextmanager
    async def life(self, *specs: RuleSpec, max_inflight: int = 100) -> AsyncIterator[Scene]:
        """It runs until `crash`; what happens to the disk afterwards is not seen by the next life."""
        life = self._directory / str(self._lives)
        life.mkdir(exist_ok=True)
        async with scene(life, *specs, clock=self.clock, max_inflight=max_inflight) as made:
            yield made

    async def crash(self, made: Scene) -> None:
        """Keep the disk as it is once it knows of every publication."""
        await until_answer(
            lambda: made.outbox.beside(lambda store: store.rates.changed), lambda lacks: not lacks, "the publications"
        )
        shutil.copytree(self._directory / str(self._lives), self._directory / str(self._lives + 1))
        self._lives += 1


def waiting(made: Scene) -> int:
    count = made.limited.stats()["slow"]["waiting"]
    assert isinstance(count, int)
    return count


async def test_what_went_straight_goes_again_at_once_and_takes_no_place_of_others(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    async with gateway.life(HOURLY) as made:
        broker = RateBroker(made, acknowledges=False)
        await accepted(made, 0, 8)
        await broker.has(3)
        await gateway.crash(made)
    async with gateway.life(HOURLY) as made:
        again = RateBroker(made)
        began = asyncio.get_running_loop().time()
        await again.has(3)
        assert asyncio.get_running_loop().time() - began < MINUTE_S
        await until(lambda: waiting(made) == 5)
        await again.has(8)
        assert again.numbers == list(range(8))
        assert most_within([at for at, _ in [*broker.taken, *again.taken[3:]]], HOUR_S) == 3
        assert again.taken[5][0] - broker.taken[0][0] < HOUR_S + MINUTE_S
        await made.account(settled=8, pending=0)


async def test_what_had_waited_goes_again_at_once_and_before_what_waits(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    async with gateway.life(HOURLY) as made:
        broker = RateBroker(made)
        await accepted(made, 0, 12)
        await broker.has(3)
        broker.acknowledges = False
        await broker.has(6)
        await gateway.crash(made)
    for _ in range(2):  # it may crash again
        async with gateway.life(HOURLY) as made:
            again = RateBroker(made, acknowledges=False)
            began = asyncio.get_running_loop().time()
            await again.has(3)
            assert asyncio.get_running_loop().time() - began < MINUTE_S
            assert again.numbers == [3, 4, 5]
            await gateway.crash(made)
    async with gateway.life(HOURLY) as made:
        again = RateBroker(made)
        await again.has(9)
        assert again.numbers == list(range(3, 12))
        assert most_within([at for at, _ in [*broker.taken, *again.taken[3:]]], HOUR_S) == 3
        await made.account(settled=12, pending=0)


async def test_one_whose_release_was_lost_goes_again_and_is_not_counted_again(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    async with gateway.life(HOURLY) as made:
        broker = RateBroker(made, acknowledges=False)
        await accepted(made, 0, 2)
        await broker.has(2)
        await gateway.crash(made)
        made.take()
        await made.account(settled=2, pending=0)  # which the disk of the next life does not know
    async with gateway.life(HOURLY) as made:
        again = RateBroker(made)
        await accepted(made, 2, 3)
        await again.has(3)
        assert again.numbers == [0, 1, 2]
        await until(lambda: waiting(made) == 2)
        await made.account(settled=3, pending=2)


async def test_one_of_normal_priority_does_not_wait_for_those_of_high_priority_that_have_no_permit(
    tmp_path: Path,
) -> None:
    urgent = RuleSpec("urgent", "plant", template="t", source="slow-2", arguments={"n": "body.n"}, priority="high")
    hourly = slow(rate=Rate(1, Duration(HOUR_S)))
    gateway = Gateway(tmp_path)
    async with gateway.life(hourly, urgent) as made:
        broker = RateBroker(made)
        await accepted(made, 0, 2)
        await broker.has(1)
        broker.acknowledges = False
        await broker.has(2)
        broker.acknowledges = True
        await accepted(made, 100, 2, source="slow-2")
        await broker.has(4)
        await until(lambda: waiting(made) == 2)
        await gateway.crash(made)
    async with gateway.life(hourly, urgent) as made:
        again = RateBroker(made)
        began = asyncio.get_running_loop().time()
        await until(lambda: 1 in again.numbers)
        assert asyncio.get_running_loop().time() - began < MINUTE_S
        await again.has(5)
        await made.account(pending=0)


@pytest.mark.parametrize("waited", [False, True])
async def test_none_of_its_source_goes_before_it_if_their_order_is_strict(tmp_path: Path, waited: bool) -> None:
    strict = slow(order="strict", rate=Rate(2, Duration(HOUR_S)))
    gateway = Gateway(tmp_path)
    async with gateway.life(strict) as made:
        broker = RateBroker(made)
        if waited:  # for the first two
            await accepted(made, 100, 2, source="slow-2")
            await broker.has(2)
            await made.account(pending=0)
        broker.acknowledges = False
        await accepted(made, 0, 2)
        await until(lambda: waiting(made) == (2 if waited else 1))
        await broker.has(3 if waited else 1)
        await gateway.crash(made)
        assert broker.numbers[-1] == 0
    async with gateway.life(strict) as made:
        again = RateBroker(made, acknowledges=False)
        await accepted(made, 2, 1)
        await again.has(1)
        await made.sender_reads()
        assert again.numbers == [0]
        again.acknowledges = True
        made.take()
        await again.has(3)
        assert again.numbers == [0, 1, 2]
        await made.account(pending=0)


async def test_after_the_time_of_the_rate_it_counts_anew(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    async with gateway.life(SLOW) as made:
        broker = RateBroker(made, acknowledges=False)
        await accepted(made, 0, 5)
        await broker.has(3)
        await gateway.crash(made)
    await asyncio.sleep(2 * MINUTE_S)
    async with gateway.life(SLOW) as made:
        again = RateBroker(made)
        await again.has(5)
        assert most_within([at for at, _ in again.taken], MINUTE_S) == 3
        assert sorted(again.numbers) == list(range(5))
        await made.account(settled=5, pending=0)


async def test_those_that_went_again_are_not_read_with_what_is_beyond_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeagent.agent.lines.MAX_READY", 1)
    monkeypatch.setattr("edgeagent.agent.lines._FEW", 0)
    spec = slow(rate=Rate(1, Duration(MINUTE_S)))
    gateway = Gateway(tmp_path)
    async with gateway.life(spec) as made:
        broker = RateBroker(made)
        await accepted(made, 0, 12)
        await broker.has(3)
        broker.acknowledges = False
        await broker.has(6)
        await gateway.crash(made)
    async with gateway.life(spec) as made:
        again = RateBroker(made, acknowledges=False)
        await again.has(3)
        await made.sender_reads()
        assert made.outbox.health.account.settled == 3, "nothing of this life"
        again.acknowledges = True
        made.take()
        await again.has(9)
        assert again.numbers == [5, 3, 4, *range(6, 12)]
        assert most_within([at for at, _ in [*broker.taken[3:], *again.taken[1:]]], MINUTE_S) == 1
        await made.account(settled=12, pending=0)


async def test_a_reload_without_the_rate_lets_them_go_too(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    async with gateway.life(HOURLY) as made:
        broker = RateBroker(made, acknowledges=False)
        await accepted(made, 0, 5)
        await broker.has(3)
        await gateway.crash(made)
    async with gateway.life(HOURLY) as made:
        await made.outbox.beside(lambda store: store.log(LIMITED).pending)
        made.rules.take_over(RuleSet([slow(rate=None)]))
        again = RateBroker(made)
        await again.has(5)
        assert sorted(again.numbers) == list(range(5))
        await made.account(settled=5, pending=0)


async def test_what_was_published_is_on_disk_soon_and_no_release_because_of_it(tmp_path: Path) -> None:
    async with running_outbox(tmp_path) as outbox:
        await outbox.beside(lambda _: None)  # by now the first commit has begun, which writes the cursor too
        await outbox.beside(Store.checkpoint)
        before = (tmp_path / "outbox/cursor").read_bytes()
        outbox.keep_rates(PublishedTriggers(1, 2, bytes(16), {"slow": (FirstPublication(1, bytes(16)),)}))
        await until((tmp_path / "outbox/rates").exists)
        assert (tmp_path / "outbox/cursor").read_bytes() == before
