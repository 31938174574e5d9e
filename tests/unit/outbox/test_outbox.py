from __future__ import annotations

import asyncio
import threading
from contextlib import suppress

import pytest

from edgeagent.errors import OutboxFull, RecordTooLarge, StorageFailed
from edgeagent.outbox import outbox as outbox_module
from edgeagent.outbox import unkept as unkept_module
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import DEAD, EXPIRED, HIGH, NORMAL, REPLAYED, SETTLED, OutboxLimits
from edgeagent.outbox.search import find
from tests.fakes.crash_filesystem import Fate
from tests.fakes.running_outbox import Gate, after_a_power_cut, leased_from, running
from tests.fakes.stores import (
    DATA,
    LIMITS,
    balanced,
    disk,
    everything,
    group,
    ids,
    open_store,
    opened,
    record,
)
from tests.waiting import until

pytestmark = pytest.mark.virtual_time


async def test_what_was_answered_survives_a_power_cut() -> None:
    filesystem = disk()
    async with running(filesystem) as outbox:
        assert await outbox.append(group(NORMAL, record("a"), record("b"))) == 1
        assert await outbox.append(group(NORMAL, record("c"))) == 3
        filesystem.fails = lambda _number, _name: True
        with suppress(StorageFailed):
            await outbox.append(group(NORMAL, record("d")))
        filesystem.fails = lambda _number, _name: False
    assert after_a_power_cut(filesystem)[:3] == ["a", "b", "c"]


async def test_appends_that_come_while_the_disk_is_busy_share_one_sync_and_are_answered_in_order() -> None:
    filesystem = disk()
    gate = Gate(filesystem)
    order: list[int] = []
    async with running(filesystem, OutboxLimits(1 << 20, 64 << 10, 100)) as outbox:
        await outbox.append(group(NORMAL, record("warm")))
        before = filesystem.syncs
        gate.shut()
        first = asyncio.create_task(outbox.append(group(NORMAL, record("first"))))
        await gate.reached()
        tasks = [asyncio.create_task(outbox.append(group(NORMAL, record(f"e{number}")))) for number in range(50)]
        for task in tasks:
            task.add_done_callback(lambda done: order.append(done.result()))
        await asyncio.sleep(0)
        gate.open()
        assert await asyncio.gather(first, *tasks) == list(range(2, 53))
        assert filesystem.syncs == before + 2
    assert order == list(range(3, 53))


async def test_a_caller_that_goes_away_does_not_take_its_events_with_it() -> None:
    filesystem = disk()
    gate = Gate(filesystem)
    async with running(filesystem) as outbox:
        gate.shut()
        task = asyncio.create_task(outbox.append(group(NORMAL, record("a"))))
        await gate.reached()
        task.cancel()
        await asyncio.wait([task])
        barrier = asyncio.create_task(outbox.barrier())
        await asyncio.sleep(0)
        assert not barrier.done(), "a duplicate must not be answered before the first is synced"
        gate.open()
        await barrier
        assert outbox.events.stored == 1
        assert ids(await outbox.lease(NORMAL)) == ["a"]


async def test_a_failing_disk_refuses_those_it_failed_and_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    filesystem = disk()
    gate = Gate(filesystem)
    async with running(filesystem) as outbox:
        await outbox.append(group(NORMAL, record("a")))
        gate.fails = True
        results = await asyncio.gather(
            *(outbox.append(group(NORMAL, record(f"b{number}"))) for number in range(3)), return_exceptions=True
        )
        assert [type(result) for result in results] == [StorageFailed] * 3
        with pytest.raises(StorageFailed):
            await outbox.append(group(NORMAL, record("c")))
        assert "it was told to fail" in outbox.health.failure
        gate.fails = False
        assert await outbox.append(group(NORMAL, record("d"))) == 2
        assert outbox.health.failure == ""
        assert outbox.events.stored == 2
    told = [vars(entry)["event"] for entry in caplog.records]
    assert told == ["outbox_storage_failed", "outbox_storage_recovered"], "once each"
    after = opened(filesystem.crash(Fate.LOST))
    assert ids(everything(after)) == ["a", "d"]
    assert after.events.stored == 2


