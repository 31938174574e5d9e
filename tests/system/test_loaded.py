"""What an agent loads is what its configuration uses: every module costs memory as long as the agent runs."""

from __future__ import annotations

import ast
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
    *("edgeagent.rules.filter_expr", "edgeagent.rules.filter_time", "edgeagent.rules.workflow", "random", "stringprep"),
    *("edgeagent.workflows.templates", "edgeagent.workflows.types", "edgeagent.workflows.check", "encodings.idna"),
    *("edgeagent.outbox.overlay", "edgeagent.outbox.rescue", "edgeagent.outbox.mended", "edgeagent.outbox.transfer"),
    *("edgeagent.agent.facts", "edgeagent.config.meant", "edgeagent.links.tls", "edgeagent.common.certificates"),
    *("edgeagent.mqtt.qos2", "edgeagent.listener.tls", "edgeagent.listener.tls_failures", "edgeagent.ports.artifacts"),
    *("edgeagent.ports.large", "edgeagent.links.trial", "edgeagent.common.finding"),
)
UNUSED_FOR_A_PAGE = (
    *("ctypes", "random", "encodings.idna", "stringprep", "edgeagent.links.tls", "edgeagent.workflows.types"),
    *("edgeagent.outbox.overlay", "edgeagent.outbox.rescue", "edgeagent.outbox.verify"),
)
ROOT = Path(__file__).parents[2]
# What is unpacked, sorted, compared or stored as a tuple, and what is there before msgspec. All others are Structs: the
# class of a named tuple of five members takes 8 KiB, that of a Struct 3.
NAMED_TUPLES = frozenset(
    (
        *("Closed", "DeviceDelivery", "DueQueries", "EarlierState", "FiringAnswer", "FirstPublication"),
        *("Instant", "Kept", "ListedTrigger", "More", "NoFrame", "Place", "Problem", "UnfinishedPage"),
        *("WaitingParcels", "_Chain", "_Kind", "_Shape", "_Standing"),
    )
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


def named_tuples(loaded: set[str]) -> dict[str, str]:
    """The named tuples in these modules of ours, and where each is."""
    files = {name: Path(*name.split(".")).with_suffix(".py") for name in loaded if name.startswith("edgeagent.")}
    return {
        node.name: name
        for name, file in files.items()
        if (ROOT / file).exists()
        for node in ast.parse((ROOT / file).read_text("utf-8")).body
        if isinstance(node, ast.ClassDef) and "NamedTuple" in map(ast.unparse, node.bases)
    }


def status_of(url: str) -> int:
    return httpx.get(url, timeout=DEADLINE_S).status_code


async def test_an_agent_with_http_and_an_uplink_loads_nothing_for_anything_else(tmp_path: Path) -> None:
    async with at_rest(tmp_path, {}) as agent:
        loaded = await agent.loaded()
    assert "edgeagent.agent.agent" in loaded
    assert among(loaded, (*OPENSSL, *UNUSED, *LOCAL, *LISTENER)) == []
    assert {name: where for name, where in named_tuples(loaded).items() if name not in NAMED_TUPLES} == {}


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
    assert {name: where for name, where in named_tuples(loaded).items() if name not in NAMED_TUPLES} == {}


async def test_whoever_asks_it_makes_it_load_neither_openssl_nor_a_listener(broker: Mosquitto, tmp_path: Path) -> None:
    port = free_port()
    agent = TellingAgent(tmp_path / "agent", broker.url, listen=f"127.0.0.1:{port}")
    async with agent:
        await agent.logged("link_up")
        for path in ("/readyz", "/v1/stats", "/v1/series", "/v1/devices", "/v1/report"):
            await agent.get(path)
        for _ in range(20):  # what they may hold together is more than the budget is tidied up after
            await agent.get("/v1/triggers")
            await agent.get("/v1/dead")
        for path in ("/", "/page.js", "/metrics"):
            assert await asyncio.to_thread(status_of, f"http://127.0.0.1:{port}{path}") == HTTPStatus.OK
        loaded = await agent.loaded()
    assert "edgeagent.agent.metrics" in loaded
    assert among(loaded, (*OPENSSL, *LISTENER, *UNUSED_FOR_A_PAGE)) == []
