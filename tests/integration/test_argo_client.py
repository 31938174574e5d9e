from __future__ import annotations

import asyncio

import pytest

from edgeagent.argo.client import ArgoClient, ArgoSettings
from edgeagent.errors import EngineRefused, EngineUnavailable
from tests.fakes.argo_examples import CORRELATION_ID, LABEL, workflow
from tests.fakes.argo_server import (
    FakeArgo,
    conflict,
    drop_after,
    drop_before,
    hang,
    not_json,
    quota,
    rate_limited,
    refused,
)
from tests.fakes.turned_clock import TurnedLoop
from tests.waiting import DEADLINE_S, until


async def test_a_workflow_is_created_and_found_again(argo: FakeArgo, client: ArgoClient) -> None:
    created = await client.create("plant", workflow())
    assert created.metadata.name == "overheat"
    assert created.metadata.uid
    assert created.metadata.resource_version
    assert created.metadata.creation_timestamp
    argo.advance("plant", "overheat", phase="Running", progress="1/2", message="half way")
    found = await client.get("plant", "overheat")
    assert found is not None
    assert found.metadata.uid == created.metadata.uid
    assert (found.metadata.labels or {})[LABEL] == CORRELATION_ID
    assert found.status is not None
    assert (found.status.phase, found.status.progress, found.status.message) == ("Running", "1/2", "half way")
    assert found.status.started_at
    assert found.status.finished_at is None


async def test_a_create_sends_namespace_and_workflow_and_asks_for_no_packed_answer(
    argo: FakeArgo, client: ArgoClient
) -> None:
    await client.create("plant", workflow())
    [request] = argo.requests
    assert (request.method, request.path, request.query) == ("POST", "/api/v1/workflows/plant", {})
    assert request.body == {"namespace": "plant", "workflow": workflow()}
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["host"] == argo.url.removeprefix("http://")
    assert "authorization" not in request.headers
    assert "cookie" not in request.headers


async def test_a_workflow_that_nobody_knows_is_none_and_one_in_the_archive_is_found(
    argo: FakeArgo, client: ArgoClient
) -> None:
    assert await client.get("plant", "overheat") is None
    await client.create("plant", workflow())
    argo.advance("plant", "overheat", phase="Succeeded")
    argo.archive("plant", "overheat")
    found = await client.get("plant", "overheat")
    assert found is not None
    assert found.status is not None
    assert found.status.phase == "Succeeded"


async def test_a_name_is_one_segment_of_the_path_whatever_it_holds(argo: FakeArgo, client: ArgoClient) -> None:
    assert await client.get("plant", "../a b?x=1#/ä%2F") is None
    assert argo.requests[-1].segments == ("api", "v1", "workflows", "plant", "../a b?x=1#/ä%2F")


@pytest.mark.parametrize("name", ["", ".", ".."])
async def test_a_name_that_would_lead_to_another_path_is_not_sent(
    argo: FakeArgo, client: ArgoClient, name: str
) -> None:
    with pytest.raises(EngineRefused, match="is not a valid name"):
        await client.get("plant", name)
    with pytest.raises(EngineRefused, match="is not a valid name"):
        await client.create(name, workflow())
    assert not argo.requests


async def test_refusals_carry_status_and_argos_words(argo: FakeArgo, client: ArgoClient) -> None:
    await client.create("plant", workflow())
    argo.fail_next(refused(400, 3, "spec.entrypoint is required"), quota(), conflict())
    refusals = []
    for number in range(5):
        with pytest.raises(EngineRefused) as caught:
            await client.create("plant", workflow() if number else workflow("other"))
        refusals.append(caught.value)
        if number == 3:
            argo.templates.clear()
            argo.delete("plant", "overheat")
    assert [refusal.status for refusal in refusals] == [400, 403, 409, 409, 404]
    assert refusals[0].message == "spec.entrypoint is required"
    assert "exceeded quota" in refusals[1].message
    assert "already exists" in refusals[3].message
    assert '"inspect" not found' in refusals[4].message
    assert refusals[0].url == f"{argo.url}/api/v1/workflows/plant"


async def test_what_may_pass_is_told_with_the_pause_asked_for(argo: FakeArgo, client: ArgoClient) -> None:
    argo.fail_next(refused(503, 14, "leader changed"), rate_limited(), not_json(502, "<html>Bad Gateway</html>", "7"))
    told = []
    for _ in range(3):
        with pytest.raises(EngineUnavailable) as caught:
            await client.create("plant", workflow())
        told.append((caught.value.reason, caught.value.retry_after_s))
    assert told == [
        ("503: leader changed", None),
        ("429: Too Many Requests", None),
        ("502: <html>Bad Gateway</html>", 7.0),
    ]
    assert not argo.workflows()


