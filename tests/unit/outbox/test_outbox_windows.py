"""Windows, and what arms a rule, in a running outbox."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from edgeagent.errors import StorageFailed
from edgeagent.outbox.records import HIGH, NORMAL, SETTLED, WINDOWS, Armed
from edgeagent.outbox.store import Store
from tests.fakes.faulty_filesystem import FaultyFilesystem
from tests.fakes.outbox import running_outbox
from tests.fakes.stores import closing, group, ids, record

pytestmark = pytest.mark.virtual_time

RULES = frozenset({"r"})


async def test_a_window_is_leased_and_settled_like_any_trigger(tmp_path: Path) -> None:
    async with running_outbox(tmp_path) as outbox:
        changes: list[None] = []
        await outbox.append(group(NORMAL, *(record(f"e{number}") for number in range(4))))
        leased = await outbox.lease(NORMAL)
        outbox.on_change = lambda: changes.append(None)
        assert await outbox.lease(WINDOWS) == []
        await outbox.gather([closing(leased[:3])])
        assert changes, "whoever sends looks for it"
        assert outbox.lease_newest(WINDOWS) is None
        [window] = await outbox.lease(WINDOWS)
        assert window.record.events == ("e0", "e1", "e2")
        assert await outbox.lease(WINDOWS) == []
        await outbox.append(group(HIGH, record("more")))
        assert ids(await outbox.lease(HIGH)) == ["more"]
        outbox.release([window], SETTLED)
        account = outbox.health.account
        assert (account.accepted, account.merged, account.settled, account.pending) == (5, 2, 1, 2)
    async with running_outbox(tmp_path) as outbox:
        assert ids(await outbox.lease(NORMAL)) == ["e3"]
        assert await outbox.lease(WINDOWS) == []
        assert outbox.health.account.merged == 2


async def test_what_was_settled_a_moment_ago_is_in_no_window(tmp_path: Path) -> None:
    async with running_outbox(tmp_path) as outbox:
        await outbox.append(group(NORMAL, record("a"), record("b"), record("c")))
        leased = await outbox.lease(NORMAL)
        outbox.release([leased[0]], SETTLED)
        await outbox.gather([closing(leased)])
        account = outbox.health.account
        assert (account.settled, account.merged, account.pending) == (1, 1, 1)
        assert not list(account.problems())


async def test_a_window_that_the_disk_refuses_is_made_when_it_is_well_again(tmp_path: Path) -> None:
    filesystem = FaultyFilesystem()
    async with running_outbox(tmp_path, filesystem=filesystem) as outbox:
        await outbox.append(group(NORMAL, record("a"), record("b")))
        leased = await outbox.lease(NORMAL)
        filesystem.fail(errno.EIO, "write", "sync", "create")
        with pytest.raises(StorageFailed):
            await outbox.gather([closing(leased)])
        assert outbox.health.account.pending == 2
        filesystem.heal()
        await outbox.gather([closing(leased)])
        assert [window.record.events for window in await outbox.lease(WINDOWS)] == [("a", "b")]


async def test_an_event_that_only_arms_a_rule_is_synced_and_counted_by_whoever_took_it(tmp_path: Path) -> None:
    def counted(store: Store) -> tuple[int, int]:
        return store.events.received, store.events.stored

    async with running_outbox(tmp_path, remembered=RULES) as outbox:
        await outbox.append(group(NORMAL, record("a"), remembered=RULES))
        assert await outbox.append(group(NORMAL, Armed("boiler", ("r",)), remembered=RULES)) == 2
        assert (outbox.events.received, outbox.events.stored) == (1, 1)
        assert await outbox.alone(counted) == (1, 1)
        assert outbox.firings == [], "they are as of the opening; from then on who decides knows them"
        assert ids(await outbox.lease(NORMAL)) == ["a"]
    async with running_outbox(tmp_path, remembered=RULES) as outbox:
        assert [(firing.rule, firing.event_id, firing.armed) for firing in outbox.firings] == [("r", "a", True)]
