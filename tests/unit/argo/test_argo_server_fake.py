"""The fake Argo Server over HTTP: tokens, failures, ConfigMaps, and Argo's API document."""

from __future__ import annotations

import asyncio
import re
import ssl
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import trustme
from hera.workflows import models

from tests.fakes import argo_server
from tests.fakes.argo_asking import EVENT_STREAM, EVENTS, WORKFLOWS, Watching, asking, creating, workflow
from tests.fakes.argo_rules import Json
from tests.fakes.argo_server import Failure, FakeArgo
from tests.waiting import DEADLINE_S

pytestmark = pytest.mark.slow  # servers or processes of its own


CONFIGMAP = "/api/v1/namespaces/plant/configmaps/pipeline-status-1"
APPLY = {"Content-Type": "application/apply-patch+yaml"}


def configmap(uid: str = "", **members: Any) -> Json:
    """What is applied for a workflow."""
    metadata: Json = {"name": "pipeline-status-1"}
    if uid:
        owner = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "a", "uid": uid}
        metadata["ownerReferences"] = [owner]
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"result": "success"}, **members}


@pytest.fixture
async def argo() -> AsyncIterator[FakeArgo]:
    """A strict server."""
    async with FakeArgo() as argo:
        yield argo


@pytest.fixture
async def client(argo: FakeArgo) -> AsyncIterator[httpx.AsyncClient]:
    """A client of it."""
    async with asking(argo.url) as client:
        yield client


async def test_a_create_answers_200_with_the_whole_workflow(argo: FakeArgo, client: httpx.AsyncClient) -> None:
    answer = await client.post(WORKFLOWS, json=creating("a"))
    assert answer.status_code == 200
    assert answer.json() == argo.workflow("plant", "a")
    assert models.Workflow.model_validate(answer.json()).metadata.uid
    assert (await client.get(f"{WORKFLOWS}/a")).json() == answer.json()
    request = argo.requests[0]
    assert (request.method, request.path, request.body) == ("POST", WORKFLOWS, creating("a"))


async def test_a_refusal_has_the_grpc_code_and_the_message(argo: FakeArgo, client: httpx.AsyncClient) -> None:
    await client.post(WORKFLOWS, json=creating("a"))
    again = await client.post(WORKFLOWS, json=creating("a"))
    assert (again.status_code, again.json()["code"]) == (409, 6)
    missing = await client.get(f"{WORKFLOWS}/b")
    assert missing.status_code == 404
    assert missing.json() == {"code": 5, "message": 'workflows.argoproj.io "b" not found'}
    assert len(argo.workflows()) == 1


async def test_a_list_obeys_selector_limit_continue_and_fields(argo: FakeArgo, client: httpx.AsyncClient) -> None:
    assert (await client.get(WORKFLOWS)).json()["items"] is None
    for name in "abc":
        argo.put(workflow(name))
    query = {
        "listOptions.limit": "2",
        "listOptions.fieldSelector": "ext.showRemainingItemCount=true",
        "fields": "metadata,items.metadata.name",
    }
    first = (await client.get(WORKFLOWS, params=query)).json()
    assert first["metadata"]["continue"] == "2"
    rest = (await client.get(WORKFLOWS, params={**query, "listOptions.continue": "2"})).json()
    assert [item["metadata"]["name"] for item in first["items"] + rest["items"]] == ["c", "b", "a"]
    assert "templates" not in first["items"][0]["spec"]
    other = await client.get(WORKFLOWS, params={"listOptions.labelSelector": "edgeagent.io/agent=gw-2"})
    assert other.json()["items"] is None
    assert (await client.get(WORKFLOWS, params={"listOptions.limit": "many"})).status_code == 400
    assert (await client.get(WORKFLOWS, params={"listOptions.fieldSelector": "spec.x=1"})).status_code == 400


async def test_kubernetes_judges_a_token_and_argo_only_its_form(argo: FakeArgo, client: httpx.AsyncClient) -> None:
    argo.token = "right"  # noqa: S105  of the fake
    for path in (WORKFLOWS, f"{WORKFLOWS}/a", EVENTS, CONFIGMAP):
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            assert (await client.get(path, headers=headers)).status_code == 401, path
    assert (await client.get(WORKFLOWS)).json()["code"] == 16
    assert (await client.get(WORKFLOWS, headers={"Authorization": "Bearer right"})).status_code == 200
    assert (await client.get("/api/v1/version")).status_code == 401
    version = await client.get("/api/v1/version", headers={"Authorization": "Bearer wrong"})
    assert version.json()["version"] == "v4.1.2"


