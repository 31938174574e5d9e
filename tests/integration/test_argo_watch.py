from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from edgeagent.argo import client as client_module
from edgeagent.argo.client import ArgoClient, ArgoSettings
from edgeagent.argo.wire import WatchEvent
from edgeagent.errors import EngineUnavailable, WatchExpired
from tests.fakes.argo_examples import LABEL, workflow
from tests.fakes.argo_server import FakeArgo
from tests.fakes.turned_clock import TurnedLoop
from tests.waiting import DEADLINE_S, turns, until


async def test_a_list_follows_its_pages_and_keeps_the_first_ones_version(argo: FakeArgo, client: ArgoClient) -> None:
    for number in range(7):
        argo.put(workflow(f"w-{number}"))
    argo.put({**workflow("foreign"), "metadata": {"name": "foreign", "namespace": "plant"}})
    found, resource_version = await client.list("plant", labels=LABEL, limit=3)
    assert sorted(one.metadata.name for one in found) == [f"w-{number}" for number in range(7)]
    assert len(argo.requests) == 3
    assert [request.query.get("listOptions.continue", "") for request in argo.requests] == ["", "3", "6"]
    assert {request.query["listOptions.labelSelector"] for request in argo.requests} == {LABEL}
    argo.advance("plant", "w-3", phase="Running")
    async with aclosing(client.watch("plant", labels=LABEL, resource_version=resource_version)) as events:
        assert (await anext(events)).object.metadata.name == "w-3"


@pytest.mark.parametrize(
    ("archives", "counts"),
    [(False, True), (True, True), (False, False)],
    ids=["without an archive", "with an archive", "an older server"],
)
async def test_a_list_is_whole_on_every_kind_of_server(archives: bool, counts: bool) -> None:
    async with (
        FakeArgo(archives=archives, counts=counts) as argo,
        ArgoClient(ArgoSettings(argo.url, timeout_s=DEADLINE_S)) as client,
    ):
        for number in range(250):
            argo.put(workflow(f"w-{number}"))
        for _ in range(2):
            found, _version = await client.list("plant", labels=LABEL, limit=100)
            assert {one.metadata.name for one in found} == {f"w-{number}" for number in range(250)}
        asked = [request for request in argo.requests if "listOptions.fieldSelector" in request.query]
        assert len(argo.requests) == (6 if counts else 7)  # an older server refuses the selector once
        assert len(asked) == (6 if counts else 1)


async def test_a_list_of_nothing_is_empty(client: ArgoClient) -> None:
    found, resource_version = await client.list("plant", labels=LABEL)
    assert found == []
    assert resource_version


async def test_a_list_without_end_is_given_up(
    argo: FakeArgo, client: ArgoClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "MAX_PAGES", 2)
    for number in range(3):
        argo.put(workflow(f"w-{number}"))
    with pytest.raises(EngineUnavailable, match="more than 2 pages of 1"):
        await client.list("plant", labels=LABEL, limit=1)


async def test_a_watch_tells_what_there_is_and_every_change(argo: FakeArgo, client: ArgoClient) -> None:
    argo.put(workflow("old"))
    async with aclosing(client.watch("plant", labels=LABEL)) as events:
        first = await anext(events)
        assert (first.type, first.object.metadata.name, first.object.metadata.namespace) == ("ADDED", "old", "plant")
        assert argo.requests[-1].headers["accept"] == "text/event-stream"
        argo.advance("plant", "old", phase="Running", progress="1/2")
        changed = await anext(events)
        assert changed.object.status is not None
        assert (changed.type, changed.object.status.phase, changed.object.status.progress) == (
            "MODIFIED",
            "Running",
            "1/2",
        )
        outputs = {"parameters": [{"name": "artifact-url", "value": "s3://bucket/key"}]}
        argo.advance("plant", "old", phase="Succeeded", outputs=outputs)
        ended = (await anext(events)).object
        assert ended.status is not None
        assert ended.status.finished_at
        assert ended.status.outputs is not None
        assert (ended.status.outputs.parameters or [])[0].value == "s3://bucket/key"
        assert ended.metadata.uid
        assert ended.metadata.creation_timestamp
        argo.delete("plant", "old")
        assert (await anext(events)).type == "DELETED"


