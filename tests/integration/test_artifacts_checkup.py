"""`doctor` on a store: it is tried as the agent uses it, and nothing is left there."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.artifacts.checkup import store_findings
from edgeagent.common.finding import Finding, Level
from edgeagent.common.units import BitRate, Size
from edgeagent.config.tables import ArtifactsTable, FilePath
from edgeagent.outbox.disk import DiskThread
from tests.fakes.hasty_store import Asked, hasty_store
from tests.fakes.nginx import Nginx


@pytest.fixture
async def thread() -> AsyncIterator[DiskThread]:
    made = DiskThread("store")
    yield made
    made.close()


async def findings(thread: DiskThread, store: str, timeout_s: float = 30.0, **keys: Any) -> list[Finding]:
    table = ArtifactsTable(store=store, **keys)
    return [finding async for finding in store_findings(table, "gw-1", thread, timeout_s)]


async def test_a_directory_that_can_be_used(thread: DiskThread, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    os.mkdir(volume)  # noqa: PTH102  in a coroutine
    found = await findings(thread, volume.as_uri(), max_bytes=Size(1), bandwidth=BitRate(0))
    assert [finding.level for finding in found] == [Level.OK, Level.OK]
    assert "takes an object, returns it unchanged, and removes it" in found[0].found
    assert "MiB free" in found[1].found
    assert [names for _, _, names in os.walk(volume) if names] == []


async def test_a_directory_without_room_is_warned_of(thread: DiskThread, tmp_path: Path) -> None:
    found = await findings(thread, tmp_path.as_uri(), max_bytes=Size(1 << 62))
    assert found[1].level is Level.WARN
    assert "less than artifacts.max_bytes" in found[1].found


async def test_a_directory_that_is_missing_fails(thread: DiskThread, tmp_path: Path) -> None:
    (found,) = await findings(thread, f"{tmp_path.as_uri()}/missing")
    assert found.level is Level.FAIL
    assert "No such file" in found.found
    assert found.remedy.startswith("mount it")


async def test_a_server_that_can_be_used_keeps_nothing(thread: DiskThread, tmp_path: Path) -> None:
    async with Nginx(tmp_path / "nginx") as server:
        (found,) = await findings(thread, server.url)
        assert found.level is Level.OK
        assert server.files() == {}
        (closed,) = await findings(thread, f"{server.url}/closed")
        assert closed.level is Level.FAIL
        assert "403" in closed.found
        assert "what the store allows; then run edgeagent reload" in closed.remedy
    (away,) = await findings(thread, server.url)
    assert away.level is Level.FAIL
    assert away.remedy.startswith("start it")


@pytest.mark.parametrize(
    ("refused", "words"),
    [("GET", "does not let this agent read"), ("DELETE", "does not let this agent remove")],
)
async def test_a_server_that_takes_objects_and_does_less_is_warned_of(
    thread: DiskThread, refused: str, words: str
) -> None:
    objects: dict[str, bytes] = {}

    async def behave(asked: Asked) -> None:
        body = await asked.body()
        if asked.method == refused:
            asked.answer(403)
        elif asked.method == "PUT":
            objects[asked.target] = body
            asked.answer(201)
        elif asked.method == "GET":
            asked.answer(200, objects[asked.target])
        else:
            asked.answer(204)

    async with hasty_store(behave) as (url, _):
        (found,) = await findings(thread, url)
    assert found.level is Level.WARN
    assert words in found.found


async def test_a_server_that_returns_something_else_fails(thread: DiskThread) -> None:
    async def behave(asked: Asked) -> None:
        await asked.body()
        asked.answer(200, b"" if asked.method == "HEAD" else b"a login page", content_length="12")

    async with hasty_store(behave) as (url, _):
        (found,) = await findings(thread, url)
    assert found.level is Level.FAIL


async def test_a_server_that_is_silent_fails_in_time(thread: DiskThread) -> None:
    async def behave(asked: Asked) -> None:
        await asked.reader.read()

    async with hasty_store(behave) as (url, _):
        (found,) = await findings(thread, url, timeout_s=0.3)
    assert found.level is Level.FAIL
    assert "within 0.3 s" in found.found


async def test_credentials_in_the_open_are_warned_of(thread: DiskThread, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("t0ken", "utf-8")
    found = await findings(thread, "http://[2001:db8::1]:9/", 0.3, token_file=FilePath(token))
    assert [finding.level for finding in found] == [Level.FAIL, Level.WARN]
    assert "no TLS" in found[1].found
    assert "t0ken" not in str(found)