@pytest.mark.parametrize(
    ("failure", "status", "text"),
    [
        (argo_server.refused(403, 7, "no"), 403, '{"code":7,"message":"no"}'),
        (argo_server.quota(), 403, "exceeded quota"),
        (argo_server.conflict(), 409, "Operation cannot be fulfilled"),
        (argo_server.not_json(502, "<html>"), 502, "<html>"),
        (argo_server.rate_limited(), 429, "Too Many Requests\n"),
    ],
)
async def test_a_failure_is_answered_once_and_nothing_is_done(
    argo: FakeArgo, client: httpx.AsyncClient, failure: Failure, status: int, text: str
) -> None:
    argo.fail_next(failure)
    answer = await client.post(WORKFLOWS, json=creating("a"))
    assert answer.status_code == status
    assert text in answer.text
    assert argo.workflows() == []
    assert (await client.post(WORKFLOWS, json=creating("a"))).status_code == 200


async def test_a_rate_limit_names_a_date_and_a_proxy_what_it_likes(argo: FakeArgo, client: httpx.AsyncClient) -> None:
    argo.fail_next(argo_server.rate_limited(), argo_server.not_json(503, "later", retry_after="7"))
    assert (await client.get(WORKFLOWS)).headers["retry-after"].endswith(" UTC")
    assert (await client.get(WORKFLOWS)).headers["retry-after"] == "7"


@pytest.mark.parametrize(("failure", "done"), [(argo_server.drop_before(), False), (argo_server.drop_after(), True)])
async def test_a_dropped_request_is_done_only_if_it_is_dropped_after(
    argo: FakeArgo, client: httpx.AsyncClient, failure: Failure, done: bool
) -> None:
    argo.fail_next(failure)
    with pytest.raises(httpx.TransportError):
        await client.post(WORKFLOWS, json=creating("a"))
    assert bool(argo.workflow("plant", "a")) == done
    assert len(argo.requests) == 1


async def test_a_request_that_hangs_has_no_answer_and_is_not_done(argo: FakeArgo, client: httpx.AsyncClient) -> None:
    argo.fail_next(argo_server.hang())
    with pytest.raises(httpx.ReadTimeout):
        await client.post(WORKFLOWS, json=creating("a"), timeout=httpx.Timeout(DEADLINE_S, read=0.1))
    assert argo.workflows() == []


async def test_a_failure_waits_for_a_request_of_its_path_and_method(argo: FakeArgo, client: httpx.AsyncClient) -> None:
    argo.fail_next(argo_server.quota(), path="/workflows/", method="POST")
    argo.fail_next(argo_server.not_json(503, "gone"), path="version")
    assert (await client.get(WORKFLOWS)).status_code == 200
    assert (await client.post(WORKFLOWS, json=creating("a"))).status_code == 403
    assert (await client.get("/api/v1/version")).status_code == 503


@pytest.mark.parametrize(
    ("method", "path", "options", "words"),
    [
        ("POST", WORKFLOWS, {"json": {**creating("a"), "dryrun": True}}, "dryrun: Argo's API document has no such"),
        ("POST", WORKFLOWS, {"json": {"workflow": {"metadata": {}, "spec": {"entrypoint": 5}}}}, "a valid string"),
        ("GET", WORKFLOWS, {"params": {"listOptions.labels": "a"}}, "unknown in the query: listOptions.labels"),
        ("GET", "/api/v2/workflows", {}, "the fake knows no such call"),
        ("PATCH", f"{CONFIGMAP}?fieldManager=x", {"headers": APPLY, "json": configmap(data={"a": 1})}, "1 is not"),
    ],
)
async def test_what_the_document_does_not_know_fails_the_test(
    method: str, path: str, options: dict[str, Any], words: str
) -> None:
    argo = FakeArgo()
    await argo.start()
    async with asking(argo.url) as client:
        await client.request(method, path, **options)
    with pytest.raises(AssertionError, match=re.escape(words)):
        await argo.close()