async def test_a_connection_that_breaks_is_not_tried_again_here(argo: FakeArgo, client: ArgoClient) -> None:
    argo.fail_next(drop_before(), drop_after())
    with pytest.raises(EngineUnavailable):
        await client.create("plant", workflow())
    assert not argo.workflows()
    with pytest.raises(EngineUnavailable):
        await client.create("plant", workflow())
    assert [created["metadata"]["name"] for created in argo.workflows()] == ["overheat"]
    assert len(argo.requests) == 2


async def test_a_server_that_is_gone_is_told_and_found_again_when_it_is_back(
    argo: FakeArgo, client: ArgoClient
) -> None:
    await client.create("plant", workflow("before"))
    await argo.stop()
    with pytest.raises(EngineUnavailable, match=r"/api/v1/workflows/plant: Connection refused"):
        await client.create("plant", workflow("while-gone"))
    await argo.start()
    await client.create("plant", workflow("after"))


async def test_a_name_without_an_address_is_told() -> None:
    async with ArgoClient(ArgoSettings("http://argo.invalid:2746")) as client:
        with pytest.raises(EngineUnavailable, match="its name cannot be resolved"):
            await client.check()


async def test_no_answer_in_time_is_told_and_the_connection_given_up(
    argo: FakeArgo, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = TurnedLoop(monkeypatch)
    argo.fail_next(hang())
    async with ArgoClient(ArgoSettings(argo.url, timeout_s=600, max_connections=1)) as client:
        creating = asyncio.create_task(client.create("plant", workflow()))
        await until(lambda: argo.requests)
        time.turn(601)
        with pytest.raises(EngineUnavailable, match=r"no answer within 600 s"):
            await creating
    async with ArgoClient(ArgoSettings(argo.url, max_connections=1, timeout_s=DEADLINE_S)) as client:
        await client.create("plant", workflow())


async def test_a_create_cancelled_at_any_moment_leaves_the_client_usable(argo: FakeArgo) -> None:
    async with ArgoClient(ArgoSettings(argo.url, max_connections=1, timeout_s=DEADLINE_S)) as client:
        ended_by_itself = False
        for turns in range(200):
            task = asyncio.create_task(client.get("plant", f"overheat-{turns}"))
            for _ in range(turns):
                await asyncio.sleep(0)
            ended_by_itself = task.done()
            task.cancel()
            await asyncio.wait([task])
            assert await client.get("plant", "overheat") is None
            if ended_by_itself:
                break
        assert ended_by_itself


async def test_more_requests_than_connections_wait_for_one(argo: FakeArgo) -> None:
    async with ArgoClient(ArgoSettings(argo.url, max_connections=2, timeout_s=DEADLINE_S)) as client:
        created = await asyncio.gather(*(client.create("plant", workflow(f"w-{number}")) for number in range(20)))
    assert len({answer.metadata.uid for answer in created}) == 20


async def test_below_a_path_the_server_is_found_and_beside_it_the_url_is_named_as_the_reason() -> None:
    async with FakeArgo(base_path="/argo") as argo:
        argo.templates.add(("plant", "inspect"))
        for url in (argo.url, f"{argo.url}/"):
            async with ArgoClient(ArgoSettings(url, timeout_s=DEADLINE_S)) as client:
                assert await client.check()
                assert await client.get("plant", "overheat") is None
        async with ArgoClient(ArgoSettings(argo.url.removesuffix("/argo"), timeout_s=DEADLINE_S)) as client:
            with pytest.raises(EngineUnavailable, match="404 from a server that is not an Argo Server"):
                await client.get("plant", "overheat")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("argo.example:2746", "must begin with"),
        ("mqtt://argo.example", "must begin with"),
        ("http://", "must begin with"),
        ("https://argo:99999999", "is not a port"),
        ("https://argo:x", "is not a URL"),
        ("https://user:s3cret@argo.example", "more than host, port and path"),
        ("https://argo.example?token=s3cret", "more than host, port and path"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_showing_a_secret(url: str, reason: str) -> None:
    with pytest.raises(EngineUnavailable, match=reason) as caught:
        ArgoClient(ArgoSettings(url, timeout_s=DEADLINE_S))
    assert "s3cret" not in str(caught.value)
