"""Webhooks as an operator runs them: a real agent, killed at any moment, and receivers that fail."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from random import Random

from tests.fakes.engine import Engine
from tests.fakes.mosquitto import Mosquitto, free_port
from tests.fakes.programs import Agent, Dispatcher, Program
from tests.fakes.webhook_receiver import HANG, WebhookEndpoint
from tests.waiting import until, until_answer


def event(number: int) -> bytes:
    return json.dumps({"source": "boiler-1", "id": f"e-{number}", "data": {"temp": 97.1}}).encode()


async def emitted(agent: Agent, number: int) -> str:
    """Send an event; returns its trigger's correlation id."""
    _, answer = await agent.request("POST", "/v1/events", event(number), Content_Type="application/json")
    return str(answer["accepted"][0]["triggers"][0]["correlation_id"])


def agent_with(directory: Path, broker: Mosquitto, *tables: str) -> Agent:
    relay = "\n".join(f"[[relay.webhook]]\n{table}" for table in tables)
    return Agent(directory, broker.url, tables={"uplink": 'response_timeout = "2s"', "relay": relay})


async def test_whatever_moment_it_is_killed_at_every_start_of_a_workflow_is_posted(
    tmp_path: Path, broker: Mosquitto
) -> None:
    random = Random(7)  # noqa: S311  the same moments each time
    async with WebhookEndpoint() as endpoint, Engine(broker.url):
        agent = agent_with(tmp_path / "gw", broker, f'url = "{endpoint.url}"')
        wanted: set[str] = set()
        faults: list[int | str] = [200, 503, HANG]
        async with agent:
            for round_number in range(6):
                for number in range(5):
                    wanted.add(await emitted(agent, 10 * round_number + number))
                endpoint.answers = [random.choice(faults)]
                await asyncio.sleep(random.uniform(0, 0.8))  # the moment of the kill
                await agent.kill()
                await agent.start()
            endpoint.answers = [200]

            def triggered() -> set[str]:
                return {r.content["correlation_id"] for r in endpoint.requests if r.content["state"] == "triggered"}

            await until(lambda: wanted <= triggered(), "each posted", seen=lambda: (wanted - triggered(), agent.tail()))
            assert await agent.stop() == 0
        assert {request.content["correlation_id"] for request in endpoint.requests} == wanted


async def test_statistics_and_log_tell_what_became_of_deliveries_and_no_token(
    tmp_path: Path, broker: Mosquitto
) -> None:
    async with WebhookEndpoint() as refusing, WebhookEndpoint() as there, Engine(broker.url):
        refusing.answers = [500, 403]
        tables = [f'url = "{endpoint.url}"\nstates = ["triggered"]' for endpoint in (refusing, there)]
        async with agent_with(tmp_path / "gw", broker, *tables) as agent:
            await emitted(agent, 1)
            stats = await until_answer(
                lambda: agent.get("/v1/stats"),
                lambda stats: stats["webhooks"]["outcomes"]["refused"] and stats["webhooks"]["outcomes"]["delivered"],
                "both",
                more=agent.tail,
            )
            assert stats["webhooks"]["outcomes"] == {
                "delivered": 1,
                "retried": 1,
                "refused": 1,
                "gone": 0,
                "given_up": 0,
                "dropped": 0,
            }
            first, _ = stats["webhooks"]["receivers"]
            assert first["webhook"] == "relay.webhook[0]"
            assert first["receiver"] == f"http://127.0.0.1:{refusing.port}/…"
            assert "geheim" not in json.dumps(stats) + agent.log
            assert "event=webhook_refused" in agent.log


async def test_check_tells_everything_that_cannot_work_and_no_secret(tmp_path: Path, broker: Mosquitto) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n", "utf-8")
    tables = (
        'url = "ftp://host/geheim"',
        f'url = "https://a.example/x"\nsecret_file = "{secret}"\nstates = ["fail"]',
        'url = "https://a.example/x"\nbody = \'{"text": "{stat}"}\'\nallow_hosts = ["b.example"]',
        'url = "http://user:geheim@a.example/"',
    )
    agent = agent_with(tmp_path / "gw", broker, *tables)
    check = Program("check", tmp_path / "check", agent.config_file.read_text("utf-8"))
    check.spawn()
    assert await check.exit_code() == 78
    for expected in (
        "relay.webhook[0].url: is not the address of a receiver",
        "relay.webhook[1].states[0]: must be one of buffered",
        "relay.webhook[1].secret_file:",
        "line 1 is not whsec_",
        "relay.webhook[2].body: has an unknown name {stat}, did you mean {state}?",
        "relay.webhook[2].url: the host a.example is not in allow_hosts",
        "relay.webhook[3].url: must hold no user, password or fragment",
    ):
        assert expected in check.log
    assert "geheim" not in check.log
    assert "hunter2" not in check.log


async def test_a_rehearsing_dispatcher_posts_what_it_publishes_and_counts_it(tmp_path: Path, broker: Mosquitto) -> None:
    port = free_port()
    async with WebhookEndpoint() as endpoint:
        tables = f'[[webhook]]\nurl = "{endpoint.url}"\nstates = ["succeeded"]\n[http]\nlisten = "127.0.0.1:{port}"\n'
        async with (
            Dispatcher(tmp_path / "dispatch", broker.url, tables=tables),
            Agent(tmp_path / "gw", broker.url, tables={"uplink": "accept_dry_run = true"}) as agent,
        ):
            correlation_id = await emitted(agent, 1)
            await endpoint.until(1)
            (request,) = endpoint.requests
            assert request.content["correlation_id"] == correlation_id
            assert request.content["dry_run"] is True

            async def metrics() -> str:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                text = (await reader.read()).decode()
                writer.close()
                return text

            counted = 'edgeagent_dispatch_webhook_deliveries_total{outcome="delivered"} 1'
            await until_answer(metrics, lambda text: counted in text, "the delivery to be counted")
