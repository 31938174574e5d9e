"""Large data over HTTP in parts (PUT with Content-Range): what is resumed, and what outlives a restart."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from edgeagent.errors import OutboxFull
from edgeagent.outbox.records import NORMAL
from tests.fakes.faulty_filesystem import FaultyFilesystem
from tests.fakes.http_agent import Wire
from tests.fakes.large import DATA, URL, LargeScene, body_of, head, large_scene, sha256
from tests.waiting import until


def part(first: int, end: int, total: int = len(DATA)) -> dict[str, str]:
    """The header of a part."""
    return {"Content-Range": f"bytes {first}-{end - 1}/{total}", "Content-Type": "image/jpeg"}


ASK = {"Content-Range": f"bytes */{len(DATA)}"}


async def test_an_upload_in_parts_is_one_event_whatever_is_sent_twice(tmp_path: Path) -> None:
    async with large_scene(tmp_path) as scene:
        url = URL + "?id=n-1"
        asked = await scene.agent.request("PUT", url, b"", ASK)
        assert (asked.status, asked.json) == (308, {"received": 0, "size": len(DATA)})
        assert "range" not in asked.headers
        for first, end in ((0, 700_000), (0, 700_000), (600_000, 1_400_000)):
            reply = await scene.agent.request("PUT", url, DATA[first:end], part(first, end))
            assert (reply.status, reply.headers["range"]) == (308, f"bytes=0-{end - 1}")
        ahead = await scene.agent.request("PUT", url, DATA[:10], part(1_500_000, 1_500_010))
        assert (ahead.status, ahead.headers["range"]) == (416, "bytes=0-1399999")
        done = await scene.agent.request("PUT", url, DATA[1_400_000:], part(1_400_000, len(DATA)))
        assert done.status == 202
        assert done.json["accepted"][0]["id"] == "n-1"
        for again in (
            await scene.agent.request("PUT", url, b"", ASK),
            await scene.agent.request("PUT", url, DATA[1_400_000:], part(1_400_000, len(DATA))),
        ):
            assert (again.status, again.json) == (202, done.json)
        assert await scene.files_at_rest() == [sha256(DATA)]
        assert len(await scene.outbox.lease(NORMAL)) == 1


async def test_other_data_with_the_id_of_a_complete_upload_is_a_conflict_and_the_same_is_answered_as_before(
    tmp_path: Path,
) -> None:
    async with large_scene(tmp_path) as scene:
        url = URL + "?id=n-1"
        done = await scene.agent.request("PUT", url, DATA, part(0, len(DATA)))
        again = await scene.agent.request("PUT", url, DATA, part(0, len(DATA)))
        assert (again.status, again.json) == (202, done.json)
        assert (await scene.agent.request("PUT", url, DATA[::-1], part(0, len(DATA)))).status == 409
        assert await scene.files_at_rest() == [sha256(DATA)]
        await scene.agent.request("PUT", url, DATA[::-1][:1000], part(0, 1000))
        rest = await scene.agent.request("PUT", url, DATA[::-1][1000:], part(1000, len(DATA)))
        assert rest.status == 409
        assert await scene.files_at_rest() == [sha256(DATA)]


async def begun(scene: LargeScene) -> Wire:
    """A connection on which 900,000 bytes of all the data have come, and no more."""
    wire = await scene.agent.connect()
    fields = b"Content-Range: bytes 0-%d/%d" % (len(DATA) - 1, len(DATA)), b"Content-Length: %d" % len(DATA)
    await wire.send(head("PUT", URL + "?id=a", *fields) + DATA[:900_000])
    await until(lambda: scene.spooler.stats()["incoming_bytes"] == 900_000)
    return wire


async def test_what_an_interrupted_part_brought_stays_and_the_next_one_goes_on(tmp_path: Path) -> None:
    async with large_scene(tmp_path) as scene:
        wire = await begun(scene)
        wire.writer.transport.abort()
        asked = await scene.agent.request("PUT", URL + "?id=a", b"", ASK)
        assert asked.json["received"] == 900_000
        done = await scene.agent.request("PUT", URL + "?id=a", DATA[900_000:], part(900_000, len(DATA)))
        assert done.status == 202
        assert (scene.spool / sha256(DATA)).read_bytes() == DATA


async def test_a_new_connection_takes_an_upload_over_from_one_that_hangs(tmp_path: Path) -> None:
    async with large_scene(tmp_path) as scene:
        wire = await begun(scene)
        assert (await scene.agent.request("PUT", URL + "?id=a", DATA[800_000:], part(800_000, len(DATA)))).status == 202
        await wire.send(DATA[900_000:1_000_000])
        assert (await wire.reply()).status == 409
        assert (scene.spool / sha256(DATA)).read_bytes() == DATA


async def test_an_event_that_cannot_be_stored_now_is_stored_by_asking_again(tmp_path: Path) -> None:
    async with large_scene(tmp_path) as scene:
        scene.agent.device.failure = OutboxFull(1, 1)
        assert (await scene.agent.request("PUT", URL + "?id=a", DATA, part(0, len(DATA)))).status == 503
        assert await scene.files_at_rest() == [sha256(DATA)]
        scene.agent.device.failure = None
        asked = await scene.agent.request("PUT", URL + "?id=a", b"", ASK)
        assert asked.status == 202
        assert (await body_of(scene))["type"] == "image/jpeg"


async def test_parts_that_are_given_up_expire_and_count_until_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeagent.httpapi.large.UPLOAD_KEPT_S", 0.2)
    async with large_scene(tmp_path) as scene:
        assert (await scene.agent.request("PUT", URL + "?id=a", DATA[:1000], part(0, 1000))).status == 308
        await scene.gone()
        assert scene.spooler.stats()["incoming"] == 0
        assert (await scene.agent.request("PUT", URL + "?id=a", b"", ASK)).json["received"] == 0


async def test_an_upload_in_parts_goes_on_after_a_restart_where_the_agent_said_it_was(tmp_path: Path) -> None:
    url, cut = URL + "?id=a", 1_000_000
    async with large_scene(tmp_path) as scene:
        reply = await scene.agent.request("PUT", url, DATA[:cut], part(0, cut))
        assert (reply.status, reply.headers["range"]) == (308, f"bytes=0-{cut - 1}")
        wire = await scene.agent.connect()  # another one, that is interrupted
        await wire.send(head("PUT", URL + "?id=b", b"Content-Range: bytes 0-99999/100000", b"Content-Length: 100000"))
        await wire.send(DATA[:50_000])
        await until(lambda: scene.spooler.stats()["incoming_bytes"] == cut + 50_000)
    async with large_scene(tmp_path) as scene:
        coming = {
            "incoming": 2,
            "incoming_bytes": cut + 50_000,
            "incoming_reserved_bytes": len(DATA) + 100_000,
            "refused": 0,
        }
        assert scene.spooler.stats() == {"files": 0, "bytes": 0} | coming
        asked = await scene.agent.request("PUT", url, b"", ASK)
        assert (asked.status, asked.json) == (308, {"received": cut, "size": len(DATA)})
        assert (await scene.agent.request("PUT", URL + "?id=b", DATA[:10], part(0, 10, 11))).status == 308
        for first, end in ((900_000, 1_500_000), (1_500_000, len(DATA))):
            done = await scene.agent.request("PUT", url, DATA[first:end], part(first, end))
        assert done.status == 202
        assert (scene.spool / sha256(DATA)).read_bytes() == DATA
        assert len(await scene.outbox.lease(NORMAL)) == 1


async def test_while_a_long_request_lasts_what_came_is_synced_from_time_to_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeagent.outbox.spooler.SECURE_S", 0.0)
    async with large_scene(tmp_path) as scene:
        wire = await scene.agent.connect()
        await wire.send(head("PUT", URL + "?id=a", b"Content-Range: bytes 0-99999/100000", b"Content-Length: 100000"))
        await wire.send(DATA[:60_000])
        await until(lambda: any(name.endswith("-100000-60000.part") for name in scene.files()), seen=scene.files)


async def test_parts_from_before_a_restart_count_in_the_limit_and_expire(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with large_scene(tmp_path) as scene:
        assert (await scene.agent.request("PUT", URL + "?id=a", DATA[:1000], part(0, 1000))).status == 308
    async with large_scene(tmp_path, outbox_bytes=len(DATA) * 3 // 2) as scene:
        full = await scene.agent.request("POST", URL, DATA)
        assert (full.status, scene.spooler.stats()["incoming"]) == (507, 1)
    monkeypatch.setattr("edgeagent.httpapi.large.UPLOAD_KEPT_S", 0.2)
    async with large_scene(tmp_path) as scene:
        await scene.gone()


async def test_what_a_full_disk_refused_of_a_part_is_sent_again_and_not_what_came_before(tmp_path: Path) -> None:
    disk = FaultyFilesystem()
    async with large_scene(tmp_path, filesystem=disk) as scene:
        url = URL + "?id=a"
        assert (await scene.agent.request("PUT", url, DATA[:1000], part(0, 1000))).status == 308
        disk.fail(errno.ENOSPC, "write", where="spool")
        for _ in range(3):
            full = await scene.agent.request("PUT", url, DATA[1000:200_000], part(1000, 200_000))
            assert full.status == 507
        disk.heal()
        assert (await scene.agent.request("PUT", url, b"", ASK)).json["received"] == 1000
        assert (await scene.agent.request("PUT", url, DATA[1000:], part(1000, len(DATA)))).status == 202
        assert (scene.spool / sha256(DATA)).read_bytes() == DATA


async def test_data_of_an_event_that_cannot_be_stored_now_outlives_a_restart(tmp_path: Path) -> None:
    async with large_scene(tmp_path) as scene:
        scene.agent.device.failure = OutboxFull(1, 1)
        assert (await scene.agent.request("PUT", URL + "?id=a", DATA, part(0, len(DATA)))).status == 503
    async with large_scene(tmp_path) as scene:
        assert (await scene.agent.request("PUT", URL + "?id=a", b"", ASK)).status == 202
        assert (scene.spool / sha256(DATA)).read_bytes() == DATA


@pytest.mark.parametrize(
    ("value", "body"),
    [
        ("bytes 0-9/5", b"0123456789"),
        ("bytes 5-4/10", b"0"),
        ("bytes 0-9/10", b"012"),
        ("bytes 0-2/*", b"012"),
        ("bytes */10", b"012"),
        ("items 0-2/3", b"012"),
        ("bytes 0-99999999999999999999/1", b"012"),
    ],
)
async def test_ranges_that_cannot_be_are_refused(tmp_path: Path, value: str, body: bytes) -> None:
    async with large_scene(tmp_path) as scene:
        reply = await scene.agent.request("PUT", URL + "?id=a", body, {"Content-Range": value})
        assert (reply.status, "Content-Range" in reply.json["detail"]) == (400, True)
        assert await scene.files_at_rest() == []
