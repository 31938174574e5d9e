"""The outbox over a real directory on a disk that refuses."""

from __future__ import annotations

import contextlib
import errno
import shutil
from pathlib import Path

import pytest

from edgeagent.errors import StorageFailed
from edgeagent.outbox import unkept as unkept_module
from edgeagent.outbox.files import Filesystem, OsFilesystem
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.records import DEAD, HIGH, NORMAL, SETTLED, OutboxLimits
from edgeagent.outbox.search import find
from edgeagent.outbox.store import Store
from tests.fakes.faulty_filesystem import CHANGES, NEW_SPACE, FaultyFilesystem
from tests.fakes.outbox import running_outbox
from tests.fakes.stores import balanced, everything, group, ids, record
from tests.waiting import until

pytestmark = pytest.mark.virtual_time

BIG = b"x" * 9000  # seven of these fill a segment of the running outbox

FAULTS = {
    "full": (errno.ENOSPC, NEW_SPACE),
    "write": (errno.EIO, ("write",)),
    "sync": (errno.EIO, ("sync",)),
    "read-only": (errno.EROFS, CHANGES),
}


def reopened(directory: Path, filesystem: Filesystem | None = None) -> Store:
    """The store as the next process finds it."""
    limits = OutboxLimits(1 << 20, 64 << 10, 1000)
    return Store(
        filesystem or OsFilesystem(),
        directory / "outbox",
        limits,
        boot=bytes(16),
        new_salt=lambda: 77,
        now_ms=lambda: 1_000,
    )


async def append_until_refused(outbox: Outbox, accepted: list[str]) -> StorageFailed:
    """Store events until the disk refuses one; the ids of those that were stored are added."""
    for _ in range(100):
        event_id = f"e{len(accepted)}"
        try:
            await outbox.append(group(NORMAL, record(event_id, data=BIG)))
        except StorageFailed as exc:
            return exc
        accepted.append(event_id)
    raise AssertionError("the disk refused nothing")


