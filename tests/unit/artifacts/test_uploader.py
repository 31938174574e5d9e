"""Uploads as their owner sees them: what fails is tried again, what cannot be holds up nobody, restarts cost little."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from edgeagent.artifacts.upload_queue import MAX_AT_A_TIME, SELDOM_BASE_S, SELDOM_CAP_S
from edgeagent.common.units import BitRate
from edgeagent.config.tables import ArtifactsTable, BandwidthSpan
from edgeagent.errors import StoreFailed, StoreRefused
from edgeagent.ports.artifacts import Turn, UploadState
from tests.fakes.artifact_store import NOON_S, FakeStore, uploading
from tests.waiting import turns, until

pytestmark = pytest.mark.virtual_time

AWAY = StoreFailed("fake://store", "it is away")
FORBIDDEN = StoreFailed("fake://store", "it does not let us in (403)", needs_somebody=True)
TOO_LARGE = StoreRefused("fake://store", "it takes no object of this size (413)")


def lose(directory: Path) -> None:
    """Lose what is known of uploads."""
    for file in directory.glob("uploads.db*"):
        file.unlink()


async def test_an_artifact_is_in_the_store_before_its_upload_is_said_to_have_ended(tmp_path: Path) -> None:
    store = FakeStore()
    async with uploading(tmp_path, store) as scene:
        assert not scene.want("gw/cam/1", b"picture")
        assert not scene.want("gw/cam/1", b"picture"), "asking again changes nothing"
        await scene.until_ended("gw/cam/1")
        assert store.objects == {"gw/cam/1": b"picture"}
        assert scene.want("gw/cam/1", b"picture"), "it is known to be there"
        progress = scene.uploader.progress("gw/cam/1")
        assert progress is not None
        assert (progress.state, progress.sent_bytes, progress.size) == (UploadState.DONE, 7, 7)
    assert scene.ended == ["gw/cam/1"]
    assert store.tries == ["gw/cam/1"]


async def test_what_the_store_had_before_a_restart_is_not_sent_again(tmp_path: Path) -> None:
    store = FakeStore()
    async with uploading(tmp_path, store) as scene:
        scene.want("gw/cam/1", b"picture")
        await scene.until_ended("gw/cam/1")
    async with uploading(tmp_path, store) as scene:
        assert not scene.want("gw/cam/1", b"picture"), "the disk was not asked yet"
        await scene.until_ended("gw/cam/1")
        scene.want("gw/cam/1", b"another picture")
        await until(lambda: store.objects["gw/cam/1"] != b"picture", "the other content is sent")
    assert store.objects == {"gw/cam/1": b"another picture"}


async def test_without_its_database_everything_is_sent_again_under_the_same_name(tmp_path: Path) -> None:
    store = FakeStore()
    for _ in range(2):
        async with uploading(tmp_path, store) as scene:
            scene.want("gw/cam/1", b"picture")
            await scene.until_ended("gw/cam/1")
        lose(tmp_path)
    assert store.tries == ["gw/cam/1", "gw/cam/1"]
    assert store.objects == {"gw/cam/1": b"picture"}


async def test_a_failing_store_keeps_its_artifacts_waiting_and_takes_all_when_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    store = FakeStore()
    names = [f"gw/cam/{number}" for number in range(50)]
    async with uploading(tmp_path, store) as scene:
        store.failures = [AWAY] * 14
        for name in names:
            scene.want(name, name.encode())
        await asyncio.sleep(1.5)
        stats = scene.uploader.stats()
        await scene.until_ended(*names)
        assert scene.uploader.stats()["failing_since"] is None
    assert store.objects == {name: name.encode() for name in names}
    assert len(store.tries) == len(names) + 14
    times_s = [at_s for _, at_s in store.puts[:15]]
    assert times_s[14] - times_s[4] > 60, "one at a time, and ever more seldom, however many wait"
    assert stats["waiting"] + stats["failed"] + stats["sending"] == len(names)
    assert stats["failing_since"] is not None
    assert stats["last_error"] == AWAY.reason
    events = [record.__dict__["event"] for record in caplog.records if "event" in record.__dict__]
    assert events == ["artifact_store_failing", "artifact_store_recovered"], "told once, not at each try"


@pytest.mark.slow
async def test_one_artifact_that_is_forbidden_holds_up_no_other_and_is_tried_seldom(tmp_path: Path) -> None:
    store = FakeStore()
    store.always["gw/bad"] = FORBIDDEN
    async with uploading(tmp_path, store) as scene:
        scene.want("gw/bad", b"x")
        names = [f"gw/good/{number}" for number in range(100)]
        for name in names:
            scene.want(name, name.encode())
        await scene.until_ended(*names)
        assert store.tries.count("gw/bad") == 1
        progress = scene.uploader.progress("gw/bad")
        assert progress is not None
        assert progress.state is UploadState.FAILED
        assert progress.reason == FORBIDDEN.reason
        assert progress.next_try_s is not None
        await asyncio.sleep(86400)
        assert store.tries.count("gw/bad") in range(20, 40), "about each hour"
        del store.always["gw/bad"]
        await asyncio.sleep(SELDOM_CAP_S)
        await scene.until_ended("gw/bad")


async def test_what_the_store_can_never_take_ends_and_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = FakeStore()
    store.always["gw/huge"] = TOO_LARGE
    async with uploading(tmp_path, store) as scene:
        scene.want("gw/huge", b"x" * 1000)
        scene.want("gw/small", b"y")
        await scene.until_ended("gw/huge", "gw/small")
        progress = scene.uploader.progress("gw/huge")
        assert progress is not None
        assert (progress.state, progress.reason) == (UploadState.REFUSED, TOO_LARGE.reason)
        await asyncio.sleep(10 * SELDOM_CAP_S)
        assert store.tries.count("gw/huge") == 1
        assert not scene.want("gw/huge", b"x" * 1000)
    (error,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert error.__dict__["event"] == "artifact_refused"
    assert scene.ended.count("gw/huge") == 1


async def test_a_file_that_is_not_what_it_was_never_becomes_an_object(tmp_path: Path) -> None:
    store = FakeStore()
    async with uploading(tmp_path, store) as scene:
        for name, change in (("cut", b"pict"), ("changed", b"PICTURE"), ("longer", b"picture!")):
            artifact, _ = scene.file(b"picture")
            (tmp_path / name).write_bytes(change)
            scene.uploader.want(f"gw/{name}", artifact, str(tmp_path / name))
        scene.uploader.want("gw/gone", artifact, str(tmp_path / "gone"))
        await scene.until_ended("gw/cut", "gw/changed", "gw/longer", "gw/gone")
        reasons = {name: scene.uploader.progress(f"gw/{name}") for name in ("cut", "changed", "longer", "gone")}
    assert store.objects == {}
    assert {name: found.state for name, found in reasons.items() if found} == dict.fromkeys(
        reasons, UploadState.REFUSED
    )
    assert "SHA-256" in str(reasons["changed"])
    assert "bytes" in str(reasons["cut"])


async def test_the_wait_that_a_store_asks_for_is_kept(tmp_path: Path) -> None:
    store = FakeStore()
    store.failures = [StoreFailed("fake://store", "it answered 429", retry_after_s=600.0)]
    async with uploading(tmp_path, store) as scene:
        scene.want("gw/1", b"1")
        scene.want("gw/2", b"2")
        await scene.until_ended("gw/1", "gw/2")
        first_s, last_s = [at_s for name, at_s in store.puts if name == "gw/1"]
    assert last_s - first_s >= 600.0


async def test_who_mended_the_store_need_not_wait_for_the_next_try_but_for_what_the_store_asked(tmp_path: Path) -> None:
    store = FakeStore()
    busy = StoreFailed("fake://store", "it is busy (503)", retry_after_s=500)
    async with uploading(tmp_path, store) as scene:

        def has_failed_by(error: StoreFailed) -> bool:
            found = scene.uploader.progress("gw/cam/1")
            return found is not None and (found.state, found.reason) == (UploadState.FAILED, error.reason)

        store.failures = [FORBIDDEN, busy]
        scene.want("gw/cam/1", b"picture")
        await until(lambda: has_failed_by(FORBIDDEN))
        scene.uploader.hurry()
        await until(lambda: has_failed_by(busy))
        scene.uploader.hurry()
        await scene.until_ended("gw/cam/1")
        first_s, second_s, third_s = [at_s for _, at_s in store.puts]
    assert second_s - first_s < SELDOM_BASE_S / 2, "it was not due yet"
    assert third_s - second_s >= 500


async def test_no_more_run_at_a_time_than_may_and_large_ones_leave_room_for_small_ones(tmp_path: Path) -> None:
    store = FakeStore()
    store.takes_s = 60.0
    async with uploading(tmp_path, store) as scene:
        for number in range(4):
            scene.want(f"gw/large/{number}", bytes([number]) * (5 << 20))
        scene.want("gw/small/1", b"1")
        scene.want("gw/small/2", b"2")
        await scene.until_ended("gw/small/1", "gw/small/2")
        assert store.most_running == MAX_AT_A_TIME
        assert [name for name in store.tries if "large" in name] == ["gw/large/0", "gw/large/1"]
        await scene.until_ended(*(f"gw/large/{number}" for number in range(4)))


async def test_a_trigger_that_is_final_takes_its_upload_with_it(tmp_path: Path) -> None:
    store = FakeStore()
    store.takes_s, store.kept = 3600.0, b"half of it"
    async with uploading(tmp_path, store) as scene:
        scene.want("gw/1", b"1")
        await until(lambda: store.running == 1, "it is under way")
        scene.uploader.forget("gw/1")
        assert scene.uploader.progress("gw/1") is None
        await until(lambda: store.abandoned, "what was sent of it is given up")
        assert store.abandoned == [("gw/1", b"half of it")]
        assert store.running == 0
        store.takes_s = 0
        scene.want("gw/1", b"1")
        await scene.until_ended("gw/1")
    assert store.resumes == [b"", b""], "nothing of the first try is known any more"


async def test_an_upload_goes_on_after_a_restart_where_the_store_can(tmp_path: Path) -> None:
    store = FakeStore()
    store.takes_s, store.kept = 3600.0, b"half of it"
    async with uploading(tmp_path, store) as scene:
        scene.want("gw/1", b"1")
        await until(lambda: store.running == 1, "it is under way")
        await turns(20)
        await asyncio.sleep(1)
    store.takes_s = 0.0
    async with uploading(tmp_path, store) as scene:
        scene.want("gw/1", b"1")
        await scene.until_ended("gw/1")
    assert store.resumes == [b"", b"half of it"]


async def test_all_uploads_together_keep_to_the_bandwidth(tmp_path: Path) -> None:
    store = FakeStore()
    table = ArtifactsTable(store="file:///unused", bandwidth=BitRate(100_000))
    loop = asyncio.get_running_loop()
    async with uploading(tmp_path, store, table) as scene:
        began_s = loop.time()
        names = [f"gw/{number}" for number in range(5)]
        for number, name in enumerate(names):
            scene.want(name, bytes([number]) * 400_000)
        await scene.until_ended(*names)
    took_s = loop.time() - began_s
    assert 19.0 < took_s < 21.0, "2 MB at 100 kB/s"


@pytest.mark.slow
async def test_there_are_no_uploads_while_the_day_has_no_bandwidth(tmp_path: Path) -> None:
    store = FakeStore()
    # Noon is an hour before it opens; the file needs two hours, and one is open each day.
    spans = [BandwidthSpan(start="13:00", stop="14:00", rate=BitRate(1_000_000))]
    table = ArtifactsTable(store="file:///unused", bandwidth=BitRate(0), bandwidth_at=spans)
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    async with uploading(tmp_path, store, table) as scene:
        scene.want("gw/1", b"1")
        await asyncio.sleep(3590)
        assert store.tries == []
        progress = scene.uploader.progress("gw/1")
        assert progress is not None
        assert "no bandwidth" in progress.reason
        assert scene.uploader.stats()["bandwidth"] == 0
        await scene.until_ended("gw/1")
        assert 3600 <= loop.time() - began_s <= 3661
        await asyncio.sleep(3600)
        scene.want("gw/2", b"2")
        await asyncio.sleep(22 * 3600)
        assert scene.ended == ["gw/1"]
        await scene.until_ended("gw/2")


async def test_an_upload_that_the_evening_interrupts_is_no_failure(tmp_path: Path) -> None:
    store = FakeStore()
    spans = [BandwidthSpan(start="12:01", stop="13:00", rate=BitRate(0))]
    table = ArtifactsTable(store="file:///unused", bandwidth=BitRate(10_000), bandwidth_at=spans)
    async with uploading(tmp_path, store, table) as scene:
        scene.want("gw/1", b"x" * 1_000_000)
        await scene.until_ended("gw/1")
        assert scene.uploader.tries_failed == 0
        assert len(store.tries) == 2
    assert NOON_S % 86400 == 12 * 3600


@pytest.mark.slow
async def test_a_thousand_artifacts_wait_and_all_arrive(tmp_path: Path) -> None:
    store = FakeStore()
    names = [f"gw/cam/{number}" for number in range(1000)]
    async with uploading(tmp_path, store) as scene:
        store.failures = [AWAY] * 3
        for name in names:
            scene.want(name, name.encode())
        await scene.until_ended(*names)
    assert len(store.objects) == 1000


async def test_what_a_trigger_waits_for_goes_before_what_is_made_ahead_and_high_before_normal(tmp_path: Path) -> None:
    store = FakeStore()
    store.takes_s = 10.0
    async with uploading(tmp_path, store) as scene:
        wanted = [(f"gw/{turn.name}/{number}", turn) for turn in reversed(Turn) for number in range(4)]
        for name, turn in wanted:
            scene.uploader.want(name, *scene.file(name.encode()), turn)
        scene.uploader.want("gw/AHEAD/3", *scene.file(b"gw/AHEAD/3"), Turn.HIGH)  # its trigger is taken up now
        await scene.until_ended(*(name for name, _ in wanted))
    first = [f"gw/HIGH/{number}" for number in range(4)] + ["gw/AHEAD/3"]
    rest = [name for turn in Turn for name, its in wanted if its is turn and name not in first]
    assert store.tries == first + rest


async def test_what_is_in_the_store_already_needs_no_store_that_answers(tmp_path: Path) -> None:
    store = FakeStore()
    names = [f"gw/{number}" for number in range(3)]
    async with uploading(tmp_path, store) as scene:
        for name in names:
            scene.want(name)
        await scene.until_ended(*names)
        scene.uploader.leave(names[0])
        store.always["gw/other"] = AWAY
        scene.want("gw/other")
        await until(lambda: scene.uploader.stats()["failed"] == 1)
        scene.ended.clear()
        scene.want(names[0])
        await scene.until_ended(names[0])
        assert scene.want(names[0])
    async with uploading(tmp_path, store) as scene:
        scene.want("gw/other")
        await until(lambda: scene.uploader.stats()["failed"] == 1)
        began_s = asyncio.get_running_loop().time()
        for name in names:
            scene.want(name)
        await scene.until_ended(*names)
        assert asyncio.get_running_loop().time() - began_s < 1
        assert scene.uploader.stats()["failing_since"] is not None, "it says nothing about the store"
    assert [store.tries.count(name) for name in names] == [1, 1, 1]


def remove(path: str) -> None:
    Path(path).unlink()


async def test_the_file_of_an_event_that_left_before_its_turn_is_no_loss_and_one_whose_turn_it_is_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with uploading(tmp_path, FakeStore()) as scene:
        for name, turn, errors in (("gw/ahead", Turn.AHEAD, 0), ("gw/now", Turn.NORMAL, 1)):
            artifact, path = scene.file(name.encode())
            remove(path)
            scene.uploader.want(name, artifact, path, turn)
            await scene.until_ended(name)
            assert [record.levelname for record in caplog.records] == ["ERROR"] * errors
            assert scene.uploader.stats()["refused"] >= errors
            scene.uploader.leave(name)
