"""The link over AMQP on a real socket, against peers that lie, stall or close."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from edgeagent.amqp import link
from edgeagent.common.units import Duration
from edgeagent.config.tables import Connection
from edgeagent.links.session import keep_connected
from edgeagent.ports.link import Publication, Subscription
from tests.ending import end
from tests.fakes.amqp_peer import AmqpPeer, start
from tests.fakes.mosquitto import MqttClient

Play = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def against(play: Play, *, keepalive: Duration | None = None) -> AsyncIterator[MqttClient]:
    """A client of a server that plays this on each connection."""
    running = set[asyncio.Task[None]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await play(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(serve(reader, writer))
        running.add(task)

    server = await asyncio.start_server(served, "127.0.0.1")
    url = f"amqp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    client = MqttClient(url, "gw")
    session = asyncio.create_task(
        keep_connected(
            Connection(url=url, keepalive=keepalive or Duration(30)),
            client,
            client_id="gw",
            subscriptions=[Subscription("a")],
            base_s=0.05,
            cap_s=0.1,
        )
    )
    try:
        yield client
    finally:
        await end(session)
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await server.wait_closed()


async def open_as_a_broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer as a broker does, until the client consumes and publishes."""
    peer = AmqpPeer()
    assert await reader.readexactly(8) == peer.first
    writer.write(peer.framed(0, start()))
    while "Confirm.Select" not in [method.name for _, method in peer.methods]:
        writer.write(peer.answers(await reader.read(65536)))


async def test_a_broker_that_falls_silent_is_given_up_and_tried_again() -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await open_as_a_broker(reader, writer)
        await reader.read()

    async with against(play, keepalive=Duration(1)) as client:
        await client.until(lambda: len(client.ups) == 2, "the next connection")
        assert "not even a heartbeat" in str(client.downs[0])


async def test_a_broker_that_sends_rubbish_in_use_is_left_with_a_reason() -> None:
    is_up = asyncio.Event()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await open_as_a_broker(reader, writer)
        await is_up.wait()
        writer.write(b"\x01\x00\x01\x00\x00\x00\x04\xff\xff\xff\xff\xce")
        await reader.read()

    async with against(play) as client:
        await client.wait_up()
        is_up.set()
        await client.until(lambda: len(client.downs) == 2, "two ends")
        assert "the broker sent a malformed frame" in str(client.downs[0])


async def test_a_server_of_something_else_is_no_broker() -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with against(play) as client:
        await client.until(lambda: bool(client.downs), "the end")
        assert "the broker sent something that is no frame of AMQP" in str(client.downs[0])
        assert not client.ups


async def test_a_server_that_closes_at_once_is_asked_what_it_speaks() -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.close()

    async with against(play) as client:
        await client.until(lambda: bool(client.downs), "the end")
        assert "does it speak AMQP 0-9-1 here" in str(client.downs[0])


async def test_a_broker_that_confirms_nothing_is_left_so_that_what_is_in_flight_goes_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(link, "CONFIRM_S", 0.2)

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await open_as_a_broker(reader, writer)
        await reader.read()

    async with against(play) as client:
        await client.until(lambda: client.link is not None, "a connection")
        assert client.link is not None
        client.link.publish([Publication(1, "a", b"")])
        await client.until(lambda: bool(client.downs), "the end")
        assert "has not confirmed a publication" in str(client.downs[0])
        assert not client.acks
