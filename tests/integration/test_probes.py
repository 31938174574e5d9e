"""The dispatcher as a process, as Kubernetes sees it: its probes, and what it says of the engine when it starts."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx

from edgeagent.dispatcher.metrics import PREFIX
from tests.fakes import argo_server
from tests.fakes.argo_server import FakeArgo
from tests.fakes.mosquitto import Mosquitto, MqttClient
from tests.fakes.mosquitto import free_port as find_free_port
from tests.fakes.programs import Program
from tests.waiting import DEADLINE_S, until_answer

TRIGGER = json.dumps(
    {
        "namespace": "plant",
        "agent": "gw-1",
        "attempt": 1,
        "workflow": {"metadata": {"name": "a-1"}, "spec": {"workflowTemplateRef": {"name": "inspect"}}},
    }
).encode()


class Dispatch(Program):
    """`edgeagent dispatch` on an Argo Server, with probes."""

    def __init__(self, directory: Path, broker: str, engine: str, token: str = "") -> None:
        self.port = find_free_port()
        token_file = directory / "token"
        directory.mkdir()
        token_file.write_text(token or "none")
        config = f"""
            [broker]
            url = "{broker}"
            instance = "d-0"
            [engine]
            kind = "argo"
            url = "{engine}"
            token_file = "{token_file}"
            [http]
            listen = "127.0.0.1:{self.port}"
            [log]
            format = "text"
            [[allow]]
            namespaces = ["plant"]
            templates = ["inspect"]
        """
        super().__init__("dispatch", directory, config)

    async def ask(self, path: str) -> httpx.Response:
        """The answer to a probe."""
        async with httpx.AsyncClient(trust_env=False, timeout=DEADLINE_S) as client:
            return await client.get(f"http://127.0.0.1:{self.port}{path}")

    async def is_ready(self, status: int) -> str:
        """Wait for this answer of `/readyz`; returns its text."""
        answer = await until_answer(
            lambda: self.ask("/readyz"), lambda answer: answer.status_code == status, f"/readyz to answer {status}"
        )
        return answer.text


async def test_a_dispatcher_is_ready_when_broker_and_engine_let_it_in_and_says_why_it_is_not(
    tmp_path: Path, argo: FakeArgo
) -> None:
    (tmp_path / "broker").mkdir()
    broker = Mosquitto(tmp_path / "broker")
    argo.token = "good"  # noqa: S105  a test's
    dispatch = Dispatch(tmp_path / "d", broker.url, argo.url, token="good")  # noqa: S106  a test's
    dispatch.spawn()
    await dispatch.logged("engine_found")
    assert "Argo Server v" in dispatch.log
    assert argo.url in dispatch.log
    assert (await dispatch.ask("/healthz")).status_code == 200
    assert "no connection to the broker" in await dispatch.is_ready(503)
    async with broker, MqttClient(broker.url, "gw-1", "argo/workflows/response/#") as gateway:
        await dispatch.is_ready(200)
        await gateway.publish("argo/workflows/trigger/gw-1", TRIGGER)
        await gateway.message()
        await _says(dispatch, f'{PREFIX}answered_total{{code="200"}} 1', f"{PREFIX}connected 1", f"{PREFIX}leading 1")
        argo.token = "renewed"  # noqa: S105  a test's
        await gateway.publish("argo/workflows/trigger/gw-1", TRIGGER.replace(b"a-1", b"a-2"))
        assert "refuses our credentials" in await dispatch.is_ready(503)
        assert (await dispatch.ask("/healthz")).status_code == 200
        await _says(dispatch, f'{PREFIX}gate{{state="unauthorized"}} 1')
        (dispatch.directory / "token").write_text("renewed")
        await dispatch.is_ready(200)
    assert "no connection to the broker" in await dispatch.is_ready(503)
    assert await dispatch.stop() == 0


async def _says(dispatch: Dispatch, *lines: str) -> None:
    """Wait until these lines are in the metrics."""
    await until_answer(
        lambda: dispatch.ask("/metrics"), lambda page: set(lines) <= set(page.text.splitlines()), f"metrics {lines}"
    )


async def test_an_engine_that_is_away_or_refuses_is_told_at_the_start_and_the_dispatcher_starts_all_the_same(
    tmp_path: Path, broker: Mosquitto, argo: FakeArgo
) -> None:
    away = Dispatch(tmp_path / "away", broker.url, f"http://127.0.0.1:{find_free_port()}")
    away.spawn()
    await away.logged("engine_unreachable")
    await away.is_ready(200)
    assert await away.stop() == 0

    argo.token = "good"  # noqa: S105  a test's
    refused = Dispatch(tmp_path / "refused", broker.url, argo.url, token="bad")  # noqa: S106  a test's
    refused.spawn()
    await refused.logged("engine_refuses")
    assert f"the token in {refused.directory}/token was refused" in refused.log
    assert "ERROR" in refused.log
    assert "Traceback" not in refused.log
    await refused.is_ready(200)
    assert await refused.stop() == 0

    argo.token = None
    argo.fail_next(argo_server.not_json(200, "<html>sign in</html>"), path="/api/v1/version")
    elsewhere = Dispatch(tmp_path / "elsewhere", broker.url, argo.url)
    elsewhere.spawn()
    await elsewhere.logged("engine_unreachable")
    assert await elsewhere.stop() == 0


async def test_an_address_in_use_ends_the_start_in_one_line(tmp_path: Path, broker: Mosquitto, argo: FakeArgo) -> None:
    dispatch = Dispatch(tmp_path / "d", broker.url, argo.url)
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", dispatch.port):
        dispatch.spawn()
        assert await dispatch.exit_code() == 1
    assert dispatch.log.splitlines()[-1].startswith(f"edgeagent: 127.0.0.1:{dispatch.port}: address already in use")
    assert "Warning" not in dispatch.log