@pytest.fixture(autouse=True)
def early_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep releases sooner."""
    monkeypatch.setattr(unkept_module, "CHECKPOINT_S", 0.05)


@pytest.mark.parametrize("fault", FAULTS)
async def test_what_the_disk_refuses_is_not_acknowledged_and_what_it_took_is_kept(
    fault: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    error, operations = FAULTS[fault]
    filesystem = FaultyFilesystem()
    accepted: list[str] = []
    async with running_outbox(tmp_path, filesystem=filesystem) as outbox:
        for number in range(3):
            await outbox.append(group(NORMAL, record(f"e{number}", data=BIG)))
            accepted.append(f"e{number}")
        filesystem.fail(error, *operations)
        refused = await append_until_refused(outbox, accepted)
        assert refused.reason in outbox.health.failure
        # Reading goes on, and so does settling.
        leased = await outbox.lease(NORMAL)
        assert ids(leased) == accepted
        outbox.release([leased[0]], SETTLED)
        await until(lambda: outbox.health.account.settled == 1)
        filesystem.heal()
        # Nobody sends anything, and still the disk is soon found to work again.
        await until(lambda: not outbox.health.failure, deadline_s=5)
        await outbox.append(group(NORMAL, record("after")))
    assert filesystem.synced_again == []
    told = [vars(entry)["event"] for entry in caplog.records if entry.name.startswith("edgeagent")]
    assert told == ["outbox_storage_failed", "outbox_storage_recovered"], "once each"
    after = reopened(tmp_path)
    assert ids(everything(after)) == [*accepted[1:], "after"]
    assert balanced(after)
    after.close()


async def test_a_segment_whose_sync_failed_once_is_never_synced_again(tmp_path: Path) -> None:
    filesystem = FaultyFilesystem()
    async with running_outbox(tmp_path, filesystem=filesystem) as outbox:
        await outbox.append(group(NORMAL, record("a")))
        filesystem.fail(errno.EIO, "sync", where=".seg", times=1)
        await outbox.append(group(NORMAL, record("b")))  # written anew into the next segment
        [failed] = filesystem.failed_syncs
        before = filesystem.syncs[failed]
        for number in range(20):
            await outbox.append(group(NORMAL, record(f"c{number}")))
        assert filesystem.syncs[failed] == before
        assert not outbox.health.failure
    after = reopened(tmp_path)
    assert ids(everything(after)) == ["a", "b", *(f"c{number}" for number in range(20))]
    after.close()


async def test_settling_and_its_checkpoint_need_no_room_on_a_full_disk(tmp_path: Path) -> None:
    filesystem = FaultyFilesystem()
    accepted: list[str] = []
    async with running_outbox(tmp_path, filesystem=filesystem) as outbox:
        await outbox.append(group(NORMAL, record("e0", data=BIG)))
        accepted.append("e0")
        filesystem.fail(errno.ENOSPC, *NEW_SPACE)
        await append_until_refused(outbox, accepted)
        assert len(accepted) > 1, "what was reserved is still used"
        for leased in await outbox.lease(NORMAL):
            outbox.release([leased], SETTLED)
        synced = filesystem.syncs[tmp_path / "outbox" / "cursor"]
        await until(lambda: filesystem.syncs[tmp_path / "outbox" / "cursor"] > synced)
        await until(lambda: outbox.health.account.pending == 0)
        used = shutil.copytree(tmp_path, tmp_path.parent / "copy")
        after = reopened(used)
        assert everything(after) == [], "the checkpoint holds what was settled"
        after.close()


async def test_a_dead_letter_that_cannot_be_written_leaves_its_trigger_where_it_is(tmp_path: Path) -> None:
    filesystem = FaultyFilesystem()
    async with running_outbox(tmp_path, filesystem=filesystem) as outbox:
        await outbox.append(group(NORMAL, record("a")))
        [leased] = await outbox.lease(NORMAL)
        filesystem.fail(errno.ENOSPC, *NEW_SPACE)
        with pytest.raises(StorageFailed):
            await outbox.bury(leased, reason="no", code=400, attempts=1)
        assert (outbox.health.account.pending, outbox.health.account.dead) == (1, 0)
        filesystem.heal()
        await outbox.bury(leased, reason="no", code=400, attempts=1)
        assert (outbox.health.account.pending, outbox.health.account.dead) == (0, 1)
        assert ids(await find(outbox, DEAD, lambda _: True, 10)) == ["a"]


async def test_a_log_that_fails_is_told_once_while_the_other_one_works(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filesystem = FaultyFilesystem()
    async with running_outbox(tmp_path, filesystem=filesystem) as outbox:
        filesystem.fail(errno.EIO, "write", where="/normal/")
        for number in range(10):
            with pytest.raises(StorageFailed):
                await outbox.append(group(NORMAL, record(f"n{number}")))
            await outbox.append(group(HIGH, record(f"h{number}")))
        assert "/normal/" in outbox.health.failure
        filesystem.heal()
        await until(lambda: not outbox.health.failure)
    told = [vars(entry)["event"] for entry in caplog.records if entry.name.startswith("edgeagent")]
    assert told == ["outbox_storage_failed", "outbox_storage_recovered"]


@pytest.mark.parametrize("vanishing", ["normal", "."])
async def test_a_directory_that_is_moved_away_and_back_loses_nothing(vanishing: str, tmp_path: Path) -> None:
    directory = tmp_path / "outbox" / vanishing
    async with running_outbox(tmp_path) as outbox:
        await outbox.append(group(NORMAL, record("a")))
    async with running_outbox(tmp_path) as outbox:
        await outbox.append(group(HIGH, record("h")))
        directory.resolve().rename(tmp_path / "away")
        with pytest.raises(StorageFailed) as refused:
            await outbox.append(group(NORMAL, record("b")))
        assert refused.value.reason == "No such file or directory"
        with pytest.raises(StorageFailed):
            await outbox.lease(NORMAL)
        (tmp_path / "away").rename(directory.resolve())
        await until(lambda: not outbox.health.failure)
        await outbox.append(group(NORMAL, record("c")))
        assert ids(await outbox.lease(NORMAL)) == ["a", "c"]
    after = reopened(tmp_path)
    assert ids(everything(after)) == ["a", "c"]
    assert ids(everything(after, HIGH)) == ["h"]
    after.close()


@pytest.mark.parametrize("vanishing", ["normal", "."])
async def test_a_directory_that_is_removed_costs_what_was_in_it_and_is_used_again_when_it_is_back(
    vanishing: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_outbox(tmp_path) as outbox:
        for number in range(5):
            await outbox.append(group(NORMAL, record(f"e{number}")))
    async with running_outbox(tmp_path) as outbox:
        shutil.rmtree(tmp_path / "outbox" / vanishing)
        with pytest.raises(StorageFailed):
            await outbox.append(group(NORMAL, record("refused")))
        for name in (NORMAL, HIGH, DEAD):
            (tmp_path / "outbox" / name).mkdir(exist_ok=True, parents=True)
        await until(lambda: not outbox.health.failure)
        await outbox.append(group(NORMAL, record("after")))
        assert ids(await outbox.lease(NORMAL)) == ["after"]
        account = outbox.health.account
        assert (account.accepted, account.damaged, account.pending) == (6, 5, 1)
        assert [*account.problems()] == []
    [lost] = [vars(entry) for entry in caplog.records if vars(entry).get("event") == "outbox_damaged"]
    assert (lost["log"], lost["first_seq"], lost["last_seq"]) == (NORMAL, 1, 5)
    after = reopened(tmp_path)
    assert ids(everything(after)) == ["after"]
    assert balanced(after)
    after.close()


def test_a_recent_file_that_cannot_be_read_does_not_keep_the_store_from_opening(tmp_path: Path) -> None:
    with contextlib.closing(reopened(tmp_path)) as store:
        store.append([group(NORMAL, record("a"))])
    filesystem = FaultyFilesystem()
    filesystem.fail(errno.EIO, "read", where="/recent")
    with contextlib.closing(reopened(tmp_path, filesystem)) as store:
        assert ids(everything(store)) == ["a"]


def test_what_the_disk_refuses_at_the_start_is_told_and_opening_later_finds_everything(tmp_path: Path) -> None:
    with contextlib.closing(reopened(tmp_path)) as store:
        store.append([group(NORMAL, record("a")), group(HIGH, record("b"))])
    for operation in ("read", "write", "sync", "truncate"):
        filesystem = FaultyFilesystem()
        filesystem.fail(errno.EIO, operation, times=1)
        with contextlib.suppress(StorageFailed), contextlib.closing(reopened(tmp_path, filesystem)):
            pass
    with contextlib.closing(reopened(tmp_path)) as store:
        assert (ids(everything(store)), ids(everything(store, HIGH))) == (["a"], ["b"])
        assert balanced(store)


async def test_what_was_just_committed_is_sent_even_if_its_files_are_gone(tmp_path: Path) -> None:
    async with running_outbox(tmp_path) as outbox:
        for number in range(5):
            await outbox.append(group(NORMAL, record(f"e{number}")))
        shutil.rmtree(tmp_path / "outbox" / NORMAL)
        leased = await outbox.lease(NORMAL)
        assert ids(leased) == [f"e{number}" for number in range(5)]
        for entry in leased:
            outbox.release([entry], SETTLED)
        account = outbox.health.account
        assert (account.accepted, account.settled, account.damaged) == (5, 5, 0)
        (tmp_path / "outbox" / NORMAL).mkdir()
