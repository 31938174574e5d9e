"""`/metrics` of a running agent and its dispatcher, read as Prometheus reads it."""

from __future__ import annotations

import asyncio
import errno
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from edgeagent.agent import figures
from edgeagent.outbox.store import Store
from tests.fakes.agent_here import AgentHere
from tests.fakes.certificates import Certificates
from tests.fakes.http_agent import Reply, Wire
from tests.fakes.metrics import Labels, agent_metrics, parsed, values_of
from tests.fakes.mosquitto import Mosquitto, MqttClient, free_port
from tests.fakes.programs import Agent, Dispatcher
from tests.waiting import until_answer

HOT = {"temp": 97.1}
COLD = {"temp": 1}
NOWHERE = "mqtt://127.0.0.1:1"
UPLINK = (("link", "uplink"),)
Values = dict[tuple[str, Labels], float]


async def ask(agent: Agent, method: str = "GET", **headers: str) -> Reply:
    """The answer on the agent's Unix socket."""
    wire = Wire(*await asyncio.open_unix_connection(str(agent.socket)))
    try:
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        await wire.send(f"{method} /metrics HTTP/1.1\r\nHost: x\r\n{fields}\r\n".encode())
        return await wire.reply(has_body=method != "HEAD")
    finally:
        await wire.close()


async def scraped(agent: Agent) -> Values:
    return values_of((await ask(agent)).body.decode())


async def until_scraped(agent: Agent, wanted: dict[tuple[str, Labels], float]) -> Values:
    """Wait until these have these values."""
    return await until_answer(
        lambda: scraped(agent),
        lambda values: all(values.get(key) == value for key, value in wanted.items()),
        f"metrics {wanted}",
        more=agent.tail,
    )


def state(name: str) -> tuple[str, Labels]:
    return "edgeagent_triggers", (("state", name),)


def outcome(name: str) -> tuple[str, Labels]:
    return "edgeagent_triggers_total", (("outcome", name),)


def events(name: str, via: str) -> tuple[str, Labels]:
    return "edgeagent_events_total", (("outcome", name), ("via", via))


async def test_what_an_agent_did_is_what_prometheus_sees_through_an_outage_too(
    broker: Mosquitto, local_broker: Mosquitto, tmp_path: Path
) -> None:
    port = free_port()
    tables = {"uplink": "accept_dry_run = true", "mqtt": f'listen = "127.0.0.1:{port}"'}
    async with (
        Dispatcher(tmp_path / "d1", broker.url),
        Agent(tmp_path / "agent", broker.url, local=local_broker.url, tables=tables) as agent,
        MqttClient(local_broker.url, "device") as device,
        MqttClient(f"mqtt://127.0.0.1:{port}", "own") as own,
    ):
        await agent.logged("link_up", 2)
        await agent.triggered("boiler-1", HOT, Idempotency_Key="a")
        await agent.triggered("boiler-1", HOT, Idempotency_Key="a")
        await agent.send("boiler-1", COLD)
        await device.publish("sensors/boiler-2/data", json.dumps(HOT).encode())
        await own.publish("events/boiler-3", json.dumps(HOT).encode())
        values = await until_scraped(
            agent,
            {
                events("stored", "http"): 1,
                events("duplicate", "http"): 1,
                events("filtered", "http"): 1,
                events("stored", "mqtt"): 1,
                events("stored", "listener"): 1,
                outcome("accepted"): 3,
                outcome("settled"): 3,
                state("pending"): 0,
                ("edgeagent_answer_seconds_count", ()): 3,
                ("edgeagent_link_up", (("link", "local"),)): 1,
                ("edgeagent_link_up", UPLINK): 1,
                ("edgeagent_listener_devices", ()): 1,
                ("edgeagent_account_balanced", ()): 1,
            },
        )
        assert values["edgeagent_rule_triggers_total", (("outcome", "settled"), ("rule", "overheat"))] == 3
        assert values["edgeagent_outbox_sync_seconds_count", ()] >= 3
        assert values["edgeagent_outbox_written_bytes_total", ()] > 300
        assert ("edgeagent_outbox_oldest_timestamp_seconds", ()) not in values
        acknowledged_at = values["edgeagent_link_last_ack_timestamp_seconds", UPLINK]
        assert abs(time.time() - acknowledged_at) < 120

        account = (await agent.get("/v1/stats"))["account"]["triggers"]
        for name, value in account.items():
            assert (await scraped(agent))[state(name) if name in {"pending", "dead"} else outcome(name)] == value

        await broker.stop()
        before = time.time()
        await agent.triggered("boiler-1", HOT)
        values = await until_scraped(agent, {("edgeagent_link_up", UPLINK): 0, state("pending"): 1})
        assert abs(values["edgeagent_outbox_oldest_timestamp_seconds", ()] - before) < 60
        assert values["edgeagent_link_last_ack_timestamp_seconds", UPLINK] == pytest.approx(acknowledged_at, abs=1)
        assert values["edgeagent_link_connects_total", UPLINK] == 1
        await broker.start()
        await until_scraped(agent, {("edgeagent_link_connects_total", UPLINK): 2, state("pending"): 0})