async def test_a_parameter_may_be_any_json_whatever_the_document_says(
    argo: FakeArgo, client: httpx.AsyncClient
) -> None:
    request = creating("a")
    request["workflow"]["spec"]["arguments"] = {"parameters": [{"name": "n", "value": 97.1}]}
    assert (await client.post(WORKFLOWS, json=request)).status_code == 200
    assert argo.problems == []


async def test_an_applied_configmap_is_kept_and_goes_with_its_workflow(
    argo: FakeArgo, client: httpx.AsyncClient
) -> None:
    uid = argo.put(workflow("a"))["metadata"]["uid"]
    query = {"fieldManager": "edgeagent", "force": "true"}
    first = await client.patch(CONFIGMAP, params=query, headers=APPLY, json=configmap(uid))
    again = await client.patch(CONFIGMAP, params=query, headers=APPLY, json=configmap(uid, data={"result": "error"}))
    assert (first.status_code, again.status_code) == (201, 200)
    assert argo.configmaps["plant", "pipeline-status-1"]["data"] == {"result": "error"}
    assert (await client.get(CONFIGMAP)).json()["data"] == {"result": "error"}
    argo.archive("plant", "a")
    assert argo.configmaps == {}
    assert (await client.get(CONFIGMAP)).json()["reason"] == "NotFound"


@pytest.mark.parametrize(
    ("headers", "query", "applied", "status"),
    [
        ({"Content-Type": "application/json"}, {"fieldManager": "x"}, configmap(), 415),
        (APPLY, {}, configmap(), 422),
        (APPLY, {"fieldManager": "x"}, configmap(kind="Secret"), 400),
        (APPLY, {"fieldManager": "x"}, configmap(metadata={"name": "other"}), 400),
    ],
)
async def test_kubernetes_refuses_an_apply_that_is_none(
    argo: FakeArgo,
    client: httpx.AsyncClient,
    headers: dict[str, str],
    query: dict[str, str],
    applied: Json,
    status: int,
) -> None:
    answer = await client.patch(CONFIGMAP, params=query, headers=headers, json=applied)
    assert (answer.status_code, answer.json()["kind"], answer.json()["code"]) == (status, "Status", status)
    assert argo.configmaps == {}


async def test_a_server_that_comes_back_has_its_port_and_its_workflows() -> None:
    async with FakeArgo() as argo, asking(argo.url) as client:
        await client.post(WORKFLOWS, json=creating("a"))
        await argo.stop()
        with pytest.raises(httpx.TransportError):
            await client.get(WORKFLOWS)
        await argo.start()
        assert (await client.get(f"{WORKFLOWS}/a")).status_code == 200
        port = argo.port
    async with FakeArgo(port=port) as other, asking(other.url) as client:
        assert (await client.get(f"{WORKFLOWS}/a")).status_code == 404


async def test_a_server_behind_a_proxy_is_found_below_its_base_path_only() -> None:
    async with FakeArgo(base_path="/argo") as argo, asking(argo.url) as client:
        assert argo.url.endswith("/argo")
        assert (await client.get("/api/v1/version")).json()["version"]
        assert argo.requests[0].path == "/api/v1/version"
        outside = await client.get(f"http://127.0.0.1:{argo.port}/api/v1/version")
        assert (outside.status_code, outside.headers["content-type"]) == (404, "text/html")


async def test_it_serves_https() -> None:
    authority = trustme.CA()
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(served)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with FakeArgo(tls=served) as argo, asking(argo.url, verify=trusting) as client:
        assert argo.url.startswith("https://")
        assert (await client.get("/api/v1/version")).status_code == 200


async def test_the_program_runs_workflows_to_their_end_by_itself() -> None:
    arguments = ("-m", "tests.fakes.argo_server", "--auto", "--template", "plant/inspect")
    program = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    try:
        assert program.stdout is not None
        url = (await program.stdout.readline()).decode().strip()
        request = creating("a")
        request["workflow"]["spec"] = {"workflowTemplateRef": {"name": "inspect"}}
        async with asking(url) as client:
            await client.post(WORKFLOWS, json=request)
            watch = Watching(client, EVENT_STREAM)
            await watch.has(b'"phase":"Succeeded"')
            watch.cancel()
        program.terminate()
        assert await program.wait() == 0
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()
