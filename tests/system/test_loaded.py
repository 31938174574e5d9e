"""What an agent loads is what its configuration uses: every module costs memory as long as the agent runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path

import httpx

from tests.fakes.mosquitto import Mosquitto, free_port
from tests.fakes.programs import Agent
from tests.fakes.telling_program import MARK
from tests.waiting import DEADLINE_S

OPENSSL = ("ssl", "_ssl", "_hashlib", "hashlib", "hmac", "secrets")
UNUSED = (
    *("email", "http.client", "httpx", "httpcore", "aiomqtt", "paho", "ctypes", "shutil", "bz2", "lzma"),
    *("tempfile", "importlib.resources", "importlib.metadata", "zoneinfo", "sysconfig", "difflib", "typing_extensions"),
    *("edgeagent.argo", "edgeagent.demo", "edgeagent.dispatcher", "edgeagent.rehearsal", "edgeagent.webhooks"),
    *("edgeagent.cli.client", "edgeagent.agent.where", "edgeagent.agent.live_knowledge", "edgeagent.agent.metrics"),
    *("edgeagent.agent.operator", "edgeagent.outbox.verify", "edgeagent.agent.canaries", "argparse", "json"),
    *("edgeagent.lang.govaluate", "edgeagent.lang.re2.pattern", "edgeagent.lang.re2.syntax"),
    *("edgeagent.rules.filter_expr", "edgeagent.rules.filter_time", "edgeagent.workflows.templates"),
)
LOCAL = ("edgeagent.agent.local",)
LISTENER = ("edgeagent.listener", "edgeagent.agent.listener_parts", "edgeagent.agent.listener_events")


class TellingAgent(Agent):
    """An agent that tells what it has loaded when it ends."""

    module = "tests.fakes.telling_program"

    async def loaded(self) -> set[str]:
        """Stop it; the modules that it had loaded by then."""
        assert await self.stop() == 0
        lines = [line for line in self.log.splitlines() if line.startswith(MARK)]
        return set(lines[-1].split()[1:])


@contextlib.asynccontextmanager
async def at_rest(directory: Path, tables: dict[str, str], local: str | None = None) -> AsyncIterator[TellingAgent]:
    """An agent that was connected, and whose uplink is gone."""
    place = directory / "uplink"
    place.mkdir()
    async with Mosquitto(place) as broker:
        agent = TellingAgent(directory / "agent", broker.url, tables=tables, local=local)
        async with agent:
            await agent.logged("link_up", 1 if local is None else 2)
            await broker.stop()
            await agent.logged("link_down")
            yield agent


def among(loaded: set[str], names: tuple[str, ...]) -> list[str]:
    """Those of the modules that are one of these names, or inside it."""
    return sorted(module for module in loaded if any(module == name or module.startswith(f"{name}.") for name in names))


def status_of(url: str) -> int:
    return httpx.get(url, timeout=DEADLINE_S).status_code


async def test_an_agent_with_http_and_an_uplink_loads_nothing_for_anything_else(tmp_path: Path) -> None:
    async with at_rest(tmp_path, {}) as agent:
        loaded = await agent.loaded()
    assert "edgeagent.agent.agent" in loaded
    assert among(loaded, (*OPENSSL, *UNUSED, *LOCAL, *LISTENER)) == []


async def test_nor_does_one_with_a_local_broker(broker: Mosquitto, tmp_path: Path) -> None:
    async with at_rest(tmp_path, {}, local=broker.url) as agent:
        loaded = await agent.loaded()
    assert among(loaded, (*OPENSSL, *UNUSED, *LISTENER)) == []


async def test_nor_does_one_with_a_listener_except_for_that(tmp_path: Path) -> None:
    async with at_rest(
        tmp_path, {"mqtt": f'listen = ["127.0.0.1:{free_port()}"]\n[[mqtt.subscribe]]\ntopic = "a"'}
    ) as agent:
        loaded = await agent.loaded()
    assert among(loaded, LISTENER)
    assert among(loaded, (*OPENSSL, *UNUSED, *LOCAL)) == []


async def test_whoever_asks_it_makes_it_load_neither_openssl_nor_a_listener(broker: Mosquitto, tmp_path: Path) -> None:
    port = free_port()
    agent = TellingAgent(tmp_path / "agent", broker.url, listen=f"127.0.0.1:{port}")
    async with agent:
        await agent.logged("link_up")
        for path in ("/readyz", "/v1/stats", "/v1/series", "/v1/devices", "/v1/triggers"):
            await agent.get(path)
        for path in ("/", "/page.js", "/metrics"):
            assert await asyncio.to_thread(status_of, f"http://127.0.0.1:{port}{path}") == HTTPStatus.OK
        loaded = await agent.loaded()
    assert "edgeagent.agent.metrics" in loaded
    assert among(loaded, (*OPENSSL, *LISTENER)) == []
