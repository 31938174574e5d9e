from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from edgeagent.demo.device import DeviceClient
from edgeagent.errors import AgentUnreachable, CommandFailed
from tests.fakes.listener import Listener
from tests.waiting import DEADLINE_S

NONE = (200, b'{"triggers": []}')


class Agent:
    """Answers requests with what it is given, one after another; None breaks the connection instead."""

    def __init__(self, *answers: tuple[int, bytes] | None) -> None:
        self.answers = list(answers)
        self.asked: list[bytes] = []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        while self.answers:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            self.asked.append(head.split(b"\r\n")[0])
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


async def test_questions_go_over_one_connection() -> None:
    agent = Agent(NONE, NONE)
    async with served(agent) as client:
        assert await client.reports() == []
        assert await client.reports("&state=succeeded", limit=5) == []
    assert agent.connections == 1
    assert agent.asked == [
        b"GET /v1/triggers?limit=1000 HTTP/1.1",
        b"GET /v1/triggers?limit=5&state=succeeded HTTP/1.1",
    ]


async def test_a_question_that_is_refused_is_an_error_that_says_why() -> None:
    async with served(Agent((400, b"no such thing"))) as client:
        with pytest.raises(CommandFailed, match="400 no such thing"):
            await client.reports()


async def test_a_connection_kept_from_before_a_restart_is_no_error() -> None:
    agent = Agent(NONE, None, NONE)
    async with served(agent) as client:
        await client.reports()
        assert await client.reports() == []
    assert agent.connections == 2


async def test_an_agent_that_does_not_run_is_told_as_unreachable(free_port: int) -> None:
    with pytest.raises(AgentUnreachable):
        await DeviceClient(free_port).stats()
    assert not await DeviceClient(free_port).ready()