async def test_who_was_refused_sees_why_at_once_though_the_disk_is_busy_with_the_next_job() -> None:
    filesystem = disk()
    gate, goes_on = Gate(filesystem), threading.Event()
    async with running(filesystem) as outbox:
        await outbox.append(group(NORMAL, record("a")))
        await outbox.append(group(NORMAL, record("b")))  # its health is the last one told for 0.1 s
        assert outbox.health.failure == ""
        gate.fails = True
        append = asyncio.create_task(outbox.append(group(NORMAL, record("c"))))
        await asyncio.sleep(0)
        busy = asyncio.create_task(outbox.beside(lambda _store: goes_on.wait(10)))
        with pytest.raises(StorageFailed):
            await append
        assert not busy.done()
        assert "it was told to fail" in outbox.health.failure
        gate.fails = False
        goes_on.set()
        assert await busy


async def test_a_disk_that_was_not_asked_is_not_said_to_be_well_again(caplog: pytest.LogCaptureFixture) -> None:
    filesystem = disk()
    gate = Gate(filesystem)
    async with running(filesystem) as outbox:
        await outbox.append(group(NORMAL, record("a")))
        [leased] = await outbox.lease(NORMAL)
        gate.fails = True
        with pytest.raises(StorageFailed):
            await outbox.append(group(NORMAL, record("b")))
        outbox.release([leased], SETTLED)
        await until(lambda: outbox.health.account.settled == 1)
        assert outbox.health.failure
        gate.fails = False
    assert [vars(entry)["event"] for entry in caplog.records][:1] == ["outbox_storage_failed"]


async def test_a_group_that_cannot_be_stored_does_not_hurt_those_beside_it() -> None:
    filesystem = disk()
    async with running(filesystem) as outbox:
        large = group(NORMAL, *(record(f"l{number}", data=DATA) for number in range(10)))
        first, refused, second = await asyncio.gather(
            outbox.append(group(NORMAL, record("a"))),
            outbox.append(large),
            outbox.append(group(NORMAL, record("b"))),
            return_exceptions=True,
        )
        assert isinstance(refused, RecordTooLarge)
        assert (first, second) == (1, 2)


async def append_for_ever(outbox: Outbox) -> None:
    while True:
        await outbox.append(group(NORMAL, record("e", data=DATA)))


async def test_a_full_outbox_says_so_and_takes_events_again_when_some_were_settled() -> None:
    filesystem = disk()
    async with running(filesystem) as outbox:
        with pytest.raises(OutboxFull):
            await append_for_ever(outbox)
        assert not outbox.health.accepting
        while leased := await outbox.lease(NORMAL):
            for entry in leased:
                outbox.release([entry], SETTLED)
        for _ in range(unkept_module.CHECKPOINT_RELEASES):
            outbox.release([entry], SETTLED)  # again is harmless, and so many bring a checkpoint
        await until(lambda: outbox.health.accepting)
        await outbox.append(group(NORMAL, record("e", data=DATA)))


async def test_the_barrier_waits_for_nothing_when_nothing_is_under_way() -> None:
    async with running(disk()) as outbox:
        await outbox.barrier()


async def test_a_search_over_a_backlog_lets_commits_through() -> None:
    filesystem = disk()
    async with running(filesystem, OutboxLimits(64 << 20, 8 << 20, 100)) as outbox:
        await outbox.append(group(NORMAL, *(record(f"e{number}") for number in range(5000))))
        search = asyncio.create_task(find(outbox, NORMAL, lambda leased: leased.record.id.endswith("7"), 3))
        await outbox.append(group(NORMAL, record("x7")))
        assert not search.done()
        assert ids(await search)[-1] in {"e4997", "x7"}
        assert len(await search) == 3
        assert await find(outbox, NORMAL, lambda _: True, 0) == []


async def test_every_trigger_is_leased_once() -> None:
    async with running(disk()) as outbox:
        assert await outbox.lease(NORMAL) == []
        await outbox.append(group(NORMAL, record("a"), record("b")))
        await outbox.append(group(HIGH, record("c")))
        assert ids(await outbox.lease(NORMAL)) == ["a", "b"]
        assert await outbox.lease(NORMAL) == []
        assert ids(await outbox.lease(HIGH)) == ["c"]


async def test_the_account_goes_on_while_triggers_are_moved_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox_module, "_HEALTH_S", 0.0)
    filesystem = disk()
    gate = Gate(filesystem)
    async with running(filesystem) as outbox:
        first, second = await leased_from(outbox, 2)
        await outbox.bury(first, reason="no", code=400, attempts=1)
        gate.shut()
        moving = asyncio.create_task(outbox.bury(second, reason="no", code=400, attempts=1))
        await gate.reached()
        account = outbox.health.account
        gate.open()
        await moving
        assert (account.dead, account.pending) == (1, 1), "as of the last move, although the disk is busy"


