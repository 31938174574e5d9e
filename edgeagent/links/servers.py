"""Ends servers without dropping whoever has just connected."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

# From the acceptance of a connection until its protocol is told of it, asyncio takes so many turns of the loop
# (`asyncio.selector_events`, Python 3.11 to 3.14).
_TURNS: Final = 2


async def close_servers(servers: Sequence[asyncio.Server]) -> None:
    """Accept no more, and close the servers when the protocols know of every connection that was accepted.

    Where a server is closed in between, asyncio drops the connection: nobody answers it, and nobody closes its socket.
    Connections that wait in the kernel stay there; they end with the socket, if this process has its last handle.
    """
    loop = asyncio.get_running_loop()
    for server in servers:
        for sock in server.sockets:
            loop.remove_reader(sock.fileno())
    try:
        for _ in range(_TURNS):
            await asyncio.sleep(0)
    finally:
        for server in servers:
            server.close()
