"""Workflows managed over Google Pub/Sub: every operation, by a server of another hand and by one of our own."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.wire.operations import OPERATIONS
from tests.fakes.argo_server import FakeArgo
from tests.fakes.dispatch_group import ArgoDispatcher
from tests.fakes.drongo import Drongo
from tests.fakes.programs import Agent
from tests.fakes.pubsub import PROJECT, FakePubSub
from tests.waiting import until

URL = f"pubsub://{PROJECT}/triggers"
UPLINK = 'subscription = "edgeagent-{agent}"\ntrigger_topic = "argo/workflows/trigger/{agent}"'
BROKER = 'subscription = "dispatch"\nanswer_topic = "answers"'
ALL = f"operations = {json.dumps(OPERATIONS)}"


@contextlib.contextmanager
def _fake() -> Iterator[FakePubSub]:
    with FakePubSub() as server:
        server.subscription("dispatch", "triggers")
        server.subscription("edgeagent-gw-1", "answers", agent="gw-1")
        yield server


@contextlib.asynccontextmanager
async def serving(kind: str) -> AsyncIterator[FakePubSub | Drongo]:
    """A server with the topics and subscriptions of docs/pubsub.md."""
    if kind == "ours":
        with _fake() as ours:
            yield ours
        return
    async with Drongo() as drongo:
        await drongo.subscription("dispatch", "triggers")
        await drongo.subscription("edgeagent-gw-1", "answers")
        yield drongo


async def asked(agent: Agent, *arguments: str) -> dict[str, Any]:
    """A request and its answer."""
    _, out, err = await agent.command("workflow", *arguments, "--json", "--wait")
    assert out, err
    made: dict[str, Any] = json.loads(out)
    assert made["state"] == "done", made
    answer: dict[str, Any] = made["answer"]
    return answer


@pytest.mark.parametrize("kind", ["ours", "drongo"])
async def test_every_operation_goes_over_pubsub_and_a_request_that_comes_again_is_answered_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    async with FakeArgo() as argo, serving(kind) as server:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.host)
        argo.templates.add(("plant", "inspect"))
        dispatcher = ArgoDispatcher(tmp_path / "d0", URL, argo.url, broker_keys=BROKER, allow_keys=ALL)
        async with dispatcher, Agent(tmp_path / "agent", URL, tables={"uplink": UPLINK}) as agent:
            correlation = await agent.triggered("boiler-1", {"temp": 97.1})
            await agent.state(correlation, "triggered")
            name = f"overheat-{correlation}"
            for operation in ("suspend", "resume", "stop", "terminate"):
                await asked(agent, operation, correlation)
            assert [each.segments[-1] for each in argo.requests if each.method == "PUT"] == [
                *("suspend", "resume", "stop", "terminate")
            ]
            argo.advance("plant", name, phase="Failed")
            assert (await asked(agent, "get", name))["workflow"]["status"] == "Failed"
            await asked(agent, "retry", name)
            argo.advance("plant", name, phase="Failed")
            again = (await asked(agent, "resubmit", name))["workflow"]["workflowId"]
            listed = await asked(agent, "list", "plant")
            assert {status["workflowId"] for status in listed["workflows"]} == {name, again}
            await asked(agent, "delete", name)
            assert argo.workflow("plant", name) is None
            if isinstance(server, FakePubSub):
                calls = len(argo.requests)
                await repeated(server)
                changes = [each.segments for each in argo.requests[calls:] if each.method != "GET"]
                assert not changes, "nothing was done again"
                assert server.unacknowledged("dispatch") == 0


async def repeated(server: FakePubSub) -> None:
    """Deliver every request again; each is answered as before, to the letter."""
    answers = server.published[f"projects/{PROJECT}/topics/answers"]
    requests = [
        each
        for each in server.published[f"projects/{PROJECT}/topics/triggers"]
        if each["attributes"]["topic"].startswith("argo/workflows/manage/")
    ]
    assert len(requests) == len(OPERATIONS)
    before = replies(answers)
    for request in requests:
        server.put("triggers", base64.b64decode(request["data"]), **request["attributes"])
    await until(lambda: sum(map(len, replies(answers).values())) == 2 * len(requests), "every answer once more")
    for request_id, said in replies(answers).items():
        assert said == 2 * before[request_id]
    await until(lambda: server.unacknowledged("dispatch") == 0, "their acknowledgement")


def replies(answers: list[dict[str, Any]]) -> dict[str, list[bytes]]:
    """What was answered to each request, in order."""
    found: dict[str, list[bytes]] = {}
    for answer in list(answers):
        data = base64.b64decode(answer["data"])
        if (request_id := json.loads(data).get("request_id")) is not None:
            found.setdefault(request_id, []).append(data)
    return found
