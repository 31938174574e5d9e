"""The whole agent on a disk that fails: in this process over a disk with a switch, and in its own on a full one."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.cli.client import AgentRefused
from edgeagent.errors import StorageFailed
from edgeagent.ledger.ledger import Ledger
from edgeagent.outbox import unkept as unkept_module
from tests.fakes.agent_here import FILLER, HOT, AgentHere
from tests.fakes.engine import Engine
from tests.fakes.faulty_filesystem import CHANGES, NEW_SPACE, FaultyFilesystem
from tests.fakes.mosquitto import Mosquitto, MqttClient
from tests.fakes.programs import Agent
from tests.fakes.tcp_proxy import TcpProxy
from tests.waiting import until

FAULTS = {
    "full": (errno.ENOSPC, NEW_SPACE, "No space left on device"),
    "write": (errno.EIO, ("write",), "Input/output error"),
    "sync": (errno.EIO, ("sync",), "Input/output error"),
    "read-only": (errno.EROFS, CHANGES, "Read-only file system"),
}


@pytest.fixture
def make_agent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., AgentHere]:
    """Makes an agent of this process that keeps releases soon."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(unkept_module, "CHECKPOINT_S", 0.2)
    return lambda uplink, **options: AgentHere(tmp_path / "agent", caplog, uplink, **options)


def numbers(engine: Engine, source: str) -> list[int]:
    """The parameter `n` of what a source has started, in the order of the first publishes."""
    found: dict[str, int] = {}
    for trigger in engine.triggers:
        values = {entry["name"]: entry["value"] for entry in trigger["workflow"]["spec"]["arguments"]["parameters"]}
        if values["device"] == source:
            found.setdefault(trigger["correlation_id"], int(values["temp"]))
    return list(found.values())


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_failing_disk_takes_nothing_drains_what_is_there_and_is_used_again_by_itself(
    fault: str, broker: Mosquitto, local_broker: Mosquitto, make_agent: Callable[..., AgentHere]
) -> None:
    error, operations, reason = FAULTS[fault]
    async with (
        TcpProxy(broker.port) as uplink,
        Engine(broker.url) as engine,
        MqttClient(local_broker.url, "device") as device,
    ):
        agent = make_agent(uplink.url, local=local_broker.url)
        async with agent:
            await agent.logged("link_up", 2)
            await uplink.cut()
            promised = {f"overheat-{await agent.triggered('boiler-1', {**HOT, 'n': number})}" for number in range(5)}

            agent.filesystem.fail(error, *operations)
            refused = await agent.fill(promised)
            assert refused.status == 503
            assert reason in refused.detail
            assert refused.retry_after_s > 0
            not_ready = await agent.refused("GET", "/readyz")
            assert (not_ready.status, reason in not_ready.detail) == (503, True)
            for number in range(20):
                payload = json.dumps({"temp": 100 + number, "filler": FILLER}).encode()
                await device.publish("sensors/boiler-2/data", payload)
            await agent.logged("local_held")
            assert reason in (await agent.get("/v1/stats"))["local"]["held"]

            cursor = agent.directory / "state" / "outbox" / "cursor"
            synced = agent.filesystem.syncs[cursor]
            await uplink.heal()
            await agent.account(pending=0, settled=len(promised))
            assert set(engine.started) == promised
            if fault == "full":  # the checkpoint needs no new space: nothing of this is sent again after a crash
                await until(lambda: agent.filesystem.syncs[cursor] > synced, "a checkpoint", seen=agent.tail)
            assert (await agent.refused("GET", "/readyz")).status == 503

            agent.filesystem.heal()
            await agent.ready()
            await engine.received(len(promised) + 20)
            await agent.account(pending=0, settled=len(promised) + 20)
            assert numbers(engine, "boiler-2") == [100 + number for number in range(20)]
            assert agent.filesystem.synced_again == []
            told = agent.told()
            assert told.pop("link_down") <= 3  # of the cut uplink, once for each reason
            assert told == Counter(["outbox_storage_failed", "outbox_storage_recovered", "local_held"])
        agent.filesystem = FaultyFilesystem()
        sent = len(engine.triggers)
        async with agent:
            await agent.account(pending=0, settled=len(promised) + 20)
            await agent.triggered("boiler-1", HOT)
            await agent.account(pending=0, settled=len(promised) + 21)
            assert len(engine.triggers) == sent + 1, "what was settled is not sent again"