async def test_keep_alives_hold_a_quiet_watch_open_beyond_the_read_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    time = TurnedLoop(monkeypatch)
    async with (
        FakeArgo(keepalive_s=10) as argo,
        ArgoClient(ArgoSettings(argo.url, timeout_s=DEADLINE_S)) as client,
        aclosing(client.watch("plant", labels=LABEL)) as events,
    ):
        coming = asyncio.ensure_future(anext(events))
        await until(lambda: argo.watches == 1)
        for _ in range(3 * int(client_module.WATCH_READ_TIMEOUT_S / 10)):
            time.turn(11)
            await turns()
        assert not coming.done()
        argo.put(workflow())
        assert (await coming).object.metadata.name == "overheat"


async def test_a_watch_that_says_nothing_any_more_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    time = TurnedLoop(monkeypatch)
    async with (
        FakeArgo(keepalive_s=3600) as argo,
        ArgoClient(ArgoSettings(argo.url, timeout_s=DEADLINE_S)) as client,
        aclosing(client.watch("plant", labels=LABEL)) as events,
    ):
        argo.put(workflow())
        await anext(events)
        coming = asyncio.ensure_future(anext(events))
        await turns()
        time.turn(client_module.WATCH_READ_TIMEOUT_S + 1)
        with pytest.raises(EngineUnavailable, match=r"no answer within 45 s"):
            await coming


async def ended(argo: FakeArgo, client: ArgoClient, how: Any) -> list[WatchEvent]:
    """What a watch told until it was ended so."""
    told: list[WatchEvent] = []

    async def follow() -> None:
        async for event in client.watch("plant", labels=LABEL):
            told.append(event)  # noqa: PERF401  what was told before an error is kept too

    task = asyncio.create_task(follow())
    await until(lambda: argo.watches == 1)
    argo.break_watches(how)
    async with asyncio.timeout(DEADLINE_S):
        await task
    return told


@pytest.mark.parametrize("workflows", [0, 2])
@pytest.mark.parametrize("how", ["eof", "close"])
async def test_a_watch_that_the_server_ends_just_ends(
    argo: FakeArgo, client: ArgoClient, how: str, workflows: int
) -> None:
    for number in range(workflows):
        argo.put(workflow(f"w-{number}"))
    assert len(await ended(argo, client, how)) == workflows


@pytest.mark.parametrize("workflows", [0, 2])
@pytest.mark.parametrize(("how", "kind"), [("too_old", WatchExpired), ("drop", EngineUnavailable)])
async def test_a_watch_that_fails_tells_why(
    argo: FakeArgo, client: ArgoClient, how: str, kind: type[Exception], workflows: int
) -> None:
    for number in range(workflows):
        argo.put(workflow(f"w-{number}"))
    with pytest.raises(kind):
        await ended(argo, client, how)


async def test_a_watch_from_a_forgotten_version_has_expired(argo: FakeArgo, client: ArgoClient) -> None:
    _, resource_version = await client.list("plant", labels=LABEL)
    argo.put(workflow())
    argo.forget_versions()
    with pytest.raises(WatchExpired):
        await anext(client.watch("plant", labels=LABEL, resource_version=resource_version))


async def test_a_watch_takes_no_connection_from_the_creates_and_is_closed_with_its_reader(argo: FakeArgo) -> None:
    async with ArgoClient(ArgoSettings(argo.url, max_connections=1, timeout_s=DEADLINE_S)) as client:
        argo.put(workflow("old"))
        async with aclosing(client.watch("plant", labels=LABEL)) as events:
            await anext(events)
            await client.create("plant", workflow())
            assert (await anext(events)).object.metadata.name == "overheat"
        await until(lambda: argo.watches == 0)