async def test_every_metric_is_parsed_and_told_of(broker: Mosquitto, tmp_path: Path) -> None:
    """docs/metrics.md is compared with what can be shown; here, what is shown is some of that."""
    async with Agent(tmp_path / "agent", broker.url) as agent:
        reply = await ask(agent, Accept="application/openmetrics-text; version=1.0.0")
        assert (reply.status, reply.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        known = {family.name.removesuffix("_total"): family.kind.value for family in agent_metrics()}
        known["edgeagent_triggers"] = "gauge"
        families = parsed(reply.body.decode())
        assert {family.name for family in families} <= known.keys()
        names = {family.name for family in families}
        assert not [name for name in names if name.startswith(("edgeagent_listener_", "edgeagent_webhook_"))]
        head = await ask(agent, "HEAD")
        assert (head.status, head.headers["content-type"]) == (200, reply.headers["content-type"])


async def test_a_restart_begins_the_counters_anew_but_not_the_account(tmp_path: Path) -> None:
    agent = Agent(tmp_path / "agent", NOWHERE)
    await agent.start()
    await agent.triggered("boiler-1", HOT)
    await until_scraped(agent, {outcome("accepted"): 1, events("stored", "http"): 1})
    await agent.kill()
    await agent.start()
    values = await until_scraped(agent, {outcome("accepted"): 1, state("pending"): 1})
    assert values[events("stored", "http")] == 0
    assert values["edgeagent_link_last_ack_timestamp_seconds", UPLINK] == 0
    assert values["edgeagent_link_up", UPLINK] == 0
    assert await agent.stop() == 0


async def test_a_device_that_is_refused_counts_by_the_reason_and_certificates_have_an_end(tmp_path: Path) -> None:
    certificates, port = Certificates(tmp_path), free_port()
    files = {"ca_file": "ca.pem", "cert_file": "server.pem", "key_file": "server.key"}
    keys = "\n".join(f'{key} = "{certificates.file(name)}"' for key, name in files.items())
    users = tmp_path / "users"
    users.touch(0o600)
    tables = {"mqtt": f'listen = "tls://127.0.0.1:{port}"\n{keys}\nusers_file = "{users}"'}
    async with Agent(tmp_path / "agent", NOWHERE, tables=tables) as agent:
        authority = ("--cafile", str(certificates.file("ca.pem")), "--insecure")
        process = await asyncio.create_subprocess_exec(
            *("mosquitto_pub", "-p", str(port), "-t", "events/a", "-m", "{}", "-u", "nobody", "-P", "x", *authority),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert await process.wait() != 0
        name, end = "edgeagent_listener_refused_total", "edgeagent_certificate_expiry_timestamp_seconds"
        values = await until_scraped(agent, {(name, (("reason", "bad_user_name_or_password"),)): 1})
        for kind in ("own", "authority"):
            assert values[end, (("certificate", kind), ("link", "listener"))] > time.time()


async def test_a_disk_that_fails_shows_and_one_that_hangs_holds_up_no_scrape(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    released, asked = threading.Event(), list[Store]()

    def hang(store: Store) -> int:
        asked.append(store)
        released.wait()
        return 1_000

    async with AgentHere(tmp_path / "agent", caplog, NOWHERE) as agent:
        await agent.triggered("boiler-1", HOT)
        agent.filesystem.fail(errno.EIO, "sync")
        await agent.refused("POST", "/v1/events/boiler-1", json.dumps(HOT).encode())
        await until_scraped(agent, {("edgeagent_outbox_failing", ()): 1})
        agent.filesystem.heal()
        await until_scraped(agent, {("edgeagent_outbox_failing", ()): 0})
        monkeypatch.setattr(figures, "_DISK_S", 0.05)
        with monkeypatch.context() as hanging:
            hanging.setattr(figures, "oldest_ms_of", hang)
            try:
                values, _ = await asyncio.gather(scraped(agent), scraped(agent))
                await scraped(agent)
                assert len(asked) == 1, "a disk that hangs is not asked again"
            finally:
                released.set()
        assert (values[state("pending")], values["edgeagent_outbox_failing", ()]) == (1, 0)
        assert ("edgeagent_outbox_oldest_timestamp_seconds", ()) not in values


def test_an_agent_that_nobody_scrapes_loads_nothing_for_it() -> None:
    code = "import sys, edgeagent.agent.agent; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "edgeagent.agent.figures" in loaded
    assert not loaded & {"edgeagent.agent.metrics", "edgeagent.common.exposition", "edgeagent.host.process"}


async def test_a_dispatcher_is_scraped_too(broker: Mosquitto, tmp_path: Path) -> None:
    port = free_port()
    async with Dispatcher(tmp_path / "d1", broker.url, f'[http]\nlisten = "127.0.0.1:{port}"') as dispatcher:

        async def answer() -> dict[str, Any]:
            wire = Wire(*await asyncio.open_connection("127.0.0.1", port))
            await wire.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            reply = await wire.reply()
            await wire.close()
            return {name: value for (name, _), value in values_of(reply.body.decode()).items()}

        values = await until_answer(
            answer, lambda values: values["edgeagent_dispatch_connected"] == 1, "connected", more=dispatcher.tail
        )
        assert values["edgeagent_dispatch_build_info"] == 1
        assert values["process_resident_memory_bytes"] > 1 << 20
