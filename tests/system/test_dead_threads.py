"""A thread that dies, or never comes back: the process ends in time, lets go of everything, and starts again."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from edgeagent.cli.client import AgentRefused
from edgeagent.errors import AgentUnreachable
from edgeagent.host.ending import EXIT_TIMEOUT_S
from tests.fakes.programs import Agent, Dispatcher, Program
from tests.waiting import until

HOT = {"temp": 97.1}
NOBODY = "mqtt://127.0.0.1:9"
# For this machine to notice; the deadline itself is EXIT_TIMEOUT_S.
LATE_S = 40.0


class FaultyAgent(Agent):
    """See `tests.fakes.faulty_program`."""

    module = "tests.fakes.faulty_program"

    def __init__(self, directory: Path, uplink: str, *, deadline: bool = False) -> None:
        super().__init__(directory, uplink)
        if not deadline:
            self.fault("patient")  # what ends at all ends without it

    def fault(self, name: str) -> None:
        """Let it begin."""
        (self.directory / name).touch()

    async def starts_again(self) -> None:
        """As systemd does it, on the same directory."""
        for file in (*self.directory.glob("disk-*"), *self.directory.glob("ledger-*")):
            file.unlink()
        await self.start()


class FaultyDispatcher(Dispatcher):
    """See `tests.fakes.faulty_program`."""

    module = "tests.fakes.faulty_program"


@pytest.mark.parametrize("fault", ["disk-memory", "disk-exit"])
async def test_a_disk_thread_that_dies_fails_who_waits_and_ends_the_process_at_once(fault: str, tmp_path: Path) -> None:
    async with FaultyAgent(tmp_path / "agent", NOBODY) as agent:
        kept = [await agent.triggered("boiler-1", {**HOT, "n": number}) for number in range(5)]
        agent.fault(fault)
        posts = [agent.request("POST", "/v1/events/boiler-1", json.dumps({**HOT, "n": n}).encode()) for n in range(8)]
        answers = await asyncio.gather(*posts, return_exceptions=True)
        assert await agent.exit_code() == 1
        assert "ended_by_force" not in agent.log
        for answer in answers:
            assert isinstance(answer, AgentRefused | AgentUnreachable), answer
            assert not isinstance(answer, AgentRefused) or answer.status == 503
        critical = [line for line in agent.log.splitlines() if " CRITICAL " in line]
        assert any("the disk thread has died" in line and "faulty_program.py" in line for line in critical), critical
        assert "\nTraceback" not in agent.log
        await agent.starts_again()
        stats = await agent.get("/v1/stats")
        assert stats["account"]["triggers"]["pending"] >= len(kept)
        assert stats["account"]["balanced"]


async def test_a_ledger_thread_that_dies_ends_the_process_at_once(tmp_path: Path) -> None:
    async with FaultyAgent(tmp_path / "agent", NOBODY) as agent:
        kept = await agent.triggered("boiler-1", HOT)
        agent.fault("ledger-memory")
        with pytest.raises((AgentRefused, AgentUnreachable)):
            await agent.get("/v1/triggers?limit=10")
        assert await agent.exit_code() == 1
        assert "ended_by_force" not in agent.log
        assert "the ledger thread has died" in agent.log
        await agent.starts_again()
        assert (await agent.get(f"/v1/triggers/{kept}"))["state"] == "buffered"


async def test_a_disk_that_never_answers_does_not_keep_the_process_from_ending(tmp_path: Path) -> None:
    async with FaultyAgent(tmp_path / "agent", NOBODY, deadline=True) as agent:
        kept = await agent.triggered("boiler-1", HOT)
        agent.fault("disk-hang")
        waiting = asyncio.create_task(agent.request("POST", "/v1/events/boiler-1", json.dumps(HOT).encode()))
        await until(lambda: hangs(agent), "the disk that hangs", seen=agent.tail)
        agent.send_signal(15)
        async with asyncio.timeout(EXIT_TIMEOUT_S + LATE_S):
            assert await agent.exit_code() == 1
        with pytest.raises((AgentRefused, AgentUnreachable)):
            await waiting
        (line,) = [line for line in agent.log.splitlines() if "event=ended_by_force" in line]
        assert " CRITICAL " in line
        assert "disk in " in line
        await agent.starts_again()
        await agent.state(kept, "buffered")


async def test_a_disk_that_never_answers_is_told_to_the_watchdog_by_silence(tmp_path: Path) -> None:
    agent = FaultyAgent(tmp_path / "agent", NOBODY)
    agent.environment["WATCHDOG_USEC"] = "2000000"
    await agent.start()
    agent.fault("disk-hang")
    waiting = asyncio.create_task(agent.request("POST", "/v1/events/boiler-1", json.dumps(HOT).encode()))
    await agent.logged("thread_stuck")
    assert hangs(agent)
    await agent.kill()  # as systemd does when it hears nothing
    with pytest.raises((AgentRefused, AgentUnreachable)):
        await waiting
    await agent.starts_again()
    assert await agent.stop() == 0


@pytest.mark.parametrize("program", [FaultyAgent, FaultyDispatcher])
async def test_a_name_that_is_looked_up_does_not_hold_a_stop_up(
    program: type[FaultyAgent | FaultyDispatcher], tmp_path: Path
) -> None:
    stopped = program(tmp_path / "program", "mqtt://broker.example:1883")
    for fault in ("patient", "names-hang"):
        (stopped.directory / fault).touch()
    stopped.spawn()
    await until(lambda: hangs(stopped), "a name being looked up", seen=stopped.tail)
    stopped.send_signal(15)
    assert await stopped.exit_code() == 0, stopped.log
    assert "ended_by_force" not in stopped.log


def hangs(program: Program) -> bool:
    return (program.directory / "it-hangs").exists()
