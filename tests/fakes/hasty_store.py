"""A server by HTTP that answers a PUT as the test says: half read and dead, silent, lying."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Behaviour = Callable[["Asked"], Awaitable[None]]


class Asked:
    """A request, of which the head was read.

    Attributes:
        method, target, headers: of the head; names in lower case.
    """

    def __init__(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = head.decode().rstrip().split("\r\n")
        self.method, self.target, _ = first.split(" ")
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self.reader = reader
        self.writer = writer

    @property
    def length(self) -> int:
        """Of the body."""
        return int(self.headers.get("content-length", "0"))

    async def body(self) -> bytes:
        """The whole body."""
        return await self.reader.readexactly(self.length)

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Write an answer."""
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        length = "" if "content_length" in headers else f"Content-Length: {len(body)}\r\n"
        self.writer.write(f"HTTP/1.1 {status} So\r\n{lines}{length}\r\n".encode() + body)


@asynccontextmanager
async def hasty_store(behaviour: Behaviour) -> AsyncIterator[tuple[str, list[Asked]]]:
    """A server that treats each request by `behaviour`; its URL, and the requests that came."""
    asked: list[Asked] = []
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing():
                one = Asked(await reader.readuntil(b"\r\n\r\n"), reader, writer)
                asked.append(one)
                await behaviour(one)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    finally:
        server.close()
        for one in asked:
            one.writer.transport.abort()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
