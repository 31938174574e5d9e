"""A device whose every byte the test writes itself, and which reads only when it is told to."""

from __future__ import annotations

import asyncio
import socket
from types import TracebackType
from typing import Any, NamedTuple, Self

from tests.fakes.mqtt_bytes import DISCONNECT, MQTT_5, MQTT_311, connect
from tests.waiting import DEADLINE_S


class RawPacket(NamedTuple):
    """A packet that came: its first byte, and what follows the length."""

    first: int
    body: bytes


class RawDevice:
    """A connection to a listener on loopback. As a context manager it has said CONNECT (`hello`) and heard CONNACK.

    Args:
        port: the listener's.
        client_id, version, hello: as in `mqtt_bytes.connect`. parts: what its flags announce.
        receive_bytes: of the socket, None: as the system likes. With few, one that reads nothing is felt soon.
    """

    def __init__(
        self,
        port: int,
        client_id: str = "raw-1",
        version: int = MQTT_311,
        receive_bytes: int | None = None,
        parts: tuple[bytes, ...] = (),
        **hello: Any,
    ) -> None:
        self.version = version
        self._port = port
        self._connect = connect(version, client_id, *parts, **hello)
        self._receive_bytes = receive_bytes
        self._kept = b""
        self._sock = socket.socket()

    async def open(self) -> None:
        """Connect the socket, and say nothing."""
        if self._receive_bytes is not None:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_bytes)
        self._sock.setblocking(False)
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.get_running_loop().sock_connect(self._sock, ("127.0.0.1", self._port))

    async def send(self, *data: bytes) -> None:
        """Write all of it."""
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.get_running_loop().sock_sendall(self._sock, b"".join(data))

    async def packet(self) -> RawPacket:
        """The next packet that comes.

        Raises:
            EOFError: none comes any more.
        """
        head = await self._read(2)
        size, shift = head[1] & 0x7F, 7
        while head[-1] & 0x80:
            head += await self._read(1)
            size |= (head[-1] & 0x7F) << shift
            shift += 7
        return RawPacket(head[0], await self._read(size))

    async def rest(self) -> bytes:
        """All that comes until the listener closes the connection."""
        data, self._kept = self._kept, b""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while more := await asyncio.get_running_loop().sock_recv(self._sock, 65536):
                    data += more
        except ConnectionResetError:  # closed, with bytes of ours that nobody wanted to read
            pass
        return data

    def close(self) -> None:
        """Close the socket, without a word."""
        self._sock.close()

    async def _read(self, size: int) -> bytes:
        async with asyncio.timeout(DEADLINE_S):
            while len(self._kept) < size:
                try:
                    more = await asyncio.get_running_loop().sock_recv(self._sock, 65536)
                except ConnectionResetError:
                    more = b""
                if not more:
                    raise EOFError
                self._kept += more
        data, self._kept = self._kept[:size], self._kept[size:]
        return data

    async def __aenter__(self) -> Self:
        """Say who it is."""
        try:
            await self.open()
            await self.send(self._connect)
            connack = await self.packet()
        except BaseException:
            self.close()
            raise
        code = connack.body[1]
        assert (connack.first, code) == (0x20, 0), connack
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the socket."""
        self.close()


__all__ = ["DISCONNECT", "MQTT_5", "MQTT_311", "RawDevice", "RawPacket"]