@pytest.mark.parametrize("returns", [True, False])
async def test_a_directory_that_vanishes_is_noticed_and_used_again_when_it_is_back(
    returns: bool, broker: Mosquitto, make_agent: Callable[..., AgentHere]
) -> None:
    async with TcpProxy(broker.port) as uplink, Engine(broker.url) as engine:
        agent = make_agent(uplink.url)
        async with agent:
            await agent.logged("link_up")
            await uplink.cut()
            for number in range(10):
                await agent.triggered("boiler-1", {**HOT, "n": number})
        async with agent:  # so that they are on the disk, and not in memory any more
            normal = agent.directory / "state" / "outbox" / "normal"
            aside = agent.directory / "aside"
            if returns:
                normal.rename(aside)
            else:
                shutil.rmtree(normal)
            refused = await agent.refused("POST", "/v1/events/boiler-1", json.dumps(HOT).encode())
            assert (refused.status, "No such file or directory" in refused.detail) == (503, True)
            assert (await agent.refused("GET", "/readyz")).status == 503
            await uplink.heal()
            await agent.logged("outbox_unreadable")
            if returns:
                aside.rename(normal)
            else:
                normal.mkdir()
            await agent.ready()
            await agent.triggered("boiler-1", {**HOT, "n": 10})
            kept, damaged = (11, 0) if returns else (1, 10)
            await agent.account(accepted=11, settled=kept, damaged=damaged, pending=0)
            assert len(engine.started) == kept
            told = agent.told()
            assert told.pop("link_down") <= 3
            assert set(told.values()) == {1}, told
            lost = "lost 10 triggers of log normal, seq 1 to 10"
            assert (lost in agent.log) is not returns
            assert agent.running()


async def test_a_ledger_that_fails_stops_neither_events_nor_settling_and_forgets_no_answer(
    broker: Mosquitto, make_agent: Callable[..., AgentHere], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = False
    on_thread = Ledger._on_thread

    async def refuse(ledger: Ledger, work: Callable[[], Any]) -> Any:
        if failing:
            raise StorageFailed("use", "ledger.db", "database or disk is full")
        return await on_thread(ledger, work)

    monkeypatch.setattr(Ledger, "_on_thread", refuse)
    async with Engine(broker.url) as engine:
        agent = make_agent(broker.url, local=broker.url)
        async with agent:
            await agent.logged("link_up", 2)
            failing = True
            correlations = [await agent.triggered("boiler-1", {**HOT, "n": number}) for number in range(100)]
            await agent.account(accepted=100, settled=100)
            assert len(engine.triggers) == 100, "each was sent once"
            failing = False
            for correlation in correlations:
                await agent.state(correlation, "triggered")
            # The broker was not left with answers that nobody acknowledges: more than its window come through.
            for part in range(3):
                lines = [json.dumps({"source": "boiler-2", "data": {**HOT, "n": [part, n]}}) for n in range(100)]
                body = "\n".join(lines).encode()
                await agent.request("POST", "/v1/events", body, Content_Type="application/x-ndjson")
            await agent.account(accepted=400, settled=400)
            assert len(engine.triggers) == 400
            told = agent.told()
            assert set(told.values()) == {1}, told


async def test_a_lost_session_of_the_local_broker_on_a_failing_disk_holds_its_messages(
    broker: Mosquitto, local_broker: Mosquitto, make_agent: Callable[..., AgentHere]
) -> None:
    async with Engine(broker.url) as engine, MqttClient(local_broker.url, "device") as device:
        agent = make_agent(broker.url, local=local_broker.url)
        async with agent:  # its first session with this broker: the token of it must be kept
            await agent.logged("link_up", 2)
            agent.filesystem.fail(errno.EROFS, *CHANGES)
            await device.publish("sensors/boiler-2/data", json.dumps(HOT).encode())
            await agent.logged("local_held")
            agent.filesystem.heal()
            await agent.account(received=1, stored=1, settled=1)
            assert len(engine.started) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB; needs the right to mount one."""
    directory = tmp_path / "disk"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", str(directory)], check=True)


@pytest.mark.soak
async def test_a_disk_that_is_really_full_loses_nothing_even_through_a_restart(
    broker: Mosquitto, local_broker: Mosquitto, small_disk: Path
) -> None:
    tables = {"outbox": 'max_bytes = "64MiB"\nsegment_bytes = "256KiB"\nmax_event_bytes = "16KiB"'}
    async with (
        TcpProxy(broker.port) as uplink,
        Engine(broker.url) as engine,
        MqttClient(local_broker.url, "device") as device,
    ):
        agent = Agent(small_disk / "agent", uplink.url, local=local_broker.url, tables=tables)
        async with agent:
            await agent.logged("link_up", 2)
            await uplink.cut()
            promised: set[str] = set()
            refused: AgentRefused | None = None
            while refused is None:
                data = {**HOT, "n": len(promised), "filler": FILLER}
                try:
                    promised.add(f"overheat-{await agent.triggered('boiler-1', data)}")
                except AgentRefused as exc:
                    refused = exc
            assert (refused.status, "No space left on device" in refused.detail) == (503, True)
            assert len(promised) > 100
            (small_disk / "other").write_bytes(b"")
            with contextlib.suppress(OSError), (small_disk / "other").open("wb", buffering=0) as other:
                while other.write(bytes(4096)):  # whatever is left
                    pass
            await device.publish("sensors/boiler-2/data", json.dumps({**HOT, "filler": FILLER}).encode())
            await agent.kill()
            agent.spawn()  # on the full disk: not ready, and yet it drains
            await uplink.heal()
            await engine.received(len(promised))
            (small_disk / "other").unlink()
            await agent.ready()
            await agent.account(pending=0, settled=len(promised) + 1)
            assert promised < set(engine.started)
            assert len(engine.started) == len(promised) + 1
