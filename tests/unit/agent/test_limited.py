"""`rate`: what is beyond it waits, out of the way of others, over a real outbox in virtual time."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from errno import EIO
from functools import partial
from pathlib import Path

import pytest

from edgeagent.agent.lines import MAX_READY
from edgeagent.common.times import instant
from edgeagent.common.units import Duration
from edgeagent.outbox.records import DEAD, LIMITED, NORMAL, REPLAYED, Leased
from edgeagent.outbox.search import find
from edgeagent.outbox.store import Store
from edgeagent.rules.ruleset import RuleSet
from edgeagent.rules.spec import Rate, RuleSpec, Window
from tests.fakes.faulty_filesystem import FaultyFilesystem
from tests.fakes.rate_broker import HOUR_S, MINUTE_S, SLOW, RateBroker, accepted, most_within, number, slow
from tests.fakes.sender_scene import scene
from tests.fakes.turned_clock import LoopsClock
from tests.waiting import until

pytestmark = pytest.mark.virtual_time

PLAIN = RuleSpec("plain", "plant", template="t", source="plain-*", arguments={"n": "body.n"})


def replay(letter: Leased, store: Store) -> None:
    store.move(letter, NORMAL, REPLAYED, reason="", code=0, attempts=0)


async def test_triggers_beyond_the_rate_go_later_in_their_order_and_none_is_lost(tmp_path: Path) -> None:
    async with scene(tmp_path, SLOW, clock=LoopsClock()) as made:
        broker = RateBroker(made)
        await accepted(made, 0, 10)
        await broker.has(10)
        assert broker.numbers == list(range(10))
        times = [at for at, _ in broker.taken]
        assert most_within(times, MINUTE_S) == 3
        assert 3 * MINUTE_S <= times[-1] - times[0] < 3 * MINUTE_S + 5
        await made.account(settled=10, pending=0, dead=0)
        assert made.intake.rule_counts["slow"].published == 10
        assert made.triggers.stats()["republished"] == 0


@pytest.mark.slow
async def test_a_backlog_that_waits_holds_up_no_other_rule_and_is_not_in_memory(tmp_path: Path) -> None:
    rate = Rate(2, Duration(3600))
    async with scene(tmp_path, slow(rate=rate), PLAIN, max_inflight=5, clock=LoopsClock()) as made:
        await accepted(made, 0, 1500)
        for n in range(2000, 2010):
            await made.accept(n, source="plain-1")
        began = asyncio.get_running_loop().time()
        broker = RateBroker(made)
        await broker.has(12)
        assert sorted(broker.numbers) == [0, 1, *range(2000, 2010)]
        assert asyncio.get_running_loop().time() - began < MINUTE_S
        await until(lambda: made.limited.stats()["slow"]["waiting"] == 1498, seen=made.limited.stats)
        stats = made.limited.stats()["slow"]
        next_s, last_s = [
            instant(stats[name]).timestamp() - made.clock.now_ms() / 1000 for name in ("next_at", "last_at")
        ]
        assert 0 < next_s <= HOUR_S
        assert last_s > 740 * HOUR_S
        assert len(made.triggers) == 0
        await made.account(settled=12, pending=1498)
        log, ranges = await made.outbox.beside(lambda store: (store.log(NORMAL).pending, store.log(LIMITED).released))
        assert log == 0, "the log of events is free for others"
        assert ranges.above(0) == (0, 0)


@pytest.mark.slow
async def test_what_is_beyond_memory_is_read_again_in_order(tmp_path: Path) -> None:
    count = 4 * MAX_READY + 4
    specs = (
        slow(rate=Rate(40, Duration(1))),
        slow(name="slower", source="slower-*", rate=Rate(10, Duration(1))),
    )
    async with scene(tmp_path, *specs, clock=LoopsClock()) as made:
        broker = RateBroker(made)
        for first in range(0, count, 10):
            await made.accept(*range(first, first + 10), source="slow-1")
            await made.accept(*range(10_000 + first, 10_010 + first), source="slower-1")
        await broker.has(2 * count)
        assert [n for n in broker.numbers if n < 10_000] == list(range(count))
        assert [n for n in broker.numbers if n >= 10_000] == list(range(10_000, 10_000 + count))
        for lower, upper, most in ((0, 10_000, 40), (10_000, 20_000, 10)):
            assert most_within([at for at, n in broker.taken if lower <= n < upper], 1.0) <= most
        await made.account(settled=2 * count, pending=0)


async def test_high_priority_goes_before_normal(tmp_path: Path) -> None:
    urgent = RuleSpec("urgent", "plant", template="t", source="slow-2", arguments={"n": "body.n"}, priority="high")
    async with scene(tmp_path, SLOW, urgent, clock=LoopsClock()) as made:
        broker = RateBroker(made)
        await accepted(made, 0, 9)
        await broker.has(3)
        await accepted(made, 100, 3, source="slow-2")  # its event is in the log of high priority: `urgent` wants it too
        await broker.has(15)
        limited = [n for at, n in broker.taken]
        order = list(dict.fromkeys(n for n in limited if n < 100 or Counter(limited)[n] == 2))
        assert order[:3] == [0, 1, 2]
        last = {n: at for at, n in broker.taken}
        assert max(last[n] for n in (100, 101, 102)) < min(last[n] for n in range(3, 9))


@pytest.mark.parametrize("killed", [False, True])
async def test_a_restart_allows_no_burst(tmp_path: Path, killed: bool) -> None:
    clock = LoopsClock()
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    async with scene(first, SLOW, clock=clock) as made:
        broker = RateBroker(made)
        await accepted(made, 0, 12)
        await broker.has(6)
        await made.account(settled=6)
        if killed:
            await asyncio.sleep(6)  # a checkpoint
            shutil.copytree(first, second)
        times = broker.taken
    async with scene(second if killed else first, SLOW, clock=clock) as made:
        broker = RateBroker(made)
        await broker.has(6)
        assert [n for _, n in times] + broker.numbers == list(range(12))
        assert most_within([at for at, _ in [*times, *broker.taken]], MINUTE_S) == 3
        await made.account(settled=12, pending=0)


@pytest.mark.slow
async def test_what_waits_too_long_expires_and_uses_no_permit(tmp_path: Path) -> None:
    async with scene(tmp_path, slow(ttl=Duration(90)), clock=LoopsClock()) as made:
        broker = RateBroker(made)
        await accepted(made, 0, 10)
        await broker.has(6)
        await until(lambda: made.outbox.health.account.expired == 4, deadline_s=HOUR_S)
        assert made.intake.rule_counts["slow"].expired == 4
        await accepted(made, 20, 3)
        await broker.has(9)
        assert broker.numbers == [0, 1, 2, 3, 4, 5, 20, 21, 22]
        await made.account(settled=9, expired=4, pending=0)


async def test_of_what_waits_only_the_newest_goes_with_coalesce(tmp_path: Path) -> None:
    spec = slow(rate=Rate(1, Duration(MINUTE_S)), coalesce="latest")
    async with scene(tmp_path, spec, clock=LoopsClock()) as made:
        broker = RateBroker(made)
        for n in range(6):
            await made.accept(n, source="slow-1")
            await asyncio.sleep(1)
        await made.account(merged=4)
        await broker.has(2)
        assert broker.numbers == [0, 5]
        assert broker.taken[1][0] - broker.taken[0][0] < MINUTE_S + 5
        await made.account(settled=2, merged=4, pending=0)


async def test_one_source_that_waits_in_strict_order_holds_up_no_other_source(tmp_path: Path) -> None:
    async with scene(tmp_path, slow(order="strict", rate=Rate(2, Duration(10))), clock=LoopsClock()) as made:
        made.up()
        await accepted(made, 0, 4, source="slow-1")
        await accepted(made, 10, 2, source="slow-2")
        await made.published(2)
        await asyncio.sleep(30)
        assert [number(one.payload) for one in made.link.published] == [0, 10]
        await made.account(settled=6, pending=0)
        assert [n for n in made.arguments() if n < 10] == [0, 1, 2, 3]


@pytest.mark.slow
async def test_replayed_dead_letters_count_and_wait_and_are_not_replaced_by_newer_ones(tmp_path: Path) -> None:
    spec = slow(rate=Rate(2, Duration(MINUTE_S)), coalesce="latest")
    async with scene(tmp_path, spec, clock=LoopsClock()) as made:
        made.up()
        for n in range(4):
            await made.accept(n, source=f"slow-{n}")
        for _ in range(2):
            await until(lambda: len(made.link.published) == 2, deadline_s=HOUR_S)
            made.refuse(0x99)
        await made.account(dead=4, pending=0)
        broker = RateBroker(made)
        for n in range(4):
            await made.accept(10 + n, source=f"slow-{n}")
        dead = await find(made.outbox, DEAD, lambda _: True, 10)
        for letter in dead:
            await made.outbox.beside(partial(replay, letter))
        made.outbox.on_change()
        await broker.has(8)
        assert sorted(broker.numbers) == [0, 1, 2, 3, 10, 11, 12, 13]
        assert most_within([at for at, _ in broker.taken], MINUTE_S) == 2
        await made.account(settled=8, pending=0, merged=0)


async def test_a_reload_that_takes_the_rate_away_sends_what_waits_in_order(tmp_path: Path) -> None:
    async with scene(tmp_path, SLOW, clock=LoopsClock()) as made:
        broker = RateBroker(made)
        await accepted(made, 0, 10)
        await broker.has(3)
        made.rules.take_over(RuleSet([slow(rate=None)]))
        await made.accept(10, source="slow-1")
        await broker.has(11)
        assert broker.numbers == list(range(11))
        assert broker.taken[-1][0] - broker.taken[0][0] < MINUTE_S


async def test_a_reload_with_another_rate_applies_to_what_waits(tmp_path: Path) -> None:
    async with scene(tmp_path, slow(rate=Rate(1, Duration(86400))), clock=LoopsClock()) as made:
        broker = RateBroker(made)
        await accepted(made, 0, 5)
        await broker.has(1)
        made.rules.take_over(RuleSet([slow(rate=Rate(2, Duration(10)))]))
        made.sender.wake()
        await broker.has(5)
        assert broker.numbers == list(range(5))
        assert most_within([at for at, _ in broker.taken], 10) == 2


async def test_when_the_rule_is_gone_what_waits_becomes_dead_letters(tmp_path: Path) -> None:
    async with scene(tmp_path, SLOW, PLAIN, clock=LoopsClock()) as made:
        broker = RateBroker(made)
        await accepted(made, 0, 5)
        await broker.has(3)
        made.rules.take_over(RuleSet([PLAIN]))
        await made.accept(5, source="plain-1")
        await made.account(settled=4, dead=2, pending=0)


async def test_a_window_counts_as_one_and_waits_as_one(tmp_path: Path) -> None:
    spec = slow(rate=Rate(1, Duration(MINUTE_S)), arguments={"n": "body.#"}, window=Window(time=Duration(5), count=2))
    async with scene(tmp_path, spec, clock=LoopsClock()) as made:
        broker = RateBroker(made)
        await accepted(made, 0, 6)
        await broker.has(3)
        assert broker.numbers == [2, 2, 2]
        assert most_within([at for at, _ in broker.taken], MINUTE_S) == 1
        await made.account(settled=3, merged=3, pending=0)


async def test_a_wall_clock_that_is_set_changes_nothing(tmp_path: Path) -> None:
    clock = LoopsClock()
    async with scene(tmp_path, SLOW, clock=clock) as made:
        broker = RateBroker(made)
        await accepted(made, 0, 3)
        await broker.has(3)
        clock.wall_ahead_ms = 86_400_000
        await accepted(made, 3, 3)
        await broker.has(6)
        clock.wall_ahead_ms = -86_400_000
        await accepted(made, 6, 3)
        await broker.has(9)
        assert most_within([at for at, _ in broker.taken], MINUTE_S) == 3
        assert broker.taken[-1][0] - broker.taken[0][0] < 3 * MINUTE_S


async def test_while_the_disk_refuses_to_move_them_they_wait_in_their_own_log_and_none_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = FaultyFilesystem()
    async with scene(tmp_path, SLOW, PLAIN, filesystem=disk, clock=LoopsClock()) as made:
        broker = RateBroker(made)
        disk.fail(EIO, "create", where="limited")
        await accepted(made, 0, 6)
        await made.accept(100, source="plain-1")
        await broker.has(4)
        assert broker.numbers[-1] == 100 or 100 in broker.numbers
        await until(lambda: "cannot be moved, trying again" in caplog.text)
        disk.heal()
        await broker.has(7)
        assert [n for n in broker.numbers if n < 100] == list(range(6))
        await made.account(settled=7, pending=0)


async def test_where_says_how_many_go_first_and_for_how_long(tmp_path: Path) -> None:
    async with scene(tmp_path, SLOW, clock=LoopsClock()) as made:
        broker = RateBroker(made)
        await accepted(made, 0, 3 + MAX_READY * 2)
        await broker.has(3)
        await until(lambda: not made.limited.unread)
        [leased] = await find(made.outbox, LIMITED, lambda one: one.record.id == "e-10", 1)
        found = made.limited.wait_of(leased)
        assert found is not None
        assert found.ahead == 7
        assert 2 * MINUTE_S < found.wait_s <= 3 * MINUTE_S
        [last] = await find(made.outbox, LIMITED, lambda one: one.record.id == f"e-{2 + MAX_READY * 2}", 1)
        found = made.limited.wait_of(last)
        assert found is not None
        assert found.ahead == MAX_READY * 2 - 1


@pytest.mark.slow
async def test_a_slow_rule_and_a_quick_one_share_the_log_which_is_condensed_in_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeagent.outbox.limited._MAX_RANGES", 30)
    quick = slow(name="quick", source="quick-*", rate=Rate(20, Duration(1)))
    async with scene(tmp_path, slow(rate=Rate(1, Duration(5))), quick, clock=LoopsClock()) as made:
        broker = RateBroker(made)
        for first in range(0, 200, 2):
            await made.accept(first, first + 1, source="slow-1")
            await made.accept(1000 + first, 1001 + first, source="quick-1")
        await broker.has(400)
        assert [n for n in broker.numbers if n < 1000] == list(range(200))
        assert [n for n in broker.numbers if n >= 1000] == list(range(1000, 1200))
        assert most_within([at for at, n in broker.taken if n < 1000], 5) == 1
        moved, ranges = await made.outbox.beside(
            lambda store: (store.log(LIMITED).next_seq - 1, store.log(LIMITED).released.above(0))
        )
        assert moved > 400, "it was condensed"
        assert ranges[0] <= 31
        await made.account(settled=400, pending=0)
