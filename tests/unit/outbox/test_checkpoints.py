"""When releases are kept by a checkpoint."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edgeagent.outbox import unkept as unkept_module
from edgeagent.outbox.records import EXPIRED, NORMAL, SETTLED
from tests.fakes.running_outbox import Gate, after_a_power_cut, leased_from, running
from tests.fakes.stores import A_SEGMENT, DATA, disk, group, record
from tests.waiting import until

pytestmark = pytest.mark.virtual_time


async def test_releases_are_kept_when_the_time_limit_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unkept_module, "CHECKPOINT_S", 0.02)
    filesystem = disk()
    async with running(filesystem) as outbox:
        leased = await leased_from(outbox, 3)
        before = filesystem.syncs
        outbox.release([leased[0]], SETTLED)
        outbox.release([leased[2]], EXPIRED)
        await until(lambda: filesystem.syncs > before)
        await outbox.beside(lambda _: None)  # behind the checkpoint, on the same thread
        health = outbox.health
        assert (health.account.settled, health.account.expired, health.account.pending) == (1, 1, 1)
        assert after_a_power_cut(filesystem) == ["e1"]


async def test_releases_are_kept_when_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unkept_module, "CHECKPOINT_RELEASES", 3)
    filesystem = disk()
    async with running(filesystem) as outbox:
        leased = await leased_from(outbox, 4)
        before = filesystem.syncs
        for entry in leased[:3]:
            outbox.release([entry], SETTLED)
        await until(lambda: filesystem.syncs > before)


async def test_a_checkpoint_waits_until_others_have_written_what_became_of_its_triggers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unkept_module, "CHECKPOINT_S", 0.02)
    filesystem = disk()
    asked: list[Callable[[], None]] = []
    async with running(filesystem) as outbox:
        outbox.before_checkpoint = asked.append
        leased = await leased_from(outbox, 3)
        outbox.release([leased[0]], SETTLED)
        await until(lambda: len(asked) == 1)
        outbox.release([leased[1]], SETTLED)
        await outbox.append(group(NORMAL, record("later")))
        assert after_a_power_cut(filesystem) == ["e0", "e1", "e2", "later"]
        asked.pop()()
        await until(lambda: after_a_power_cut(filesystem) == ["e1", "e2", "later"])
        await until(lambda: len(asked) == 1)
        assert after_a_power_cut(filesystem) == ["e1", "e2", "later"], "what came meanwhile is in the next one"
        asked.pop()()
        await until(lambda: after_a_power_cut(filesystem) == ["e2", "later"])
        outbox.release([leased[2]], SETTLED)
        await until(lambda: len(asked) == 1)
    assert after_a_power_cut(filesystem) == ["later"], "the end waits for nobody"


async def test_that_a_segment_is_begun_makes_the_outbox_forget_nothing_before_others_have_written_it() -> None:
    filesystem = disk()
    asked: list[Callable[[], None]] = []
    async with running(filesystem) as outbox:
        outbox.before_checkpoint = asked.append
        (leased, *_) = await leased_from(outbox, A_SEGMENT - 1)
        outbox.release([leased], SETTLED)
        for number in range(2):
            await outbox.append(group(NORMAL, record(f"long-{number}", data=A_SEGMENT * DATA)))
        assert after_a_power_cut(filesystem)[0] == "e0"
        await until(lambda: len(asked) == 1, "it is due at once: no checkpoint knows of the new segment")
        asked.pop()()
        await until(lambda: after_a_power_cut(filesystem)[0] == "e1")


async def test_nor_does_the_first_event_after_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unkept_module, "CHECKPOINT_S", 3600.0)
    filesystem = disk()
    async with running(filesystem) as outbox:
        await leased_from(outbox, 2)
    asked: list[Callable[[], None]] = []
    async with running(filesystem) as outbox:
        outbox.before_checkpoint = asked.append
        leased = await outbox.lease(NORMAL)
        outbox.release(leased[:1], SETTLED)
        for number in range(2):
            await outbox.append(group(NORMAL, record(f"later-{number}")))
        assert after_a_power_cut(filesystem) == ["e0", "e1", "later-0", "later-1"]


async def test_a_checkpoint_that_failed_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unkept_module, "CHECKPOINT_S", 0.02)
    filesystem = disk()
    gate = Gate(filesystem)
    async with running(filesystem) as outbox:
        leased = await leased_from(outbox, 2)
        gate.fails = True
        outbox.release([leased[0]], SETTLED)
        await until(lambda: bool(outbox.health.failure))
        gate.fails = False
        await until(lambda: not outbox.health.failure)


async def test_releases_are_kept_at_a_stop() -> None:
    filesystem = disk()
    async with running(filesystem) as outbox:
        for entry in (await leased_from(outbox, 3))[:2]:
            outbox.release([entry], SETTLED)
    assert after_a_power_cut(filesystem) == ["e2"]
