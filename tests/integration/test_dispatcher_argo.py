"""Triggers from a real broker to an Argo Server: each outcome of contract section 7, and dispatchers that die."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeagent.argo.client import ArgoClient, ArgoSettings
from edgeagent.config.tables import Allow
from edgeagent.dispatcher import gate
from edgeagent.dispatcher.argo import ArgoEngine
from edgeagent.dispatcher.dispatcher import Dispatcher
from edgeagent.dispatcher.policy import Policy
from edgeagent.wire.messages import Response, parse_response
from tests.fakes import argo_server
from tests.fakes.argo_server import FakeArgo
from tests.fakes.dispatch_rehearsal import WatchedDispatcher, connected
from tests.fakes.mosquitto import Mosquitto, MqttClient
from tests.waiting import DEADLINE_S, until, until_line

TRIGGER = "argo/workflows/trigger"
OWN = f"{TRIGGER}/gw-1"
OWN_RESPONSES = "argo/workflows/response/gw-1"
RESPONSES = "argo/workflows/response/#"
PLANT = Allow(namespaces=("plant",), templates=("*",))
INLINE = Allow(namespaces=("plant",), inline=True)
CREATES = "/api/v1/workflows/plant"


@contextlib.asynccontextmanager
async def dispatching(
    broker: Mosquitto,
    argo: FakeArgo,
    *,
    client_id: str = "dispatch-a",
    token_file: str = "",
    timeout_s: float = DEADLINE_S,
    **options: Any,
) -> AsyncIterator[Dispatcher]:
    """A connected dispatcher; it ends as a killed one does, without a word to the broker but the end of the socket."""
    async with ArgoClient(ArgoSettings(argo.url, token_file=token_file, timeout_s=timeout_s)) as client:
        engine = ArgoEngine(client, probe_namespace="plant", token_file=token_file)
        dispatcher = WatchedDispatcher(engine, Policy([PLANT, INLINE]), **options)
        async with connected(dispatcher, broker, client_id):
            yield dispatcher


def trigger(name: str = "overheat-1", *, template: str = "inspect", spec: Any = None, **members: Any) -> bytes:
    whole = {
        "namespace": "plant",
        "correlation_id": f"c-{name}",
        "agent": "gw-1",
        "attempt": 1,
        "reply_to": OWN_RESPONSES,
        "workflow": {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "metadata": {"name": name, "namespace": "plant"},
            "spec": spec or {"workflowTemplateRef": {"name": template}},
        },
    }
    return msgspec.json.encode({**whole, **members})


async def response(client: MqttClient, topic: str = OWN_RESPONSES) -> Response:
    return parse_response((await client.message(topic)).payload, None)


async def test_a_trigger_becomes_a_workflow_with_its_labels_and_an_end(broker: Mosquitto, argo: FakeArgo) -> None:
    async with dispatching(broker, argo), MqttClient(broker.url, "gw-1", RESPONSES) as gateway:
        await gateway.publish(OWN, trigger())
        answer = await response(gateway)
    assert (answer.code, answer.workflow_id, answer.namespace, answer.duplicate) == (200, "overheat-1", "plant", False)
    workflow = argo.workflow("plant", "overheat-1")
    assert workflow is not None
    assert workflow["metadata"]["labels"] == {
        "edgeagent.io/agent": "gw-1",
        "edgeagent.io/correlation-id": "c-overheat-1",
    }
    assert workflow["spec"]["ttlStrategy"] == {"secondsAfterCompletion": 604800}
    assert workflow["spec"]["podGC"] == {"strategy": "OnPodCompletion"}
    assert [request.method for request in argo.requests] == ["POST"], "a first attempt asks nothing"


async def test_a_trigger_that_comes_again_finds_its_workflow_even_when_only_the_archive_has_it(
    broker: Mosquitto, argo: FakeArgo
) -> None:
    async with dispatching(broker, argo), MqttClient(broker.url, "gw-1", RESPONSES) as gateway:
        await gateway.publish(OWN, trigger())
        await response(gateway)
        await gateway.publish(OWN, trigger(attempt=1))  # an agent that has lost its memory
        assert (await response(gateway)).duplicate is True
        argo.advance("plant", "overheat-1", phase="Succeeded")
        argo.archive("plant", "overheat-1")
        await gateway.publish(OWN, trigger(attempt=2))
        assert (await response(gateway)).duplicate is True
        assert argo.workflows() == []
        await gateway.publish(OWN, trigger(attempt=2, correlation_id="another"))
        assert (await response(gateway)).duplicate is False, "the name is free again for another trigger"


async def test_a_name_that_somebody_else_has_is_refused_for_good(broker: Mosquitto, argo: FakeArgo) -> None:
    argo.put({"metadata": {"namespace": "plant", "name": "overheat-1"}, "spec": {}})
    async with dispatching(broker, argo), MqttClient(broker.url, "gw-1", RESPONSES) as gateway:
        for attempt in (1, 2):
            await gateway.publish(OWN, trigger(attempt=attempt))
            answer = await response(gateway)
            assert (answer.code, answer.retryable) == (409, False)


async def test_each_refusal_tells_the_gateway_what_to_do(broker: Mosquitto, argo: FakeArgo) -> None:
    async with dispatching(broker, argo), MqttClient(broker.url, "gw-1", RESPONSES) as gateway:
        await gateway.publish(OWN, trigger(template="missing"))
        missing = await response(gateway)
        assert (missing.code, missing.retryable, missing.retry_after_s > 60) == (404, True, True)
        assert missing.detail.startswith("WorkflowTemplate 'missing' is not in namespace 'plant': create it")
        argo.templates.add(("plant", "missing"))
        await gateway.publish(OWN, trigger(template="missing", attempt=2))
        assert (await response(gateway)).code == 200

        steps = [[{"name": "s", "templateRef": {"name": "other", "template": "main"}}]]
        nested = {"entrypoint": "main", "templates": [{"name": "main", "steps": steps}]}
        await gateway.publish(OWN, trigger("nested", spec=nested))
        answer = await response(gateway)
        assert (answer.code, answer.retryable) == (404, True), "Argo's 400, and yet it may be there in a minute"
        assert "template reference other.main not found" in answer.detail

        argo.fail_next(argo_server.refused(400, 3, "templates.main.container.image may not be empty"))
        await gateway.publish(OWN, trigger("broken"))
        invalid = await response(gateway)
        assert (invalid.code, invalid.retryable) == (400, False)
        assert invalid.detail == "templates.main.container.image may not be empty"

        argo.fail_next(argo_server.quota())
        await gateway.publish(OWN, trigger("quota"))
        quota = await response(gateway)
        assert (quota.code, quota.retryable) == (403, True)
        assert quota.detail.startswith("the quota of namespace 'plant' is used up")

        argo.fail_next(argo_server.refused(500, 13, "etcdserver: request is too large"))
        await gateway.publish(OWN, trigger("large"))
        large = await response(gateway)
        assert (large.code, large.retryable) == (413, False)


@pytest.mark.parametrize(
    ("failures", "timeout_s"),
    [
        ([argo_server.conflict(), argo_server.conflict()], DEADLINE_S),
        ([argo_server.drop_before()], DEADLINE_S),
        ([argo_server.drop_after()], DEADLINE_S),
        ([argo_server.hang()], 0.5),
        ([argo_server.rate_limited(), argo_server.not_json(503, "no healthy upstream")], DEADLINE_S),
    ],
    ids=["write conflicts", "not done and cut", "done and cut", "no answer", "busy"],
)
async def test_what_goes_wrong_for_a_moment_is_not_seen_by_the_gateway(
    broker: Mosquitto, argo: FakeArgo, failures: list[argo_server.Failure], timeout_s: float
) -> None:
    async with (
        dispatching(broker, argo, timeout_s=timeout_s) as dispatcher,
        MqttClient(broker.url, "gw-1", RESPONSES) as gateway,
    ):
        argo.fail_next(*failures, path=CREATES, method="POST")
        await gateway.publish(OWN, trigger())
        answer = await response(gateway)
        assert (answer.code, answer.workflow_id) == (200, "overheat-1")
        assert len(argo.workflows()) == 1
        assert dispatcher.stats().answered == {200: 1} or not dispatcher.stats().answered


async def test_an_engine_that_is_gone_stops_the_dispatcher_until_it_is_back(
    broker: Mosquitto, argo: FakeArgo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "PROBE_BASE_S", 0.02)
    monkeypatch.setattr(gate, "PROBE_CAP_S", 0.1)
    async with (
        dispatching(broker, argo, hold_s=0.2, max_concurrent=1),
        MqttClient(broker.url, "gw-1", RESPONSES) as gateway,
    ):
        await argo.stop()
        for name in ("first", "second"):
            await gateway.publish(OWN, trigger(name))
        held = await response(gateway)
        assert (held.code, held.correlation_id, held.retryable, held.retry_after_s) == (503, "c-first", True, 30)
        await argo.start()
        answer = await response(gateway)
        assert (answer.code, answer.workflow_id) == (200, "second")


async def test_a_token_that_is_refused_stops_everything_until_the_file_holds_a_good_one(
    broker: Mosquitto, argo: FakeArgo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gate, "PROBE_BASE_S", 0.02)
    monkeypatch.setattr(gate, "PROBE_CAP_S", 0.1)
    argo.token = "new"  # noqa: S105  for a server that is none
    token_file = tmp_path / "argo.token"
    token_file.write_text("old", "utf-8")
    async with (
        dispatching(broker, argo, token_file=str(token_file)) as dispatcher,
        MqttClient(broker.url, "gw-1", RESPONSES) as gateway,
    ):
        await gateway.publish(OWN, trigger())

        def probed() -> list[tuple[str, str]]:
            return [(request.method, request.path) for request in argo.requests]

        await until(lambda: probed().count(("GET", f"{CREATES}/edgeagent-probe")) >= 2, "two probes", seen=probed)
        assert not gateway.messages
        assert (dispatcher.stats().gate, dispatcher.stats().waiting) == (gate.GateState.UNAUTHORIZED, 1)
        token_file.write_text("new", "utf-8")
        assert (await response(gateway)).code == 200
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [record.__dict__["event"] for record in errors] == ["engine_unauthorized"]
    assert str(token_file) in errors[0].getMessage()


async def test_a_foreign_producer_needs_nothing_but_a_namespace_and_a_workflow(
    broker: Mosquitto, argo: FakeArgo
) -> None:
    spec = {"workflowTemplateRef": {"name": "inspect"}}
    named = msgspec.json.encode({"namespace": "plant", "workflow": {"metadata": {"name": "nightly"}, "spec": spec}})
    async with dispatching(broker, argo), MqttClient(broker.url, "shop", RESPONSES) as shop:
        await shop.publish(TRIGGER, named)
        base = await shop.message("argo/workflows/response")
        assert msgspec.json.decode(base.payload)["workflowId"] == "nightly"
        await shop.publish(TRIGGER, named, response_topic="argo/workflows/response/shop/7", correlation_data=b"nightly")
        own = await shop.message("argo/workflows/response/shop/7")
        assert own.correlation_data == b"nightly"
        assert msgspec.json.decode(own.payload)["duplicate"] is True
        await shop.publish(TRIGGER, named, response_topic="somewhere/else", correlation_data=b"order-8")
        taken = await shop.message("argo/workflows/response")
        assert msgspec.json.decode(taken.payload)["code"] == 409, "another identity, the same name"
        generated = {"namespace": "plant", "workflow": {"metadata": {"generateName": "gen-"}, "spec": spec}}
        for _ in range(2):
            await shop.publish(TRIGGER, msgspec.json.encode(generated))
            answer = msgspec.json.decode((await shop.message("argo/workflows/response")).payload)
            assert answer["workflowId"].startswith("gen-")
    assert len(argo.workflows()) == 3


CONFIG = """
[broker]
url = "{broker}"
instance = "a"
[engine]
kind = "argo"
url = "{argo}"
token_file = "argo.token"
[[allow]]
namespaces = ["plant"]
templates = ["inspect"]
[log]
format = "json"
"""


async def test_the_command_starts_workflows_with_the_configured_token_and_ends_cleanly(
    broker: Mosquitto, argo: FakeArgo, tmp_path: Path
) -> None:
    argo.token = "secret"  # noqa: S105  for a server that is none
    (tmp_path / "argo.token").write_text("Bearer secret\n", "utf-8")
    config = tmp_path / "dispatch.toml"
    config.write_text(CONFIG.format(broker=broker.url, argo=argo.url), "utf-8")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "edgeagent", "dispatch", "-c", str(config), stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(DEADLINE_S), MqttClient(broker.url, "gw-1", RESPONSES) as gateway:
            await until_line(process.stderr, '"broker_connected"')
            await gateway.publish(OWN, trigger())
            answer = await response(gateway)
            assert (answer.code, answer.dry_run) == (200, False)
            process.terminate()
            said = (await process.stderr.read()).decode()
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert argo.workflow("plant", "overheat-1") is not None
    assert '"event":"dispatcher_stopped"' in said.replace(" ", "")
    assert "secret" not in said


@pytest.mark.parametrize("after_requests", range(1, 8))
async def test_a_dispatcher_that_dies_in_the_middle_leaves_each_trigger_with_one_workflow_and_an_answer(
    broker: Mosquitto, argo: FakeArgo, after_requests: int
) -> None:
    names = {f"w-{number}" for number in range(6)}
    async with MqttClient(broker.url, "gw-1", RESPONSES) as gateway:
        async with dispatching(broker, argo, max_concurrent=3):
            for name in sorted(names):
                await gateway.publish(OWN, trigger(name))
            await until(lambda: len(argo.requests) >= min(after_requests, len(names)))
        async with dispatching(broker, argo):
            answers: list[Response] = []
            while {answer.workflow_id for answer in answers} != names:
                answers.append(await response(gateway))
            assert {answer.code for answer in answers} == {200}
    assert sorted(workflow["metadata"]["name"] for workflow in argo.workflows()) == sorted(names)
