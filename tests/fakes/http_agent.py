"""A served fake agent, and raw ways to talk to it."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

from edgeagent.httpapi.server import HttpServer
from edgeagent.httpapi.timeouts import Timeouts
from edgeagent.ports.large import LargeDataPort
from tests.fakes.device_port import FakeDevice, FakeOperator, FakeWatch
from tests.waiting import DEADLINE_S

HOST = b"Host: localhost\r\n"


def post(source: str = "boiler-1", body: bytes = b'{"temp":97.1}', extra: bytes = b"") -> bytes:
    """A whole request that sends one event."""
    head = b"POST /v1/events/%b HTTP/1.1\r\n%b%bContent-Length: %d\r\n\r\n"
    return head % (source.encode(), HOST, extra, len(body)) + body


def get(path: str, extra: bytes = b"") -> bytes:
    """A whole request that reads."""
    return b"GET %b HTTP/1.1\r\n%b%b\r\n" % (path.encode(), HOST, extra)


class Reply(NamedTuple):
    """One parsed answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


class Wire:
    """A client connection on which bytes are sent as they are."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> Self:
        """Send bytes."""
        self.writer.write(data)
        await self.writer.drain()
        return self

    async def reply(self, *, has_body: bool = True) -> Reply:
        """The next answer."""
        async with asyncio.timeout(DEADLINE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
            body = await self.reader.readexactly(int(headers.get("content-length", "0"))) if has_body else b""
        return Reply(int(head[0].split(" ")[1]), headers, body)

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        async with asyncio.timeout(DEADLINE_S):
            return await self.reader.read()

    async def close(self) -> None:
        """Go away."""
        self.writer.close()
        await self.writer.wait_closed()


class Agent:
    """A server over fakes, on TCP."""

    def __init__(self, server: HttpServer, device: FakeDevice, operator: FakeOperator, watch: FakeWatch) -> None:
        self.server = server
        self.device = device
        self.operator = operator
        self.watch = watch
        self.port = int(server.addresses[0].rpartition(":")[2])
        self._wires: list[Wire] = []

    async def connect(self) -> Wire:
        """A raw connection to the TCP listener, closed at the end of the test."""
        wire = Wire(*await asyncio.open_connection("127.0.0.1", self.port))
        self._wires.append(wire)
        return wire

    async def connect_unix(self, path: Path) -> Wire:
        """A raw connection to the Unix socket."""
        wire = Wire(*await asyncio.open_unix_connection(path))
        self._wires.append(wire)
        return wire

    async def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Reply:
        """One request by the standard library's client on a connection of its own."""

        def exchange() -> Reply:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
            try:
                connection.request(method, path, body, headers or {})
                response = connection.getresponse()
                return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
            finally:
                connection.close()

        return await asyncio.to_thread(exchange)

    async def close_wires(self) -> None:
        """Close the raw connections."""
        for wire in self._wires:
            wire.writer.transport.abort()


@asynccontextmanager
async def serving(
    *,
    timeouts: Timeouts | None = None,
    max_event_bytes: int = 1000,
    max_connections: int = 64,
    token_file: str = "",
    socket_path: Path | None = None,
    page: bool = True,
    device: FakeDevice | None = None,
    large: LargeDataPort | None = None,
) -> AsyncIterator[Agent]:
    """A running server; whatever the loop's exception handler hears fails the test."""
    unhandled: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: unhandled.append(context))
    device, operator, watch = device or FakeDevice(), FakeOperator(), FakeWatch()
    server = HttpServer(
        device,
        operator,
        watch,
        max_event_bytes=max_event_bytes,
        max_connections=max_connections,
        token_file=token_file,
        page=page,
        timeouts=timeouts or Timeouts(),
        large=large,
    )
    await server.start_tcp("127.0.0.1", 0)
    if socket_path is not None:
        await server.start_unix(socket_path)
    agent = Agent(server, device, operator, watch)
    try:
        yield agent
    finally:
        await agent.close_wires()
        await server.close(0)
    assert not unhandled


def free_listener() -> socket.socket:
    """A listening TCP socket on loopback."""
    return socket.create_server(("127.0.0.1", 0))