async def test_a_stop_in_the_middle_of_a_commit_answers_it_and_counts_it() -> None:
    filesystem = disk()
    gate = Gate(filesystem)
    outbox = await Outbox.open(lambda: open_store(filesystem, LIMITS))
    task = asyncio.create_task(outbox.run())
    gate.shut()
    append = asyncio.create_task(outbox.append(group(NORMAL, record("a"))))
    await gate.reached()
    task.cancel()
    await asyncio.wait([task])
    closing = asyncio.create_task(outbox.close())
    await asyncio.sleep(0)
    gate.open()
    assert await append == 1
    await closing
    after = opened(filesystem.crash(Fate.LOST))
    assert ids(everything(after)) == ["a"]
    assert (after.events.received, after.events.stored) == (1, 1)


async def test_a_dead_letter_can_be_found_replayed_and_settled() -> None:
    filesystem = disk()
    async with running(filesystem) as outbox:
        first, second, third = await leased_from(outbox, 3)
        for entry in (first, second, third):
            await outbox.bury(entry, reason="no", code=400, attempts=2)
        letters = await find(outbox, DEAD, lambda _: True, 10)
        assert ids(letters) == ["e0", "e1", "e2"]
        await outbox.beside(lambda store: store.move(letters[0], NORMAL, REPLAYED, reason="", code=0, attempts=0))
        assert ids(await outbox.lease(NORMAL)) == ["e0"]
        outbox.release([letters[1]], SETTLED)
        account = outbox.health.account
        assert (account.accepted, account.pending, account.dead, account.settled) == (3, 1, 1, 1)
        assert list(account.problems()) == []
    assert balanced(opened(filesystem.crash(Fate.LOST)))


async def test_what_was_settled_a_moment_ago_becomes_no_dead_letter() -> None:
    async with running(disk()) as outbox:
        [leased] = await leased_from(outbox, 1)
        outbox.release([leased], SETTLED)
        await outbox.bury(leased, reason="late", code=400, attempts=1)
        assert await find(outbox, DEAD, lambda _: True, 10) == []
        assert (outbox.health.account.settled, outbox.health.account.dead) == (1, 0)


async def test_an_expired_trigger_that_came_to_something_is_counted_as_settled() -> None:
    async with running(disk()) as outbox:
        [leased] = await leased_from(outbox, 1)
        outbox.release([leased], EXPIRED)
        await until(lambda: outbox.health.account.expired == 1)
        await outbox.beside(lambda store: store.late(EXPIRED))
        assert (outbox.health.account.settled, outbox.health.account.expired) == (1, 0)


async def test_counters_of_the_agent_stand_in_the_next_record() -> None:
    filesystem = disk()
    async with running(filesystem) as outbox:
        outbox.events.received += 3
        outbox.events.filtered += 3
        await outbox.append(group(NORMAL, record("a")))
        after = opened(filesystem.survivor(Fate.LOST))
    assert (after.events.received, after.events.filtered, after.events.stored) == (4, 3, 1)


@pytest.mark.real_time  # in which a thread ends
async def test_an_outbox_that_cannot_be_opened_says_so_and_leaves_no_thread() -> None:
    filesystem = disk()
    filesystem.fails = lambda _number, name: name == "list"
    before = threading.active_count()
    with pytest.raises(StorageFailed):
        await Outbox.open(lambda: open_store(filesystem, LIMITS))
    await until(lambda: threading.active_count() <= before)


async def test_commits_wait_for_company_when_that_is_configured() -> None:
    filesystem = disk()
    outbox = await Outbox.open(lambda: open_store(filesystem, OutboxLimits(1 << 20, 64 << 10, 10)), commit_delay_s=0.05)
    task = asyncio.create_task(outbox.run())
    await outbox.append(group(NORMAL, record("warm")))
    before = filesystem.syncs
    first = asyncio.create_task(outbox.append(group(NORMAL, record("a"))))
    await asyncio.sleep(0)
    await asyncio.gather(first, outbox.append(group(NORMAL, record("b"))))
    assert filesystem.syncs == before + 1
    task.cancel()
    await asyncio.wait([task])
    await outbox.close()
