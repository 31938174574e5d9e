"""Servers that end while somebody connects."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from edgeagent.links.servers import close_servers


class CountingSocket(socket.socket):
    """Counts what is accepted on it."""

    accepted = 0

    def accept(self) -> tuple[socket.socket, Any]:
        """See `socket.socket`."""
        found = super().accept()
        self.accepted += 1
        return found


@pytest.mark.parametrize("turns", range(6))
async def test_whoever_was_accepted_is_known_to_the_protocol_however_soon_the_server_ends(turns: int) -> None:
    made: list[asyncio.BaseTransport] = []

    class Noting(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            made.append(transport)

    with CountingSocket() as listening, socket.socket() as device:
        listening.bind(("127.0.0.1", 0))
        listening.setblocking(False)
        server = await asyncio.get_running_loop().create_server(Noting, sock=listening)
        device.connect(listening.getsockname())
        for _ in range(turns):
            await asyncio.sleep(0)
        await close_servers([server])
        assert not server.is_serving()
        assert len(made) == listening.accepted
        for transport in made:
            transport.abort()  # type: ignore[attr-defined]
        await asyncio.sleep(0)
