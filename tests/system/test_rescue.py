"""A disk that can only be read: what is on it is forwarded, nothing new is taken, and everybody is told why."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from edgeagent.agent.agent import serve
from edgeagent.config import load_agent
from tests.fakes.agent_here import AgentHere
from tests.fakes.cards import mounted, remount
from tests.fakes.engine import Engine
from tests.fakes.faulty_filesystem import CHANGES, FaultyFilesystem
from tests.fakes.mosquitto import Mosquitto, MqttClient
from tests.fakes.programs import Agent
from tests.fakes.tcp_proxy import TcpProxy
from tests.waiting import until

HOT = {"temp": 97.1}
REASON = "Read-only file system"


class AgentForRescue(AgentHere):
    """An agent in this process whose disk may be read-only when it starts; then it is never ready."""

    async def __aenter__(self) -> Self:
        """Start it, and wait until it answers."""
        self._stop.clear()
        config = load_agent(self.config_file)
        serving = serve(config, self.config_file, stop=self._stop, filesystem=self.filesystem)
        self._serving = asyncio.create_task(serving)
        await self.answers("/healthz")
        return self


async def test_an_agent_on_a_read_only_disk_forwards_what_is_there_and_refuses_what_is_new(
    broker: Mosquitto, local_broker: Mosquitto, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with (
        TcpProxy(broker.port) as uplink,
        Engine(broker.url) as engine,
        MqttClient(local_broker.url, "device") as device,
    ):
        agent = AgentForRescue(tmp_path / "agent", caplog, uplink.url, local=local_broker.url)
        async with agent:
            await agent.logged("link_up", 2)
            await uplink.cut()
            promised = {f"overheat-{await agent.triggered('boiler-1', {**HOT, 'n': number})}" for number in range(150)}
        before = {path: path.read_bytes() for path in (agent.directory / "state" / "outbox").rglob("*.seg")}
        agent.filesystem.fail(errno.EROFS, *CHANGES)
        await uplink.heal()
        async with agent:
            await engine.received(150)
            stats = await agent.account(pending=0, settled=150)
            assert set(engine.started) == promised, "more than may be out at a time"
            assert (stats["rescue"], stats["outbox"]["accepting"]) == (True, False)
            assert REASON in stats["outbox"]["failure"]
            refused = await agent.refused("POST", "/v1/events/boiler-1", json.dumps(HOT).encode())
            assert (refused.status, REASON in refused.detail, refused.retry_after_s > 0) == (503, True, True)
            not_ready = await agent.refused("GET", "/readyz")
            assert (not_ready.status, REASON in not_ready.detail) == (503, True)
            await device.publish("sensors/boiler-2/data", json.dumps(HOT).encode())
            await agent.logged("local_held")
            told = agent.told()
            assert (told["agent_rescue"], told["outbox_storage_failed"]) == (1, 0), "once"
            assert "outbox_account_wrong" not in told
        assert {path: path.read_bytes() for path in before} == before
        agent.filesystem = FaultyFilesystem()
        sent = len(engine.triggers)
        async with agent:
            await engine.received(151)  # the held message was never acknowledged, and comes again
            await agent.account(pending=0, settled=151)
            assert promised < set(engine.started)
            assert len(engine.started) == 151, "what was sent again started nothing anew"
            assert len(engine.triggers) >= sent + 151


async def test_what_an_operator_changes_on_a_read_only_disk_is_refused_and_what_he_reads_is_told(
    broker: Mosquitto, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with (
        TcpProxy(broker.port) as uplink,
        Engine(broker.url, answer=lambda _: {"code": 400, "error": "no"}) as engine,
    ):
        agent = AgentForRescue(tmp_path / "agent", caplog, uplink.url)
        async with agent:
            await agent.logged("link_up")
            await uplink.cut()
            correlation = await agent.triggered("boiler-1", HOT)
        agent.filesystem.fail(errno.EROFS, *CHANGES)
        await uplink.heal()
        async with agent:
            await engine.received(1)
            await agent.account(dead=1, pending=0)  # in memory: it is refused again after the next start
            for command in (["replay"], ["discard", "--yes"]):
                code, _, err = await agent.command("dead", *command, correlation)
                assert (code, REASON in err) == (1, True), err
            code, out, _ = await agent.command("dead", "ls", "--json")
            assert (code, correlation in out) == (0, True)
            code, _, err = await agent.command("emit", "boiler-1", json.dumps(HOT))
            assert (code, REASON in err) == (1, True), err


@pytest.fixture
def card(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "agent" / "state") as directory:
        yield directory


@pytest.mark.soak
@pytest.mark.parametrize("has_socket", [True, False])
async def test_a_card_that_is_really_mounted_read_only_is_drained(
    has_socket: bool, broker: Mosquitto, card: Path, tmp_path: Path
) -> None:
    socket = tmp_path / "agent.sock"
    tables = {"http": f'socket = "{socket}"'} if has_socket else {}
    async with TcpProxy(broker.port) as uplink, Engine(broker.url) as engine:
        agent = Agent(card.parent, uplink.url, tables=tables)
        agent.socket = socket if has_socket else agent.socket
        async with agent:
            await agent.logged("link_up")
            await uplink.cut()
            promised = {f"overheat-{await agent.triggered('boiler-1', {**HOT, 'n': number})}" for number in range(300)}
            await agent.kill()
        remount(card, "ro")

        code, out, _ = await agent.command("outbox", "ls")
        assert (code, "300 triggers wait" in out) == (0, True)
        code, out, _ = await agent.command("outbox", "verify")
        assert (code, "nothing is wrong" in out) == (0, True)
        name = next(iter(promised)).removeprefix("overheat-")
        assert (await agent.command("outbox", "show", name))[0] == 0
        copy = tmp_path / "copy.jsonl"
        code, out, err = await agent.command("outbox", "export", str(copy))
        assert (code, "300 triggers copied" in out, err) == (0, True, "")
        assert len(copy.read_text("utf-8").splitlines()) == 302
        code, out, _ = await agent.command("doctor")
        assert (code, "on a disk that is read-only" in out) == (1, True)

        await uplink.heal()
        agent.spawn()
        await engine.received(300)
        assert set(engine.started) == promised
        await until(lambda: "event=ledger_in_memory" in agent.log, "the ledger in memory", seen=agent.tail)
        assert agent.log.count("event=agent_rescue") == 1
        if has_socket:
            await agent.account(pending=0, settled=300)
            code, _, err = await agent.command("emit", "boiler-1", json.dumps(HOT))
            assert (code, REASON in err) == (1, True), err
        else:
            assert "event=socket_unavailable" in agent.log
        assert await agent.stop() == 0

        remount(card, "rw")
        async with agent:
            await agent.account(pending=0, settled=300)
            assert set(engine.started) == promised, "sent again, and nothing started twice"


@pytest.fixture
def failing_card(tmp_path: Path) -> Iterator[Path]:
    """An ext4 file system that turns read-only when it fails; needs the right to mount one."""
    directory, image = tmp_path / "agent" / "state", tmp_path / "card.img"
    directory.mkdir(parents=True)
    with image.open("wb") as stream:
        stream.truncate(96 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop,errors=remount-ro", str(image), str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


@pytest.mark.soak
async def test_a_card_that_turns_read_only_under_a_running_agent_is_drained(
    broker: Mosquitto, failing_card: Path, tmp_path: Path
) -> None:
    async with TcpProxy(broker.port) as uplink, Engine(broker.url) as engine:
        agent = Agent(failing_card.parent, uplink.url, tables={"http": f'socket = "{tmp_path}/agent.sock"'})
        agent.socket = tmp_path / "agent.sock"
        async with agent:
            await agent.logged("link_up")
            promised = {f"overheat-{await agent.triggered('boiler-1', {**HOT, 'n': 0})}"}
            await engine.received(1)
            await uplink.cut()
            promised |= {f"overheat-{await agent.triggered('boiler-1', {**HOT, 'n': number})}" for number in range(300)}
            remount(failing_card, "abort")
            code, _, err = await agent.command("emit", "boiler-1", json.dumps(HOT))
            assert (code, "the disk failed" in err) == (1, True)
            await uplink.heal()
            await engine.received(301)
            await agent.account(pending=0, settled=301)
            assert set(engine.started) == promised
            assert agent.log.count("event=outbox_storage_failed") == 1
            await agent.kill()
            agent.spawn()  # and so it is after a restart, on the same card
            await agent.logged("agent_rescue")
            await agent.logged("agent_started", 2)
            await agent.account(pending=0)
            assert len(engine.triggers) > 301, "they are sent again, since nothing could be kept"
            assert set(engine.started) == promised
