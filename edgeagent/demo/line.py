"""The line between gateway and cloud: a TCP relay in this process that can be cut and restored."""

from __future__ import annotations

import asyncio
import contextlib

_READ_BYTES = 64 << 10


class Line:
    """Relays connections from its own port to the broker's, both on loopback. It never changes the bytes."""

    def __init__(self, broker_port: int) -> None:
        self._broker_port = broker_port
        self._server: asyncio.Server | None = None
        self._is_cut = False
        self._loses_answers = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._connections: set[asyncio.Task[None]] = set()

    async def open(self) -> int:
        """Start to listen; returns the port."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def lose_answers(self) -> None:
        """Drop every answer from now on: the broker still receives from the agent, but the agent receives nothing."""
        self._loses_answers = True

    def cut(self) -> None:
        """Break every connection, whatever it is doing, and each new one at once."""
        self._is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    def heal(self) -> None:
        """Relay again."""
        self._is_cut = self._loses_answers = False

    async def close(self) -> None:
        """Stop listening and close the connections that are left."""
        if self._server is not None:
            self._server.close()
        self.cut()
        if self._connections:
            await asyncio.wait(self._connections)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._relay(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection, until either side ends it or the line is cut."""
        self._writers.add(writer)
        try:
            if self._is_cut:
                return
            back, forth = await asyncio.open_connection("127.0.0.1", self._broker_port)
            self._writers.add(forth)
            pumps = [
                asyncio.create_task(self._pump(reader, forth, answers=False)),
                asyncio.create_task(self._pump(back, writer, answers=True)),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            await self._end(writer, forth)
            await asyncio.gather(*pumps, return_exceptions=True)  # either side may have broken the connection
        except OSError:
            pass  # the broker is gone
        finally:
            await self._end(writer)

    async def _end(self, *writers: asyncio.StreamWriter) -> None:
        for writer in writers:
            writer.close()
            self._writers.discard(writer)
        for writer in writers:
            with contextlib.suppress(OSError):  # the connection was cut
                await writer.wait_closed()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        while data := await reader.read(_READ_BYTES):
            if answers and self._loses_answers:
                continue
            writer.write(data)
            await writer.drain()
