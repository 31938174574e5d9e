"""A TCP proxy of the tests' own, to do to a connection what a bad link does."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from tests.fakes.listener import Listener
from tests.fakes.mosquitto import free_port

_CHUNK_BYTES = 64 << 10


class TcpProxy:
    """Between a client and a broker on loopback. `cut`: all connections end and new ones are refused, until `heal`.

    While `swallow_upward` is True, what clients send is read and thrown away: the broker hears nothing any more;
    `swallowed_bytes` counts it.

    While `stalled` is True, nothing passes in either direction, and neither side hears that the other is gone: the
    connections are half-open.
    """

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self.swallow_upward = False
        self.stalled = False
        self.swallowed_bytes = 0
        self._target_port = target_port
        self._listener = Listener(self._serve, self.port)

    async def heal(self) -> None:
        """Take connections."""
        await self._listener.open()

    async def cut(self) -> None:
        """End all connections and take no more."""
        await self._listener.close()

    async def __aenter__(self) -> Self:
        """Take connections."""
        await self.heal()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        await self.cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pipe(reader, up_writer, upward=True))
                group.create_task(self._pipe(up_reader, writer, upward=False))
        finally:
            for end in (writer, up_writer):
                end.transport.abort()

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, upward: bool) -> None:
        try:
            while data := await reader.read(_CHUNK_BYTES):
                if upward and self.swallow_upward:
                    self.swallowed_bytes += len(data)
                elif not self.stalled:
                    writer.write(data)
                    await writer.drain()
        except ConnectionError:
            pass
        finally:
            if not self.stalled:
                writer.transport.abort()
