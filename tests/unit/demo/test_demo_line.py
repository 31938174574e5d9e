from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from edgeagent.demo.line import Line
from tests.fakes.listener import Listener
from tests.waiting import DEADLINE_S


class Echo:
    """A server that answers every line with itself, and keeps what it heard."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.arrived = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        while line := await reader.readline():
            self.heard.append(line)
            self.arrived.set()
            writer.write(line)
        writer.close()
        await writer.wait_closed()


class Client:
    """Says lines to the echo and waits for the answers."""

    def __init__(self, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self.reader, self.writer = streams

    @classmethod
    async def on(cls, port: int) -> Client:
        """A client that is connected to this port."""
        return cls(await asyncio.open_connection("127.0.0.1", port))

    async def say(self, line: bytes) -> bytes:
        """Send a line; the answer, empty when the connection ends instead."""
        async with asyncio.timeout(DEADLINE_S):
            try:
                self.writer.write(line)
                return await self.reader.readline()
            except ConnectionError:
                return b""

    async def close(self) -> None:
        """Close the connection."""
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


@pytest.fixture
async def echo() -> AsyncIterator[tuple[Echo, Line, int]]:
    heard = Echo()
    async with Listener(heard.serve) as listener:
        line = Line(listener.port)
        port = await line.open()
        yield heard, line, port
        await line.close()


async def test_bytes_pass_both_ways_until_one_side_ends(echo: tuple[Echo, Line, int]) -> None:
    _, _, port = echo
    client = await Client.on(port)
    assert await client.say(b"one\n") == b"one\n"
    assert await client.say(b"two\n") == b"two\n"
    client.writer.write_eof()
    async with asyncio.timeout(DEADLINE_S):
        assert await client.reader.read() == b""
    await client.close()


async def test_a_line_that_loses_answers_still_carries_what_goes_out(echo: tuple[Echo, Line, int]) -> None:
    heard, line, port = echo
    client = await Client.on(port)
    await client.say(b"one\n")
    line.lose_answers()
    heard.arrived.clear()
    client.writer.write(b"two\n")
    async with asyncio.timeout(DEADLINE_S):
        await heard.arrived.wait()
    assert heard.heard == [b"one\n", b"two\n"]
    line.cut()
    assert await client.say(b"") == b""
    await client.close()


async def test_a_cut_breaks_what_is_there_and_what_comes_until_it_is_mended(echo: tuple[Echo, Line, int]) -> None:
    heard, line, port = echo
    before = await Client.on(port)
    await before.say(b"one\n")
    line.cut()
    assert await before.say(b"two\n") == b""
    during = await Client.on(port)
    assert await during.say(b"three\n") == b""
    line.heal()
    after = await Client.on(port)
    assert await after.say(b"four\n") == b"four\n"
    assert heard.heard == [b"one\n", b"four\n"]
    for client in (before, during, after):
        await client.close()


async def test_a_broker_that_is_not_there_ends_the_connection(free_port: int) -> None:
    line = Line(free_port)
    client = await Client.on(await line.open())
    assert await client.say(b"one\n") == b""
    await client.close()
    await line.close()
