"""Large data over HTTP: to the spool as it comes, in one request or in parts, and nothing left of what is refused."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path

import pytest

from edgeagent.errors import OutboxFull
from edgeagent.httpapi.timeouts import Timeouts
from edgeagent.outbox.records import NORMAL
from tests.fakes.faulty_filesystem import FaultyFilesystem
from tests.fakes.http_agent import post, serving
from tests.fakes.large import DATA, INLINE_BYTES, URL, body_of, head, large_scene, sha256
from tests.waiting import until

NOTHING_COMES = {"incoming": 0, "incoming_bytes": 0, "incoming_reserved_bytes": 0, "refused": 0}


async def test_a_large_body_is_in_the_spool_when_it_is_acknowledged(tmp_path: Path) -> None:
    async with large_scene(tmp_path) as scene:
        reply = await scene.agent.request("POST", URL, DATA, {"Content-Type": "image/jpeg; q=1"})
        assert reply.status == 202
        [accepted] = reply.json["accepted"]
        assert [trigger["rule"] for trigger in accepted["triggers"]] == ["inspect"]
        assert (scene.spool / sha256(DATA)).read_bytes() == DATA
        found = await body_of(scene)
        assert found["type"] == "image/jpeg; q=1"
        assert found["data"] == b'{"size":%d,"sha256":"%b","contentType":"image/jpeg; q=1"}' % (
            len(DATA),
            sha256(DATA).encode(),
        )
        assert scene.outbox.health.used_bytes >= len(DATA)
        assert scene.spooler.stats() == {"files": 1, "bytes": 2048000} | NOTHING_COMES


async def test_a_chunked_body_is_inline_while_it_is_small_and_in_the_spool_when_it_is_not(tmp_path: Path) -> None:
    async with large_scene(tmp_path) as scene:
        wire = await scene.agent.connect()
        for data, files in ((b'"small"', []), (DATA[:300_000], [sha256(DATA[:300_000])])):
            await wire.send(head("POST", URL, b"Transfer-Encoding: chunked", b"Content-Type: application/json"))
            for start in range(0, len(data), 50_000):
                part = data[start : start + 50_000]
                await wire.send(b"%x\r\n%b\r\n" % (len(part), part))
            await wire.send(b"0\r\n\r\n")
            assert (await wire.reply()).status == 202
            assert await scene.files_at_rest() == files


async def test_what_stays_inline_is_as_without_a_store(tmp_path: Path) -> None:
    async with large_scene(tmp_path) as scene:
        assert (await scene.agent.request("POST", URL, b"[" + b" " * (INLINE_BYTES - 2) + b"]")).status == 202
        assert (await scene.agent.request("PUT", URL + "?id=7", b'{"a":1}')).status == 202
        assert (await scene.agent.request("PUT", URL, b"1")).status == 400
        assert await scene.files_at_rest() == []
        first, second = await scene.outbox.lease(NORMAL)
        assert first.record.artifact is None
        assert (second.record.id, second.record.data) == ("7", b'{"a":1}')


async def test_events_in_json_and_coded_bodies_are_bounded_as_without_a_store(tmp_path: Path) -> None:
    async with large_scene(tmp_path) as scene:
        for fields in ({"Content-Type": "application/cloudevents+json"}, {"Content-Encoding": "gzip"}):
            assert (await scene.agent.request("POST", URL, b" " * 5000, fields)).status == 413
        assert await scene.files_at_rest() == []


async def test_a_length_beyond_the_limit_or_the_room_is_refused_before_anything_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with large_scene(tmp_path, max_bytes=8 << 20, outbox_bytes=4 << 20) as scene:
        # What could never fit is refused for good; what may fit later is not.
        begun = await scene.agent.request("PUT", f"{URL}?id=a", DATA[:1], {"Content-Range": f"bytes 0-0/{1 << 20}"})
        assert begun.status == 308
        for length, status, key in (
            ((8 << 20) + 1, 413, "artifacts.max_bytes"),
            (8 << 20, 413, "outbox.max_bytes"),
            (3 << 20, 507, "outbox.max_bytes"),
            (3 << 20, 507, "outbox.max_bytes"),
        ):
            wire = await scene.agent.connect()
            fields = b"Content-Length: %d" % length, b"Expect: 100-continue", b"Content-Type: image/jpeg"
            reply = await (await wire.send(head("POST", URL, *fields))).reply()
            assert reply.status == status, reply.body
            assert key in reply.json["detail"]
            assert await wire.rest() == b""
        assert (scene.spooler.stats()["incoming"], scene.spooler.stats()["refused"]) == (1, 2)
    told = [record for record in caplog.records if record.__dict__.get("event") == "spool_full"]
    assert len(told) == 1, "the operator is told, but not at each try"
    assert "no room: " in told[0].getMessage()


async def test_a_chunked_body_that_grows_too_large_leaves_nothing(tmp_path: Path) -> None:
    async with large_scene(tmp_path, max_bytes=1 << 20) as scene:
        wire = await scene.agent.connect()
        await wire.send(head("POST", URL, b"Transfer-Encoding: chunked", b"Content-Type: image/jpeg"))
        part = bytes(300_000)
        await wire.send(b"".join(b"%x\r\n%b\r\n" % (len(part), part) for _ in range(4)))
        assert (await wire.reply()).status == 413
        await scene.gone()
        assert scene.spooler.stats()["incoming"] == 0


@pytest.mark.parametrize("operation", ["write", "sync", "create", "rename"])
async def test_a_disk_that_fills_in_mid_body_is_507_with_no_residue(tmp_path: Path, operation: str) -> None:
    filesystem = FaultyFilesystem()
    async with large_scene(tmp_path, filesystem=filesystem) as scene:
        wire = await scene.agent.connect()
        await wire.send(head("POST", URL, b"Content-Length: %d" % len(DATA), b"Content-Type: image/jpeg"))
        if operation == "create":
            filesystem.fail(errno.ENOSPC, operation, where="spool")
        await wire.send(DATA[:500_000])
        if operation != "create":
            await until(lambda: scene.spooler.stats()["incoming_bytes"] == 500_000)
            filesystem.fail(errno.ENOSPC, operation, where="spool")
        with contextlib.suppress(ConnectionError):  # it may have been refused by then
            await wire.send(DATA[500_000:])
        reply = await wire.reply()
        assert (reply.status, reply.headers["retry-after"]) == (507, "60")
        await scene.gone()
        filesystem.heal()
        assert (await scene.agent.request("POST", URL, DATA)).status == 202
        assert await scene.files_at_rest() == [sha256(DATA)]


async def test_a_client_that_goes_away_leaves_nothing(tmp_path: Path) -> None:
    async with large_scene(tmp_path) as scene:
        wire = await scene.agent.connect()
        await wire.send(head("POST", URL, b"Content-Length: %d" % len(DATA)) + DATA[:500_000])
        await until(lambda: scene.spooler.stats()["incoming_bytes"] == 500_000)
        wire.writer.transport.abort()
        await scene.gone()
        assert scene.spooler.stats() == {"files": 0, "bytes": 0} | NOTHING_COMES


async def test_a_client_that_sends_next_to_nothing_is_told_so(tmp_path: Path) -> None:
    async with large_scene(tmp_path, timeouts=Timeouts(request_s=0.3, linger_s=60)) as scene:
        wire = await scene.agent.connect()
        await wire.send(head("POST", URL, b"Content-Length: 50000") + DATA[:4000])
        assert (await wire.reply()).status == 408
        await scene.gone()


async def test_a_slow_client_gets_more_time_with_each_4_kib(tmp_path: Path) -> None:
    async with large_scene(tmp_path) as scene:
        wire = await scene.agent.connect()
        await wire.send(head("POST", URL, b"Content-Length: 50000"))
        [clients] = scene.agent.server._clients
        [client] = clients._connections
        for first, end, more in ((0, 4000, False), (4000, 5000, True), (5000, 9000, False), (9000, 10_000, True)):
            await until(lambda: client.receiving_since is not None)
            client.receiving_since = before = -1000.0
            await wire.send(DATA[first:end])
            await until(lambda: scene.spooler.stats()["incoming_bytes"] == end)  # noqa: B023  used at once
            assert (client.receiving_since > before) is more
        await wire.send(DATA[10_000:50_000])
        assert (await wire.reply()).status == 202


async def test_an_event_that_is_not_stored_leaves_no_file(tmp_path: Path) -> None:
    async with large_scene(tmp_path) as scene:
        assert (await scene.agent.request("POST", "/v1/events/nobody-wants", DATA)).json["accepted"][0][
            "triggers"
        ] == []
        await scene.gone()
        scene.agent.device.failure = OutboxFull(1, 1)
        assert (await scene.agent.request("POST", URL, DATA)).status == 503
        await scene.gone()


async def test_the_same_event_again_is_a_duplicate_and_other_data_a_conflict(tmp_path: Path) -> None:
    async with large_scene(tmp_path) as scene:
        key = {"Idempotency-Key": "n-1"}
        first = await scene.agent.request("POST", URL, DATA, key)
        again = await scene.agent.request("POST", URL, DATA, key)
        assert again.json["accepted"][0]["duplicate"]
        assert again.json["accepted"][0]["triggers"] == first.json["accepted"][0]["triggers"]
        assert (await scene.agent.request("POST", URL, DATA[:-1], key)).status == 409
        await until(lambda: scene.files() == [sha256(DATA)])


async def test_hostile_content_types_and_ids_are_refused_before_the_body(tmp_path: Path) -> None:
    async with large_scene(tmp_path) as scene:
        for fields in (
            [b"Content-Type: " + b"x" * 1100],
            [b"Content-Type: \xff"],
            [b"ce-specversion: 1.0", b"ce-id: "],
            [b"Idempotency-Key: " + b"k" * 200],
        ):
            wire = await scene.agent.connect()
            reply = await (await wire.send(head("POST", URL, b"Content-Length: 100000", *fields))).reply()
            assert reply.status == 400
        assert await scene.files_at_rest() == []


async def test_while_records_cannot_be_read_no_data_is_called_an_orphan(tmp_path: Path) -> None:
    spool = tmp_path / "outbox" / "spool"
    spool.mkdir(parents=True)
    (spool / sha256(b"x")).write_bytes(b"x")
    async with large_scene(tmp_path, is_unreadable=True) as scene:
        await scene.outbox.beside(lambda _: None)
        assert (await scene.agent.request("POST", URL, DATA)).status == 202
        assert sha256(b"x") in await scene.files_at_rest()
    async with large_scene(tmp_path) as scene:
        await until(lambda: scene.files() == [sha256(DATA)])


# Uploads in parts.


async def test_without_a_store_nothing_has_changed() -> None:
    async with serving() as agent:
        assert (await agent.request("PUT", URL + "?id=a", b"1")).status == 405
        wire = await agent.connect()
        assert (await (await wire.send(post(body=b'"%b"' % (b"x" * 2000)))).reply()).status == 413
