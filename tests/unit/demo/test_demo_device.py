from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from edgeagent.demo.device import DeviceClient
from edgeagent.demo.series import Reading
from edgeagent.errors import AgentUnreachable, CommandFailed
from tests.fakes.listener import Listener
from tests.waiting import DEADLINE_S

READING = Reading("2022-03-29T09:00:00+02:00", 24.27)
ACCEPTED = json.dumps({"accepted": [{"id": "x", "source": "s", "triggers": [{"correlation_id": "c1"}]}]}).encode()


class Agent:
    """Answers requests with what it is given, one after another; None breaks the connection instead."""

    def __init__(self, *answers: tuple[int, bytes] | None) -> None:
        self.answers = list(answers)
        self.bodies: list[bytes] = []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        while self.answers:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            self.bodies.append(await reader.readexactly(length))
            answer = self.answers.pop(0)
            if answer is None:
                break
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (answer[0], len(answer[1]), answer[1]))
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def served(agent: Agent) -> AsyncIterator[DeviceClient]:
    async with Listener(agent.serve) as listener:
        client = DeviceClient(listener.port)
        async with asyncio.timeout(DEADLINE_S):
            yield client
        await client.close()


async def test_readings_go_over_one_connection_and_bring_the_promised_correlation_ids() -> None:
    agent = Agent((202, ACCEPTED), (202, b'{"accepted": [{"triggers": []}]}'))
    async with served(agent) as client:
        assert await client.send(READING) == ["c1"]
        assert await client.send(READING) == []
    assert agent.connections == 1
    assert json.loads(agent.bodies[0]) == {
        "source": "water-main/branch-1",
        "id": "2022-03-29T09:00:00+02:00",
        "type": "reading",
        "time": "2022-03-29T09:00:00+02:00",
        "data": {"flow_l_s": 24.27},
    }


async def test_a_reading_that_nobody_acknowledged_is_sent_again_as_the_same_event() -> None:
    agent = Agent(None, (202, ACCEPTED))
    async with served(agent) as client:
        assert await client.send(READING) == ["c1"]
    assert agent.bodies[0] == agent.bodies[1]


async def test_a_reading_that_is_refused_is_an_error_that_says_why() -> None:
    async with served(Agent((400, b"no such thing"))) as client:
        with pytest.raises(CommandFailed, match="400 no such thing"):
            await client.send(READING)


async def test_a_connection_kept_from_before_a_restart_is_no_error() -> None:
    agent = Agent((202, ACCEPTED), None, (200, b'{"triggers": []}'))
    async with served(agent) as client:
        await client.send(READING)
        assert await client.reports() == []


async def test_an_agent_that_does_not_run_is_told_as_unreachable(free_port: int) -> None:
    with pytest.raises(AgentUnreachable):
        await DeviceClient(free_port).stats()
    assert not await DeviceClient(free_port).ready()
