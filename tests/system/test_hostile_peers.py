"""Everything that means no good, all at once, beside devices and an engine that do their work."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import secrets
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from edgeagent.common.units import Size
from edgeagent.rules.trigger import correlation_id
from tests.fakes.argo_server import FakeArgo
from tests.fakes.dispatch_group import ArgoDispatcher
from tests.fakes.hostile import AGENT, Hostile
from tests.fakes.mosquitto import Mosquitto, MqttClient
from tests.fakes.programs import RULE, Agent, Program
from tests.waiting import until

UNIT = (Path(__file__).parents[2] / "systemd" / "edgeagent.service").read_text("utf-8")
SETTLING_S = 120.0
PEERS = {"http", "device", "engine", "stranger", "usurper"}
# Of each program, in all: what goes on for ever is told once a minute.
MOST_LOG_BYTES = 1 << 20
_TURN_S = 0.05
_HTTP_CLIENTS = 12


class Devices:
    """Devices that work: each sends an event again until it is taken. `names`: the workflows that there must be."""

    def __init__(self, http_port: int, local: str) -> None:
        self.names: list[str] = []
        self._port = http_port
        self._local = local

    @property
    def newest(self) -> str | None:
        """The correlation id given out last."""
        return self.names[-1].removeprefix("overheat-") if self.names else None

    async def by_http(self, over: asyncio.Event) -> None:
        """One event after the other, on a connection each."""
        number = 0
        while not over.is_set():
            number += 1
            while (answer := await asyncio.to_thread(self._post, number)) is None:  # noqa: ASYNC110  a device asks
                await asyncio.sleep(_TURN_S)
            self.names.append(f"overheat-{json.loads(answer)['accepted'][0]['triggers'][0]['correlation_id']}")
            await asyncio.sleep(_TURN_S)

    async def by_mqtt(self, over: asyncio.Event) -> None:
        """One event after the other to the local broker, which keeps them for the agent."""
        async with MqttClient(self._local, "device") as client:
            await client.wait_up()
            number = 0
            while not over.is_set():
                number += 1
                await client.publish("sensors/boiler-2/data", json.dumps({"temp": 97, "id": f"m-{number}"}).encode())
                self.names.append(f"overheat-{correlation_id(AGENT, 'boiler-2', f'm-{number}', 'overheat')}")
                await asyncio.sleep(_TURN_S)

    def _post(self, number: int) -> bytes | None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            headers = {"Idempotency-Key": f"h-{number}"}
            connection.request("POST", "/v1/events/boiler-1", b'{"temp":97}', headers)
            response = connection.getresponse()
            answer = response.read()
            assert response.status in {202, 503}, answer
        except (OSError, http.client.HTTPException):
            return None
        else:
            return answer if response.status == 202 else None
        finally:
            connection.close()


def configured(directory: Path, uplink: str, local: str, http_port: int) -> Agent:
    """An agent for devices on both ways, which does not wait long for an answer."""
    tables = {
        "uplink": 'response_timeout = "3s"',
        "local": f'url = "{local}"\n[[local.subscribe]]\ntopic = "sensors/+/data"\nsource = "{{1}}"\nid = "body.id"',
    }
    agent = Agent(directory, uplink, rules=RULE, tables=tables)
    text = agent.config_file.read_text("utf-8")
    agent.config_file.write_text(text.replace('listen = ""', f'listen = "127.0.0.1:{http_port}"'), "utf-8")
    return agent


def most_memory(program: Program) -> int:
    """The most that it ever had, in bytes."""
    match = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{program.pid}/status").read_text("ascii"), re.MULTILINE)
    assert match is not None
    return int(match[1]) << 10


def memory_high() -> int:
    """The limit of the unit, in bytes."""
    match = re.search(r"^MemoryHigh=(\d+)M$", UNIT, re.MULTILINE)
    assert match is not None
    return Size.parse(f"{match[1]}MiB")


async def hold_still(agent: Agent, over: asyncio.Event) -> None:
    """The account balances at every moment."""
    while not over.is_set():
        assert (await agent.get("/v1/stats"))["account"]["balanced"]
        await asyncio.sleep(_TURN_S)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("duration_s", [pytest.param(8), pytest.param(120, marks=[pytest.mark.soak])])
async def test_hostile_peers_all_at_once_cost_no_event_and_start_none_twice(
    tmp_path: Path, free_port: int, duration_s: float
) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # noqa: T201  pytest shows it when the test fails
    for name in ("up", "local"):
        (tmp_path / name).mkdir()
    keeps_all = ("max_queued_messages 0",)
    async with (
        Mosquitto(tmp_path / "up", config=keeps_all) as uplink,
        Mosquitto(tmp_path / "local", config=keeps_all) as local,
        FakeArgo(auto=True, strict=False) as argo,
    ):
        argo.templates.add(("plant", "inspect"))
        dispatcher = ArgoDispatcher(tmp_path / "d0", uplink.url, argo.url)
        agent = configured(tmp_path / "agent", uplink.url, local.url, free_port)
        devices = Devices(free_port, local.url)
        hostile = Hostile(
            Random(seed),  # noqa: S311  chance for tests
            uplink=uplink.url,
            local=local.url,
            http_port=free_port,
            known=lambda: devices.newest,
        )
        await dispatcher.start()
        await agent.start()
        await agent.logged("link_up", 2)
        over = asyncio.Event()
        bad = [hostile.device(), hostile.lying_engine(), hostile.stranger(), hostile.usurper()]
        bad += [hostile.http_client() for _ in range(_HTTP_CLIENTS)]
        async with asyncio.TaskGroup() as group:
            attacks = [group.create_task(each) for each in bad]
            for work in (devices.by_http(over), devices.by_mqtt(over), hold_still(agent, over)):
                group.create_task(work)
            await asyncio.sleep(duration_s)  # so long it goes on
            await until(lambda: hostile.done.keys() >= PEERS, "each to come round", seen=lambda: hostile.done)
            over.set()
            for attack in attacks:
                attack.cancel()

        def created() -> Counter[str]:
            return Counter(workflow["metadata"]["name"] for workflow in argo.workflows())

        wanted = Counter(devices.names)
        assert wanted
        await until(
            lambda: not wanted - created(), "the workflows", seen=lambda: wanted - created(), deadline_s=SETTLING_S
        )
        assert created() == wanted
        await agent.stats(
            lambda stats: not stats["account"]["triggers"]["pending"], "an empty outbox", deadline_s=SETTLING_S
        )
        await agent.account(accepted=len(wanted), settled=len(wanted), dead=0, expired=0, dropped=0, damaged=0)
        for program in (agent, dispatcher):
            assert most_memory(program) < memory_high()
            assert len(program.log.encode()) < MOST_LOG_BYTES
            assert "Traceback" not in program.log
            assert await program.stop() == 0
        assert agent.log.count("event=agent_started") == 1
        code, out, err = await agent.command("outbox", "verify")
        assert code == 0, out + err
