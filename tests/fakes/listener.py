"""A TCP server on loopback for tests, which leaves nothing behind.

async with Listener(handler) as listener:
    await something.that_connects_to(listener.port)
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from tests.fakes.mosquitto import free_port

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_ACCEPTING = "_accept_connection2"  # asyncio's coroutine between an accepted socket and its protocol
_HANDSHAKE_S = 1.0


class Listener:
    """Serves each connection with a handler, until it is closed; then it may be opened again on the same port.

    Args:
        handler: is cancelled when the listener is closed. Its connection is closed when it returns; that the peer went
            away is no error in it, and any other error is raised by `close`.
        port: 0 takes any free one.
        tls: to serve with.

    Attributes:
        port: where it listens.
    """

    def __init__(self, handler: Handler, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.port = port or free_port()  # one of the kernel's may be somebody else's when it is opened again
        self._handler = handler
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []

    async def open(self) -> None:
        """Take connections."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """End all connections and take no more."""
        if self._server is None:
            return
        # A closed asyncio server forgets the sockets of connections that it has just accepted: let those begin, while
        # no more are accepted.
        for listening in self._server.sockets:
            asyncio.get_running_loop().remove_reader(listening.fileno())
        accepting = [task for task in asyncio.all_tasks() if getattr(task.get_coro(), "__name__", "") == _ACCEPTING]
        if accepting:
            _, silent = await asyncio.wait(accepting, timeout=_HANDSHAKE_S)
            for task in silent:
                task.cancel()
        self._server.close()
        self._server = None
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._failures:
            raise self._failures[0]

    async def __aenter__(self) -> Self:
        """Open."""
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self.close()

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A plain function, called when the connection is made: the task is known before it can be cancelled.
        task = asyncio.get_running_loop().create_task(self._handle(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(lambda _: self._ended(task, writer))

    def _ended(self, task: asyncio.Task[None], writer: asyncio.StreamWriter) -> None:
        self._tasks.discard(task)
        writer.transport.abort()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failures.append(error)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await self._handler(reader, writer)
            writer.close()
            await writer.wait_closed()
